# SPDX-License-Identifier: MIT
"""Keys and keyrings, real ones, each test in an actor of its own."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

import keyutils
import pytest

from pagsrv.facts import RingFacts, RingState
from pagsrv.kernel import keys
from pagsrv.kernel.keys import KeyFault
from pagsrv.limits import RING_KEYS
from tests.actors import Actor

pytestmark = pytest.mark.kernel

GONE = 0x7FFFFFFE  # a serial nobody has: they are random, and this one is not ours


def test_join_session_makes_an_anonymous_ring() -> None:
    """What a process joins is its session, closed to others of its uid, and new each time."""
    with Actor() as actor:
        first = actor(keys.session_ring)
        second = actor(keys.join_session)
        assert second == actor(keys.session_ring) != first
        seen = actor(keys.describe, second)
    assert (second, "keyring", os.geteuid(), 0x3F030000, "_ses") == (
        seen.serial, seen.type, seen.uid, seen.mask, seen.name,
    )  # fmt: skip


def test_session_ring_agrees_with_the_library() -> None:
    """Found by search, the serial is keyctl_get_keyring_ID's, whatever the ring is called."""
    for name in (None, "a;b;c", "ä", "_ses"):
        with Actor(ring=name) as actor:
            assert actor(keys._get_id, keys.SESSION) == actor(keys.session_ring)


def test_session_ring_is_not_a_ring_of_its_name_within() -> None:
    """Another ring called _ses linked into ours is not taken for ours."""
    with Actor() as actor:
        outer = actor(keys.session_ring)
        inner = actor(_add_ring, "_ses", outer)
        assert inner != outer
        assert outer == actor(keys.session_ring)


def test_session_ring_closed_to_searches_is_denied() -> None:
    """Without the possessor's search bit the kernel tells no serial, in either way."""
    with Actor() as actor:
        actor(keys.set_mask, keys.SESSION, 0x37030000)
        assert actor.fault(keys.session_ring) == "denied"
        assert actor.fault(keys._get_id, keys.SESSION) == "denied"


def _add_ring(name: str, ring: int) -> int:
    """A keyring called *name* in *ring*."""
    return int(keyutils.add_key(name.encode(), None, ring, b"keyring"))


def test_describe_splits_four_times() -> None:
    """A name may hold semicolons, and bytes that are no UTF-8 do no harm."""
    with Actor() as actor:
        ring = actor(keys.session_ring)
        serial = actor(keys.add, "a;b;;c", b"x", ring)
        assert actor(keys.describe, serial).name == "a;b;;c"
        serial = actor(_add_raw, b"\xff", ring)
        assert actor(keys.describe, serial).name == "\udcff"


def _add_raw(name: bytes, ring: int) -> int:
    return int(keyutils.add_key(name, b"x", ring))


def test_add_of_a_known_name_updates_in_place() -> None:
    """The serial stays, the payload is the new one."""
    with Actor() as actor:
        ring = actor(keys.session_ring)
        serial = actor(keys.add, "name", b"one", ring)
        assert serial == actor(keys.add, "name", b"two", ring)
        assert actor(keys.read_payload, serial) == b"two"
        actor(keys.update, serial, b"three" * 800)
        assert actor(keys.read_payload, serial) == b"three" * 800
        assert actor(keys.read_ring, ring) == (serial,)


def test_read_ring_sees_what_is_directly_in_it() -> None:
    """Links come and go; what lies deeper is not listed; the whole list is read."""
    with Actor() as actor:
        ring = actor(keys.session_ring)
        inner = actor(_add_ring, "inner", ring)
        deep = actor(keys.add, "deep", b"x", inner)
        assert actor(keys.read_ring, ring) == (inner,)
        actor(keys.link, deep, ring)
        assert set(actor(keys.read_ring, ring)) == {inner, deep}
        actor(keys.unlink, deep, ring)
        assert actor(keys.read_ring, ring) == (inner,)


@pytest.mark.root
def test_read_ring_is_bounded(other_uid: int) -> None:
    """A ring longer than a first guess is read whole, one longer than the limit is refused."""
    assert other_uid  # root's quota is the one that allows so many
    with Actor() as actor:
        ring = actor(keys.session_ring)
        actor(_fill, ring, 300)
        assert len(actor(keys.read_ring, ring)) == 300
        actor(_fill, ring, RING_KEYS + 1)
        assert actor.fault(keys.read_ring, ring) == "other"
        actor(keys.revoke, ring)


def _fill(ring: int, count: int) -> None:
    """Bring *ring* to *count* keys."""
    for number in range(count):
        keys.add(str(number), b"x", ring)


def _close(ring: int) -> None:
    keys.set_mask(ring, 0)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (keys.revoke, "revoked"),
        (keys.invalidate, "gone"),
        (_close, "unverifiable"),
    ],
    ids=["revoked", "invalidated", "closed"],
)
def test_ring_facts_has_a_state_for_every_end(end: Callable[[int], None], state: RingState) -> None:
    """What happened to a ring is told apart, by somebody who does not possess it."""
    with Actor() as member, Actor() as broker:
        ring = member(keys.session_ring)
        assert broker(keys.ring_facts, ring).state == "live"
        member(end, ring)
        assert broker(keys.ring_facts, ring) == RingFacts(ring, state)


def test_ring_facts_of_an_expired_ring() -> None:
    """A timeout makes a ring expired when its second is over."""
    with Actor() as member, Actor() as broker:
        ring = member(keys.session_ring)
        member(keys.set_timeout, ring, 1)
        assert broker(_wait_for_end, ring) == "expired"


def _wait_for_end(ring: int) -> str:
    for _ in range(50):
        state = keys.ring_facts(ring).state
        if state != "live":
            return state
        select.poll().poll(50)
    return "live"


def test_ring_facts_of_what_is_no_ring() -> None:
    """A key is said to be none, and nobody's serial is gone."""
    with Actor() as actor:
        serial = actor(keys.add, "key", b"x", actor(keys.session_ring))
        assert not actor(keys.ring_facts, serial).is_keyring
        assert actor(keys.ring_facts, GONE) == RingFacts(GONE, "gone")


@pytest.mark.root
@pytest.mark.parametrize("user_ring", [keys.USER, keys.USER_SESSION], ids=["@u", "@us"])
def test_ring_facts_finds_a_ring_linked_into_the_uids_own(other_uid: int, user_ring: int) -> None:
    """H7: linked where every process of the uid reaches it, directly or one ring down."""
    uid = other_uid + 20
    with Actor(uid) as member, Actor(uid) as broker:
        ring = member(keys.session_ring)
        assert not broker(keys.ring_facts, ring).in_user_rings
        member(keys.link, ring, user_ring)
        assert broker(keys.ring_facts, ring).in_user_rings
        member(keys.unlink, ring, user_ring)
        assert not broker(keys.ring_facts, ring).in_user_rings
        nested = member(_add_ring, "nested", ring)
        member(keys.set_mask, nested, 0x3F070000)
        member(keys.link, nested, user_ring)
        member(keys.unlink, nested, ring)  # no ring may hold itself
        member(keys.link, ring, nested)
        assert broker(keys.ring_facts, ring).in_user_rings
        member(keys.unlink, nested, user_ring)
        assert not broker(keys.ring_facts, ring).in_user_rings


@pytest.mark.root
def test_ring_facts_of_a_uid_without_rings_of_its_own(other_uid: int) -> None:
    """@u and @us revoked: nobody reaches anything there, and nothing fails."""
    uid = other_uid + 23
    with Actor(uid) as member, Actor(uid) as broker:
        for user_ring in (keys.USER, keys.USER_SESSION):
            # A run before this one may have done it already.
            assert member.fault(keys.revoke, user_ring) in ("", "revoked", "gone")
            assert broker.fault(keys.read_ring, user_ring) in ("revoked", "gone")
        facts = broker(keys.ring_facts, member(keys.session_ring))
    assert (facts.state, facts.in_user_rings) == ("live", False)


@pytest.mark.root
def test_outsiders_of_the_uid_change_nothing(other_uid: int) -> None:
    """Every call that would write a ring of another session is denied by the kernel."""
    with Actor(other_uid) as member, Actor(other_uid) as outsider:
        ring = member(keys.session_ring)
        key = member(keys.add, "key", b"x", ring)
        own = outsider(keys.session_ring)
        mine = outsider(keys.add, "mine", b"x", own)
        assert outsider.fault(keys.add, "evil", b"x", ring) == "denied"
        assert outsider.fault(keys.link, mine, ring) == "denied"
        assert outsider.fault(keys.link, ring, own) == "denied"
        assert outsider.fault(keys.unlink, key, ring) == "denied"
        assert outsider.fault(keys.set_mask, ring, 0x3F3F0000) == "denied"
        assert outsider.fault(keys.revoke, ring) == "denied"
        assert outsider.fault(keys.invalidate, ring) == "denied"
        assert outsider.fault(keys.set_timeout, ring, 1) == "denied"
        assert outsider.fault(keys.update, key, b"evil") == "denied"
        assert outsider.fault(keys.read_payload, key) == "denied"
        assert member(keys.read_ring, ring) == (key,)
        assert member(keys.read_payload, key) == b"x"


@pytest.mark.root
def test_quota_is_the_uids(other_uid: int) -> None:
    """What /proc/key-users says of one uid, and nothing of one that has no keys."""
    uid = other_uid + 21
    with Actor(uid) as actor:
        before = actor(keys.quota, uid)
        assert before is not None
        ring = actor(keys.session_ring)
        actor(keys.add, "key", b"x" * 100, ring)
        after = actor(keys.quota, uid)
        assert after is not None
        assert (before.keys + 1, before.most_keys) == (after.keys, after.most_keys)
        assert after.bytes >= before.bytes + 100
        assert after.bytes <= after.most_bytes
    assert keys.quota(0x7FFFFFF0) is None


@pytest.mark.root
def test_quota_used_up_is_a_state(other_uid: int) -> None:
    """H8: a uid's keys are few; running out is told from being denied."""
    uid = other_uid + 22
    with Actor(uid) as actor:
        ring = actor(keys.session_ring)
        most = actor(keys.quota, uid)
        assert most is not None
        assert actor.fault(_fill, ring, most.most_keys + 1) == "quota"


def test_key_fault_says_what_failed_and_why() -> None:
    """The sentence holds the call, and the state names the errno."""
    with pytest.raises(KeyFault, match="describing a key failed: Required key") as caught:
        keys.describe(GONE)
    assert caught.value.state == "gone"
    assert KeyFault("x", 1).state == "unsupported"
    assert "container" in str(KeyFault("x", 1))
    assert KeyFault("x", 5).state == "other"
