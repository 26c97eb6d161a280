# SPDX-License-Identifier: MIT
"""Ten thousand entries and five hundred events a second: keys are answered, memory stays.

The law: the dashboard watches a real broker that another process keeps busy. PAGSRV_SOAK is how
many seconds it lasts: 8 where nothing is said. What is bounded is the median, since
what else runs on the machine is not ours. It refuses to know why.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from textual import events

from pagsrv_tui.widgets.entry_table import EntryTable
from tests.running import running_broker
from tests.tui.driving import Driver, driven, in_session

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]

SOAK = float(os.environ.get("PAGSRV_SOAK", "8"))
ENTRIES, RATE = 10_000, 500
KEY_SECONDS = 0.05
GROWTH_BYTES = 24 << 20
ROOT = Path(__file__).resolve().parent.parent.parent


def resident() -> int:
    """The bytes of memory this process has now (proc_pid_statm(5))."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def started(argv: list[str]) -> subprocess.Popen[bytes]:
    """A process with pipes for its stdin and stdout."""
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)


async def answered(at: Driver, key: str) -> float:
    """How many seconds a key takes to move the cursor."""
    table = at.board.query_one(EntryTable)
    before, began = table.cursor, time.perf_counter()
    at.app.post_message(events.Key(key, None))
    while table.cursor == before:  # noqa: ASYNC110 -- every turn of the loop is looked at
        await asyncio.sleep(0)
    return time.perf_counter() - began


@in_session
async def test_a_busy_board_stays_usable(tmp: Path) -> None:
    """Keys within 50 ms, no memory that grows, nothing lost on the way."""
    with running_broker(tmp) as broker:
        argv = [sys.executable, "-m", "tests.tui.generator", broker.dir, str(ENTRIES), str(RATE)]
        busy = started(argv)
        assert busy.stdin is not None
        assert busy.stdout is not None
        try:
            assert busy.stdout.readline() == b"ready\n"
            async with driven(broker.dir) as at:
                await at.until(lambda: at.board.view.count() >= ENTRIES - 100)
                await soak(at)
        finally:
            busy.stdin.close()
            busy.wait(20)
            busy.stdout.close()


async def soak(at: Driver) -> None:
    """Press keys for as long as it lasts, then look at what came of it."""
    took: list[float] = []
    at_first, heard, began = 0, at.board.view.heard, time.monotonic()
    while (lasted := time.monotonic() - began) < SOAK:
        down = at.board.query_one(EntryTable).cursor < 60
        took.append(await answered(at, "down" if down else "home"))
        await at.pilot.pause(0.05)
        if not at_first and lasted > SOAK / 4:
            at_first = resident()
    grown = resident() - at_first
    took.sort()
    rate = (at.board.view.heard - heard) / lasted
    sys.stdout.write(
        f"{rate:.0f} events/s, keys p50 {took[len(took) // 2] * 1e3:.1f} ms, "
        f"p99 {took[len(took) * 99 // 100] * 1e3:.1f} ms, memory +{grown >> 10} KiB\n"
    )
    assert rate > RATE / 2
    assert took[len(took) // 2] < KEY_SECONDS
    assert grown < GROWTH_BYTES
    assert at.board.view.pulses[-1].vitals.events_lost == 0
