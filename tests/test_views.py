# SPDX-License-Identifier: MIT
"""Views: what the asker sees is what the entry is, with the asker's own rights.

The law: two askers see the same entry and differ in rights and grant only.
"""

from __future__ import annotations

from pagsrv import views
from pagsrv.facts import ProcessFacts
from pagsrv.masks import DEFAULT
from pagsrv.messages import EntryView, EventView, ProofView
from pagsrv.model import By, Entry, Event, Process, Proof
from pagsrv.names import EntryName, Scope
from pagsrv.people import ByView, Owner, Poster
from tests.pure import SOCKET, peer_of

SESSION, GUEST = Scope("session", 5), Scope("pag", 0x41000001)


def entry_of() -> Entry[int]:
    """An entry of uid 1000 in SESSION."""
    entry: Entry[int] = Entry(
        SESSION, EntryName("db"), uid=1000, gid=100, mask=DEFAULT, created=12.5
    )
    entry.generation = 7
    return entry


def test_empty_entry_is_shown_as_it_is() -> None:
    """What is not known yet is null; nobody's rights are made up."""
    seen = views.entry_view(peer_of(1000), entry_of(), 0)
    assert seen == EntryView(
        "session:5", "db", False, None, None, "alswrv-----v------------", "v", Owner(1000, 100),
        None, (), 7, 12.5, None, 0, {}, None,
    )  # fmt: skip


def test_assigned_entry_is_shown_whole() -> None:
    """What was posted, by whom, whether that process lives, and what was done with it."""
    entry = entry_of()
    entry.handle, entry.facts = 10, SOCKET
    entry.poster = Process(ProcessFacts(42, 1000, 100, 4242, "psql"), 11, 1000)
    entry.poster.alive = False
    entry.until, entry.labels = ("exit=42", "revoked"), {"app": "x"}
    entry.opens, entry.last_opened = 3, 99.5
    peer = peer_of(1000)
    peer.prove(Proof(SESSION, "possession", "isolated"))
    assert views.entry_view(peer, entry, 0) == EntryView(
        "session:5", "db", True, "socket", "rw", "alswrv-----v------------", "alswrv",
        Owner(1000, 100), Poster(42, "psql", False), ("exit=42", "revoked"), 7, 12.5, 99.5, 3,
        {"app": "x"}, None,
    )  # fmt: skip


def test_guest_sees_where_the_entry_is_from() -> None:
    """granted_from names the scope for whoever is there by a grant, and for no one else."""
    entry = entry_of()
    entry.grants = (GUEST,)
    guest, member, both = peer_of(2000), peer_of(1000), peer_of(1000)
    guest.prove(Proof(GUEST, "groups", "isolated"))
    member.prove(Proof(SESSION, "possession", "isolated"))
    for scope in (SESSION, GUEST):
        both.prove(Proof(scope, "possession", "isolated"))
    seen = [views.entry_view(peer, entry, 0) for peer in (guest, member, both, peer_of(2000))]
    assert [one.granted_from for one in seen] == ["session:5", None, None, None]
    assert [one.rights for one in seen] == ["srv", "alswrv", "alswrv", ""]


def test_views_of_many_scopes_stay_right() -> None:
    """What is remembered between views is forgotten in time, and never mixed up."""
    peer = peer_of(1)
    for number in range(3000):
        entry: Entry[int] = Entry(
            Scope("session", number), EntryName("x"), uid=number, gid=0, mask=number, created=0
        )
        seen = views.entry_view(peer, entry, 0)
        assert (seen.scope, seen.owner) == (f"session:{number}", Owner(number, 0))
    assert len(views._scopes) <= 1024


def test_proof_and_event_are_shown_plainly() -> None:
    """As the wire has them."""
    proof = Proof(GUEST, "groups", "isolated")
    assert views.proof_view(proof) == ProofView(str(GUEST), "groups", "isolated")
    opened: Event[int] = Event("opened", SESSION, "db", 7, By(1000, 42, "psql"), "why")
    shown = EventView(5.0, "opened", "session:5", "db", 7, ByView(1000, 42, "psql"), "why")
    assert views.event_view(opened, 5.0) == shown
    live: Event[int] = Event("live", None, "")
    assert views.event_view(live, 5.0) == EventView(5.0, "live", None, "", 0, None, "")
