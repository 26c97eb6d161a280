# SPDX-License-Identifier: MIT
"""Whether a gid has a name: asked of the name service, outside the loop.

The law: a name service may take seconds, or for ever, so a thread asks it and the loop
goes on; what it said is remembered for a while, and nobody waits long for what it does not
say. It refuses to know why one asks.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable
from contextlib import suppress

KEPT_SECONDS = 60.0
PATIENCE_SECONDS = 2.0
_MOST = 4096


class GidNames:
    """Answers by callback from the loop; `fileno` is readable when one is due."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bool, float]] = {}
        self._asked: dict[int, list[tuple[float, Callable[[], None]]]] = {}
        self._silent: dict[int, float] = {}
        self._questions: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, bool | None]] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._running = False

    def fileno(self) -> int:
        """The eventfd that tells of answers; owned here."""
        return self._wake

    def named(self, gid: int) -> bool | None:
        """Whether *gid* has a name; None if that is not known."""
        known = self._known.get(gid)
        if known is None or known[1] < time.monotonic():
            return None
        return known[0]

    def is_to_be_asked(self, gid: int) -> bool:
        """Whether it is not known, and was not just asked for in vain: `ask`."""
        return self.named(gid) is None and self._silent.get(gid, 0.0) < time.monotonic()

    def ask(self, gid: int, then: Callable[[], None]) -> None:
        """Call *then* from the loop once *gid* is known, or it was waited for long enough."""
        waiting = (time.monotonic() + PATIENCE_SECONDS, then)
        if gid in self._asked:
            self._asked[gid].append(waiting)
            return
        self._asked[gid] = [waiting]
        self._questions.put(gid)
        self._start()

    def _start(self) -> None:
        if not self._running:
            import threading  # noqa: PLC0415 -- most brokers never meet such a gid

            # RuntimeError: no more threads for now; the next question, or look, tries again.
            with suppress(RuntimeError):
                threading.Thread(target=self._work, name="gid names", daemon=True).start()
                self._running = True

    def _work(self) -> None:
        import grp  # noqa: PLC0415 -- as above

        while True:
            gid = self._questions.get()
            named: bool | None = True
            try:
                grp.getgrgid(gid)
            except KeyError:
                named = False
            except OSError:
                named = None  # the name service failed
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
            if named is None:
                self._silence(gid)
            else:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[gid] = (named, time.monotonic() + KEPT_SECONDS)
            for _, then in self._asked.pop(gid, ()):
                then()

    def give_up(self) -> None:
        """Call back who has waited long enough, and remember for as long that it was in vain."""
        now = time.monotonic()
        late = [gid for gid, waiting in self._asked.items() if waiting and waiting[0][0] <= now]
        for gid in late:
            self._silence(gid)
            waiting, self._asked[gid] = self._asked[gid], []
            for _, then in waiting:
                then()
        if self._asked:
            self._start()

    def _silence(self, gid: int) -> None:
        if len(self._silent) >= _MOST:
            self._silent.clear()
        self._silent[gid] = time.monotonic() + PATIENCE_SECONDS

    def close(self) -> None:
        """Ask nothing more; a thread that still waits for the name service ends with us."""
        os.close(self._wake)
