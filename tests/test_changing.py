# SPDX-License-Identifier: MIT
"""Changing: remove, rename, mask, timeout, grant, ungrant.

The law: each needs its right, a refusal changes nothing, and a grant is by full
name, to one exact scope, as long as both live.
"""

from __future__ import annotations

import pytest

from pagsrv.errors import (
    Denied,
    Exists,
    InvalidParameter,
    NoEntry,
    NoSession,
    NotAssigned,
    QuotaExceeded,
    Refused,
    Stale,
)
from pagsrv.facts import RingFacts
from pagsrv.limits import TTL_SECONDS, Limits
from pagsrv.messages import (
    EntryReply,
    EntryView,
    Grant,
    Remove,
    Rename,
    Reply,
    Request,
    SetMask,
    SetTimeout,
    Stat,
    Ungrant,
)
from pagsrv.model import Given, Peer
from pagsrv.names import Scope
from tests.pure import ANY, Ends, Table, mask, ring_facts

USER = Scope("user", 1000)


def shown(table: Table, peer: Peer, request: Request) -> EntryView:
    """The entry as the answer shows it."""
    reply = table.ask(peer, request)
    assert isinstance(reply, EntryReply)
    return reply.entry


CHANGES: dict[str, tuple[Request, str]] = {
    "remove": (Remove("x"), "setattr"),
    "rename": (Rename("x", "y"), "setattr"),
    "mask": (SetMask("x", ANY), "setattr"),
    "timeout": (SetTimeout("x", 5), "setattr"),
    "grant": (Grant("x", "user:7"), "link"),
    "ungrant": (Ungrant("x", "user:7"), "link"),
}


@pytest.mark.parametrize(("request_", "right"), CHANGES.values(), ids=CHANGES)
def test_change_needs_its_right(request_: Request, right: str) -> None:
    """Without it Denied names it, and the entry is as it was."""
    table = Table()
    peer = table.join()
    letters = mask("alswrv".replace({"setattr": "a", "link": "l"}[right], ""))
    before = table.post(peer, "x", mask=letters)
    with pytest.raises(Denied, match=f"no {right} right"):
        table.ask(peer, request_)
    assert before == shown(table, peer, Stat("x"))


@pytest.mark.parametrize("request_", [one for one, _ in CHANGES.values()], ids=CHANGES)
def test_change_is_announced_first(request_: Request) -> None:
    """A connection that did not attach with changes is told to."""
    table = Table()
    table.post(table.join(), "x")
    with pytest.raises(Denied, match="announced"):
        table.ask(table.join(changes=False), request_)


def test_remove_drops_everything_the_entry_held() -> None:
    """Handle, poster and processes waited for; the name is free."""
    table = Table()
    peer = table.join()
    witness = table.witness()
    table.post(peer, "x", until=Ends(("exit",), (witness,)))
    assert table.ask(peer, Remove("x")) == Reply()
    assert len(table.dropped()) == 3
    with pytest.raises(NoEntry):
        table.ask(peer, Remove("x"))


@pytest.mark.parametrize(
    "request_", [Remove("x", expect=1), Rename("x", "y", expect=1), SetMask("x", ANY, expect=1)]
)
def test_stale_expectation_changes_nothing(request_: Request) -> None:
    """Somebody else was there in between."""
    table = Table()
    peer = table.join()
    table.post(peer, "x")
    before = table.post(peer, "x", replace=True)
    with pytest.raises(Stale):
        table.ask(peer, request_)
    assert before == shown(table, peer, Stat("x"))


def test_rename_stays_in_its_scope() -> None:
    """The new name is a name and nothing else, and not taken."""
    table = Table()
    peer = table.join(session=5)
    table.post(peer, "x", "session")
    table.post(peer, "taken", "session")
    table.post(peer, "free", "user")
    for name, refusal in (
        ("taken", Exists),
        ("a/b", InvalidParameter),
        ("user:1/x", InvalidParameter),
    ):
        with pytest.raises(refusal):
            table.ask(peer, Rename("x", name))
    view = shown(table, peer, Rename("x", "free"))
    assert (view.scope, view.name) == ("session:5", "free")


def test_mask_counts_from_then_on() -> None:
    """What one may do is what the new mask says, at once."""
    table = Table()
    peer, second = table.join(session=5), table.join(session=6)
    table.post(peer, "x", "session")
    view = shown(table, peer, SetMask("x", "3f0b0000"))
    assert view.mask == mask("alswrv", "srv")
    assert table.open(second, "session:5/x") > 0
    with pytest.raises(InvalidParameter):
        table.ask(peer, SetMask("x", "srv"))


def test_timeout_ends_the_entry() -> None:
    """Counted from the call; the next call replaces it, 0 clears it."""
    table = Table()
    peer = table.join(session=5)
    table.post(peer, "x", until=Ends(("ttl=100", "opens=9")))
    assert shown(table, peer, SetTimeout("x", 2.5)).until == ("ttl=2.5", "opens=9")
    assert table.broker.next_deadline() == table.boot + 2.5
    assert shown(table, peer, SetTimeout("x", 0)).until == ("opens=9",)
    assert table.later(1000) == []
    shown(table, peer, SetTimeout("x", 1))
    table.later(1)
    with pytest.raises(NoEntry):
        table.open(peer, "x")


@pytest.mark.parametrize("seconds", [-1.0, TTL_SECONDS + 1.0, float("nan"), float("inf")])
def test_timeout_is_within_the_clock(seconds: float) -> None:
    """Anything else is a bad field."""
    table = Table()
    peer = table.join()
    table.post(peer, "x")
    with pytest.raises(InvalidParameter) as caught:
        table.ask(peer, SetTimeout("x", seconds))
    assert caught.value.parameter == "seconds"


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_empty_entry_answers_what_the_contract_says(change: str) -> None:
    """Remove, rename and mask; the rest is NotAssigned."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", empty=True)
    request = CHANGES[change][0]
    if change in ("timeout", "grant", "ungrant"):
        with pytest.raises(NotAssigned):
            table.ask(peer, request)
    else:
        table.ask(peer, request)


# ── grants ──


def granted(table: Table, to: str, ring: RingFacts | None = None) -> None:
    """An entry x of session 5 that only its session sees, granted."""
    poster = table.join(session=5)
    table.post(poster, "x", "session", mask=mask("alswrv"))
    table.ask(poster, Grant("x", to), Given(ring=ring, isolation="isolated"))


@pytest.mark.parametrize("to", ["session:6", "pag:1090519041", "user:2000"])
def test_grant_opens_by_the_full_name_only(to: str) -> None:
    """Members of the scope view, search and read; a bare name does not find it."""
    table = Table()
    granted(table, to, ring_facts(6, 2000))
    guest = table.join(2000, session=6, pag=1090519041)
    view = shown(table, guest, Stat("session:5/x"))
    assert (view.rights, view.granted_from) == ("srv", "session:5")
    assert table.open(guest, "session:5/x") > 0
    with pytest.raises(NoEntry):
        table.open(guest, "x")
    for request in (Remove("session:5/x"), Grant("session:5/x", "user:3")):
        with pytest.raises(Denied):
            table.ask(guest, request)


def test_grant_is_for_members_only() -> None:
    """Another session of the guest's uid has nothing of it."""
    table = Table()
    granted(table, "session:6", ring_facts(6, 2000))
    with pytest.raises(NoEntry):
        table.open(table.join(2000, session=7), "session:5/x")


def test_ungrant_ends_it() -> None:
    """At once; ending what is not there is NoEntry."""
    table = Table()
    granted(table, "user:2000")
    poster, guest = table.join(session=5), table.join(2000)
    assert table.open(guest, "session:5/x") > 0
    table.ask(poster, Ungrant("x", "user:2000"))
    with pytest.raises(NoEntry):
        table.open(guest, "session:5/x")
    with pytest.raises(NoEntry, match="not granted to"):
        table.ask(poster, Ungrant("x", "user:2000"))
    assert Scope("user", 2000) not in table.broker.board.store.spaces


def test_grant_ends_with_either_side() -> None:
    """With the entry, and with the session granted to."""
    table = Table()
    granted(table, "session:6", ring_facts(6))
    entry = table.entry(Scope("session", 5), "x")
    table.seen(6, state="revoked")
    assert entry.grants == ()
    granted(Table(), "user:2000")
    poster = table.join(session=5)
    table.ask(poster, Grant("x", "user:2000"))
    table.ask(poster, Remove("x"))
    assert set(table.broker.board.store.spaces) == {Scope("session", 5)}


def test_granting_twice_is_granting_once() -> None:
    """No second event, no second charge, one ungrant ends it."""
    table = Table(limits=Limits(grants_per_uid=1))
    poster = table.join()
    table.post(poster, "x")
    for _ in range(2):
        assert table.ask(poster, Grant("x", "user:2000")) == Reply()
    assert table.entry(USER, "x").grants == (Scope("user", 2000),)


@pytest.mark.parametrize(
    ("to", "refusal"),
    [
        ("session", InvalidParameter),
        ("user:1000", InvalidParameter),
        ("everybody", InvalidParameter),
        ("session:9", NoSession),
    ],
)
def test_grant_is_to_one_exact_other_scope(to: str, refusal: type[Refused]) -> None:
    """Neither a word, nor its own scope, nor a session that cannot be seen."""
    table = Table()
    poster = table.join()
    table.post(poster, "x")
    with pytest.raises(refusal):
        table.ask(poster, Grant("x", to))
    with pytest.raises(Refused):
        table.ask(poster, Ungrant("x", to))


@pytest.mark.parametrize(
    ("ring", "why"),
    [
        (RingFacts(9, "revoked", 1000), "revoked"),
        (RingFacts(9, "unverifiable"), "unverifiable"),
        (RingFacts(9, "live", 1000, is_keyring=False), "live"),
    ],
)
def test_grant_needs_a_live_ring(ring: RingFacts, why: str) -> None:
    """A session nobody is proved in is looked at first."""
    table = Table()
    poster = table.join()
    table.post(poster, "x")
    with pytest.raises(NoSession, match=why):
        table.ask(poster, Grant("x", "session:9"), Given(ring=ring))


def test_refused_grant_leaves_no_trace() -> None:
    """The namespace made for it goes again, and nobody is charged."""
    table = Table(limits=Limits(grants_per_entry=1))
    poster = table.join()
    table.post(poster, "x")
    table.ask(poster, Grant("x", "user:2000"))
    with pytest.raises(QuotaExceeded):
        table.ask(poster, Grant("x", "user:3000"))
    assert Scope("user", 3000) not in table.broker.board.store.spaces


def test_granter_pays_for_the_scope_granted_to() -> None:
    """Nobody uses up somebody else's namespaces by grants."""
    table = Table(limits=Limits(namespaces_per_uid=3))
    poster, guest = table.join(), table.join(2000)
    table.post(poster, "x")
    for number in (7, 8):
        table.ask(poster, Grant("x", f"pag:{number}"))
    with pytest.raises(QuotaExceeded, match="uid 1000"):
        table.ask(poster, Grant("x", "user:2000"))
    table.post(guest, "y", "user")


def test_scope_that_is_known_is_not_looked_at_again() -> None:
    """Granting to a session somebody is proved in needs no fact about its ring."""
    table = Table()
    poster, guest = table.join(), table.join(2000, session=6)
    for name in ("x", "y"):
        table.post(poster, name, mask=mask("alswrv"))
        table.ask(poster, Grant(name, "session:6"))
    assert table.names(guest) == {"user:1000/x", "user:1000/y"}
