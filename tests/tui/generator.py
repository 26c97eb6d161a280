# SPDX-License-Identifier: MIT
"""A busy board: so many entries, and so many events a second, until it is told to stop.

    python -m tests.tui.generator DIR ENTRIES EVENTS_A_SECOND

The law: it keeps to its rate by the clock and never piles up more than a second of arrears.
It refuses to know who watches.
"""

from __future__ import annotations

import os
import sys
import time

import pagsrv


def main() -> None:
    """Fill the board, say so on stdout, then open, post and remove until stdin ends."""
    directory, entries, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with (
        pagsrv.connect(directory, changes=True, prove=False) as board,
        open(os.devnull, "rb") as fd,
    ):
        for number in range(entries):
            board.post(f"entry-{number:05}", fd, scope="user")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        os.set_blocking(0, False)
        done, began = 0, time.monotonic()
        while _wanted():
            due = (time.monotonic() - began) * rate
            done = max(done, due - rate)
            while done < due:
                _one(board, fd.fileno(), int(done), entries)
                done += 1
            time.sleep(0.005)


def _wanted() -> bool:
    try:
        return os.read(0, 1) != b""
    except BlockingIOError:
        return True


def _one(board: pagsrv.Board, fd: int, number: int, entries: int) -> None:
    """One event: half are opens, the rest posts, removals and changes of masks."""
    name = f"entry-{number * 7919 % entries:05}"
    match number % 6:
        case 0:
            board.post(f"brief-{number}", fd, scope="user")
        case 3:
            board.remove(f"brief-{number - 3}")
        case 5:
            board.set_mask(name, "3f010000")
        case _:
            board.open(name).close()


if __name__ == "__main__":
    main()
