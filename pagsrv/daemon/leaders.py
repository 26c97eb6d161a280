# SPDX-License-Identifier: MIT
"""Who leads a session: asked of its oldest members, or of who posted there.

The law: what was found is asked again by pid and inode before it is said once more, and
for one session no more than a few processes are looked at. A leader may itself be outside
the session's ring: it leads the processes (getsid(2)), not the keys. It refuses to know
who may be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from pagsrv.kernel import peer, process
from pagsrv.names import Scope
from pagsrv.vitals import Leader, NamespaceView

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.facts import ProcessFacts
    from pagsrv.kernel.fd import Fd
    from pagsrv.store import Namespace

_LOOKED_AT = 2


class Leaders:
    """The leaders found so far."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._known: dict[Scope, ProcessFacts] = {}

    def fill(self, spaces: Iterator[tuple[Scope, NamespaceView]]) -> Iterator[NamespaceView]:
        """The views of *spaces*, with the leader in those that show members."""
        board = self._daemon.broker.board
        for gone in self._known.keys() - board.store.spaces.keys():
            del self._known[gone]
        for scope, view in spaces:
            space = board.store.spaces.get(scope)
            if space is not None and view.members is not None:
                view.leader = self._of(space)
            yield view

    def _of(self, space: Namespace[Fd]) -> Leader | None:
        known = self._known.get(space.scope)
        if known is not None:
            name = process.name_of(known.pid, known.inode)
            if name is not None:
                return Leader(known.pid, name)
            del self._known[space.scope]
        for found in self._asked(space):
            if found.inode:
                self._known[space.scope] = found
            return Leader(found.pid, found.comm)
        return None

    def _asked(self, space: Namespace[Fd]) -> Iterator[ProcessFacts]:
        for member in islice(space.members, _LOOKED_AT):
            connection = self._daemon.connections.get(member)
            pidfd = None if connection is None else peer.process_of(connection.sock)[1]
            if pidfd is not None:
                with pidfd:
                    yield from _led(pidfd)
        for entry in islice(space.entries.values(), _LOOKED_AT):
            if entry.poster is not None and entry.poster.handle is not None:
                yield from _led(entry.poster.handle)


def _led(pidfd: Fd) -> Iterator[ProcessFacts]:
    leader = process.leader_of(pidfd)
    if leader is not None:
        leader[1].close()
        yield leader[0]
