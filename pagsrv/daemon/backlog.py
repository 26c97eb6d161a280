# SPDX-License-Identifier: MIT
"""The backlog of a slow watcher: events that could not be sent at once, and how many were lost.

The law: events leave in their order or are counted as lost; a watcher that reads again is told
how many those were. So much is kept and no more, whoever does not read. It refuses to know
sockets, only whether there is room in the outbox.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pagsrv import codec
from pagsrv.limits import EVENTS_QUEUED
from pagsrv.messages import EventView

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.daemon.outbox import Outbox


class Backlog:
    """What one watcher still has to be sent once *outbox* has room."""

    __slots__ = ("_daemon", "_later", "_lost", "_outbox")

    def __init__(self, daemon: Daemon, outbox: Outbox) -> None:
        self._daemon = daemon
        self._outbox = outbox
        self._later: deque[bytes] = deque()
        self._lost = 0

    def admits(self, data: bytes) -> bool:
        """Whether the event *data* may be sent now; otherwise it is kept for later, or lost."""
        if self._outbox.busy:
            if len(self._later) < EVENTS_QUEUED:
                self._later.append(data)
                return False
        elif not self._lost and self._outbox.messages < EVENTS_QUEUED:
            return True
        self._lost += 1
        self._daemon.events_lost += 1
        return False

    def next(self) -> bytes | None:
        """What to send now, if anything: an event that was kept, or how many were lost."""
        if self._later and not self._outbox.busy:
            return self._later.popleft()
        if not self._lost or self._outbox:
            return None
        missed, self._lost = self._lost, 0
        why = f"{missed} events were dropped: this watcher reads too slowly"
        told = EventView(self._daemon.wall, "lost", None, "", missed, None, why)
        return codec.encode_reply(told, continues=True)
