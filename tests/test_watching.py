# SPDX-License-Identifier: MIT
"""Watches and waits: who hears of what, how many there may be, who waited too long.

The law: a watcher hears only of what it may view.
"""

from __future__ import annotations

import pytest

from pagsrv.errors import QuotaExceeded
from pagsrv.masks import DEFAULT
from pagsrv.model import Entry, Event, Peer, PeerId, Proof
from pagsrv.names import EntryName, Reference, Scope
from pagsrv.watching import Waiter, Watcher, Watches
from tests.pure import peer_of

SESSION = Scope("session", 5)
WAITED = Reference(SESSION, EntryName("db"))


def entry_of(mask: int = DEFAULT) -> Entry[int]:
    """An entry of uid 1000 in SESSION."""
    return Entry(SESSION, EntryName("db"), uid=1000, gid=1000, mask=mask, created=0)


def watching(*peers: Peer, scope: Scope | None = None) -> Watches[int]:
    """Those peers watch *scope*."""
    watches: Watches[int] = Watches(10)
    for peer in peers:
        watches.watchers[peer.id] = Watcher(peer, scope)
    return watches


def proved(peer: Peer) -> Peer:
    """*peer*, in SESSION."""
    peer.prove(Proof(SESSION, "possession", "isolated"))
    return peer


def test_hearers_are_those_who_view() -> None:
    """Of the entry's own uid by default, of members always, of others never."""
    same, other, member = (peer_of(uid, number=uid) for uid in (1000, 2000, 3000))
    watches = watching(same, other, proved(member))
    assert watches.hearers(entry_of()) == (same.id, member.id)
    assert watches.hearers(entry_of(0x3F000000)) == (member.id,)


def test_hearers_watch_that_scope_or_all() -> None:
    """Who watches one scope hears nothing of another's."""
    peer = peer_of(1000)
    assert watching(peer, scope=SESSION).hearers(entry_of()) == (peer.id,)
    assert watching(peer, scope=Scope("user", 1000)).hearers(entry_of()) == ()


def test_scope_itself_is_known_to_members_and_owner() -> None:
    """What becomes of a scope is its members' business and its owner's."""
    owner, other, member = (peer_of(uid, number=uid) for uid in (1000, 2000, 3000))
    watches = watching(owner, other, proved(member))
    assert watches.knowing(SESSION, 1000) == (owner.id, member.id)
    assert watches.knowing(SESSION, None) == (member.id,)
    assert watching(owner, scope=Scope("user", 1000)).knowing(SESSION, 1000) == ()


def test_who_left_is_told_nothing() -> None:
    """An event noted before a watcher went away does not reach it."""
    stays, leaves = peer_of(1000, number=1), peer_of(1000, number=2)
    watches = watching(stays, leaves)
    event: Event[int] = Event("posted", SESSION, "db", hearers=(stays.id, leaves.id))
    watches.forget(leaves.id)
    assert [(stays.id, 7.0)] == [(tell.to, tell.event.time) for tell in watches.tell(event, 7.0)]


def test_budget_counts_watches_and_waits_together() -> None:
    """Per uid; who is forgotten is no longer counted."""
    watches: Watches[int] = Watches(2)
    first, second = peer_of(1000, number=1), peer_of(1000, number=2)
    watches.watchers[first.id] = Watcher(first, None)
    watches.admit(second)
    watches.waiters[second.id] = Waiter(second, WAITED, None)
    with pytest.raises(QuotaExceeded, match="uid 1000"):
        watches.admit(peer_of(1000, number=3))
    watches.admit(peer_of(2000, number=3))
    watches.forget(second.id)
    watches.admit(peer_of(1000, number=3))


def test_waiters_are_late_at_their_deadline() -> None:
    """Those without one never are."""
    watches: Watches[int] = Watches(10)
    deadlines = {PeerId(1): 5.0, PeerId(2): None, PeerId(3): 4.0}
    for number, deadline in deadlines.items():
        watches.waiters[number] = Waiter(peer_of(number=number), WAITED, deadline)
    assert watches.next_deadline() == 4.0
    assert watches.late(3.9) == []
    assert [one.peer.id for one in watches.late(4.0)] == [PeerId(3)]
    assert len(watches.late(5.0)) == 2
    assert Watches(1).next_deadline() is None
