# SPDX-License-Identifier: MIT
"""Whether a gid has a name: asked of the name service, outside the loop.

The law: a name service may take seconds, so a thread asks it and the loop goes
on; what it said is remembered for a while. It refuses to know why one asks.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable

KEPT_SECONDS = 60.0
_MOST = 4096


class GidNames:
    """Answers by callback from the loop; `fileno` is readable when one is due."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bool, float]] = {}
        self._asked: dict[int, list[Callable[[], None]]] = {}
        self._questions: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, bool]] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._running = False

    def fileno(self) -> int:
        """The eventfd that tells of answers; owned here."""
        return self._wake

    def named(self, gid: int) -> bool | None:
        """Whether *gid* has a name, if that is known; None: `ask`."""
        known = self._known.get(gid)
        if known is None or known[1] < time.monotonic():
            return None
        return known[0]

    def ask(self, gid: int, then: Callable[[], None]) -> None:
        """Call *then* from `collect` once `named` knows *gid*."""
        if gid in self._asked:
            self._asked[gid].append(then)
            return
        self._asked[gid] = [then]
        self._questions.put(gid)
        if not self._running:
            import threading  # noqa: PLC0415 -- most brokers never meet such a gid

            self._running = True
            threading.Thread(target=self._work, name="gid names", daemon=True).start()

    def _work(self) -> None:
        import grp  # noqa: PLC0415 -- as above

        while True:
            gid = self._questions.get()
            try:
                grp.getgrgid(gid)
                named = True
            except KeyError:
                named = False
            except OSError:
                # The name service failed: it may have a name, so it is no PAG.
                named = True
            self._answers.put((gid, named))
            os.eventfd_write(self._wake, 1)

    def collect(self) -> None:
        """Take the answers that have come and call back who waits for them."""
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return
        while not self._answers.empty():
            gid, named = self._answers.get()
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[gid] = (named, time.monotonic() + KEPT_SECONDS)
            for then in self._asked.pop(gid, ()):
                then()

    def close(self) -> None:
        """Ask nothing more; a thread that still waits for the name service ends with us."""
        os.close(self._wake)
