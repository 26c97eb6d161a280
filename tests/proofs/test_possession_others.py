# SPDX-License-Identifier: MIT
"""Proof of possession against other uids, other namespaces and false brokers.

The law of each: the broker of the uid is fooled by none of them, and honest clients
are proved beside them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

import pytest

from pagsrv.errors import NoSession
from pagsrv.kernel import keys, peer
from pagsrv.kernel.libc import libc
from pagsrv.proofs import possession
from tests.actors import Actor, held, turn_into
from tests.proofs.cast import (
    BROKER_ID,
    NAME,
    Cast,
    accept,
    cast,
    connect,
    forge,
    fresh,
    listen,
)

__all__ = ["cast"]

pytestmark = pytest.mark.kernel

_NEWUSER, _NEWPID = 0x10000000, 0x20000000  # linux/sched.h
_SYS_CLONE3 = 435  # asm-generic/unistd.h


@pytest.mark.root
def test_a_process_that_sued_away_is_no_member(other_uid: int) -> None:
    """H3: after su a process of another uid still possesses the ring, and writes it."""
    theirs = other_uid + 61
    with (
        Actor(other_uid, may_return=True) as sued,
        Actor(theirs) as their_broker,
        Actor(other_uid) as broker,
    ):
        ring = sued(keys.session_ring)
        sued(turn_into, theirs)
        with pytest.raises(NoSession, match=f"belongs to uid {other_uid}"):
            sued(possession.respond, fresh(), theirs, BROKER_ID)
        # It ignores that, and writes a right proof all the same: the kernel lets it.
        nonce = fresh()
        sued(forge, ring, nonce, theirs)
        inode = sued(peer.own_inode)
        for judge, uid in ((broker, theirs), (their_broker, theirs), (broker, other_uid)):
            verdict = judge(
                possession.verify, nonce, ring, uid=uid, inode=inode, broker_id=BROKER_ID
            )
            assert not verdict.ok
            assert verdict.why


@pytest.mark.root
def test_a_key_of_a_sued_process_is_replaced(other_uid: int) -> None:
    """H3: a proof key that another uid left in the ring neither proves nor stands in the way."""
    with Actor(other_uid, may_return=True) as parent, Actor(other_uid) as broker:
        ring = parent(keys.session_ring)
        left = parent(_plant_as, other_uid + 62, ring)
        nonce = fresh()
        inode = parent(peer.own_inode)
        verdict = broker(
            possession.verify, nonce, ring, uid=other_uid, inode=inode, broker_id=BROKER_ID
        )
        assert not verdict.ok
        assert "belongs to uid" in verdict.why
        assert ring == parent(possession.respond, nonce, other_uid, BROKER_ID)
        verdict = broker(
            possession.verify, nonce, ring, uid=other_uid, inode=inode, broker_id=BROKER_ID
        )
        assert verdict.ok
        assert left != verdict.key


def _plant_as(uid: int, ring: int) -> int:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        turn_into(uid)
        serial = keys.add(NAME, b"x" * 64, ring)
        # Readable by anybody, so that the broker of another uid gets as far as its uid.
        keys.set_mask(serial, 0x0F030003)
        os.write(write, struct.pack("i", serial))
        os._exit(0)
    os.close(write)
    (serial,) = struct.unpack("i", os.read(read, 4))
    os.close(read)
    os.waitpid(pid, 0)
    return int(serial)


@pytest.mark.root
def test_root_broker_does_not_see_into_users_rings(other_uid: int) -> None:
    """Root's broker cannot look at a user's ring this way, and says so."""
    with Actor(other_uid) as member, Actor() as broker:
        nonce = fresh()
        ring = member(possession.respond, nonce, other_uid, BROKER_ID)
        verdict = broker(
            possession.verify, nonce, ring,
            uid=other_uid, inode=member(peer.own_inode), broker_id=BROKER_ID,
        )  # fmt: skip
    assert not verdict.ok
    assert verdict.facts.state == "unverifiable"
    assert "may not look" in verdict.why


def impersonate(path: str, pid: int) -> str:
    """Connect to *path* from a process that has *pid* in a pid namespace of its own."""
    if libc().unshare(_NEWUSER | _NEWPID):
        return "no user and pid namespace"
    ours, theirs = socket.socketpair()
    first = os.fork()
    if first == 0:
        # The first process of the namespace; the second gets the number it asks for.
        ours.close()
        number = ctypes.c_int(pid)
        fields = (0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(number), 1, 0)
        arguments = ctypes.create_string_buffer(struct.pack("11Q", *fields), 88)
        second = libc().syscall(_SYS_CLONE3, arguments, 88)
        if second == 0:
            connect(path)
            theirs.send(str(os.getpid()).encode())
            theirs.recv(1)
            os._exit(0)
        if second < 0:
            theirs.send(b"no clone3 with set_tid")
        theirs.recv(1)
        os._exit(0)
    theirs.close()
    held["relay"] = ours
    return ours.recv(100).decode()


def test_relay_by_a_false_broker(cast: Cast, short_tmp: Path) -> None:
    """H1: the victim answers a false broker, which plays the answer to the true one.

    The process that plays it has the victim's pid, in a namespace of its own; it has not
    its inode.
    """
    short_tmp.chmod(0o777)
    true_path, false_path = str(short_tmp / "board"), str(short_tmp / "false")
    cast.broker(listen, true_path)
    cast.outsider(listen, false_path)
    cast.member(connect, false_path)
    cast.outsider(accept)
    told = cast.outsider(impersonate, true_path, cast.member.pid)
    if told.startswith("no "):
        pytest.skip(f"this kernel does not let us try it: {told}")
    assert str(cast.member.pid) == told
    _, inode = cast.broker(accept)
    nonce = fresh()
    # The false broker passes the nonce on, and the victim proves, to the wrong one.
    ring = cast.member(possession.respond, nonce, cast.uid, BROKER_ID)
    verdict = cast.judge(nonce, ring, inode)
    assert not verdict.ok
    assert "does not hold the proof" in verdict.why
    # The victim itself, connected to the true broker, is proved by the same payload.
    cast.member(connect, true_path)
    pid, inode = cast.broker(accept)
    assert cast.member.pid == pid
    assert cast.judge(nonce, ring, inode).ok


def _unshare(flags: int) -> bool:
    return bool(libc().unshare(flags) == 0)


def test_client_in_a_user_namespace_of_its_own(cast: Cast) -> None:
    """An honest client inside one keeps ring and uid, seen from the broker."""
    if not cast.member(_unshare, _NEWUSER):
        pytest.skip("this kernel does not let us make a user namespace")
    assert cast.prove(cast.member).ok


def test_verdict_without_any_key(cast: Cast) -> None:
    """A ring in which nobody has proved anything yet."""
    ring = cast.member(keys.session_ring)
    verdict = cast.judge(fresh(), ring, cast.member(peer.own_inode))
    assert (verdict.ok, verdict.key) == (False, 0)
    assert verdict.facts.state == "live"
