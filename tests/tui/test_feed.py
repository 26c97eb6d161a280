# SPDX-License-Identifier: MIT
"""The line to the broker: what is told, what a broker that stops does, what hangs.

The law: the broker is a real process, and stopped and continued by real signals. It refuses to
know screens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

import pagsrv
from pagsrv.kernel.fd import Fd
from pagsrv_tui.doing import _apart
from pagsrv_tui.feed import Feed
from pagsrv_tui.messages import Key, Lost, Shown, Silent, Told
from pagsrv_tui.view import View, asked, reduce_all
from tests.running import running_broker
from tests.tui.driving import SECONDS, in_session

pytestmark = pytest.mark.kernel


class Follower:
    """A feed and the view that comes of it."""

    def __init__(self, dir: str) -> None:  # noqa: A002 -- as the option
        self.view = View()
        self.batches: list[list[Told]] = []
        self._news = asyncio.Event()
        self.feed = Feed(dir, self.told, changes=True)
        self.feed.patience = 0.3

    def told(self, batch: list[Told]) -> None:
        """As the board's screen does it."""
        self.batches.append(batch)
        self.view, wants = asked(reduce_all(self.view, batch))
        self.feed.ask(wants)
        self._news.set()

    def all(self) -> list[Told]:
        """Everything told so far."""
        return [one for batch in self.batches for one in batch]

    async def until(self, holds: Callable[[], object]) -> None:
        """Return when *holds*, looked at after each batch."""
        async with asyncio.timeout(SECONDS):
            while not holds():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def following(dir: str) -> AsyncIterator[Follower]:  # noqa: A002 -- as above
    """A feed that runs until the block ends."""
    follower = Follower(dir)
    task = asyncio.ensure_future(follower.feed.run())
    try:
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@in_session
async def test_the_board_is_listed_once_and_then_watched(tmp: Path) -> None:
    """However many events come: one listing, and stats of what they name."""
    with running_broker(tmp) as broker, pagsrv.connect(broker.dir, changes=True) as board:
        for number in range(300):
            board.create(f"entry-{number}", scope="user")
        async with following(broker.dir) as at:
            await at.until(lambda: not at.view.filling and _told(at.view) == 300)
            for number in range(50):
                board.remove(f"entry-{number}", scope="user")
                board.set_mask(f"entry-{number + 100}", "3f3f0000", scope="user")
            await at.until(lambda: _told(at.view) == 250 and _open(at.view) == 50)
            shown = [len(one.entries) for one in at.all() if isinstance(one, Shown)]
            assert shown.count(300) == 1
            assert sorted(shown)[-2] == 1


def _told(view: View) -> int:
    return sum(
        row.entry is not None for space in view.spaces.values() for row in space.rows.values()
    )


def _open(view: View) -> int:
    return sum(
        row.entry is not None and row.entry.mask.startswith("alswrvalswrv")
        for space in view.spaces.values()
        for row in space.rows.values()
    )


@in_session
async def test_a_stopped_broker_is_said_to_be_silent(tmp: Path) -> None:
    """Nothing hangs with it; when it goes on, so does the view."""
    with running_broker(tmp) as broker:
        async with following(broker.dir) as at:
            await at.until(lambda: at.view.pulses)
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                await at.until(lambda: at.view.link == "silent")
                assert any(isinstance(one, Silent) for one in at.all())
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            await at.until(lambda: at.view.link == "live")
            assert not any(isinstance(one, Lost) for one in at.all())


@in_session
async def test_a_broker_that_only_takes_connections_is_not_waited_for(tmp: Path) -> None:
    """Half dead: it was stopped before we came."""
    with running_broker(tmp) as broker:
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            async with following(broker.dir) as at:
                await at.until(lambda: at.view.link == "lost")
                assert "does not answer" in at.view.why
        finally:
            os.kill(broker.pid, signal.SIGCONT)


@in_session
async def test_an_answer_about_nothing_is_no_row(tmp: Path) -> None:
    """Asked about what never was."""
    with running_broker(tmp) as broker:
        async with following(broker.dir) as at:
            await at.until(lambda: at.view.pulses)
            at.feed.ask(((Key("user:4242", "nothing"), 1),))
            await at.until(lambda: len(at.view.pulses) > 1)
            assert at.view.row(Key("user:4242", "nothing")) is None


@in_session
async def test_what_hangs_is_left_behind_and_closed_when_it_comes(tmp: Path) -> None:
    """A name service that does not answer keeps nobody from leaving."""
    answered = Event()

    def make() -> Fd:
        answered.wait(SECONDS)
        return Fd(os.open(tmp, os.O_RDONLY | os.O_CLOEXEC))

    task = asyncio.ensure_future(_apart(make))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    before = len(os.listdir("/proc/self/fd"))
    answered.set()
    async with asyncio.timeout(SECONDS):
        while any(one.name == "pagsrv-tui-post" for one in _threads()):  # noqa: ASYNC110 -- no event tells of a thread's end
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before


def _threads() -> list[threading.Thread]:
    return list(threading.enumerate())
