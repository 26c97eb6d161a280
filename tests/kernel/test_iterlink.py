# SPDX-License-Identifier: MIT
"""The second choice: iterators given by root, read by a child that holds one socket."""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pagsrv.errors import PagsrvError
from pagsrv.kernel import bpf
from pagsrv.kernel.giver import Giver, _same_pid_namespace
from pagsrv.kernel.iterlink import SO_COOKIE, Asker
from pagsrv.kernel.libc import libc
from pagsrv.kernel.peerkeyring import PeerKeyring, parse
from pagsrv.kernel.scm import ancillary, receive_blocking
from tests import peers
from tests.actors import Actor, held
from tests.daemon import asking
from tests.daemon.waiting import exited, until
from tests.peers import Door
from tests.running import SECONDS

pytestmark = [pytest.mark.kernel, pytest.mark.root]

_NEWPID = 0x20000000  # CLONE_NEWPID of linux/sched.h
_STEP = 88  # bytes: a cookie and a record


@pytest.fixture
def giving(short_tmp: Path) -> Iterator[tuple[str, int]]:
    """Where root's helper listens, and its process."""
    if os.geteuid() != 0:
        pytest.skip("only root can load a program")
    if bpf.missing():
        pytest.skip(bpf.missing())
    door = Door(short_tmp / "giver")
    pid = os.fork()
    if pid == 0:
        try:
            with Giver() as giver:
                giver.serve(door.listener)
        finally:
            os._exit(1)
    door.listener.close()
    yield door.path, pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture
def giver(giving: tuple[str, int]) -> str:
    """Where root's helper listens."""
    return giving[0]


def test_asker_learns_what_the_kernel_knows(giver: str, door: Door, other_uid: int) -> None:
    """The same record as SO_PEERKEYRING gives, for stream and seqpacket sockets."""
    with Asker(giver) as asker, Actor(other_uid) as peer:
        ring = peer(peers.connect, door.path)
        with door.accept() as sock:
            answer = asker.ask(sock)
    assert answer is not None
    assert (ring, 0x3F030000, other_uid) == (answer.serial, answer.mask, answer.key_uid)
    assert (other_uid, "_ses", 1) == (answer.euid, answer.name, answer.state)


def test_unprivileged_broker_asks(giver: str, door: Door, other_uid: int) -> None:
    """It needs no right: root has given it the iterator."""
    with Actor() as peer:
        ring = peer(peers.connect, door.path)
        with door.accept() as sock, Actor(other_uid) as broker:
            answer = broker(_ask_inherited, giver, sock.fileno())
    assert answer is not None
    assert ring == answer.serial


def _ask_inherited(giver: str, fd: int) -> PeerKeyring | None:
    with Asker(giver) as asker, socket.socket(fileno=os.dup(fd)) as sock:
        return asker.ask(sock)


def test_each_socket_gets_its_own_answer(giver: str, door: Door) -> None:
    """H10: told by cookie, among many that the broker holds."""
    with Asker(giver) as asker, ExitStack() as kept:
        for _ in range(50):
            for end in socket.socketpair(socket.AF_UNIX):
                kept.enter_context(end)
        actors = [kept.enter_context(Actor()) for _ in range(3)]
        rings = [actor(peers.connect, door.path) for actor in actors]
        socks = [kept.enter_context(door.accept()) for _ in actors]
        for _ in range(3):
            answers = [asker.ask(sock) for sock in reversed(socks)]
            assert rings[::-1] == [answer.serial for answer in answers if answer]


def test_question_costs_nothing_for_what_the_broker_holds(giver: str) -> None:
    """H11: the child's table holds the channel and the socket asked about, whatever ours does."""
    with Asker(giver) as asker, ExitStack() as kept:
        for _ in range(300):
            for end in socket.socketpair(socket.AF_UNIX):
                kept.enter_context(end)
        one, other = socket.socketpair(socket.AF_UNIX)
        with one, other:
            assert asker.ask(one) is not None
            holding = os.listdir(f"/proc/{asker._pid}/fd")
    # Standard input, output and error; the channel and the iterator.
    assert len(holding) <= 5


def test_sockets_without_an_answer(giver: str, door: Door) -> None:
    """Datagram, listening and Internet sockets get none, and the next question does."""
    with Asker(giver) as asker:
        assert asker.ask(door.listener) is None
        with socket.socket(socket.AF_INET) as sock:
            assert asker.ask(sock) is None
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one, other:
            assert asker.ask(one) is None
        one, other = socket.socketpair(socket.AF_UNIX)
        with one, other:
            assert asker.ask(one) is not None


def test_nobody_gives(short_tmp: Path) -> None:
    """Said in a sentence, and no child is left."""
    before = _children()
    with pytest.raises(bpf.BpfFault, match="nobody gives"):
        Asker(str(short_tmp / "none"))
    assert before == _children()


def _children() -> str:
    """The processes this one has made and not waited for (proc_pid_task(5))."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_child_that_was_killed(giver: str) -> None:
    """A question without an answer is an error, not an absence; closing works."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with Asker(giver) as asker, one, other:
        os.kill(asker._pid, signal.SIGKILL)
        os.waitid(os.P_PID, asker._pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(bpf.BpfFault):
            asker.ask(one)
        with pytest.raises(bpf.BpfFault):
            asker.ask(one)


# ---- what is given -------------------------------------------------------------------------------


def _get_link(giver: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(giver)
        with receive_blocking(sock) as packet:
            held["link"] = packet.take()[0]


def _serials() -> set[int]:
    raw = bpf.read_iterator(held["link"])
    found = (parse(raw[at + 8 : at + _STEP]) for at in range(0, len(raw), _STEP))
    return {record.serial for record in found if record is not None}


def test_iterator_shows_its_own_process_only(giver: str, door: Door, other_uid: int) -> None:
    """Neither a child that inherits it nor whoever gets hold of it sees another's sockets."""
    with Actor(other_uid) as broker, Actor() as peer:
        broker(_get_link, giver)
        before = broker(_serials)
        ring = peer(peers.connect, door.path)
        with door.accept():
            # Ours, and not the broker's, although the socket is connected to a peer of a ring.
            assert before == broker(_serials)
            assert ring not in before


def test_iterator_is_read_to_its_end(turn: None) -> None:  # noqa: ARG001
    """Many sockets are more than one read brings; each is told by its cookie."""
    with ExitStack() as kept, bpf.Program("peers") as program:
        ends = [kept.enter_context(end) for _ in range(450) for end in socket.socketpair()]
        cookies = {struct.unpack("Q", _cookie(end))[0] for end in ends}
        with program.attach_iterator(pid=os.getpid()) as link:
            raw = bpf.read_iterator(link)
    assert len(raw) > 65536
    assert len(raw) % _STEP == 0
    told = {struct.unpack_from("Q", raw, at)[0] for at in range(0, len(raw), _STEP)}
    assert len(cookies) == len(ends)
    assert cookies <= told


def _cookie(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)


def _child_fetches(giver: str) -> int:
    """A child gets an iterator, leaves it to us and is gone, reaped; its process id."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            _get_link(giver)
            theirs.sendmsg([b"!"], ancillary([held["link"].fileno()]))
        finally:
            os._exit(0)
    with ours, theirs, receive_blocking(ours) as packet:
        held["link"] = packet.take()[0]
    exited(pid)
    return pid


def _shown() -> int:
    """How much the iterator shows us, in bytes."""
    return len(bpf.read_iterator(held["link"]))


def test_process_id_that_was_given_away(giver: str) -> None:
    """Who kept the iterator of a process that is gone sees nothing of the next of that number."""
    with Actor() as actor:
        pid = actor(_child_fetches, giver)
        assert actor(_shown) == 0
        assert actor(asking.child_with_pid, pid)
        try:
            # It has sockets, if only those it has inherited.
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert any(link.startswith("socket:") for link in links)
            assert actor(_shown) == 0
        finally:
            actor(asking.end_stay)


def test_giver_outlives_a_shortage(giving: tuple[str, int]) -> None:
    """While it may open nothing nobody is served; whoever waits is, once it may again."""
    path, pid = giving
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with Asker(path):
        pass
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, limits[1]))
    # accept(2) has its number already, and what is to be opened after it has none.
    with pytest.raises(bpf.BpfFault):
        Asker(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waiting:
        waiting.settimeout(SECONDS)
        waiting.connect(path)
        # One that has left again before its turn is nobody's business.
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as gone:
            gone.connect(path)
        _wait_asleep(pid)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        with receive_blocking(waiting) as packet:
            assert (packet.data, len(packet.fds)) == (b"link", 1)
    with Asker(path):
        pass


def _wait_asleep(pid: int) -> None:
    """Until the process has met the shortage: it waits for time to pass, not for a connection."""
    until(
        lambda: "nanosleep" in Path(f"/proc/{pid}/wchan").read_text(), lambda: None, "the shortage"
    )


def _in_a_pid_namespace(giver: str) -> str:
    """What the giver says to a process of a namespace of its own."""
    if libc().unshare(_NEWPID):
        return "none here"
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            with Asker(giver):
                theirs.send(b"got one")
        except PagsrvError as error:
            theirs.send(str(error).encode())
        finally:
            os._exit(0)
    with ours, theirs:
        said = ours.recv(1000).decode()
    os.waitpid(pid, 0)
    return said


def test_iterator_for_another_process_namespace(giver: str) -> None:
    """The number would be looked up among other processes there, so there is none."""
    with Actor() as asker:
        said = asker(_in_a_pid_namespace, giver)
    assert "another process namespace" in said
    assert _same_pid_namespace(os.getpid())
    assert not _same_pid_namespace(2**31 - 1)
