# SPDX-License-Identifier: MIT
"""The benchmark: `.venv/bin/python contrib/bench [--quick] [--only NAME]... [--json|--markdown]`.

The law: one run, one processor, every figure a median over interleaved
rounds, nothing left behind.  Exit status 1 if a bound was missed, 3 if a row
with a bound could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import table
from contests import CONTESTS, CPU, Contender, Contest
from house import House
from tools import Tools, UnmeasuredError, say

ALL_SECONDS = 330.0
"""No sample begins later than this after the start: the whole stays below six minutes."""

SAMPLE_GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often each contender is measured."""

    rounds: int
    seconds: float


FULL = Pace(7, 0.3)
QUICK = Pace(3, 0.1)


def sample(contender: Contender, house: House, seconds: float) -> float:
    """One figure of *contender*: nanoseconds, operations a second or bytes."""
    command = contender.command(house, seconds)
    if command[0] == "memory":
        return float(command[1])
    environment = {**os.environ, **contender.environment(house)}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=seconds + SAMPLE_GRACE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnmeasuredError(str(error)) from None
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["no word from it"]
        msg = f"{contender.name}: {words[-1]}"
        raise UnmeasuredError(msg)
    return float(json.loads(done.stdout)[contender.figure]) / contender.per


def hold(contest: Contest, house: House, pace: Pace, end: float) -> dict[str, table.Figure]:
    """Every contender's median, or the reason why it has none."""
    samples: dict[str, list[float]] = {contender.name: [] for contender in contest.contenders}
    reasons: dict[str, str] = {}
    for _ in range(pace.rounds):
        for contender in contest.contenders:
            if contender.name in reasons:
                continue
            if time.monotonic() > end:
                reasons[contender.name] = "the time of the whole run is up"
                continue
            try:
                samples[contender.name].append(sample(contender, house, pace.seconds))
            except UnmeasuredError as error:
                reasons[contender.name] = str(error)
    return {
        contender.name: table.Figure(
            contender.figure,
            None if contender.name in reasons else statistics.median(samples[contender.name]),
            reasons.get(contender.name),
        )
        for contender in contest.contenders
    }


def measure(chosen: list[Contest], pace: Pace, end: float) -> table.Report:
    """Hold the *chosen* contests, everything on one processor."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {CPU})
    report = table.Report()
    with tempfile.TemporaryDirectory(prefix="pagsrv-bench-") as name:
        directory = Path(name)
        with House(directory, Tools(directory)) as house:
            for contest in chosen:
                say(f"measuring {contest.key}.")
                report.add(contest, hold(contest, house, pace, end))
    return report


def choose(keys: list[str] | None) -> list[Contest]:
    """The contests asked for, in the order of the table."""
    return [contest for contest in CONTESTS if not keys or contest.key in keys]


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="contrib/bench", description="Measures pagsrv against s6, D-Bus and a C floor."
    )
    parser.add_argument("--quick", action="store_true", help="3 short rounds, below a minute")
    keys = [contest.key for contest in CONTESTS]
    parser.add_argument(
        "--only", action="append", choices=keys, metavar="NAME", help=f"one of {', '.join(keys)}"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object a row")
    form.add_argument("--markdown", action="store_true", help="as in the documentation")
    return parser.parse_args()


def main() -> int:
    """Measure and print; the exit status says whether the bounds hold."""
    asked = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    start = time.monotonic()
    pace = QUICK if asked.quick else FULL
    try:
        report = measure(choose(asked.only), pace, start + ALL_SECONDS)
    except KeyboardInterrupt:
        say("interrupted; everything it started is stopped.")
        return 130
    form = table.as_json if asked.json else table.as_markdown if asked.markdown else table.as_text
    sys.stdout.write(form(report))
    say(f"{pace.rounds} rounds in {time.monotonic() - start:.0f} s on CPU {CPU}.")
    return report.status()


if __name__ == "__main__":
    sys.exit(main())
