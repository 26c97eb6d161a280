# SPDX-License-Identifier: MIT
"""Processes by pidfd: facts are its own or there are none."""

from __future__ import annotations

import ctypes
import errno
import os
import socket

import pytest

from pagsrv.kernel import process
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from tests.actors import Actor, held

pytestmark = pytest.mark.kernel

_PR_SET_NAME = 15
_CLONE_NEWPID = 0x20000000  # linux/sched.h
_SYS_PIDFD_GETFD = 438  # asm-generic/unistd.h: the same on every architecture


def _rename(name: bytes) -> None:
    libc().prctl(_PR_SET_NAME, name, 0, 0, 0)


def test_from_pidfd_tells_pid_ids_inode_and_name() -> None:
    """Every fact is that of the process behind the pidfd."""
    with Actor() as actor, process.open_pidfd(actor.pid) as pidfd:
        actor(_rename, b"actor")
        facts = process.from_pidfd(pidfd)
        assert facts is not None
        assert (actor.pid, os.geteuid(), os.getegid()) == (facts.pid, facts.uid, facts.gid)
        assert actor(process.own_inode) == facts.inode
        assert facts.comm == "actor"


def _elsewhere(pidfd: Fd) -> None:
    """In a process namespace of its own a child asks about *pidfd*'s process, outside of it."""
    assert libc().unshare(_CLONE_NEWPID) == 0, os.strerror(ctypes.get_errno())
    pid = os.fork()
    if pid == 0:
        os._exit(any((process.from_pidfd(pidfd), process.leader_of(pidfd))))
    assert os.waitpid(pid, 0) == (pid, 0)


@pytest.mark.root
def test_from_pidfd_of_a_process_outside_our_namespace() -> None:
    """It has no number here, so that there are no facts of it (EREMOTE, Linux 6.18)."""
    with process.open_pidfd(os.getpid()) as pidfd, Actor() as actor:
        actor(_elsewhere, pidfd)


@pytest.mark.root
def test_from_pidfd_tells_the_effective_uid(other_uid: int) -> None:
    """Of real and effective ids it is the effective ones, by ioctl and by /proc alike."""
    with Actor() as actor, process.open_pidfd(actor.pid) as pidfd:
        actor(os.setresgid, 1, other_uid, 2)
        actor(os.setresuid, 1, other_uid, 2)
        expected = (actor.pid, other_uid, other_uid)
        assert expected == process._ask(pidfd)
        assert expected == process._ask_proc(pidfd)


def test_from_pidfd_of_a_process_that_is_gone() -> None:
    """A pidfd outlives its process and then names nobody."""
    with Actor() as actor, process.open_pidfd(actor.pid) as pidfd:
        assert process.is_alive(pidfd)
        actor.close()
        assert not process.is_alive(pidfd)
        assert process.from_pidfd(pidfd) is None
        assert process._ask_proc(pidfd) is None
        assert process.leader_of(pidfd) is None


def test_from_pidfd_of_a_zombie() -> None:
    """Exited and not yet waited for is gone."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    with process.open_pidfd(pid) as pidfd:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert not process.is_alive(pidfd)
        assert process.from_pidfd(pidfd) is None
        assert process._ask_proc(pidfd) is None
    os.waitpid(pid, 0)


def test_standing_is_number_and_cgroup() -> None:
    """Both in one question; the number goes with the process, and /proc with it."""
    with Actor() as actor, process.open_pidfd(actor.pid) as pidfd:
        pid, cgroup = process.standing(pidfd)
        assert pid == actor.pid
        with process.open_pidfd(os.getpid()) as own:
            assert cgroup == process.standing(own).cgroup != 0
        assert process.told(pid, "sessionid") == process.told(os.getpid(), "sessionid") is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "_GET_INFO", process._GET_INFO + 0x80)  # as before Linux 6.13
            assert process.standing(pidfd) == (pid, 0)
        actor.close()
        assert process.standing(pidfd).pid == 0
        assert process.told(pid, "sessionid") is None


@pytest.mark.parametrize(
    "make", [lambda: os.memfd_create("[pidfd]"), lambda: os.open("/", os.O_PATH), os.eventfd]
)
def test_from_pidfd_of_what_is_none(make: object) -> None:
    """Anything else is no process, and no ioctl is tried on it."""
    number = make() if make is not os.eventfd else os.eventfd(0)  # type: ignore[operator]
    with Fd(number) as fd:
        assert not process.is_pidfd(fd)
        assert process.from_pidfd(fd) is None


def test_open_pidfd_of_nobody() -> None:
    """No such process is one error, whatever the number."""
    for pid in (-1, 0, 0x7FFFFFFF, 1 << 40):
        with pytest.raises(process.NoProcess):
            process.open_pidfd(pid)


def test_leader_of_follows_getsid() -> None:
    """The leader of a child's session is ours until it starts one of its own."""
    with Actor() as actor, process.open_pidfd(actor.pid) as pidfd:
        actor(os.setsid)
        found = process.leader_of(pidfd)
        assert found is not None
        facts, leader = found
        with leader:
            assert actor.pid == facts.pid
            assert process.is_alive(leader)


def _wait_in_a_child(mine: socket.socket, theirs: socket.socket) -> int:
    """A child in our session that lives as long as anybody holds *mine*."""
    pid = os.fork()
    if pid == 0:
        mine.close()
        theirs.recv(1)
        os._exit(0)
    theirs.close()
    return pid


def _fork_and_tell() -> int:
    """A child in our session that lives as long as we do."""
    held["mine"], theirs = socket.socketpair()
    return _wait_in_a_child(held["mine"], theirs)


def test_leader_of_a_session_whose_leader_is_gone() -> None:
    """A process whose leader has exited has none; its number is not taken for another."""
    with Actor() as actor:
        actor(os.setsid)
        member = process.open_pidfd(actor(_fork_and_tell))
        with member:
            found = process.leader_of(member)
            assert found is not None
            facts, leader = found
            leader.close()
            assert actor.pid == facts.pid
            actor.close()
            assert process.leader_of(member) is None


def _orphan_session() -> tuple[int, int]:
    """A session whose leader has exited and is not waited for; the leader and a member."""
    held["mine"], theirs = socket.socketpair()
    read, write = os.pipe()
    leader = os.fork()
    if leader == 0:
        os.setsid()
        os.write(write, _wait_in_a_child(held["mine"], theirs).to_bytes(4, "little"))
        os._exit(0)
    theirs.close()
    os.close(write)
    member = int.from_bytes(os.read(read, 4), "little")
    os.close(read)
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    return leader, member


def test_leader_of_a_session_whose_leader_is_a_zombie() -> None:
    """A leader that has exited leads nobody, waited for or not; no pidfd of it is left."""
    with Actor() as actor:
        leader, member = actor(_orphan_session)
        with process.open_pidfd(member) as pidfd:
            assert os.getsid(member) == leader
            assert process.leader_of(pidfd) is None
            assert process.is_alive(pidfd)


def test_comm_is_printable_and_short() -> None:
    """What a process calls itself can neither move a terminal nor be long."""
    with Actor() as actor:
        actor(_rename, b"a\x1b[31mb\nc")
        assert process.comm(actor.pid) == "a?[31mb?c"
        actor(_rename, b"\xff" * 20)
        assert len(process.comm(actor.pid)) <= 15
        pid = actor.pid
    assert process.comm(pid) == ""


def test_pid_of_reads_fdinfo() -> None:
    """The number behind a pidfd, and 0 for what is none."""
    with process.open_pidfd(os.getpid()) as pidfd, Fd(os.eventfd(0)) as other:
        assert os.getpid() == process.pid_of(pidfd)
        assert process.pid_of(other) == 0


def _steal(pid: int, number: int) -> int:
    """Take descriptor *number* of process *pid* with pidfd_getfd(2): 0, or the errno."""
    with process.open_pidfd(pid) as pidfd:
        got = libc().syscall(_SYS_PIDFD_GETFD, pidfd.fileno(), number, 0)
        if got < 0:
            return ctypes.get_errno()
        os.close(got)
    return 0


@pytest.mark.root
def test_undumpable_keeps_our_uid_from_our_descriptors(other_uid: int) -> None:
    """What a same-uid process can take before, it cannot after."""
    with Actor(other_uid) as broker, Actor(other_uid) as thief:
        secret = broker(os.memfd_create, "secret")
        broker(libc_dumpable)
        assert broker(process.dumpable) == 1
        if thief(_steal, broker.pid, secret):
            pytest.skip("this kernel keeps processes of one uid apart by itself (Yama)")
        broker(process.undumpable)
        assert broker(process.dumpable) in (0, 2)
        assert thief(_steal, broker.pid, secret) == errno.EPERM
        # What the broker itself needs of /proc goes on working.
        assert broker(process.comm, os.getpid()) == process.comm(os.getpid())


def libc_dumpable() -> None:
    """Let others look, as exec leaves it: changing uid has taken it away."""
    libc().prctl(4, 1, 0, 0, 0)
