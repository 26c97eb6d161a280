# SPDX-License-Identifier: MIT
"""Who watches the board and who waits for a name.

The law: a watcher hears only of entries it may view; a waiter is answered once.
It refuses to know how slow a watcher reads (the daemon drops and counts).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Generic

from msgspec import Struct, structs

from pagsrv.effects import Tell
from pagsrv.errors import QuotaExceeded
from pagsrv.masks import READ, SEARCH, VIEW
from pagsrv.messages import EventView
from pagsrv.model import Entry, Event, H, Peer, PeerId
from pagsrv.names import Reference, Scope
from pagsrv.policy import rights_in_full
from pagsrv.views import event_view

_LOOK = SEARCH | READ


class Watcher(Struct):
    """A connection that streams events, of one scope or of all it may view."""

    peer: Peer
    scope: Scope | None


class Waiter(Struct):
    """A connection that waits for a name; *deadline* in boot seconds."""

    peer: Peer
    reference: Reference
    deadline: float | None


class Watches(Generic[H]):
    """Everybody who is to hear of what happens."""

    def __init__(self, per_uid: int) -> None:
        self._per_uid = per_uid
        self.watchers: dict[PeerId, Watcher] = {}
        self.waiters: dict[PeerId, Waiter] = {}

    def used(self) -> Counter[int]:
        """How many watches and waits each uid has."""
        peers = [one.peer for one in self.watchers.values()]
        peers += [one.peer for one in self.waiters.values()]
        return Counter(one.uid for one in peers)

    def admit(self, peer: Peer) -> None:
        """QuotaExceeded if *peer*'s uid has its share of watches and waits."""
        if self.used()[peer.uid] >= self._per_uid:
            raise QuotaExceeded(
                f"uid {peer.uid} watches and waits {self._per_uid} times already, the most one "
                "user may; end one of them"
            )

    def forget(self, peer: PeerId) -> None:
        """*peer* is gone or has been answered."""
        self.watchers.pop(peer, None)
        self.waiters.pop(peer, None)

    def hearers(self, entry: Entry[H]) -> tuple[PeerId, ...]:
        """The watchers that may view *entry* as it is now."""
        return tuple(
            watcher.peer.id
            for watcher in self.watchers.values()
            if watcher.scope in (None, entry.scope) and rights_in_full(watcher.peer, entry) & VIEW
        )

    def knowing(self, scope: Scope, uid: int | None) -> tuple[PeerId, ...]:
        """The watchers that may know of *scope* itself: its members and its owner, *uid*."""
        return tuple(
            watcher.peer.id
            for watcher in self.watchers.values()
            if watcher.scope in (None, scope)
            and (scope in watcher.peer.proofs or watcher.peer.uid == uid)
        )

    def tell(self, event: Event[H], wall: float) -> Iterator[Tell]:
        """*event* for each of its hearers that still watches."""
        view: EventView | None = None
        for peer in event.hearers:
            if peer in self.watchers:
                view = view or event_view(event, wall)
                shown = self._may_look(peer, event)
                yield Tell(peer, view if shown else structs.replace(view, why=""))

    def _may_look(self, peer: PeerId, event: Event[H]) -> bool:
        """Whether *peer* may have all that is told of *event*."""
        if not event.inside or event.entry is None:
            return True
        return not _LOOK & ~rights_in_full(self.watchers[peer].peer, event.entry)

    def late(self, now: float) -> list[Waiter]:
        """The waiters whose time is up."""
        return [
            waiter
            for waiter in self.waiters.values()
            if waiter.deadline is not None and waiter.deadline <= now
        ]

    def next_deadline(self) -> float | None:
        """When the first waiter's time is up."""
        return min(
            (one.deadline for one in self.waiters.values() if one.deadline is not None),
            default=None,
        )
