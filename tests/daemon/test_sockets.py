# SPDX-License-Identifier: MIT
"""What a posted socket is, at the real broker: asked anew at each Stat, and never waited for.

The law: the sockets are real ones, and what is expected of them is what their own end says at
that moment. It refuses to know how the broker asks.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pagsrv.kernel import sockets
from pagsrv.kernel.fd import Fd
from tests.actors import Actor, held
from tests.daemon.conftest import House, descriptors
from tests.daemon.waiting import until
from tests.daemon.wire import Client, Parameters, clients, post
from tests.holding import locked
from tests.running import Running

pytestmark = pytest.mark.kernel

_TCP_INFO = 11
_CLONE_NEWNET = 0x40000000


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection over loopback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as served,
    ):
        yield client, served


def put(client: Client, name: str, sock: socket.socket) -> None:
    """Post *sock*, which stays the caller's."""
    client.do("Post", [sock.fileno()], name=name, fd=0, scope="user")


def ask(client: Client, name: str) -> Parameters:
    """What the socket posted as *name* is."""
    told: Parameters = client.do("Stat", name=name)["entry"]["socket"]
    return told


def inode(sock: socket.socket) -> int:
    """Of the socket."""
    return os.fstat(sock.fileno()).st_ino


def in_words(name: tuple[Any, ...]) -> str:
    """An internet address as it is shown."""
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


# ---- internet ------------------------------------------------------------------------------------


def test_tcp_is_asked_anew_each_time(
    house: House, client: Client, name: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Addresses, queues, counters, and each state on the way to the end."""
    ours, theirs = pair
    put(client, name, ours)
    told = ask(client, name)
    assert (told["family"], told["type"], told["protocol"]) == ("inet", "stream", "tcp")
    assert (told["local"], told["peer"]) == (
        in_words(ours.getsockname()),
        in_words(ours.getpeername()),
    )
    assert (told["state"], told["inode"], told["other_netns"]) == (
        "established",
        inode(ours),
        False,
    )
    assert (told["receive_queue"], told["send_queue"]) == (0, 0)
    assert told["unknown"] == {}
    info = ours.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 104)
    assert (told["tcp"]["rtt"], told["tcp"]["rttvar"]) == struct.unpack_from("II", info, 68)
    theirs.sendall(b"x" * 1000)
    assert ask(client, name)["receive_queue"] == 1000
    assert len(ours.recv(600)) == 600
    told = ask(client, name)
    assert told["receive_queue"] == 400
    assert told["tcp"]["bytes_received"] == 1000
    theirs.shutdown(socket.SHUT_WR)
    assert ask(client, name)["state"] == "close-wait"
    assert "socket" not in house.neighbour.do("Stat", name="neighbour")["entry"]
    assert all("socket" not in entry for entry in client.listed(scope="user"))


def test_full_queue(client: Client, name: str, pair: tuple[socket.socket, socket.socket]) -> None:
    """What the other end does not read stays here; what has left has arrived there."""
    ours, theirs = pair
    ours.setblocking(False)
    sent = 0
    while True:
        try:
            sent += ours.send(bytes(1 << 16))
        except BlockingIOError:
            break
    put(client, name, ours)
    put(client, f"{name}-other", theirs)
    here, there = ask(client, name), ask(client, f"{name}-other")
    assert 0 < here["send_queue"] < sent
    assert sent - here["send_queue"] <= there["receive_queue"] < sent
    assert there["receive_queue"] == there["tcp"]["bytes_received"]


def test_tcp_that_listens_or_never_connected(client: Client, name: str) -> None:
    """How many wait to be accepted; and nothing of what it has not."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=7) as server:
        put(client, name, server)
        with socket.create_connection(server.getsockname()[:2]):
            told = ask(client, name)
        assert (told["state"], told["waiting"], told["backlog"]) == ("listening", 1, 7)
        assert told["local"] == in_words(server.getsockname())
        assert (told["peer"], told["tcp"], told["receive_queue"]) == (None, None, None)
    with socket.socket() as sock:
        put(client, f"{name}-2", sock)
        told = ask(client, f"{name}-2")
    assert (told["state"], told["local"], told["peer"]) == ("closed", None, None)
    assert told["unknown"] == {}


def test_udp(client: Client, name: str) -> None:
    """Its queues count memory, as the kernel does."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as theirs,
    ):
        ours.bind(("::1", 0))
        put(client, name, ours)
        told = ask(client, name)
        assert (told["protocol"], told["state"]) == ("udp", "unconnected")
        assert (told["local"], told["receive_queue"]) == (in_words(ours.getsockname()), 0)
        theirs.connect(ours.getsockname())
        theirs.send(b"x" * 100)
        assert ask(client, name)["receive_queue"] >= 100
        put(client, f"{name}-2", theirs)
        told = ask(client, f"{name}-2")
        assert (told["state"], told["peer"]) == ("connected", in_words(ours.getsockname()))


@pytest.mark.parametrize(
    ("family", "kind", "word"),
    [
        (socket.AF_NETLINK, socket.SOCK_RAW, "netlink"),
        (socket.AF_VSOCK, socket.SOCK_STREAM, "vsock"),
        (socket.AF_ALG, socket.SOCK_SEQPACKET, "alg"),
    ],
)
def test_other_families(
    client: Client, name: str, family: socket.AddressFamily, kind: socket.SocketKind, word: str
) -> None:
    """Named, and nothing made up."""
    try:
        sock = socket.socket(family, kind)
    except OSError as error:
        pytest.skip(f"this kernel has no such sockets: {error}")
    with sock:
        put(client, name, sock)
        told = ask(client, name)
    assert (told["family"], told["inode"]) == (word, told["inode"])
    assert (told["protocol"], told["tcp"], told["peer"]) == (None, None, None)


# ---- Unix ----------------------------------------------------------------------------------------


def _connect(path: str) -> None:
    sock = held["sock"] = socket.socket(socket.AF_UNIX)
    sock.connect(path)


def _peer_inode() -> int:
    return inode(held["sock"])


def _send(size: int) -> None:
    held["sock"].sendall(b"x" * size)


@pytest.mark.root
@pytest.mark.parametrize("abstract", [False, True])
def test_unix_connection_of_another_uid(
    client: Client,
    name: str,
    short_tmp: Path,
    other_uid: int,
    abstract: bool,  # noqa: FBT001 -- a column
) -> None:
    """The other end's inode and the process that connected, as of then; whether it lives, now."""
    short_tmp.chmod(0o777)
    path = f"\0pagsrv-{os.getpid()}" if abstract else str(short_tmp / "s")
    shown = "@" + path[1:] if abstract else path
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(path)
        if not abstract:
            os.chmod(path, 0o777)  # noqa: S103 -- another uid connects
        listener.listen(3)
        put(client, f"{name}-listens", listener)
        with Actor(other_uid) as peer:
            peer(_connect, path)
            told = ask(client, f"{name}-listens")
            assert (told["state"], told["waiting"], told["backlog"]) == ("listening", 1, 3)
            assert (told["local"], told["peer_process"]) == (shown, None)
            ours = stack.enter_context(listener.accept()[0])
            put(client, name, ours)
            peer(_send, 77)
            told = ask(client, name)
            assert (told["family"], told["type"], told["state"]) == ("unix", "stream", "connected")
            assert (told["local"], told["inode"]) == (shown, inode(ours))
            assert (told["peer_inode"], told["receive_queue"]) == (peer(_peer_inode), 77)
            process = told["peer_process"]
            assert (process["pid"], process["uid"]) == (peer.pid, other_uid)
            assert (process["alive"], bool(process["comm"])) == (True, True)
            assert told["unknown"] == {}
        told = ask(client, name)
        assert (told["state"], told["peer_inode"]) == ("closed", None)
        assert told["peer_process"] == {
            "pid": process["pid"], "uid": other_uid, "comm": "", "alive": False,
        }  # fmt: skip


def test_unix_half_closed_and_pairs(client: Client, name: str) -> None:
    """Each end's inode is the other's peer; half closed is a state of its own."""
    for number, kind in enumerate((socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)):
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        with one, other:
            put(client, f"{name}-{number}", one)
            told = ask(client, f"{name}-{number}")
            assert told["peer_inode"] == inode(other)
            assert told["peer_process"]["pid"] == os.getpid()
            other.send(b"12345")
            assert ask(client, f"{name}-{number}")["receive_queue"] == 5
            if kind == socket.SOCK_STREAM:
                one.shutdown(socket.SHUT_WR)
                assert ask(client, f"{name}-{number}")["state"] == "half-closed"


def test_unix_agrees_with_pyroute2(client: Client, name: str) -> None:
    """The library's whole listing says the same of that one socket."""
    diag = pytest.importorskip("pyroute2.netlink.diag")
    one, other = socket.socketpair()
    with one, other, diag.DiagSocket() as netlink:
        netlink.bind()
        show = diag.UDIAG_SHOW_PEER | diag.UDIAG_SHOW_RQLEN
        put(client, name, one)
        other.send(b"123")
        listed = netlink.get_sock_stats(family=socket.AF_UNIX, show=show)
        (found,) = [sock for sock in listed if sock["udiag_ino"] == inode(one)]
        told = ask(client, name)
    assert told["peer_inode"] == found.get_attr("UNIX_DIAG_PEER")
    assert told["receive_queue"] == found.get_attr("UNIX_DIAG_RQLEN")["udiag_rqueue"]


def test_without_pyroute2(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the listing tells is not known, and says so; the socket tells the rest."""
    monkeypatch.setitem(sys.modules, "pyroute2.netlink", None)
    one, other = socket.socketpair()
    with one, other, Fd(os.dup(one.fileno())) as fd:
        view = sockets.look(fd)
    assert (view.state, view.peer_inode) == ("connected", None)
    assert view.peer_process is not None
    assert set(view.unknown) == {"peer_inode", "receive_queue", "send_queue"}
    assert all("pyroute2 is not installed" in why for why in view.unknown.values())


# ---- where it is from ----------------------------------------------------------------------------


def _in_another_namespace(broker: str, name: str) -> str:
    from pagsrv.kernel.libc import libc  # noqa: PLC0415 -- in the actor

    if libc().unshare(_CLONE_NEWNET):
        return "cannot be tried here: no network namespace"
    one, other = socket.socketpair()
    held["pair"] = one, other
    held["tcp"] = sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    with Client(broker) as client:
        client.attach("user")
        put(client, name, one)
        put(client, f"{name}-tcp", sock)
    return ""


@pytest.mark.root
def test_another_network_namespace(house: House, client: Client, name: str) -> None:
    """Its listing is not ours: that is not known, and says why; the socket itself tells the rest.

    Also where our own namespace has a socket of the same inode: it is another one's.
    """
    with Actor() as actor:
        why = actor(_in_another_namespace, house.dir, name)
        if why:
            pytest.skip(why)
        told = ask(client, name)
        assert (told["state"], told["other_netns"]) == ("connected", True)
        assert told["peer_process"]["pid"] == actor.pid
        assert (told["peer_inode"], told["receive_queue"]) == (None, None)
        assert set(told["unknown"]) == {"peer_inode", "receive_queue", "send_queue"}
        assert "another network namespace" in told["unknown"]["peer_inode"]
        told = ask(client, f"{name}-tcp")
        assert (told["state"], told["other_netns"], told["send_queue"]) == ("closed", True, 0)
        assert told["local"].startswith("127.0.0.1:")


@pytest.mark.root
def test_broker_of_a_user(user_broker: Running, other_uid: int, name: str) -> None:
    """None of it needs a right."""
    with Actor(other_uid) as actor:
        tcp, unix = actor(_post_two, user_broker.dir, name)
    assert (tcp["state"], tcp["unknown"], tcp["tcp"]["bytes_received"]) == ("established", {}, 5)
    assert (unix["receive_queue"], unix["unknown"]) == (3, {})
    assert unix["peer_process"]["uid"] == other_uid


def _post_two(broker: str, name: str) -> tuple[Parameters, Parameters]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as far,
        server.accept()[0] as near,
        Client(broker) as client,
    ):
        client.attach("user")
        far.sendall(b"12345")
        one, other = socket.socketpair()
        with one, other:
            other.send(b"abc")
            put(client, name, near)
            put(client, f"{name}-2", one)
            return ask(client, name), ask(client, f"{name}-2")


# ---- those that hang -----------------------------------------------------------------------------


@pytest.mark.root
def test_a_socket_that_hangs_is_not_waited_for(
    house: House, client: Client, name: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Said to, at once when it is asked again; everybody else goes on; and it may recover."""
    ours, theirs = pair
    put(client, name, ours)
    put(client, f"{name}-2", theirs)
    with locked(ours):
        client.ask("Stat", {"name": name})
        with Client(house.dir) as other:
            assert ask(other, f"{name}-2")["state"] == "established"
        told = client.hear().fine()["entry"]["socket"]
        assert (told["protocol"], told["inode"], told["state"]) == ("tcp", inode(ours), None)
        assert "keeps it busy" in told["unknown"]["state"]
        assert {"local", "peer", "receive_queue", "send_queue", "tcp"} <= set(told["unknown"])
        with clients(house.dir, 50) as many:
            for one in many:
                one.ask("Stat", {"name": name})
            for one in many:
                assert one.hear().fine()["entry"]["socket"]["state"] is None
        client.do("Remove", name=name)
        assert client.refusal("Stat", name=name) == "NoEntry"
        assert ask(client, f"{name}-2")["state"] == "established"


@pytest.mark.root
def test_many_that_hang(house: House, client: Client, name: str) -> None:
    """One uid's threads have an end, and so have the descriptors they hold; others' are asked."""
    held_by = descriptors(house.broker.pid)
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(20)]
        for number, sock in enumerate(socks):
            put(client, f"{name}-{number}", sock)
        with ExitStack() as locks, clients(house.dir, 20) as many:
            for sock in socks:
                locks.enter_context(locked(sock))
            for number, one in enumerate(many):
                one.ask("Stat", {"name": f"{name}-{number}"})
            for one in many:
                assert "keeps it busy" in one.hear().fine()["entry"]["socket"]["unknown"]["state"]
            for number in range(20):
                client.do("Remove", name=f"{name}-{number}")
            client.do("Health")
        until(
            lambda: descriptors(house.broker.pid) <= held_by,
            house.health,
            "the threads let go of what they asked about",
        )


def test_fifty_at_once_and_gone_askers(
    house: House, client: Client, name: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    """One question answers many; who has hung up is not waited for; a oneway call is swallowed."""
    put(client, name, pair[0])
    with clients(house.dir, 50) as many:
        for one in many:
            one.ask("Stat", {"name": name})
        for number, one in enumerate(many):
            if number % 2:
                one.close()
            else:
                assert one.hear().fine()["entry"]["socket"]["state"] == "established"
    client.ask("Stat", {"name": name}, oneway=True)
    client.ask("Stat", {"name": name})
    client.ask("Stat", {"name": "neighbour"})
    assert client.hear().fine()["entry"]["name"] == name
    assert client.hear().fine()["entry"]["name"] == "neighbour"


def test_stat_of_a_socket_over_the_stream(
    house: House, name: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    """What was sent before the answer came is answered after it, in order."""
    with Client(house.dir, stream=True) as client:
        client.attach("user")
        put(client, name, pair[0])
        for _ in range(3):
            client.ask("Stat", {"name": name})
            client.ask("Health")
        for _ in range(3):
            assert client.hear().fine()["entry"]["socket"]["state"] == "established"
            assert "entries" in client.hear().fine()


def test_no_right_to_view_shows_nothing(client: Client, name: str) -> None:
    """Whoever may not view the entry is not told what it is."""
    with socket.socket() as sock:
        client.do("Post", [sock.fileno()], name=name, fd=0, scope="user", mask="alswr-" + "-" * 18)
    assert client.refusal("Stat", name=name, scope="user") in ("NoEntry", "Denied")
    client.do("Take", name=name)
    assert post(client, name, scope="user")["kind"] == "memfd"
