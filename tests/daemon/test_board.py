# SPDX-License-Identifier: MIT
"""The board in a process of its own: post, open, take, wait, watch.

The law: what is opened is the very same open file, and what was handed out stays with
whoever has it.
"""

from __future__ import annotations

import os
import socket
from itertools import pairwise
from threading import Thread

import pytest

from tests.daemon import members
from tests.daemon.conftest import House
from tests.daemon.wire import Client, Said, memory, post, text_of

pytestmark = pytest.mark.kernel

LOAD = 2000


def test_open_gives_the_same_open_file(client: Client, name: str) -> None:
    """One open file description: inode, offset and flags are shared."""
    with memory(b"abcdef") as mine:
        client.do("Post", [mine.fileno()], name=name, fd=0, scope="user")
        with client.open(name) as first, client.open(name) as second:
            assert os.fstat(mine.fileno()).st_ino == os.fstat(first.fileno()).st_ino
            assert os.read(first.fileno(), 2) == b"ab"
            assert os.read(second.fileno(), 2) == b"cd"
            assert os.read(mine.fileno(), 2) == b"ef"


def test_a_conversation_goes_on_in_another_process(client: Client, name: str) -> None:
    """A dialled connection is posted in the middle of a talk and finished elsewhere."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"first half, ")
        client.do("Post", [theirs.fileno()], name=name, fd=0, scope="user")
        with client.open(name).to_socket() as other:
            other.sendall(b"second half")
        assert ours.recv(100) == b"first half, second half"


def test_replace_leaves_alone_what_was_handed_out(client: Client, name: str) -> None:
    """Later opens get the new one, earlier ones keep the old."""
    before = post(client, name, b"old", scope="user")
    with client.open(name) as old:
        with memory(b"new") as fd:
            assert client.refusal("Post", [fd.fileno()], name=name, fd=0, scope="user") == "Exists"
            after = client.do(
                "Post", [fd.fileno()], name=name, fd=0, scope="user", replace=True
            )["entry"]  # fmt: skip
        assert after["generation"] > before["generation"]
        assert text_of(client.open(name)) == b"new"
        assert os.pread(old.fileno(), 10, 0) == b"old"


def test_remove_leaves_alone_what_was_handed_out(client: Client, name: str) -> None:
    """The entry is gone, the descriptor lives."""
    post(client, name, b"still here", scope="user")
    with client.open(name) as fd:
        client.do("Remove", name=name)
        assert client.refusal("Open", name=name) == "NoEntry"
        assert os.pread(fd.fileno(), 100, 0) == b"still here"


def test_empty_entry_is_assigned_later(client: Client, name: str) -> None:
    """Until it is, everything but looking at it and removing it is NotAssigned."""
    made = client.do("Post", name=name, scope="user")["entry"]
    assert (made["assigned"], made["kind"]) == (False, None)
    assert client.refusal("Open", name=name) == "NotAssigned"
    assert client.refusal("Take", name=name) == "NotAssigned"
    assert client.do("Stat", name=name)["entry"]["generation"] == made["generation"]
    assert post(client, name, b"now", scope="user")["assigned"]
    assert text_of(client.open(name)) == b"now"
    with memory(b"") as fd:
        stale = {"name": name, "fd": 0, "scope": "user", "expect": made["generation"]}
        assert client.refusal("Post", [fd.fileno()], **stale) == "Stale"


def _take(dir: str, name: str) -> str:  # noqa: A002
    with Client(dir) as client:
        client.attach("user")
        try:
            return text_of(client.open(name, "Take")).decode()
        except Said as said:
            return said.error


def test_of_fifty_that_take_one_gets_it(house: House, name: str) -> None:
    """Taking is one moment: opened and removed, for one of them only."""
    post(house.neighbour, name, b"the one", scope="user")
    got = members.crowd(50, _take, house.dir, name)
    assert sorted(got) == ["NoEntry"] * 49 + ["the one"]


def test_open_many_hands_out_253_at_once(client: Client, name: str) -> None:
    """As many as one message carries, in the order of their names; one more is refused."""
    names = [f"{name}.{number}" for number in range(253)]
    for one in names:
        post(client, one, one.encode(), scope="user")
    answer = client.talk("OpenMany", {"names": names})
    assert answer.parameters["fds"] == list(range(253))
    assert [text_of(fd) for fd in answer.fds] == [one.encode() for one in names]
    assert client.refusal("OpenMany", names=[*names, name]) == "InvalidParameter"
    assert client.refusal("OpenMany", names=[*names[:3], name]) == "NoEntry"
    taken = client.talk("TakeMany", {"names": names})
    assert [text_of(fd) for fd in taken.fds] == [one.encode() for one in names]
    assert client.refusal("OpenMany", names=names[:1]) == "NoEntry"


@pytest.mark.parametrize("stream", [False, True], ids=["seqpacket", "stream"])
def test_answers_come_in_the_order_of_calls(house: House, name: str, stream: bool) -> None:  # noqa: FBT001
    """Many calls before the first answer is read; refusals take their turn like answers."""
    with Client(house.dir, stream=stream) as client:
        client.attach("user")
        for number in range(50):
            post(client, f"{name}.{number}", str(number).encode(), scope="user")
        for number in range(50):
            client.ask("Open", {"name": f"{name}.{number}"})
            client.ask("Stat", {"name": f"{name}.{number}"})
            client.ask("Open", {"name": f"{name}.no.{number}"})
        for number in range(50):
            (fd,) = client.hear().fds
            assert text_of(fd) == str(number).encode()
            assert client.hear().fine()["entry"]["name"] == f"{name}.{number}"
            answer = client.hear()
            assert (answer.error, f"{name}.no.{number} " in answer.parameters["message"]) == (
                "NoEntry", True,
            )  # fmt: skip


def test_wait_is_answered_when_the_name_is_there(house: House, client: Client, name: str) -> None:
    """Not before, by whoever posts it; and TimedOut when its time is up."""
    with Client(house.dir) as waiter:
        waiter.ask("Wait", {"name": name, "timeout": 60})
        entry = post(client, name, scope="user")
        assert waiter.hear().fine()["entry"]["generation"] == entry["generation"]
        # It is there: answered at once, and the connection is free for other calls again.
        assert waiter.do("Wait", name=name)["entry"]["name"] == name
        assert waiter.refusal("Wait", name=f"{name}.never", timeout=0) == "TimedOut"
        assert waiter.refusal("Wait", name=f"{name}.never", timeout=0.05) == "TimedOut"


def test_watch_tells_all_that_happens(house: House, client: Client, name: str) -> None:
    """Who did what, in order, and why an entry ended; the generation moves on."""
    with Client(house.dir) as watcher:
        watcher.ask("Watch", {"initial": True}, more=True)
        told = []
        while (event := watcher.hear().fine())["event"] != "live":
            told.append((event["event"], event["name"]))
        assert ("present", "neighbour") in told
        client.do("Post", name=name, scope="user")
        post(client, name, scope="user")
        text_of(client.open(name))
        client.do("SetMask", name=name, mask="3f3f0000")
        client.do("SetTimeout", name=name, seconds=60)
        client.do("Rename", name=name, to=f"{name}.2")
        client.do("Grant", name=f"{name}.2", to="pag:1090519041")
        client.do("Ungrant", name=f"{name}.2", **{"from": "pag:1090519041"})
        client.do("Remove", name=f"{name}.2")
        events = [watcher.hear().fine() for _ in range(9)]
    assert [event["event"] for event in events] == [
        "posted", "assigned", "opened", "changed", "changed", "renamed", "granted", "ungranted",
        "ended",
    ]  # fmt: skip
    assert {event["by"]["pid"] for event in events} == {os.getpid()}
    assert events[-1]["why"] == "removed"
    generations = [event["generation"] for event in events]
    assert all(one <= two for one, two in pairwise(generations[:-1]))


def test_initial_watch_under_load_has_no_gap(house: House, name: str) -> None:
    """Each entry is present or posted, once, however the two meet."""
    poster = Thread(target=_post_many, args=(house.dir, name))
    with Client(house.dir) as watcher:
        poster.start()
        with Client(house.dir) as early:
            early.do("Wait", name=f"{name}.10")
        watcher.ask("Watch", {"initial": True, "scope": "user"}, more=True)
        there: dict[str, list[str]] = {}
        while f"{name}.{LOAD - 1}" not in there:
            event = watcher.hear().fine()
            if event["name"].startswith(name):
                there.setdefault(event["name"], []).append(event["event"])
        poster.join()
    assert there.keys() == {f"{name}.{number}" for number in range(LOAD)}
    assert set(map(tuple, there.values())) == {("present",), ("posted",)}


def _post_many(dir: str, name: str) -> None:  # noqa: A002
    with Client(dir) as client:
        client.attach("user")
        for number in range(LOAD):
            client.do("Post", name=f"{name}.{number}", scope="user")
