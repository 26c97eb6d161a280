# SPDX-License-Identifier: MIT
"""The daemon's log: one event a line on stderr, fields after it.

The law: a peer cannot flood it (some lines a second, the rest are counted), and
nothing on the path of an open logs. It refuses to know where stderr goes.
"""

from __future__ import annotations

import os
import time

LINES_PER_SECOND = 20

_second = 0
_written = 0
_suppressed = 0


def log(event: str, **fields: object) -> None:
    """Write *event* and its fields, escaped so that it stays one line."""
    global _second, _written, _suppressed  # noqa: PLW0603 -- one log for one process
    second = int(time.monotonic())
    if second != _second:
        missed, _second, _written, _suppressed = _suppressed, second, 0, 0
        if missed:
            _write(f"pagsrv: {missed} lines suppressed\n")
    _written += 1
    if _written > LINES_PER_SECOND:
        _suppressed += 1
        return
    told = "".join(f" {key}={value!r}" for key, value in fields.items())
    _write(f"pagsrv: {event}{told}\n")


def _write(line: str) -> None:
    try:
        os.write(2, line.encode("utf-8", "backslashreplace"))
    except OSError:
        # A broken log must not take the board down.
        return
