# SPDX-License-Identifier: MIT
"""Proof of possession, the ring: which are sessions, and which keep others out.

The law of each: a ring that is no login session proves nothing, and one that
others reach is called linkable.
"""

from __future__ import annotations

import keyutils
import pytest

from pagsrv.errors import NoSession
from pagsrv.facts import RingFacts
from pagsrv.kernel import keys, peer
from pagsrv.proofs import possession
from tests.proofs.cast import (
    BROKER_ID,
    NAME,
    Cast,
    cast,
    forge,
    fresh,
)

__all__ = ["cast"]

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("ring", [keys.USER, keys.USER_SESSION], ids=["@u", "@us"])
def test_uids_own_rings_are_no_session(cast: Cast, ring: int) -> None:
    """Every process of the uid writes them: refused by name, with what to do."""
    serial = cast.member(keys._get_id, ring)
    nonce = fresh()
    with pytest.raises(Exception, match=r"Permission denied"):
        # The key is not possessed through the session: its mask cannot be tightened.
        cast.member(forge, serial, nonce, cast.uid)
    verdict = cast.judge(nonce, serial, cast.member(peer.own_inode))
    cast.member(keys.unlink, cast.member(keyutils.search, ring, NAME.encode()), ring)
    assert not verdict.ok
    assert "is the uid's own keyring, not a login session" in verdict.why
    assert "pagsrv session" in verdict.why


@pytest.mark.parametrize("name", ["_uid_ses.{uid}", "_uid.{uid}", "_persistent.{uid}"])
def test_respond_refuses_the_uids_own_rings(cast: Cast, name: str) -> None:
    """A client in such a ring is told what to do, and nothing is written."""
    ring = cast.member(keys.join_session, name.format(uid=cast.uid))
    before = cast.member(keys.read_ring, ring)
    with pytest.raises(NoSession, match=r"not a login session.*pagsrv session"):
        cast.member(possession.respond, fresh(), cast.uid, BROKER_ID)
    assert before == cast.member(keys.read_ring, ring)


@pytest.mark.parametrize("special", [keys.PROCESS, keys.THREAD], ids=["_pid", "_tid"])
def test_a_process_own_ring_is_no_session(cast: Cast, special: int) -> None:
    """Made up by the peer alone: it would be a scope, and no session."""
    ring = cast.member(_own_ring, special)
    nonce = fresh()
    cast.member(forge, ring, nonce, cast.uid)
    verdict = cast.judge(nonce, ring, cast.member(peer.own_inode))
    assert not verdict.ok
    assert "not a login session" in verdict.why


def _own_ring(special: int) -> int:
    serial = int(keys._library().calls.keyctl_get_keyring_ID(special, 1))
    keys.set_mask(serial, 0x3F030000)
    return serial


def test_a_key_is_no_ring(cast: Cast) -> None:
    """A serial of something else is refused as what it is."""
    serial = cast.member(keys.add, "key", b"\x01\0\0\0", keys.SESSION)
    cast.member(keys.set_mask, serial, 0x3F030000)
    verdict = cast.judge(fresh(), serial, cast.member(peer.own_inode))
    assert not verdict.ok
    assert "is no keyring" in verdict.why


def _end_ring(how: str) -> None:
    ring = keys.session_ring()
    if how == "revoked":
        keys.revoke(ring)
    elif how == "gone":
        keys.invalidate(ring)
    else:
        keys.set_mask(ring, 0x3F000000)


@pytest.mark.parametrize("how", ["revoked", "gone", "closed"])
def test_ring_ended_between_proof_and_verdict(cast: Cast, how: str) -> None:
    """H4: the kernel's record of the connection still names the ring; it proves nothing."""
    nonce = fresh()
    ring = cast.member(possession.respond, nonce, cast.uid, BROKER_ID)
    inode = cast.member(peer.own_inode)
    assert cast.judge(nonce, ring, inode).ok
    cast.member(_end_ring, how)
    verdict = cast.judge(nonce, ring, inode)
    assert not verdict.ok
    assert ("may not look" if how == "closed" else how) in verdict.why
    if how == "revoked":
        with pytest.raises(NoSession, match=r"revoked.*pagsrv session"):
            cast.member(possession.respond, fresh(), cast.uid, BROKER_ID)


def test_named_ring_is_proved_and_linkable(cast: Cast) -> None:
    """H6: what `keyctl session NAME` makes lets others of the uid in, and is shown so."""
    cast.member(keys.join_session, "work")
    verdict = cast.prove(cast.member)
    assert verdict.ok
    assert possession.isolation(verdict.facts)[0] == "linkable"
    ring = verdict.facts.serial
    cast.outsider(keys.link, ring, cast.outsider(keys.session_ring))
    nonce = fresh()
    cast.outsider(possession.respond, nonce, cast.uid, BROKER_ID, ring)
    assert cast.judge(nonce, ring, cast.outsider(peer.own_inode)).ok


def test_loosened_ring_is_linkable(cast: Cast) -> None:
    """H6: loosened after the proof, the next look at it says so."""
    ring = cast.prove(cast.member).facts.serial
    for mask in (0x3F130000, 0x3F070000, 0x3F031000, 0x3F030001, 0x3F3F3F3F):
        cast.member(keys.set_mask, ring, mask)
        isolation, why = possession.isolation(cast.broker(keys.ring_facts, ring))
        assert isolation == "linkable"
        assert "mask" in why
    for mask in (0x3F030000, 0x3F010000, 0x3F000000):
        cast.member(keys.set_mask, ring, mask)
        assert possession.isolation(cast.member(keys.ring_facts, ring))[0] == "isolated"


def test_ring_that_cannot_be_looked_at_is_not_called_isolated() -> None:
    """Not knowing the mask is not knowing that it keeps anybody out."""
    for state in ("revoked", "expired", "gone", "unverifiable"):
        assert possession.isolation(RingFacts(5, state))[0] == "linkable"


@pytest.mark.parametrize("user_ring", [keys.USER, keys.USER_SESSION], ids=["@u", "@us"])
def test_ring_linked_into_the_uids_own(cast: Cast, user_ring: int) -> None:
    """H7: the mask is as it should be, and every process of the uid can write it."""
    cast.member(keys.link, keys.SESSION, user_ring)
    try:
        verdict = cast.prove(cast.member)
        assert verdict.facts.mask == 0x3F030000
        isolation, why = possession.isolation(verdict.facts)
        assert isolation == "linkable"
        assert "unlink" in why
    finally:
        cast.member(keys.unlink, keys.SESSION, user_ring)
