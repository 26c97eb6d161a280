# SPDX-License-Identifier: MIT
"""Who leads a session: asked of its oldest member, or of who posted there.

The law: a session is looked at once between two looks of the daemon at the clock, and so
many of them, whoever asks how often; what was found before is asked again by pid and inode
before it is said once more. A leader may itself be outside the session's ring: it leads the
processes (getsid(2)), not the keys. It refuses to know who may be told.
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

_LOOKS = 128
"""Sessions looked at in one second, some 100 µs each; of further ones nothing is known."""


class Leaders:
    """The leaders found so far."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._known: dict[Scope, ProcessFacts] = {}
        self._told: dict[Scope, Leader | None] = {}
        daemon.each_sweep.append(self._sweep)

    def _sweep(self) -> None:
        self._told.clear()
        for gone in self._known.keys() - self._daemon.broker.board.store.spaces.keys():
            del self._known[gone]

    def fill(self, spaces: Iterator[tuple[Scope, NamespaceView]]) -> Iterator[NamespaceView]:
        """The views of *spaces*, with the leader in those that show members."""
        board = self._daemon.broker.board
        for scope, view in spaces:
            space = board.store.spaces.get(scope)
            if space is not None and view.members is not None:
                if scope not in self._told and len(self._told) < _LOOKS:
                    self._told[scope] = self._of(space)
                view.leader = self._told.get(scope)
            yield view

    def _of(self, space: Namespace[Fd]) -> Leader | None:
        known = self._known.pop(space.scope, None)
        try:
            name = None if known is None else process.name_of(known.pid, known.inode)
        except OSError:
            return None  # no descriptor is to be had to look with
        if known is not None and name is not None:
            self._known[space.scope] = known
            return Leader(known.pid, name)
        for found in self._asked(space):
            if found.inode:
                self._known[space.scope] = found
            return Leader(found.pid, found.comm)
        return None

    def _asked(self, space: Namespace[Fd]) -> Iterator[ProcessFacts]:
        for member in islice(space.members, 1):
            connection = self._daemon.connections.get(member)
            pidfd = None if connection is None else peer.process_of(connection.sock)[1]
            if pidfd is not None:
                with pidfd:
                    yield from _led(pidfd)
        for entry in islice(space.entries.values(), 1):
            if entry.poster is not None and entry.poster.handle is not None:
                yield from _led(entry.poster.handle)


def _led(pidfd: Fd) -> Iterator[ProcessFacts]:
    leader = process.leader_of(pidfd)
    if leader is not None:
        leader[1].close()
        yield leader[0]
