# SPDX-License-Identifier: MIT
"""Readers that are slow, or never read; listings that are long.

The law: what waits for one reader is bounded, costs nobody else anything, and comes in
order once it is read.
"""

from __future__ import annotations

import json
import resource
import select
import socket
from collections.abc import Iterator

import pytest

from tests.daemon.conftest import House
from tests.daemon.waiting import until
from tests.daemon.wire import SECONDS, Answer, Client, call, clients, post, text_of

pytestmark = pytest.mark.kernel

MANY = 10_000
MESSAGE_BYTES = 65536


def memory_of(pid: int) -> int:
    """The resident memory of process *pid*, in bytes."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def stuff(house: House, client: Client, data: bytes, most: int = 5000) -> int:
    """Send *data* again and again, reading nothing, until the broker takes no more; how often."""
    client.sock.setblocking(False)
    sent = 0
    try:
        while sent < most:
            try:
                client.push(data)
                sent += 1
            except BlockingIOError:
                waiting = client.unheard()
                house.health()
                house.health()
                # Two turns of the broker's loop, and it read nothing: its way out is full, too.
                if client.unheard() == waiting:
                    break
    finally:
        client.sock.settimeout(SECONDS)
    return sent


@pytest.mark.parametrize("changes", [False, True], ids=["standing", "judged"])
@pytest.mark.parametrize("stream", [False, True], ids=["seqpacket", "stream"])
def test_answers_wait_for_their_reader(house: House, stream: bool, changes: bool) -> None:  # noqa: FBT001
    """Thousands of opens and no answer read: the broker stops reading, and then answers all."""
    with Client(house.dir, stream=stream) as client:
        client.attach("user", changes=changes)
        before = memory_of(house.broker.pid)
        packet = call("Open", {"name": "neighbour"}) + (b"\0" if stream else b"")
        sent = stuff(house, client, packet)
        assert 100 < sent < 5000
        assert text_of(house.neighbour.open("neighbour")) == b"in peace"
        assert memory_of(house.broker.pid) - before < 8 << 20
        for _ in range(sent):
            answer = client.hear()
            assert len(answer.fds) == 1
            assert answer.fine() == {"fd": 0}
        assert client.do("Health")


def test_peers_that_never_read(house: House) -> None:
    """A hundred of each kind, with the longest answers there are: the others are served."""
    before = memory_of(house.broker.pid)
    for stream in (False, True):
        with clients(house.dir, 100, stream=stream) as peers:
            for peer in peers:
                stuff(house, peer, call("GetInfo") + (b"\0" if stream else b""), 50)
                peer.ask("List", {"all": True}, more=not stream)
                peer.ask("Watch", {"initial": True}, more=True)
            assert text_of(house.neighbour.open("neighbour")) == b"in peace"
            assert memory_of(house.broker.pid) - before < 32 << 20


def test_hang_up_while_answers_wait(house: House) -> None:
    """What waited, descriptors and all, goes with the connection."""
    for stream in (False, True):
        for _ in range(5):
            with Client(house.dir, stream=stream) as client:
                client.attach("user")
                end = b"\0" if stream else b""
                stuff(house, client, call("OpenMany", {"names": ["neighbour"] * 20}) + end)


def test_descriptors_in_flight_are_bounded(house: House) -> None:
    """They cost the broker no room in the socket, so they are counted: read before you ask."""
    with Client(house.dir) as client:
        many = {"names": ["neighbour"] * 250}
        for _ in range(8):
            client.ask("OpenMany", many)
        until(lambda: not client.unheard(), house.health, "the broker takes the calls")
        house.health()
        errors = [_closed(client.hear()) for _ in range(8)]
        assert errors == [""] * 4 + ["QuotaExceeded"] * 4
        assert _closed(client.talk("OpenMany", many)) == ""


def _closed(answer: Answer) -> str:
    """Whose descriptors are closed; its error."""
    for fd in answer.fds:
        fd.close()
    return answer.error


def test_entry_removed_while_its_answer_waits(house: House, client: Client, name: str) -> None:
    """The waiting answer owns its descriptor: it is the right one whatever came after."""
    post(client, name, b"promised", scope="user")
    with Client(house.dir) as slow:
        slow.attach("user")
        sent = stuff(house, slow, call("Open", {"name": name}))
        client.do("Remove", name=name)
        for number in range(20):
            post(client, f"{name}.{number}", b"another", scope="user")
        texts = []
        for _ in range(sent):
            answer = slow.hear()
            texts += [text_of(fd) for fd in answer.fds]
            assert answer.error in ("", "NoEntry")
    # Those it had judged before the removal are kept, at least one of them out of the queue.
    assert len(texts) > 100
    assert set(texts) == {b"promised"}


@pytest.fixture
def crowded(client: Client, name: str) -> Iterator[str]:
    """MANY empty entries whose names begin with this one's."""
    for number in range(0, MANY, 100):
        for one in range(number, number + 100):
            client.ask("Post", {"name": f"{name}.{one}", "scope": "user"}, oneway=True)
    client.do("Stat", name=f"{name}.{MANY - 1}")
    yield name
    for one in range(MANY):
        client.ask("Remove", {"name": f"{name}.{one}"}, oneway=True)
    assert client.refusal("Stat", name=f"{name}.0") == "NoEntry"


def test_long_listings(house: House, crowded: str) -> None:
    """SEQPACKET: messages below the limit. STREAM without more: one reply. And nobody waits."""
    names = {f"{crowded}.{number}" for number in range(MANY)} | {"neighbour"}
    with Client(house.dir) as client:
        for parameters, field in (({}, "entries"), ({"names": True}, "names")):
            client.ask("List", parameters, more=True)
            found: list[str] = []
            messages = 0
            while True:
                raw = client.sock.recv(1 << 20)
                assert len(raw) <= MESSAGE_BYTES
                told = json.loads(raw)
                found += [one if field == "names" else one["name"]
                          for one in told["parameters"][field]]  # fmt: skip
                messages += 1
                if not told.get("continues"):
                    break
            assert messages > 1
            assert len(found) == len(names)
            assert set(found) == names
    with Client(house.dir, stream=True) as client:
        for parameters, field in (({}, "entries"), ({"names": True}, "names")):
            client.ask("List", parameters)
            house.health()
            told = client.hear().fine()[field]
            assert {one if field == "names" else one["name"] for one in told} == names
            client.ask("List", parameters, more=True)
            some = client.hear()
            assert some.continues
            while some.continues:
                some = client.hear()
        assert client.do("Health")


def test_long_listings_nobody_reads(house: House, crowded: str) -> None:
    """What the broker holds for each such peer is bounded, however long its answer."""
    del crowded
    before = memory_of(house.broker.pid)
    with clients(house.dir, 40, stream=True) as peers:
        for peer in peers:
            peer.ask("List", {})
            peer.ask("List", {"names": True})
        for peer in peers:  # an answer is on its way to each of them
            assert select.select([peer.sock], [], [], SECONDS)[0]
        assert memory_of(house.broker.pid) - before < 40 << 20
    with clients(house.dir, 40) as peers:
        for peer in peers:
            peer.ask("List", {}, more=True)
            peer.ask("Watch", {"initial": True}, more=True)
        for peer in peers:
            assert select.select([peer.sock], [], [], SECONDS)[0]
        assert memory_of(house.broker.pid) - before < 40 << 20


def test_slow_watcher_is_told_what_it_lost(house: House, client: Client, name: str) -> None:
    """The first events come, the rest is counted, and after that it is told of new ones again."""
    with Client(house.dir) as watcher:
        watcher.ask("Watch", {"scope": "user", "initial": True}, more=True)
        lost = house.health()["events_lost"]
        number = 0
        while house.health()["events_lost"] < lost + 100:
            client.do("Post", name=f"{name}.{number}", scope="user")
            number += 1
        lost = house.health()["events_lost"] - lost
        told: list[dict[str, object]] = []
        while not told or told[-1]["event"] != "lost":
            told.append(watcher.hear().fine())
        events = [event["name"] for event in told if event["event"] == "posted"]
        assert events == [f"{name}.{one}" for one in range(number - lost)]
        assert f"{lost} events" in str(told[-1]["why"])
        client.do("Post", name=name, scope="user")
        assert watcher.hear().fine()["name"] == name


def test_silent_peer_is_no_burden(house: House) -> None:
    """Connections that say nothing, and some that never were: the next is served."""
    with clients(house.dir, 200) as quiet, clients(house.dir, 100, stream=True):
        until(lambda: house.health()["connections"] > 300, house.health, "all of them are accepted")
        assert quiet[-1].do("Health")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bound:
            bound.connect(f"{house.dir}/board")
