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

from tests.daemon.conftest import House
from tests.daemon.wire import Client
from tests.holding import locked, sending, writing

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
