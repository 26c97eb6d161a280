# SPDX-License-Identifier: MIT
"""Threads for what may wait: a few for each uid, so that nobody's work waits for another's.

The law: a job runs once, and tells its outcome itself; a thread is made when a job needs one
and stays. It refuses to know what the jobs are.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from pagsrv.doors.fuse.loop import ENDING

Job = Callable[[], None]


class _Line(NamedTuple):
    """What one uid waits for."""

    first: deque[Job]
    rest: deque[Job]


class Workers:
    """At most *most* threads, *each* of them for one uid at a time."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._changed = threading.Condition()
        self._waiting: dict[int, _Line] = {}
        self._running: Counter[int] = Counter()
        self._threads = self._idle = self._pending = 0

    def do(self, uid: int, job: Job, *, first: bool = False) -> None:
        """Have *job* done for *uid*, after what was asked for it before; never waits.

        *first*: others wait for it too, so it is not done after what nobody else waits for.
        """
        with self._changed:
            line = self._waiting.setdefault(uid, _Line(deque(), deque()))
            (line.first if first else line.rest).append(job)
            self._pending += 1
            # One that is idle by the count may be on its way to another job.
            if self._pending > self._idle and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, daemon=True).start()
            self._changed.notify()

    def _work(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        while True:
            with self._changed:
                self._idle += 1
                while (found := self._next()) is None:
                    self._changed.wait()
                self._idle -= 1
            uid, job = found
            try:
                job()
            except Exception:  # noqa: BLE001 -- a bug of one job's is to end no other
                traceback.print_exc(file=sys.stderr)
            del job, found
            with self._changed:
                self._running[uid] -= 1
                if uid in self._waiting:
                    self._changed.notify()

    def _next(self) -> tuple[int, Job] | None:
        for uid, line in self._waiting.items():
            if self._running[uid] < self._each:
                job = (line.first or line.rest).popleft()
                self._pending -= 1
                # To the end of the line, if there is more of it.
                del self._waiting[uid]
                if line.first or line.rest:
                    self._waiting[uid] = line
                self._running[uid] += 1
                return uid, job
        return None
