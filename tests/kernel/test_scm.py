# SPDX-License-Identifier: MIT
"""Descriptors beside bytes: owned from the first moment, or closed."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from fcntl import F_GETFD, FD_CLOEXEC, fcntl
from pathlib import Path

import pytest

from pagsrv.errors import ProtocolError
from pagsrv.kernel import scm
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.peer import accept_rights, own_inode, prepare_listener
from pagsrv.limits import MESSAGE_BYTES, MESSAGE_FDS
from tests.actors import Actor, held

pytestmark = pytest.mark.kernel

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[socket.SOCK_SEQPACKET, socket.SOCK_STREAM], ids=["packets", "stream"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected sockets of each type."""
    here, there = socket.socketpair(socket.AF_UNIX, request.param)
    with here, there:
        yield here, there


@pytest.fixture
def packets() -> Iterator[Pair]:
    """Two connected sockets that keep packets apart."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        yield here, there


def _got(packet: scm.Packet | None) -> scm.Packet:
    assert packet is not None
    return packet


def test_receive_gives_bytes_and_owned_descriptors(pair: Pair) -> None:
    """What was sent arrives, close-on-exec, and is closed unless taken."""
    here, there = pair
    with scm.Packet(b"") as mine:
        read, write = os.pipe()
        mine.fds = [Fd(read), Fd(write)]
        there.sendmsg([b"abc"], scm.ancillary([read, write]))
        with _got(scm.receive(here)) as packet:
            assert packet.data == b"abc"
            assert all(fcntl(fd.fileno(), F_GETFD) & FD_CLOEXEC for fd in packet.fds)
            taken = packet.take()
            assert packet.fds == []
        assert [os.fstat(read).st_ino, os.fstat(write).st_ino] == [
            os.fstat(fd.fileno()).st_ino for fd in taken
        ]
        for fd in taken:
            fd.close()


def test_receive_never_waits(pair: Pair) -> None:
    """Nothing there is None, and a hang-up is empty data."""
    here, there = pair
    assert scm.receive(here) is None
    there.close()
    assert _got(scm.receive(here)).data == b""


def test_receive_blocking_waits_as_told(pair: Pair) -> None:
    """The client's way has the socket's own timeout."""
    here, there = pair
    here.settimeout(0.001)
    with pytest.raises(TimeoutError):
        scm.receive_blocking(here)
    there.send(b"x")
    assert scm.receive_blocking(here).data == b"x"


def test_receive_takes_the_most_descriptors(pair: Pair) -> None:
    """253 arrive whole; the kernel lets nobody send more."""
    here, there = pair
    number = os.memfd_create("x")
    there.sendmsg([b"x"], scm.ancillary([number] * MESSAGE_FDS))
    with _got(scm.receive(here)) as packet:
        assert len(packet.fds) == MESSAGE_FDS
    with pytest.raises(OSError, match="Invalid argument"):
        there.sendmsg([b"x"], scm.ancillary([number] * (MESSAGE_FDS + 1)))
    os.close(number)


def test_receive_with_the_table_full_brings_nothing(packets: Pair) -> None:
    """Where only some descriptors fit, those are closed again, and it is an error."""
    here, there = packets
    there.sendmsg([b"x"], scm.ancillary([0] * 8))
    before = os.listdir("/proc/self/fd")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 3, hard))
    try:
        with pytest.raises(ProtocolError, match="lost on the way"):
            scm.receive(here)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert before == os.listdir("/proc/self/fd")


def test_receive_refuses_a_packet_too_large_with_its_descriptors(packets: Pair) -> None:
    """One byte too many, or a thousand: the limit is named and nothing is kept."""
    here, there = packets
    there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE_BYTES)
    for size in (MESSAGE_BYTES + 1, MESSAGE_BYTES + 1000):
        there.sendmsg([b"x" * size], scm.ancillary([0]))
        with pytest.raises(ProtocolError, match=str(MESSAGE_BYTES)):
            scm.receive(here)
    there.send(b"x" * MESSAGE_BYTES)
    assert len(_got(scm.receive(here)).data) == MESSAGE_BYTES


def test_receive_on_a_stream_has_no_largest_message() -> None:
    """More than fits is the first part, on a stream."""
    here, there = socket.socketpair()
    with here, there:
        there.send(b"abcd")
        assert _got(scm.receive(here, 2, stream=True)).data == b"ab"
        assert _got(scm.receive(here, 3, stream=True)).data == b"cd"


def test_receive_names_the_sender_and_not_the_connector(packets: Pair) -> None:
    """A forked child that sends on an inherited socket is told from its parent."""
    here, there = packets
    prepare_listener(here)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    there.send(b"parent")
    held["sock"] = there
    with Actor() as actor:
        held.clear()
        child = actor(_send_own_inode)
        packet = _got(scm.receive(here))
        assert packet.data == b"parent"
        assert (own_inode(), os.getpid()) == (packet.sender, packet.sender_pid)
        packet = _got(scm.receive(here))
        assert packet.data == b"child"
        assert (child, actor.pid) == (packet.sender, packet.sender_pid)


def _send_own_inode() -> int:
    held["sock"].send(b"child")
    return own_inode()


def test_receive_from_a_sender_that_is_gone(packets: Pair) -> None:
    """A reaped sender leaves its packet readable; nothing leaks."""
    here, there = packets
    prepare_listener(here)
    held["sock"] = there
    with Actor() as actor:
        held.clear()
        inode = actor(_send_own_inode)
    packet = _got(scm.receive(here))
    assert packet.data == b"child"
    assert packet.sender in (0, inode)


def test_listener_refuses_descriptors_from_before_accept(short_tmp: Path) -> None:
    """H9: what is set on the listening socket holds before anybody accepts."""
    path = str(short_tmp / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        try:
            listener.getsockopt(socket.SOL_SOCKET, scm.SO_PASSRIGHTS)
        except OSError:
            pytest.skip("this kernel has no SO_PASSRIGHTS (Linux 6.16)")
        assert "SO_PASSRIGHTS=0" in prepare_listener(listener)
        listener.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(path)
            with pytest.raises(PermissionError):
                client.sendmsg([b"x"], scm.ancillary([0]))
            accepted, _ = listener.accept()
            with accepted:
                with pytest.raises(PermissionError):
                    client.sendmsg([b"x"], scm.ancillary([0]))
                accept_rights(accepted)
                client.sendmsg([b"x"], scm.ancillary([0]))
                with _got(scm.receive(accepted)) as packet:
                    assert len(packet.fds) == 1
                    assert own_inode() == packet.sender


def test_ancillary_of_nothing_is_nothing() -> None:
    """An empty SCM_RIGHTS would be refused by the kernel."""
    assert scm.ancillary([]) == []
