# SPDX-License-Identifier: MIT
"""Policy: rights add up as the kernel does for keys, and a grant only ever adds.

The law: no proof, no possessors' bits; the first of user, group and other that
matches; dropping a proof or a grant never allows more.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.errors import Denied, NoEntry, Refused
from pagsrv.masks import ALL, DEFAULT, READ, RIGHTS, SEARCH, SETATTR, VIEW, WRITE, parse_mask
from pagsrv.model import Entry, Peer, Proof
from pagsrv.names import EntryName, Reference, Scope
from pagsrv.policy import GRANTED, demand, granted, no_entry, rights, rights_in_full
from tests.pure import mask, peer_of
from tests.strategies import masks

OWNER, OWNERS_GROUP = 1000, 50
SCOPES = {"session": Scope("session", 5), "pag": Scope("pag", 0x41000001), "user": Scope("user", 7)}
PEERS = {
    "owner": (OWNER, 1, (OWNERS_GROUP,)),
    "group": (2000, OWNERS_GROUP, ()),
    "supplementary": (2000, 1, (7, OWNERS_GROUP)),
    "other": (2000, 1, (7,)),
    "root": (0, 0, ()),
}
# Each byte has a right of its own, so that the letters tell which bytes were added up.
TOLD_APART = mask("a", "l", "s", "w")
NO_GROUP = mask("a", "l", "", "w")
FOREIGN = Scope("session", 99)


def entry_of(scope: Scope, letters: str | int) -> Entry[int]:
    """An entry of OWNER and OWNERS_GROUP with that mask."""
    bits = letters if isinstance(letters, int) else parse_mask(letters)
    return Entry(scope, EntryName("x"), uid=OWNER, gid=OWNERS_GROUP, mask=bits, created=0)


def peer_in(kind: str, *proved: Scope) -> Peer:
    """One of PEERS, proved in those scopes."""
    uid, gid, groups = PEERS[kind]
    peer = peer_of(uid, gid=gid, groups=groups)
    for scope in proved:
        peer.prove(Proof(scope, "possession", "isolated"))
    return peer


@pytest.mark.parametrize("kind", SCOPES)
@pytest.mark.parametrize(
    ("letters", "who", "unproved"),
    [
        pytest.param(TOLD_APART, "owner", "l", id="the uid's own bits"),
        pytest.param(TOLD_APART, "group", "s", id="the group's bits, by the gid"),
        pytest.param(TOLD_APART, "supplementary", "s", id="the group's bits, by a further group"),
        pytest.param(TOLD_APART, "other", "w", id="everybody else's bits"),
        pytest.param(TOLD_APART, "root", "w", id="root is everybody else"),
        pytest.param(NO_GROUP, "group", "w", id="a group byte of zero is not looked at"),
        pytest.param(NO_GROUP, "supplementary", "w", id="nor for a further group"),
        pytest.param(NO_GROUP, "owner", "l", id="a group byte of zero, for the owner"),
        pytest.param(mask("a", "", "sw", "w"), "owner", "", id="the owner gets no group bits"),
        pytest.param(mask("a"), "other", "", id="nothing without a proof"),
        pytest.param(DEFAULT, "owner", "v", id="by default another session of the uid views"),
        pytest.param(DEFAULT, "group", "", id="by default nothing for the group"),
        pytest.param(DEFAULT, "other", "", id="by default nothing for others"),
    ],
)
def test_truth_table(kind: str, letters: str | int, who: str, unproved: str) -> None:
    """Without a proof one byte counts; with the entry's scope proved the possessors' is added."""
    entry = entry_of(SCOPES[kind], letters)
    assert unproved == RIGHTS[rights(peer_in(who), entry)]
    assert unproved == RIGHTS[rights(peer_in(who, FOREIGN), entry)]
    held = rights(peer_in(who, SCOPES[kind], FOREIGN), entry)
    assert RIGHTS[rights(peer_in(who), entry) | entry.mask >> 24] == RIGHTS[held]
    assert entry.mask >> 24 == entry.mask >> 24 & held


@given(masks(), st.sampled_from(sorted(PEERS)), st.sampled_from(sorted(SCOPES)))
def test_less_evidence_never_allows_more(bits: int, who: str, kind: str) -> None:
    """Taking away the proof, or the grant, or the scope granted to, only takes rights away."""
    entry = entry_of(SCOPES[kind], bits)
    bare = rights_in_full(peer_in(who), entry)
    proved = rights_in_full(peer_in(who, SCOPES[kind]), entry)
    entry.grants = (FOREIGN,)
    guest = rights_in_full(peer_in(who, FOREIGN), entry)
    assert bare == bare & proved
    assert bare | GRANTED == guest
    assert bare == rights_in_full(peer_in(who), entry)
    assert bare == rights(peer_in(who, FOREIGN), entry)


@given(masks(), st.sampled_from(sorted(PEERS)))
def test_no_proof_gives_no_possessors_bits(bits: int, who: str) -> None:
    """Whatever the possessors' byte says, an unproved peer's rights do not depend on it."""
    peer = peer_in(who, FOREIGN)
    scope = SCOPES["session"]
    assert rights(peer, entry_of(scope, bits)) == rights(peer, entry_of(scope, bits & 0x00FFFFFF))


def test_same_serial_of_another_kind_is_another_scope() -> None:
    """session:5, pag:5 and user:5 have nothing in common but the number."""
    entry = entry_of(Scope("session", 5), DEFAULT)
    peer = peer_in("other", Scope("pag", 5), Scope("user", 5), Scope("session", 6))
    assert rights(peer, entry) == 0


def test_grant_is_to_one_scope() -> None:
    """Members of the scope granted to are guests, others are not."""
    entry = entry_of(SCOPES["session"], DEFAULT)
    entry.grants = (SCOPES["pag"], FOREIGN)
    assert granted(peer_in("other", FOREIGN), entry)
    assert not granted(peer_in("other", Scope("session", 98)), entry)
    assert rights_in_full(peer_in("other", FOREIGN), entry) == VIEW | READ | SEARCH


REFERENCE = Reference(Scope("session", 5), EntryName("db"))


@pytest.mark.parametrize(
    ("held", "need", "refusal", "says"),
    [
        (0, SEARCH, NoEntry, "no entry session:5/db"),
        (ALL & ~VIEW, VIEW, NoEntry, "no entry session:5/db"),
        (SEARCH, SEARCH | READ, NoEntry, "no entry session:5/db"),
        (VIEW, SEARCH | READ, Denied, "no read or search right"),
        (VIEW | READ, SEARCH | READ, Denied, "no search right"),
        (VIEW | SEARCH | READ, WRITE | SETATTR, Denied, "no write or setattr right"),
    ],
)
def test_demand_refuses(held: int, need: int, refusal: type[Refused], says: str) -> None:
    """What may not be viewed is not there; what may be viewed is denied, and the right named."""
    with pytest.raises(refusal, match=says):
        demand(held, need, REFERENCE)


@given(st.integers(0, ALL), st.integers(0, ALL))
def test_demand_passes_what_covers_the_need(held: int, need: int) -> None:
    """More rights than needed are enough."""
    demand(held | need, need, REFERENCE)


def test_hidden_and_missing_read_the_same() -> None:
    """The sentence for what may not be viewed is the one for what is not there."""
    with pytest.raises(NoEntry) as caught:
        demand(SEARCH, READ, REFERENCE)
    assert str(no_entry(REFERENCE)) == str(caught.value)
    assert "proved in" in str(no_entry(Reference(None, EntryName("db"))))


@given(masks(), st.sampled_from(sorted(PEERS)), st.booleans())
def test_who_is_served_on_its_behalf(letters: int, who: str, proved: bool) -> None:  # noqa: FBT001
    """Has the possessors' bits and no others; a grant to it is for itself alone."""
    entry = entry_of(FOREIGN, letters)
    entry.grants = (SCOPES["session"],)
    peer = peer_in(who, SCOPES["session"], *([FOREIGN] if proved else []))
    peer.asker = peer_of(0)
    expected = letters >> 24 & ALL if proved else 0
    assert (rights(peer, entry), rights_in_full(peer, entry)) == (expected, expected)
    assert not granted(peer, entry)
