# SPDX-License-Identifier: MIT
"""Waiting for what has to happen: for a process's end, for a broker's turn.

The law: an event or an answer is waited for, never the clock; the deadline fails the test.
It refuses to know what is waited for.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from time import monotonic

from tests.daemon.wire import SECONDS


def exited(pid: int) -> None:
    """Wait until child *pid* has ended, and reap it."""
    pidfd = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([pidfd], [], [], SECONDS)
        assert ready, f"process {pid} has not ended in {SECONDS} s"
        os.waitpid(pid, 0)
    finally:
        os.close(pidfd)


def until(condition: Callable[[], object], between: Callable[[], object], what: str) -> None:
    """Make *condition* true: *between* is a call that the broker answers in its own time."""
    deadline = monotonic() + SECONDS
    while not condition():
        assert monotonic() < deadline, f"{what}: not in {SECONDS} s"
        between()
