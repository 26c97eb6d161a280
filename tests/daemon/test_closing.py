# SPDX-License-Identifier: MIT
"""Descriptors that are slow to close, and those that wait for a reader: nobody else waits.

The law: a socket with data that nobody reads and SO_LINGER set waits in the close(2) of
whoever has it last (socket(7)), so it stands here for every file that does.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from errno import EMFILE

import pytest

from pagsrv.daemon.outbox import Outbox
from pagsrv.kernel.fd import Fd
from tests.daemon.conftest import House, descriptors
from tests.daemon.wire import SECONDS, Client, memory
from tests.holding import locked
from tests.running import Running

pytestmark = pytest.mark.kernel


@pytest.fixture
def lingering() -> Iterator[socket.socket]:
    """A connection whose last close takes longer than any test may."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        with closing(server.accept()[0]):
            linger = struct.pack("ii", 1, 10 * SECONDS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    sock.send(bytes(1 << 16))
            yield sock


def test_removing_what_is_slow_to_close(
    house: House, client: Client, name: str, lingering: socket.socket
) -> None:
    """The last descriptor of it is the board's: whoever asks next is answered."""
    client.do("Post", [lingering.fileno()], name=name, fd=0, scope="user")
    lingering.close()
    client.do("Remove", name=name)
    with Client(house.dir) as other:
        assert other.do("Health")


def test_hanging_up_on_what_is_slow_to_close(
    house: House, name: str, lingering: socket.socket
) -> None:
    """Never read by the broker, and closed with the connection it came over."""
    with Client(house.dir) as client, Client(house.dir) as other:
        client.attach("user")
        other.do("Health")
        os.kill(house.broker.pid, signal.SIGSTOP)
        client.push(b"no call")
        client.ask("Post", {"name": name, "fd": 0}, [lingering.fileno()])
        lingering.close()
        os.kill(house.broker.pid, signal.SIGCONT)
        assert client.gone()
        assert other.do("Health")


@pytest.mark.root
def test_the_end_while_somebody_keeps_a_thread(broker: Running) -> None:
    """That one cannot be ended, and all descriptors are its own, too: others' are closed."""
    ours, theirs = map(Fd, os.pipe())
    with ours, socket.socket() as sock, Client(broker.dir) as client:
        client.attach("user")
        client.do("Post", [sock.fileno()], name="kept", fd=0, scope="user")
        with theirs:
            client.do("Post", [theirs.fileno()], name="pipe", fd=0, scope="user")
        with locked(sock):
            client.ask("Stat", {"name": "kept"})
            assert client.hear().fine()["entry"]["socket"]["unknown"]
            broker.process.send_signal(signal.SIGTERM)
            assert select.select([ours.fileno()], [], [], SECONDS)[0]
            assert os.read(ours.fileno(), 1) == b""
        assert broker.process.wait(SECONDS) == 0


def test_no_room_for_what_waits() -> None:
    """Where no number is left for a duplicate nothing waits, and nothing stays open."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, memory(b"") as fd:
        roomy = Outbox(ours, stream=False, most_fds=1 << 20)
        while not roomy:
            roomy.put(b"x")
        roomy.close()
        outbox = Outbox(ours, stream=False, most_fds=fd.fileno())
        before = descriptors(os.getpid())
        with pytest.raises(OSError, match=os.strerror(EMFILE)):
            outbox.put(b"x", [fd, fd])
        assert not outbox
        assert descriptors(os.getpid()) == before
