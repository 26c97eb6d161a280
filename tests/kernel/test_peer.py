# SPDX-License-Identifier: MIT
"""Peers: who connected, as it was then."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pagsrv.errors import PagsrvError
from pagsrv.kernel import peer, process
from pagsrv.kernel.libc import libc
from pagsrv.kernel.scm import SO_PASSPIDFD, SO_PASSRIGHTS
from tests.actors import Actor, held, turn_into

pytestmark = pytest.mark.kernel

_NEWUSER = 0x10000000  # CLONE_NEWUSER of linux/sched.h
_PR_SET_DUMPABLE = 4


class Door(NamedTuple):
    """A listening socket and where it is."""

    listener: socket.socket
    path: str

    def accept(self) -> socket.socket:
        """The next connection."""
        return self.listener.accept()[0]


@pytest.fixture
def door(short_tmp: Path) -> Iterator[Door]:
    """A socket anybody may connect to."""
    path = str(short_tmp / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        Path(path).chmod(0o666)
        listener.listen()
        yield Door(listener, path)


def connect(path: str) -> int:
    """Connect, and keep it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    held["sock"] = sock
    return peer.own_inode()


def test_identify_names_the_process_that_connected(door: Door) -> None:
    """Pid, ids and inode are the connector's, and its pidfd comes along."""
    with Actor() as actor:
        inode = actor(connect, door.path)
        with door.accept() as sock:
            facts = peer.identify(sock)
        assert (actor.pid, os.geteuid(), os.getegid()) == (facts.pid, facts.uid, facts.gid)
        assert inode == facts.inode
        assert facts.pidfd is not None
        with facts.pidfd:
            assert process.is_alive(facts.pidfd)
            actor.close()
            assert not process.is_alive(facts.pidfd)


@pytest.mark.root
@pytest.mark.parametrize("count", [0, 1, 256, 257, 60000])
def test_identify_reads_all_groups(door: Door, other_uid: int, count: int) -> None:
    """A list of any length is read whole, the effective gid not in it."""
    groups = tuple(range(100000, 100000 + count))
    with Actor(other_uid, groups=groups) as actor:
        actor(connect, door.path)
        with door.accept() as sock:
            facts = peer.identify(sock)
        assert facts.pidfd is not None
        facts.pidfd.close()
    assert groups == facts.groups
    assert other_uid == facts.gid


@pytest.mark.root
def test_identify_is_of_the_moment_of_connect(door: Door, other_uid: int) -> None:
    """Who changes uid afterwards is still the one that connected."""
    with Actor(other_uid, may_return=True) as actor:
        actor(connect, door.path)
        actor(turn_into, other_uid + 1)
        with door.accept() as sock:
            facts = peer.identify(sock)
        assert facts.pidfd is not None
        facts.pidfd.close()
    assert other_uid == facts.uid


def test_identify_of_a_peer_that_is_gone(door: Door) -> None:
    """Reaped before accept: uid and pid are known, and at most its inode."""
    with Actor() as actor:
        inode = actor(connect, door.path)
    with door.accept() as sock:
        facts = peer.identify(sock)
    assert os.geteuid() == facts.uid
    assert facts.inode in (0, inode)
    if facts.pidfd is not None:
        facts.pidfd.close()


def test_identify_of_nobody_is_an_error() -> None:
    """A socket that is not connected has no other end."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock,
        pytest.raises(PagsrvError),
    ):
        peer.identify(sock)
    with socket.socket(socket.AF_INET) as sock, pytest.raises(PagsrvError):
        peer.identify(sock)


def test_own_inode_differs_after_fork() -> None:
    """Each process has its own, also a child that inherited our memory."""
    mine = peer.own_inode()
    if not mine:
        pytest.skip("this kernel has no pidfs (Linux 6.9)")
    assert mine == peer.own_inode()
    with Actor() as actor:
        theirs = actor(peer.own_inode)
        with process.open_pidfd(actor.pid) as pidfd:
            assert theirs == process.inode_of(pidfd)
    assert theirs != mine


def test_same_user_namespace_of_our_own() -> None:
    """A plain child is in ours."""
    with Actor() as actor, process.open_pidfd(actor.pid) as pidfd:
        assert peer.same_user_namespace(pidfd) == ""


def _unshare_user() -> bool:
    libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    return bool(libc().unshare(_NEWUSER) == 0)


@pytest.mark.parametrize("by_proc", [False, True], ids=["ioctl", "proc"])
def test_same_user_namespace_tells_another(by_proc: bool) -> None:  # noqa: FBT001 -- a case
    """A process that has made itself a namespace is not in ours, by either way of looking."""
    ours = os.stat("/proc/self/ns/user")
    with Actor() as actor, process.open_pidfd(actor.pid) as pidfd:
        assert not by_proc or peer._by_proc(pidfd, ours) == ""
        if not actor(_unshare_user):
            pytest.skip("this kernel does not let us make a user namespace")
        why = peer._by_proc(pidfd, ours) if by_proc else peer.same_user_namespace(pidfd)
        assert "another user namespace" in why


def test_same_user_namespace_of_a_process_that_is_gone() -> None:
    """Gone is not the same: not knowing is no."""
    with Actor() as actor, process.open_pidfd(actor.pid) as pidfd:
        actor.close()
        assert peer.same_user_namespace(pidfd) != ""
        assert peer._by_proc(pidfd, os.stat("/proc/self/ns/user")) != ""


@pytest.mark.root
def test_same_user_namespace_is_not_shown_to_other_users(other_uid: int) -> None:
    """An unprivileged broker gets a reason for another uid's process, and no answer."""
    with Actor(other_uid) as asker, Actor(other_uid + 1) as asked:
        why = asker(_namespace_of, asked.pid)
        assert "does not show" in why


def _namespace_of(pid: int) -> str:
    with process.open_pidfd(pid) as pidfd:
        return peer.same_user_namespace(pidfd)


def test_prepare_listener_says_what_took() -> None:
    """Its answer is what getsockopt then shows; a socket without the options is no error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        for setting in peer.prepare_listener(sock):
            name, _, value = setting.partition("=")
            option = {
                "SO_PASSRIGHTS": SO_PASSRIGHTS,
                "SO_PASSPIDFD": SO_PASSPIDFD,
                "SO_PASSCRED": peer.SO_PASSCRED,
            }[name]
            assert int(value) == sock.getsockopt(socket.SOL_SOCKET, option)
    with socket.socket(socket.AF_INET) as sock:
        assert "SO_PASSRIGHTS=0" not in peer.prepare_listener(sock)
