# SPDX-License-Identifier: MIT
"""A stock Varlink client, which nobody here wrote, against the real broker.

And descriptors over the stream socket by hand, since stock clients do not carry them.

The law: what org.pagsrv.Board.varlink says is all that anybody needs to know to look at the
board. It refuses to know our own client.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import varlink  # type: ignore[import-untyped]

from tests.anybody import bare_environment
from tests.conftest import make_short_directory
from tests.daemon.wire import SECONDS, Client, call, memory, post, text_of
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel

INTERFACE = "org.pagsrv.Board"


@pytest.fixture(scope="module")
def broker() -> Iterator[Running]:
    """A broker with three entries of our user scope: two files and an empty one."""
    path = make_short_directory()
    with running_broker(path) as running, Client(running.dir) as client:
        client.attach("user")
        post(client, "db", b"database", scope="user", labels={"role": "main"})
        post(client, "log", b"log", scope="user")
        client.do("Post", name="later", scope="user")
        yield running
    shutil.rmtree(path)


# ---- its command line ----------------------------------------------------------------------------


def cli(broker: Running, *words: str) -> tuple[int, str, str]:
    """Run the stock command; ADDRESS in *words* stands for the broker's address."""
    address = f"unix:{broker.dir}/varlink"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "varlink.cli",
            *(word.replace("ADDRESS", address) for word in words),
        ],
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def called(broker: Running, *words: str) -> list[dict[str, Any]]:
    """What `call` prints: one JSON object after the other."""
    status, text, errors = cli(broker, "call", *words)
    assert (status, errors) == (0, "")
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        one, end = decoder.raw_decode(text)
        found.append(one)
        text = text[end:]
    return found


def test_command_lists(broker: Running) -> None:
    """One reply without `more`, several or one with it: the same entries."""
    (whole,) = called(broker, f"ADDRESS/{INTERFACE}.List")
    assert sorted(entry["name"] for entry in whole["entries"]) == ["db", "later", "log"]
    pieces = called(broker, "-m", f"ADDRESS/{INTERFACE}.List", '{"all": true}')
    assert [entry for piece in pieces for entry in piece["entries"]] == whole["entries"]
    (names,) = called(broker, f"ADDRESS/{INTERFACE}.List", '{"names": true}')
    assert sorted(names["names"]) == ["db", "later", "log"]


def test_command_stats(broker: Running) -> None:
    """One entry, as the interface says it looks."""
    (told,) = called(broker, f"ADDRESS/{INTERFACE}.Stat", '{"name": "db"}')
    entry = told["entry"]
    assert (entry["scope"], entry["kind"], entry["access"]) == (
        f"user:{os.getuid()}",
        "memfd",
        "rw",
    )
    assert entry["labels"] == {"role": "main"}
    assert entry["mask"] == "alswrv" + "-" * 5 + "v" + "-" * 12
    assert set(entry) == {
        "scope", "name", "assigned", "kind", "access", "mask", "rights", "owner", "poster",
        "until", "generation", "created", "last_opened", "opens", "labels", "granted_from",
            "path",
    }  # fmt: skip


def test_command_is_told_errors(broker: Running) -> None:
    """By their names and our sentences, those of the service interface included."""
    for method, parameters, word in (
        ("Stat", '{"name": "nothing"}', "org.pagsrv.Board.NoEntry"),
        ("Stat", '{"name": 7}', "InvalidParameter"),
        ("Steal", "{}", "MethodNotFound"),
        ("Watch", "{}", "org.pagsrv.Board.ExpectedMore"),
        ("Remove", '{"name": "db"}', "org.pagsrv.Board.Denied"),
    ):
        _, out, errors = cli(broker, "call", f"ADDRESS/{INTERFACE}.{method}", parameters)
        assert word in errors
        assert out == ""
    _, _, errors = cli(broker, "call", "ADDRESS/org.example.None.Call")
    assert "InterfaceNotFound" in errors


def test_command_shows_info_and_help(broker: Running) -> None:
    """GetInfo, and the interface's own text with its comments."""
    status, text, _ = cli(broker, "info", "ADDRESS")
    assert status == 0
    assert "pagsrv" in text
    assert INTERFACE in text
    status, text, _ = cli(broker, "help", f"ADDRESS/{INTERFACE}")
    assert status == 0
    assert "interface org.pagsrv.Board" in text
    assert "method OpenMany(names: []string, access: ?string) -> (fds: []int)" in text
    assert "# The very same open file, by another number." in text


# ---- its Python API ------------------------------------------------------------------------------


@pytest.fixture
def client(broker: Running) -> Iterator[Any]:
    """The stock client, which has read the interface from the broker."""
    with varlink.Client.new_with_address(f"unix:{broker.dir}/varlink") as one:
        yield one


def test_python_lists_and_stats(client: Any) -> None:  # noqa: ANN401 -- the package is not typed
    """Methods of the interface, as methods; errors, as exceptions."""
    with client.open(INTERFACE) as board:
        assert sorted(entry["name"] for entry in board.List()["entries"]) == ["db", "later", "log"]
        assert board.Stat("log")["entry"]["opens"] >= 0
        assert board.WhoAmI()["scopes"][0]["scope"] == f"user:{os.getuid()}"
        with pytest.raises(varlink.VarlinkError) as refused:
            board.Stat("nothing")
        assert refused.value.error() == "org.pagsrv.Board.NoEntry"
        assert "pagsrv ls --all" in refused.value.parameters()["message"]
        with pytest.raises(varlink.InvalidParameter):
            board.Wait("db", "world")
        assert board.Health()["entries"] == 3


def test_python_watches(client: Any, broker: Running) -> None:  # noqa: ANN401
    """With `_more`: what is there, live, and then what happens."""
    with client.open(INTERFACE) as board, Client(broker.dir) as poster:
        poster.attach("user")
        events = board.Watch(None, True, _more=True)
        told = [next(events) for _ in range(4)]
        assert [event["event"] for event in told] == ["present"] * 3 + ["live"]
        post(poster, "new", scope="user", until=[{"cond": "opens=1"}])
        text_of(poster.open("new"))
        told = [next(events) for _ in range(3)]
        assert [event["event"] for event in told] == ["posted", "opened", "ended"]
        assert told[-1]["why"] == "opens"
        assert {event["by"]["pid"] for event in told} == {os.getpid()}
        assert all(one["time"] <= two["time"] for one, two in pairwise(told))


def test_python_reads_the_interface(client: Any) -> None:  # noqa: ANN401
    """The two interfaces are there; both parse."""
    assert set(client.get_interfaces()) >= {"org.varlink.service", INTERFACE}
    assert client.get_interface("org.varlink.service").name == "org.varlink.service"


# ---- descriptors over the stream, by hand --------------------------------------------------------


@pytest.fixture
def stream(broker: Running) -> Iterator[Client]:
    """A connection to the stream socket that may change things."""
    with Client(broker.dir, stream=True) as one:
        one.attach("user")
        yield one


def test_descriptors_both_ways(stream: Client) -> None:
    """Beside the first byte of their message, as indices into what came with it."""
    entry = post(stream, "both ways", b"both ways", scope="user")
    assert entry["kind"] == "memfd"
    assert text_of(stream.open("both ways")) == b"both ways"
    answer = stream.talk("OpenMany", {"names": ["db", "both ways", "log", "db"]})
    assert answer.parameters == {"fds": [0, 1, 2, 3]}
    assert [text_of(fd) for fd in answer.fds] == [b"database", b"both ways", b"log", b"database"]
    assert text_of(stream.open("both ways", "Take")) == b"both ways"
    assert stream.refusal("Stat", name="both ways") == "NoEntry"


def test_descriptors_between_plain_messages(stream: Client) -> None:
    """Others are sent before and after, all before the first answer is read."""
    with memory(b"one") as one, memory(b"two") as two:
        for _ in range(3):
            stream.push(call("Health") + b"\0" + call("Stat", {"name": "db"}) + b"\0")
        stream.ask("Post", {"name": "one", "fd": 0, "scope": "user"}, [one.fileno()])
        stream.push(call("Health") + b"\0" + call("Open", {"name": "db"}) + b"\0")
        stream.ask("Post", {"name": "two", "fd": 0, "scope": "user"}, [two.fileno()])
        stream.push(call("OpenMany", {"names": ["two", "one"]}) + b"\0" + call("Health") + b"\0")
        for name in ("one", "two"):
            stream.ask("Take", {"name": name})
    answers = [stream.hear() for _ in range(14)]
    texts = [[text_of(fd) for fd in answer.fds] for answer in answers]
    assert [answer.error for answer in answers] == [""] * 14
    assert texts == [[]] * 8 + [[b"database"], [], [b"two", b"one"], [], [b"one"], [b"two"]]


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_descriptors_of_a_message_in_pieces(stream: Client, size: int) -> None:
    """However it is cut, and whatever else is in the same piece; they ride with its first byte."""
    first = call("Health") + b"\0"
    second = call("Post", {"name": "pieces", "fd": 0, "scope": "user"}) + b"\0"
    third = call("Take", {"name": "pieces"}) + b"\0"
    with memory(b"in pieces") as fd:
        for message, fds in ((first, []), (second, [fd.fileno()]), (third, [])):
            for start in range(0, len(message), size):
                stream.push(message[start : start + size], fds if start == 0 else ())
    assert stream.hear().fine()["entries"] == 3
    assert stream.hear().fine()["entry"]["name"] == "pieces"
    (fd,) = stream.hear().fds
    assert text_of(fd) == b"in pieces"


def test_long_message_with_descriptors(stream: Client) -> None:
    """Longer than one piece of the kernel's: they are with the first, the message is whole."""
    labels = {f"{number}": "v" * 256 for number in range(16)}
    with memory(b"long") as fd:
        message = call("Post", {"name": "long", "fd": 0, "scope": "user", "labels": labels})
        message = message[:-1] + b" " * (60000 - len(message)) + b"}\0"
        stream.push(message, [fd.fileno()])
        assert stream.hear().fine()["entry"]["labels"] == labels
    assert text_of(stream.open("long", "Take")) == b"long"


def test_stream_reader_of_single_bytes(broker: Running) -> None:
    """A client that reads byte by byte gets the descriptor with the first of its message."""
    with Client(broker.dir, stream=True) as client:
        client.push(call("Health") + b"\0" + call("Open", {"name": "db"}) + b"\0")
        plain = b""
        while not plain.endswith(b"\0"):
            data, fds, _, _ = socket.recv_fds(client.sock, 1, 4)
            assert fds == []
            plain += data
        data, fds, _, _ = socket.recv_fds(client.sock, 1, 4)
        assert (data, len(fds)) == (b"{", 1)
        os.close(fds[0])
