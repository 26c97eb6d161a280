# SPDX-License-Identifier: MIT
"""SO_PEERKEYRING, asked: whose session the kernel says it is, for each kind of socket and peer."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from pagsrv.kernel.peerkeyring import PeerKeyring, ask
from tests import peers
from tests.actors import Actor, held, turn_into
from tests.peers import Door, known

pytestmark = [pytest.mark.kernel, pytest.mark.root]

ROOT = Path(__file__).resolve().parent.parent.parent
SES_MASK = 0x3F030000  # of an anonymous session keyring
REVOKED, INVALIDATED, UID_KEYRING = 0x02, 0x20, 0x200  # linux/key.h


@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_STREAM])
def test_peer_of_an_accepted_socket(
    peer: Actor, short_tmp: Path, other_uid: int, kind: socket.SocketKind
) -> None:
    """Ring, owner, mask and name are the connector's, who calls nothing."""
    door = Door(short_tmp / "s", kind)
    with door.listener:
        ring = peer(peers.connect, door.path, kind)
        with door.accept() as sock:
            answer = known(sock)
    assert (ring, SES_MASK, other_uid) == (answer.serial, answer.mask, answer.key_uid)
    assert (other_uid, 0, True) == (answer.euid, answer.userns_level, answer.has_cred)
    assert (answer.state, answer.name) == (1, "_ses")
    assert answer.flags & (REVOKED | INVALIDATED | UID_KEYRING) == 0
    assert answer.expiry in (0, 2**63 - 1)


def test_keyring_changed_after_connect(peer: Actor, door: Door) -> None:
    """The answer is of the moment of connect, as SO_PEERCRED is."""
    ring = peer(peers.connect, door.path)
    assert ring != peer(keys.join_session)
    with door.accept() as sock:
        assert ring == known(sock).serial
        peer(keys.join_session, "another")
        assert ring == known(sock).serial


def test_peer_that_is_dead(peer: Actor, door: Door) -> None:
    """Gone before accept, and still known."""
    ring = peer(peers.connect, door.path)
    peer.close()
    with door.accept() as sock:
        assert ring == known(sock).serial


def test_thread_with_a_session_of_its_own(peer: Actor, door: Door) -> None:
    """It is the thread that connected, and not its process, that is named."""
    mine, whole = peer(peers.connect_in_a_thread, door.path)
    assert mine != whole
    with door.accept() as sock:
        assert mine == known(sock).serial


def test_peer_in_a_user_namespace(peer: Actor, door: Door, other_uid: int) -> None:
    """Serial and owner are right, in the numbers of the initial namespace; the depth is told."""
    ring = peer(peers.connect_in_a_namespace, door.path)
    if not ring:
        pytest.skip("this kernel does not let us make a user namespace")
    with door.accept() as sock:
        answer = known(sock)
    assert (ring, other_uid, 1) == (answer.serial, answer.key_uid, answer.userns_level)


def test_peer_in_a_named_ring(installed: str, door: Door, other_uid: int) -> None:  # noqa: ARG001
    """Its mask shows that others may link it in, and its name that they may join it."""
    with Actor(other_uid, ring="pagsrv-test") as peer:
        ring = peer(peers.connect, door.path)
        with door.accept() as sock:
            answer = known(sock)
    assert (ring, 0x3F130000, "pagsrv-test") == (answer.serial, answer.mask, answer.name)


def test_name_that_is_long_is_cut(installed: str, door: Door, other_uid: int) -> None:  # noqa: ARG001
    """31 bytes of it."""
    with Actor(other_uid, ring="n" * 200) as peer:
        peer(peers.connect, door.path)
        with door.accept() as sock:
            assert known(sock).name == "n" * 31


@pytest.mark.parametrize(("end", "flag"), [(keys.revoke, REVOKED), (keys.invalidate, INVALIDATED)])
@pytest.mark.parametrize("before", [True, False], ids=["before connect", "after"])
def test_ring_that_is_over(
    peer: Actor, door: Door, end: object, flag: int, before: bool  # noqa: FBT001 -- a case
) -> None:  # fmt: skip
    """The kernel names it all the same, and its flags say that it is over."""
    ring = peer(keys.session_ring)
    if before:
        peer(_end, end, ring)
    peer(_connect_bare, door.path)
    if not before:
        peer(_end, end, ring)
    with door.accept() as sock:
        answer = known(sock)
    assert (ring, flag) == (answer.serial, answer.flags & flag)


def _end(end: object, ring: int) -> None:
    assert callable(end)
    end(ring)


def _connect_bare(path: str) -> None:
    """Connect without a look at our keyring, which may be over."""
    held["bare"] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    held["bare"].connect(path)


def test_ring_that_expires(peer: Actor, door: Door) -> None:
    """When it does is told, in seconds since 1970."""
    ring = peer(peers.connect, door.path)
    peer(keys.set_timeout, ring, 1000)
    with door.accept() as sock:
        answer = known(sock)
        assert 0 < answer.expiry - os.stat(door.path).st_mtime < 1100


def test_peer_that_sued_away(installed: str, door: Door, other_uid: int) -> None:  # noqa: ARG001
    """The ring is its caller's still, and belongs to another uid than its own."""
    with Actor(other_uid, may_return=True) as sued:
        ring = sued(keys.session_ring)
        sued(turn_into, other_uid + 1)
        sued(_connect_bare, door.path)
        with door.accept() as sock:
            answer = known(sock)
    assert (ring, other_uid, other_uid + 1) == (answer.serial, answer.key_uid, answer.euid)


def test_peer_in_the_uids_own_ring(peer: Actor, door: Door, other_uid: int) -> None:
    """A process that has only the uid's ring as its session is named with that, and a flag."""
    ring = peer(peers.connect_from_the_uids_ring, door.path)
    with door.accept() as sock:
        answer = known(sock)
    assert (ring, f"_uid_ses.{other_uid}") == (answer.serial, answer.name)
    assert answer.flags & UID_KEYRING


def test_peer_of_whatever_session_we_are_in(installed: str, door: Door) -> None:  # noqa: ARG001
    """Who joins none has its parent's; serial 0 and no name if that had none either."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        own = known(one)
    pid = os.fork()
    if pid == 0:
        _connect_bare(door.path)
        os._exit(0)
    os.waitpid(pid, 0)
    with door.accept() as sock:
        answer = known(sock)
    assert (own.serial, own.name, True) == (answer.serial, answer.name, answer.has_cred)
    assert bool(answer.serial) == bool(answer.name)


# ---- who asks ------------------------------------------------------------------------------------


def _ask_inherited(fd: int) -> PeerKeyring | None:
    """Ask about a socket that came to us over the fork."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        return ask(sock)


@pytest.mark.parametrize("userns", [False, True], ids=["plain", "in a user namespace"])
def test_anybody_may_ask(peer: Actor, door: Door, other_uid: int, userns: bool) -> None:  # noqa: FBT001
    """No right is needed; and a socket handed on still speaks for who connected."""
    ring = peer(peers.connect, door.path)
    with door.accept() as sock, Actor(other_uid + 1) as asker:
        if userns and not asker(peers.unshare_user):
            pytest.skip("this kernel does not let us make a user namespace")
        answer = asker(_ask_inherited, sock.fileno())
    assert answer is not None
    assert (ring, other_uid, other_uid) == (answer.serial, answer.key_uid, answer.euid)


def test_nobody_answers_where_it_is_not_installed(turn: None, door: Door) -> None:  # noqa: ARG001
    """It fails closed, as an unknown option does."""
    with Actor() as peer:
        peer(peers.connect, door.path)
        with door.accept() as sock:
            assert ask(sock) is None
            with pytest.raises(OSError, match="not supported"):
                sock.getsockopt(0x50414753, 1, 256)


def test_flood_of_questions(installed: str, door: Door, other_uid: int) -> None:  # noqa: ARG001
    """Every one of many questions, by several at once, gets the answer it should."""
    with Actor(other_uid) as one, Actor(other_uid) as two:
        rings = [one(peers.connect, door.path), two(peers.connect, door.path)]
        socks = [door.accept(), door.accept()]
        askers = [os.fork() for _ in range(4)]
        if 0 in askers:
            right = all(
                known(sock).serial == ring
                for _ in range(5000)
                for sock, ring in zip(socks, rings, strict=True)
            )
            os._exit(0 if right else 1)
        ends = [os.waitpid(pid, 0)[1] for pid in askers]
        for sock in socks:
            sock.close()
    assert [0] * len(askers) == ends
