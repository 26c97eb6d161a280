# SPDX-License-Identifier: MIT
"""Bad messages, each against the real broker: a clear error, and nobody else is touched.

The law: what is no message ends its own connection, what is no right call is refused and
its connection lives; every test ends with a look after the neighbour (conftest.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.daemon import evil
from tests.daemon.conftest import House
from tests.daemon.wire import Client, Said, memory

pytestmark = pytest.mark.kernel


@pytest.fixture(params=[False, True], ids=["seqpacket", "stream"])
def peer(house: House, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A connection of each kind, that may change things."""
    with Client(house.dir, stream=request.param) as client:
        client.attach("user")
        yield client


def _send(client: Client, data: bytes) -> None:
    client.push(data + b"\0" if client.stream else data)


@pytest.mark.parametrize("data", evil.MALFORMED.values(), ids=evil.MALFORMED.keys())
def test_malformed_message_ends_its_connection(peer: Client, data: bytes) -> None:
    """One error reply, then hang-up; where it is JSON after all it may be just refused."""
    _send(peer, data)
    try:
        error = peer.hear().error
    except EOFError:
        return
    if error in ("InvalidParameter", "InterfaceNotFound", "MethodNotFound", "Stale"):
        assert peer.do("Health")["entries"] >= 1
        return
    assert error == "ProtocolError"
    assert peer.gone()


@pytest.mark.parametrize(("data", "error"), evil.REFUSED.values(), ids=evil.REFUSED.keys())
def test_bad_call_is_refused(peer: Client, data: bytes, error: str) -> None:
    """By its error's name and a sentence; the next call is answered as ever."""
    _send(peer, data)
    if error == "ExpectedMore" and peer.stream and b"List" in data:
        assert "entries" in peer.hear().fine()
    elif error:
        with pytest.raises(Said) as said:
            peer.hear().fine()
        assert said.value.error == error
        assert error.endswith("NotFound") or len(said.value.message) > 20
    assert peer.do("Health")["entries"] >= 1


@pytest.mark.parametrize("name", evil.NAMES.values(), ids=evil.NAMES.keys())
def test_bad_name_is_refused(client: Client, name: str) -> None:
    """In every call that takes one."""
    for method in ("Post", "Open", "Take", "Stat", "Remove", "Wait"):
        assert client.refusal(method, name=name) == "InvalidParameter"
    assert client.refusal("Rename", name="neighbour", to=name) == "InvalidParameter"
    assert client.refusal("OpenMany", names=[name]) == "InvalidParameter"


@pytest.mark.parametrize("cond", evil.CONDITIONS.values(), ids=evil.CONDITIONS.keys())
def test_bad_condition_is_refused(client: Client, name: str, cond: str) -> None:
    """With a sentence that names what can be said, and nothing is posted."""
    with memory(b"") as fd, pytest.raises(Said) as said:
        client.do("Post", [fd.fileno()], name=name, fd=0, scope="user", until=[{"cond": cond}])
    assert said.value.error == "InvalidParameter"
    assert client.refusal("Stat", name=name) == "NoEntry"


def test_many_conditions_are_refused(client: Client, name: str) -> None:
    """Before anything is opened for one of them."""
    until = [{"cond": "leader"}] * 2000
    assert client.refusal("Post", name=name, scope="user", until=until) == "InvalidParameter"
    twice = [{"cond": "ttl=5"}, {"cond": "ttl=6"}]
    assert client.refusal("Post", name=name, scope="user", until=twice) == "InvalidParameter"


@pytest.mark.parametrize("labels", evil.LABELS.values(), ids=evil.LABELS.keys())
def test_bad_labels_are_refused(client: Client, name: str, labels: dict[str, object]) -> None:
    """And nothing is posted."""
    assert client.refusal("Post", name=name, scope="user", labels=labels) == "InvalidParameter"
    assert client.refusal("Stat", name=name) == "NoEntry"


def test_oversized_packet(house: House) -> None:
    """One byte too many: said, and hung up."""
    with Client(house.dir) as client:
        client.push(evil.oversized())
        assert client.hear().error == "ProtocolError"
        assert client.gone()
        largest = evil.oversized()[:-4] + b'"}}'
        assert len(largest) == evil.MESSAGE_BYTES
    with Client(house.dir) as client:
        client.push(largest)
        assert client.hear().error == "InvalidParameter"
        assert client.refusal("Stat", name="neighbour") == ""


@pytest.mark.parametrize("filler", [b"x", b" ", b'{"method":"'], ids=["x", "space", "calls"])
def test_endless_message(house: House, filler: bytes) -> None:
    """A stream without a NUL is hung up once it is longer than a message."""
    with Client(house.dir, stream=True) as client:
        sent = 0
        try:
            while sent < 100 * evil.MESSAGE_BYTES:
                client.push(filler * 4096)
                sent += len(filler) * 4096
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 20 * evil.MESSAGE_BYTES
        assert client.gone()


def test_half_a_message_and_silence(house: House, name: str) -> None:
    """It costs what it holds, keeps nobody waiting, and goes with its connection."""
    with memory(b"") as fd, Client(house.dir, stream=True) as client:
        client.attach("user")
        client.push(b'{"method":"org.pagsrv.Board.Po', [fd.fileno()] * 253)
        house.health()
        assert house.neighbour.do("Stat", name="neighbour")
        client.push(b'st","parameters":{"name":"' + name.encode())
        house.health()


def test_message_in_pieces(house: House, client: Client, name: str) -> None:
    """Byte by byte, with the descriptor beside the first: one call all the same."""
    with memory(b"whole") as fd, Client(house.dir, stream=True) as pieces:
        pieces.attach("user")
        first, *rest = (
            b'{"method":"org.pagsrv.Board.Post","parameters":{"name":"%s","fd":0,"scope":"user"}}\0'
            % name.encode()
        )
        pieces.push(bytes([first]), [fd.fileno()])
        for byte in rest:
            pieces.push(bytes([byte]))
        assert pieces.hear().fine()["entry"]["assigned"]
    with client.open(name) as opened:
        assert os.read(opened.fileno(), 10) == b"whole"


def test_hang_up_in_the_middle(house: House, name: str) -> None:
    """Calls of a peer that left are answered to nobody, and harm nobody."""
    for stream in (False, True):
        for _ in range(20):
            with Client(house.dir, stream=stream) as client:
                client.attach("user")
                for _ in range(20):
                    client.ask("OpenMany", {"names": ["neighbour"] * 20})
                    client.ask("List", {"all": True}, more=True)
                client.ask("Wait", {"name": name})


def test_half_closed_peer_is_answered(house: House) -> None:
    """Who says that it will send no more still gets what it asked for."""
    for stream in (False, True):
        with Client(house.dir, stream=stream) as client:
            for _ in range(3):
                client.ask("Health")
            client.sock.shutdown(1)
            for _ in range(3):
                assert client.hear().fine()["entries"] >= 1
            assert client.gone()


def test_call_without_reply_has_none(house: House, client: Client, name: str) -> None:
    """Oneway: done and not answered; the next call's answer is its own."""
    client.ask("Health", oneway=True)
    client.ask("Post", {"name": name, "scope": "user"}, oneway=True)
    client.ask("Post", {"name": name, "scope": "user"}, oneway=True)
    client.ask("Open", {"name": "neighbour"}, oneway=True)
    client.ask("OpenMany", {"names": ["neighbour"] * 5}, oneway=True)
    client.ask("List", {}, more=True, oneway=True)
    client.ask("org.varlink.service.GetInfo", oneway=True)
    assert client.refusal("Open", name=7) == "InvalidParameter"
    assert client.do("Stat", name=name)["entry"]["name"] == name
    client.ask("Take", {"name": name}, oneway=True)
    client.ask("Remove", {"name": name}, oneway=True)
    assert client.refusal("Stat", name=name) == "NoEntry"
    assert house.health()


def test_log_is_not_flooded(house: House) -> None:
    """Twenty lines a second, the rest are counted; and each stays one line."""
    before = len(house.broker.log)
    for _ in range(500):
        with Client(house.dir) as client:
            client.push(b"{no\n")
            assert client.hear().error == "ProtocolError"
    added = house.broker.log[before:]
    assert added.count("hung up") <= 20 * 15
    assert all(line.startswith("pagsrv: ") for line in added.splitlines())
