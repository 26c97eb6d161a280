# SPDX-License-Identifier: MIT
"""Our own Python client, timed: `board.py MODE DIRECTORY ENTRIES SECONDS`.

MODE is open, beneath, many, connect or connect-session.  The law: only public names of
pagsrv, and each descriptor closed inside the time taken; its one line of JSON
has the keys of bench.h.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable

import keyutils
from contests import BATCH
from load import entry_name

import pagsrv

WARM_UP_OPERATIONS = 50
STRIDE = 7919
"""As in bench.h: a prime, so that names are asked for in a mixed order."""

Operation = Callable[[int], None]


def open_one(directory: str, names: list[str]) -> Operation:
    """Open one entry on a kept connection."""
    board = pagsrv.connect(directory)

    def operation(number: int) -> None:
        board.open(names[number * STRIDE % len(names)]).close()

    return operation


def open_beneath(directory: str, names: list[str]) -> Operation:
    """Open a file beneath a posted directory, on a kept connection."""
    board = pagsrv.connect(directory, changes=True)
    place = tempfile.TemporaryDirectory()
    for name in names:
        open(os.path.join(place.name, name), "wb").close()
    top = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY)
    board.post("bench-docs", top, scope="user", until=["lease"])
    os.close(top)

    def operation(number: int) -> None:
        _place = place
        board.open(f"bench-docs/{names[number * STRIDE % len(names)]}").close()

    return operation


def open_many(directory: str, names: list[str]) -> Operation:
    """Open BATCH entries in one call on a kept connection."""
    board = pagsrv.connect(directory)
    batches = [names[at : at + BATCH] for at in range(0, len(names) - BATCH + 1, BATCH)]

    def operation(number: int) -> None:
        for fd in board.open_many(batches[number % len(batches)]):
            fd.close()

    return operation


def connect(directory: str, names: list[str]) -> Operation:
    """Connect, ask for the user scope, open one entry, hang up."""

    def operation(number: int) -> None:
        with pagsrv.connect(directory, scopes=["user"]) as board:
            board.open(names[number * STRIDE % len(names)]).close()

    return operation


def connect_session(directory: str, names: list[str]) -> Operation:
    """Connect, prove the session, open an entry of that session, hang up."""
    keyutils.join_session_keyring(None)
    keeper = pagsrv.connect(directory, scopes=["session", "user"])
    with open("/dev/null", "rb") as null:
        keeper.post(names[0], null, scope="session")

    def operation(_: int) -> None:
        _keeper = keeper
        with pagsrv.connect(directory, scopes=["session", "user"]) as board:
            board.open(names[0]).close()

    return operation


MODES = {
    "open": open_one,
    "beneath": open_beneath,
    "many": open_many,
    "connect": connect,
    "connect-session": connect_session,
}


def measure(operation: Operation, seconds: float) -> dict[str, float]:
    """Repeat *operation* for *seconds*; times in nanoseconds."""
    for number in range(WARM_UP_OPERATIONS):
        operation(number)
    times: list[int] = []
    clock = time.monotonic_ns
    start = last = clock()
    end = start + int(seconds * 1e9)
    while last < end:
        operation(len(times))
        now = clock()
        times.append(now - last)
        last = now
    times.sort()
    count = len(times)
    return {
        "n": count,
        "p50": times[count // 2],
        "p99": times[count * 99 // 100],
        "rate": count * 1e9 / (last - start),
    }


def main() -> None:
    """Measure what argv asks for."""
    mode, directory, entries, seconds = sys.argv[1:5]
    names = [entry_name(number) for number in range(int(entries))]
    print(json.dumps(measure(MODES[mode](directory, names), float(seconds))))


if __name__ == "__main__":
    main()
