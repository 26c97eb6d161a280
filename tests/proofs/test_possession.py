# SPDX-License-Identifier: MIT
"""Proof of possession: what is proved, for whom, and what is not.

The law of each: honest members are proved, and for themselves only.
"""

from __future__ import annotations

import hashlib
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.errors import NoSession
from pagsrv.kernel import keys, peer
from pagsrv.proofs import possession
from pagsrv.proofs.possession import PROOF_MASK, digest
from tests.proofs.cast import (
    BROKER_ID,
    NAME,
    Cast,
    cast,
    fresh,
)

__all__ = ["cast"]

pytestmark = pytest.mark.kernel


def test_member_is_proved(cast: Cast) -> None:
    """The ring's own member is, again and again, with one and the same key."""
    first = cast.prove(cast.member)
    assert (first.ok, first.why) == (True, "")
    assert cast.member(keys.session_ring) == first.facts.serial
    assert possession.isolation(first.facts) == ("isolated", "")
    second = cast.prove(cast.member)
    assert second.ok
    assert first.key == second.key
    assert cast.member(keys.read_ring, first.facts.serial) == (first.key,)
    assert cast.member(keys.describe, first.key).mask == PROOF_MASK


def _fork_and_prove(nonce: str, uid: int) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        ring = possession.respond(nonce, uid, BROKER_ID)
        os.write(write, struct.pack("iQ", ring, peer.own_inode()))
        os._exit(0)
    os.close(write)
    ring, inode = struct.unpack("iQ", os.read(read, 100)[:16])
    os.close(read)
    os.waitpid(pid, 0)
    return ring, inode


def test_child_is_proved_for_itself_only(cast: Cast) -> None:
    """A child possesses its parent's session; its proof is its own and not the parent's."""
    nonce = fresh()
    ring, inode = cast.member(_fork_and_prove, nonce, cast.uid)
    assert cast.judge(nonce, ring, inode).ok
    assert not cast.judge(nonce, ring, cast.member(peer.own_inode)).ok


def test_known_key_is_a_hint_only(cast: Cast) -> None:
    """A remembered serial that is not in the ring, or is another key, changes nothing."""
    nonce = fresh()
    ring = cast.member(possession.respond, nonce, cast.uid, BROKER_ID)
    inode = cast.member(peer.own_inode)
    other = cast.member(keys.add, "another", b"x", ring)
    stranger = cast.outsider(keys.add, "another", b"x", cast.outsider(keys.session_ring))
    true = cast.judge(nonce, ring, inode).key
    for known in (0, true, other, stranger, 5, -3):
        verdict = cast.broker(
            possession.verify, nonce, ring,
            uid=cast.uid, inode=inode, broker_id=BROKER_ID, known_key=known,
        )  # fmt: skip
        assert (verdict.ok, verdict.key) == (True, true)


def _forge_spread(nonce: str, uid: int) -> tuple[int, int]:
    """A right proof key in our session ring and in @u; ring and key."""
    ring = keys.session_ring()
    serial = keys.add(NAME, digest(nonce, peer.own_inode(), ring, uid, BROKER_ID), ring)
    keys.link(serial, keys.USER)
    keys.set_mask(serial, PROOF_MASK)
    return ring, serial


def test_known_key_that_has_left_the_ring(cast: Cast) -> None:
    """A key proved with before, and now only where every process of the uid writes it."""
    nonce = fresh()
    ring, key = cast.member(_forge_spread, nonce, cast.uid)
    inode = cast.member(peer.own_inode)
    proved = cast.judge(nonce, ring, inode)
    cast.member(keys.unlink, key, ring)
    verdict = cast.broker(
        possession.verify, nonce, ring,
        uid=cast.uid, inode=inode, broker_id=BROKER_ID, known_key=key,
    )  # fmt: skip
    cast.member(keys.unlink, key, keys.USER)
    assert (proved.ok, proved.key) == (True, key)
    assert not verdict.ok
    assert "there is no proof key" in verdict.why


def test_digest_is_the_contracts() -> None:
    """SHA-256 over the fields in order, one line each, in lower-case hexadecimal."""
    nonce = "0" * 31 + "1"
    text = f"pagsrv-proof-1\n{nonce}\n77\n123\n1000\n{BROKER_ID}"
    expected = hashlib.sha256(text.encode()).hexdigest().encode()
    assert expected == digest(nonce, 77, 123, 1000, BROKER_ID)


@given(st.tuples(*[st.integers(0, 2**31)] * 3), st.tuples(*[st.integers(0, 2**31)] * 3))
def test_digest_tells_fields_apart(one: tuple[int, int, int], two: tuple[int, int, int]) -> None:
    """No two different proofs have one payload."""
    nonce = "a" * 32
    assert (digest(nonce, *one, BROKER_ID) == digest(nonce, *two, BROKER_ID)) == (one == two)


def test_proof_is_for_one_nonce_process_uid_and_broker(cast: Cast) -> None:
    """What was written for one connection serves no other."""
    nonce = fresh()
    ring = cast.member(possession.respond, nonce, cast.uid, BROKER_ID)
    inode = cast.member(peer.own_inode)
    assert cast.judge(nonce, ring, inode).ok
    assert not cast.judge(fresh(), ring, inode).ok
    assert not cast.judge(nonce, ring, cast.outsider(peer.own_inode)).ok
    for uid, broker_id in ((cast.uid + 1, BROKER_ID), (cast.uid, "f" * 32)):
        assert not cast.broker(
            possession.verify, nonce, ring, uid=uid, inode=inode, broker_id=broker_id
        ).ok


def test_peer_without_inode_is_not_proved(cast: Cast) -> None:
    """Where the kernel does not name the process for good there is nothing to bind to."""
    nonce = fresh()
    ring = cast.member(possession.respond, nonce, cast.uid, BROKER_ID)
    verdict = cast.judge(nonce, ring, 0)
    assert not verdict.ok
    assert "pidfs" in verdict.why


def test_somebody_elses_serial(cast: Cast) -> None:
    """An outsider that names the member's ring can write no proof into it."""
    ring = cast.member(possession.respond, fresh(), cast.uid, BROKER_ID)
    nonce = fresh()
    with pytest.raises(NoSession, match="takes no proof"):
        cast.outsider(possession.respond, nonce, cast.uid, BROKER_ID, ring)
    verdict = cast.judge(nonce, ring, cast.outsider(peer.own_inode))
    assert not verdict.ok
    assert "does not hold the proof" in verdict.why


def test_outsider_writes_no_proof_key(cast: Cast) -> None:
    """The one key of the session is to be read from outside, and nothing else."""
    key = cast.prove(cast.member).key
    assert cast.outsider(keys.read_payload, key)
    assert cast.outsider.fault(keys.update, key, b"evil") == "denied"
    assert cast.outsider.fault(keys.link, key, keys.SESSION) == "denied"
    assert cast.outsider.fault(keys.revoke, key) == "denied"
    assert cast.outsider.fault(keys.set_mask, key, 0x3F3F0000) == "denied"
    # Not even a member spreads or loosens it.
    assert cast.member.fault(keys.link, key, keys.USER) == "denied"
    assert cast.member.fault(keys.set_mask, key, 0x3F3F0000) == "denied"


@pytest.mark.parametrize("ring", [keys.SESSION, keys.USER, 0, -1, 1 << 31, (1 << 32) + 5])
def test_names_for_the_brokers_own_rings_are_no_serials(cast: Cast, ring: int) -> None:
    """-3 and its like would mean the broker's own; what does not fit is cut for nobody."""
    verdict = cast.judge(fresh(), ring, cast.member(peer.own_inode))
    assert not verdict.ok
    assert "no serial" in verdict.why
