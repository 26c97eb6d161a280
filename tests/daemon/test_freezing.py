# SPDX-License-Identifier: MIT
"""Posters that hold the kernel's locks on what they post: nobody else waits for them.

The law: the lock is really held while the broker is asked, and somebody else is answered
meanwhile; the broker's one thread may take no lock that a peer can hold. It refuses to know
what the broker leaves unasked.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.actors import Actor, held
from tests.daemon import members
from tests.daemon.conftest import House
from tests.daemon.wire import Client, Said
from tests.holding import locked, sending, writing
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    """A TCP connection over loopback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sock,
        server.accept()[0],
    ):
        yield sock


def _served(house: House) -> None:
    """Somebody else, new to the broker, is answered."""
    with Client(house.dir) as other:
        assert other.do("Health")


def test_posting_a_connection_in_the_middle_of_a_send(
    house: House, client: Client, name: str, connection: socket.socket
) -> None:
    """What takes the lock of a socket is not asked when it is posted."""
    with sending(connection):
        client.ask("Post", {"name": name, "fd": 0, "scope": "user"}, [connection.fileno()])
        _served(house)
        assert client.hear().fine()["entry"]["kind"] == "socket"


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (socket.AF_UNIX, socket.SOCK_STREAM),
        (socket.AF_UNIX, socket.SOCK_DGRAM),
        (socket.AF_INET, socket.SOCK_STREAM),
        (socket.AF_INET6, socket.SOCK_DGRAM),
        (socket.AF_NETLINK, socket.SOCK_RAW),
        (socket.AF_VSOCK, socket.SOCK_STREAM),
    ],
)
def test_posting_a_locked_socket(
    house: House,
    client: Client,
    name: str,
    family: socket.AddressFamily,
    kind: socket.SocketKind,
) -> None:
    """Of whatever family; some take their lock even to be polled."""
    try:
        sock = socket.socket(family, kind)
    except OSError as error:
        pytest.skip(f"this kernel has no such sockets: {error}")
    with sock, locked(sock):
        client.ask("Post", {"name": name, "fd": 0, "scope": "user"}, [sock.fileno()])
        _served(house)
        assert client.hear().fine()["entry"]["kind"] == "socket"
        client.ask("Remove", {"name": name})
        _served(house)
        client.hear().fine()


def test_hup_of_a_socket_whose_poll_waits_is_refused(
    house: House, client: Client, name: str
) -> None:
    """The loop polls what it minds, and a vsock's poll takes the socket's lock."""
    try:
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except OSError as error:
        pytest.skip(f"this kernel has no such sockets: {error}")
    with sock:
        until = [{"cond": "hup"}]
        told = client.refusal("Post", [sock.fileno()], name=name, fd=0, scope="user", until=until)
    assert told == "InvalidParameter"
    _served(house)


def test_removing_a_pipe_in_the_middle_of_a_write(house: House, client: Client, name: str) -> None:
    """The last descriptor of its other end is the board's, and closing that takes the lock."""
    read, write = os.pipe()
    client.do("Post", [read], name=name, fd=0, scope="user")
    os.close(read)
    try:
        with writing(write):
            client.ask("Remove", {"name": name})
            _served(house)
            client.hear().fine()
            _served(house)
    finally:
        os.close(write)


# ---- sockets that are shown ----------------------------------------------------------------------


def _shown() -> list[int]:
    return [held["shown"].fileno()]


def _ask_whose() -> None:
    members.mine().ask("Whois", {"fd": 0}, _shown())


def _ask_on_behalf() -> None:
    members.mine().ask("Open", {"name": "x", "on_behalf_of": 0}, _shown())


def _refused() -> str:
    try:
        members.hear()
    except Said as said:
        return said.error
    return ""


@pytest.fixture
def stranger(kernel_board: Running, other_uid: int) -> Iterator[tuple[Actor, socket.socket]]:
    """Somebody that nobody trusts, attached, and a socket of a pair that it has."""
    one, other = socket.socketpair()
    with one, other:
        held["shown"] = one
        try:
            with Actor(other_uid) as actor:
                actor(members.join, kernel_board.dir, "user")
                yield actor, one
        finally:
            del held["shown"]


def test_whose_is_a_locked_socket(
    kernel_board: Running, stranger: tuple[Actor, socket.socket]
) -> None:
    """Where the kernel answers whose a session is, every question to a socket takes its lock."""
    actor, sock = stranger
    with locked(sock):
        actor(_ask_whose)
        with Client(kernel_board.dir) as other:
            assert other.do("Health")
        assert actor(_refused) == "TimedOut"
    actor(_ask_whose)
    assert {one["fact"] for one in actor(members.hear)["facts"]} >= {"session", "uid"}


def test_whose_are_more_than_may_be_asked(
    kernel_board: Running, stranger: tuple[Actor, socket.socket]
) -> None:
    """Once a few of a uid's questions hang the next is refused at once, and others' are asked."""
    actor, sock = stranger
    with locked(sock):
        for _ in range(6):
            actor(_ask_whose)
            assert actor(_refused) == "TimedOut"
        with Client(kernel_board.dir) as other, socket.socket() as posted:
            other.attach("user")
            other.do("Post", [posted.fileno()], name="posted", fd=0, scope="user")
            assert other.do("Stat", name="posted")["entry"]["socket"]["state"] == "closed"
            other.do("Remove", name="posted")
    actor(_ask_whose)
    assert actor(_refused) in ("", "TimedOut")  # the last of them may still be on its way


def test_acting_on_behalf_of_a_locked_socket(
    kernel_board: Running, stranger: tuple[Actor, socket.socket]
) -> None:
    """Whoever is not trusted is refused before the socket is asked anything."""
    actor, sock = stranger
    with locked(sock):
        actor(_ask_on_behalf)
        with Client(kernel_board.dir) as other:
            assert other.do("Health")
        assert actor(_refused) == "Denied"


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_locked_socket_where_the_kernel_answers(
    kernel_board: Running, family: socket.AddressFamily
) -> None:
    """Posted, asked about and removed: in the loop it is asked no option at all."""
    with socket.socket(family) as sock, locked(sock), Client(kernel_board.dir) as client:
        client.attach("user")
        client.ask("Post", {"name": "locked", "fd": 0, "scope": "user"}, [sock.fileno()])
        for method in ("Stat", "Stat", "Remove"):
            client.ask(method, {"name": "locked"})
        with Client(kernel_board.dir) as other:
            assert other.do("Health")
        client.hear().fine()
        for _ in range(2):
            told = client.hear().fine()["entry"]["socket"]
            assert told["state"] is None
            assert "keeps it busy" in told["unknown"]["state"]
        client.hear().fine()
