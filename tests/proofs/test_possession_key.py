# SPDX-License-Identifier: MIT
"""Proof of possession, the key: one of its type, name, owner and mask, directly in the ring.

The law of each: any other shows nothing, and stands in no honest member's way.
"""

from __future__ import annotations

import keyutils
import pytest

from pagsrv.errors import QuotaExceeded
from pagsrv.kernel import keys, peer
from pagsrv.proofs import possession
from pagsrv.proofs.possession import PROOF_MASK, digest
from tests.actors import Actor
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


@pytest.mark.parametrize(
    "mask", [0x3F010000 | 0x20000, 0x1F030000, 0x0F030002, 0x0F070000, 0x0F130000]
)
def test_key_of_another_mask(cast: Cast, mask: int) -> None:
    """A key that others may have linked, or may write, shows nothing."""
    nonce = fresh()
    ring = cast.member(keys.session_ring)
    cast.member(forge, ring, nonce, cast.uid, mask)
    verdict = cast.judge(nonce, ring, cast.member(peer.own_inode))
    assert not verdict.ok
    assert "mask" in verdict.why


def test_key_that_cannot_be_read(cast: Cast) -> None:
    """As add_key leaves it, only its name is to be seen from outside."""
    ring = cast.member(keys.session_ring)
    cast.member(keys.add, NAME, b"x", ring)
    verdict = cast.judge(fresh(), ring, cast.member(peer.own_inode))
    assert not verdict.ok
    assert "mask is 3f010000" in verdict.why


def _forge_type(kind: bytes, ring: int, payload: bytes | None) -> int:
    serial = int(keyutils.add_key(NAME.encode(), payload, ring, kind))
    keys.set_mask(serial, PROOF_MASK)
    return serial


@pytest.mark.parametrize("kind", [b"keyring", b"logon", b"big_key"])
def test_key_of_another_type(cast: Cast, kind: bytes) -> None:
    """The kernel itself puts keys of other types, with names others chose, into sessions."""
    nonce = fresh()
    ring = cast.member(keys.session_ring)
    inode = cast.member(peer.own_inode)
    payload = None if kind == b"keyring" else digest(nonce, inode, ring, cast.uid, BROKER_ID)
    try:
        serial = cast.member(_forge_type, kind, ring, payload)
    except Exception as error:
        if "No such device" in str(error):
            pytest.skip(f"this kernel has no keys of type {kind.decode()}")
        raise
    verdict = cast.judge(nonce, ring, inode)
    assert not verdict.ok
    assert (f"type {kind.decode()}", serial) == (
        verdict.why.partition(" of ")[2].partition(" and")[0],
        verdict.key,
    )
    # And beside it an honest one is found.
    assert cast.prove(cast.member).ok


def test_key_of_nearly_the_name(cast: Cast) -> None:
    """The whole name counts."""
    nonce = fresh()
    ring = cast.member(keys.session_ring)
    inode = cast.member(peer.own_inode)
    payload = digest(nonce, inode, ring, cast.uid, BROKER_ID)
    for name in (NAME + "0", NAME[:-1], NAME + ";", "x;" + NAME):
        cast.member(keys.set_mask, cast.member(keys.add, name, payload, ring), PROOF_MASK)
    verdict = cast.judge(nonce, ring, inode)
    assert not verdict.ok
    assert "there is no proof key" in verdict.why


def _forge_elsewhere(nonce: str, uid: int, where: str) -> int:
    """A right proof for our session ring, in a ring beneath it; the session ring."""
    ring = keys.session_ring()
    payload = digest(nonce, peer.own_inode(), ring, uid, BROKER_ID)
    if where == "@u":
        keys.link(keys.USER, ring)
        inner = keys.USER
    else:
        inner = int(keyutils.add_key(b"inner", None, ring, b"keyring"))
    serial = keys.add(NAME, payload, inner)
    keys.set_mask(serial, PROOF_MASK)
    return ring


@pytest.mark.parametrize("where", ["@u", "inner ring"])
def test_key_beneath_the_ring(cast: Cast, where: str) -> None:
    """A search from the session finds it; the ring's own list does not hold it."""
    nonce = fresh()
    ring = cast.member(_forge_elsewhere, nonce, cast.uid, where)
    found = cast.member(keyutils.search, ring, NAME.encode())
    verdict = cast.judge(nonce, ring, cast.member(peer.own_inode))
    if where == "@u":
        cast.member(keys.unlink, found, keys.USER)
    assert found
    assert not verdict.ok
    assert "there is no proof key" in verdict.why


def test_respond_replaces_a_key_others_may_have(cast: Cast) -> None:
    """A proof key that was loose once is not tightened but replaced: links to it stay."""
    ring = cast.member(keys.session_ring)
    loose = cast.member(keys.add, NAME, b"x", ring)
    cast.member(keys.set_mask, loose, 0x3F3F0000)
    cast.outsider(keys.link, loose, cast.outsider(keys.session_ring))
    verdict = cast.prove(cast.member)
    assert verdict.ok
    assert verdict.key != loose
    cast.outsider(keys.update, loose, b"evil")
    assert loose not in cast.broker(keys.read_ring, ring)


def test_respond_replaces_a_key_it_may_not_write(cast: Cast) -> None:
    """A proof key without the possessor's write bit does not stop a member."""
    ring = cast.member(keys.session_ring)
    stuck = cast.member(keys.add, NAME, b"x", ring)
    cast.member(keys.set_mask, stuck, 0x01010000)
    verdict = cast.prove(cast.member)
    assert verdict.ok
    assert verdict.key != stuck


def test_many_proofs_cost_no_quota(cast: Cast) -> None:
    """H8: one key a session, updated; a key for each proof would run out at 200."""
    ring = cast.prove(cast.member).facts.serial
    before = cast.broker(keys.quota, cast.uid)
    cast.member(_respond_often, cast.uid, 300)
    after = cast.broker(keys.quota, cast.uid)
    assert before is not None
    assert after is not None
    # Fewer than before, where the kernel was still at clearing away keys of earlier sessions.
    assert after.keys <= before.keys
    assert len(cast.member(keys.read_ring, ring)) == 1
    assert cast.prove(cast.member).ok


def _respond_often(uid: int, times: int) -> None:
    for _ in range(times):
        possession.respond(fresh(), uid, BROKER_ID)


@pytest.mark.root
def test_no_room_for_the_key_is_said(other_uid: int) -> None:
    """A uid whose quota is used up is told that, and not that it has no session."""
    uid = other_uid + 60
    with Actor(uid) as member:
        member(_fill_quota)
        with pytest.raises(QuotaExceeded, match="quota"):
            member(possession.respond, fresh(), uid, BROKER_ID)


def _fill_quota() -> None:
    ring = keys.session_ring()
    try:
        for number in range(1000):
            keys.add(f"filler {number}", b"x", ring)
    except keys.KeyFault as fault:
        if fault.state != "quota":
            raise
