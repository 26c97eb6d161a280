# SPDX-License-Identifier: MIT
"""The cast of the proofs' tests: a member of a session, an outsider of its uid, a broker.

The law: what is here plays a part, honest or not; the tests say what comes of it.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from pagsrv.kernel import keys, peer
from pagsrv.proofs import possession
from pagsrv.proofs.possession import PROOF_MASK, Verdict, digest, key_name
from tests.actors import Actor, held

BROKER_ID = secrets.token_hex(16)
"""Each run its own: the uid's rings outlive a run that was cut off, with what is in them."""

NAME = key_name(BROKER_ID)


class Cast(NamedTuple):
    """Who plays: a member of a session, an outsider of its uid, and the uid's broker."""

    uid: int
    member: Actor
    outsider: Actor
    broker: Actor

    def judge(self, nonce: str, ring: int, inode: int) -> Verdict:
        """The broker's verdict on the peer of *inode*."""
        return self.broker(
            possession.verify, nonce, ring, uid=self.uid, inode=inode, broker_id=BROKER_ID
        )

    def prove(self, actor: Actor) -> Verdict:
        """An honest proof by *actor*, from nonce to verdict."""
        nonce = fresh()
        ring = actor(possession.respond, nonce, self.uid, BROKER_ID)
        return self.judge(nonce, ring, actor(peer.own_inode))


def fresh() -> str:
    """A nonce: 128 bits, in hexadecimal."""
    return secrets.token_hex(16)


@pytest.fixture
def cast() -> Iterator[Cast]:
    """Three processes of one uid, another than ours where we may choose."""
    if not peer.has_pidfs():
        pytest.skip("this kernel has no pidfs (Linux 6.9)")
    root = os.geteuid() == 0
    uid = 60750 if root else os.geteuid()
    chosen = uid if root else None
    with Actor(chosen) as member, Actor(chosen) as outsider, Actor(chosen) as broker:
        yield Cast(uid, member, outsider, broker)


def forge(ring: int, nonce: str, uid: int, mask: int = PROOF_MASK) -> int:
    """Write a right proof into *ring*, asking nobody whether it may be; its key."""
    payload = digest(nonce, peer.own_inode(), ring, uid, BROKER_ID)
    serial = keys.add(NAME, payload, ring)
    keys.set_mask(serial, mask)
    return serial


def listen(path: str) -> None:
    """Listen, as a broker does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(path)
    sock.listen()
    held["listener"] = sock


def accept() -> tuple[int, int]:
    """The next connection's pid and inode; it is kept."""
    held["conn"], _ = held["listener"].accept()
    facts = peer.identify(held["conn"])
    if facts.pidfd is not None:
        facts.pidfd.close()
    return facts.pid, facts.inode


def connect(path: str) -> None:
    """Connect, and keep it."""
    held["sock"] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    held["sock"].connect(path)
