# SPDX-License-Identifier: MIT
"""What both faces do when the other side misbehaves, dies, or was never there.

The law: one sentence, of the right kind; no descriptor stays behind, and a connection
that cannot be trusted any more is not used again.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pagsrv
from tests.client.faces import Face
from tests.client.peer import HANG_UP, HELLO, Say, Step, scripted
from tests.running import running_broker

OPENED = b'{"parameters":{"fd":0}}'
DENIED = b'{"error":"org.pagsrv.Board.Denied","parameters":{"message":"not you"}}'
ENTRY = (
    b'{"parameters":{"entry":{"scope":"user:0","name":"x","assigned":false,"kind":null,'
    b'"access":null,"mask":"------------------------","rights":"v","owner":{"uid":0,"gid":0},'
    b'"poster":null,"until":[],"generation":1,"created":1.5,"last_opened":null,"opens":0,'
    b'"labels":{},"granted_from":null}}}'
)
LISTED = b'{"parameters":{"names":["a"]},"continues":true}'

Use = Callable[[pagsrv.Board], object]


def opened(board: pagsrv.Board) -> None:
    """Open and close."""
    board.open("x").close()


def opened_both(board: pagsrv.Board) -> None:
    """Open two and close them."""
    for fd in board.open_many(["x", "y"]):
        fd.close()


NONSENSE: dict[str, tuple[Use, Step]] = {
    "no descriptor": (opened, [Say(OPENED)]),
    "two descriptors": (opened, [Say(OPENED, 2)]),
    "descriptors by the hundred": (opened, [Say(OPENED, 253)]),
    "another index": (opened, [Say(b'{"parameters":{"fd":1}}', 1)]),
    "a negative index": (opened, [Say(b'{"parameters":{"fd":-1}}', 1)]),
    "no index": (opened, [Say(b'{"parameters":{}}', 1)]),
    "no reply": (opened, [Say(b"hello", 1)]),
    "half a reply": (opened, [Say(OPENED[:-1], 1)]),
    "a reply and a half": (opened, [Say(OPENED + b"{", 1)]),
    "not UTF-8": (opened, [Say(b'{"error":"\xff"}', 1)]),
    "too much": (opened, [Say(b" " * 65_537 + OPENED, 1)]),
    "an error nobody knows": (opened, [Say(b'{"error":"org.example.Oops"}')]),
    "too few for many": (opened_both, [Say(b'{"parameters":{"fds":[0,1]}}', 1)]),
    "too many for many": (opened_both, [Say(b'{"parameters":{"fds":[0,1]}}', 3)]),
    "fewer answers than names": (opened_both, [Say(b'{"parameters":{"fds":[0]}}', 1)]),
    "one descriptor twice": (opened_both, [Say(b'{"parameters":{"fds":[0,0]}}', 2)]),
    "a descriptor unasked for": (lambda board: board.stat("x"), [Say(ENTRY, 1)]),
    "a field of the wrong kind": (
        lambda board: board.stat("x"), [Say(ENTRY.replace(b"false", b"0"))],
    ),
    "another method's answer": (lambda board: board.whoami(), [Say(ENTRY)]),
    "more than was asked": (
        lambda board: board.stat("x"), [Say(ENTRY[:-1] + b',"continues":true}')],
    ),
    "a list with a descriptor": (lambda board: board.names(), [Say(LISTED), Say(LISTED, 1)]),
    "a list that breaks off": (lambda board: board.names(), [Say(LISTED), Say(b"{")]),
}  # fmt: skip


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_ends_the_connection(face: Face, short_tmp: Path, case: str) -> None:
    """An answer that is none is a ProtocolError, and afterwards there is no broker."""
    use, step = NONSENSE[case]
    with scripted(short_tmp, [HELLO, step]) as peer:
        board = face.connect(peer.dir, scopes=["user"], changes=True)
        with pytest.raises(pagsrv.ProtocolError):
            use(board)
        with pytest.raises(pagsrv.NoBroker):
            use(board)
        board.close()


USES: dict[str, Use] = {
    "open": opened,
    "open_many": opened_both,
    "take": lambda board: board.take("x"),
    "names": lambda board: board.names(),
    "stat": lambda board: board.stat("x"),
    "remove": lambda board: board.remove("x"),
    "post": lambda board: board.post("x", 0),
}


@pytest.mark.parametrize("use", USES)
def test_a_broker_that_hangs_up_is_no_broker(face: Face, short_tmp: Path, use: str) -> None:
    """EOF where an answer should be is NoBroker, and again at the next call."""
    with (
        scripted(short_tmp, [HELLO, [HANG_UP]]) as peer,
        face.connect(peer.dir, scopes=["user"], changes=True) as board,
    ):
        for _ in range(2):
            with pytest.raises(pagsrv.NoBroker, match="hung up"):
                USES[use](board)


def test_a_list_that_ends_with_the_broker_is_none(face: Face, short_tmp: Path) -> None:
    """Half a list is not a list."""
    with (
        scripted(short_tmp, [HELLO, [Say(LISTED), HANG_UP]]) as peer,
        face.connect(peer.dir, scopes=["user"], changes=True) as board,
        pytest.raises(pagsrv.NoBroker),
    ):
        board.names()


def test_a_refusal_leaves_the_connection_as_it_was(face: Face, short_tmp: Path) -> None:
    """A Refused is an answer like any other."""
    script: list[Step] = [HELLO, [Say(DENIED)], [Say(OPENED, 1)], [Say(DENIED)], [Say(ENTRY)]]
    with (
        scripted(short_tmp, script) as peer,
        face.connect(peer.dir, scopes=["user"], changes=True) as board,
    ):
        with pytest.raises(pagsrv.Denied, match="not you"):
            board.open("x")
        board.open("x").close()
        with pytest.raises(pagsrv.Denied, match="not you"):
            board.stat("x")
        assert board.stat("x").name == "x"


def test_answers_may_be_written_otherwise(face: Face, short_tmp: Path) -> None:
    """Another broker's JSON has spaces, other orders and further fields, and is read."""
    hello = (
        b'{ "parameters" : {"nonce": null, "extra": 1, "uid": 7, "scopes": [], "methods": [], '
        b'"limits": {"labels":1,"message_bytes":1,"message_fds":1,"name_bytes":1}, '
        b'"broker": "other" } }'
    )
    script: list[Step] = [
        [Say(hello)],
        [Say(b'{"continues": false, "parameters": {"fd": 0}}', 1)],
        [Say(b'{"parameters": {"fds": [0, 1]}}', 2)],
    ]
    with (
        scripted(short_tmp, script) as peer,
        face.connect(peer.dir, scopes=["user"], changes=True) as board,
    ):
        assert (board.broker_id, board.attached.uid) == ("other", 7)
        board.open("x").close()
        opened_both(board)


def test_a_refusal_before_a_hang_up_is_heard(face: Face, short_tmp: Path) -> None:
    """A broker that does not serve us says so and hangs up, whether or not it has read Attach."""
    with (
        scripted(short_tmp, [[Say(DENIED), HANG_UP]]) as peer,
        pytest.raises(pagsrv.Denied, match="not you"),
    ):
        face.connect(peer.dir, scopes=["user"], changes=True)
    with (
        scripted(short_tmp, [[]], unasked=[Say(DENIED), HANG_UP]) as peer,
        pytest.raises(pagsrv.Denied, match="not you"),
    ):
        face.connect(peer.dir, scopes=["user"], changes=True)


def test_descriptors_beyond_the_limit_are_said_and_survived(
    face: Face, short_tmp: Path, few_descriptors: Callable[[], None]
) -> None:
    """With no room for what comes, nothing stays, the sentence says why, and the board goes on."""
    script: list[Step] = [HELLO, [Say(b'{"parameters":{"fds":[0,1]}}', 2)], [Say(ENTRY)]]
    with (
        scripted(short_tmp, script) as peer,
        face.connect(peer.dir, scopes=["user"], changes=True) as board,
    ):
        few_descriptors()
        with pytest.raises(pagsrv.PagsrvError, match="ulimit"):
            opened_both(board)
        assert board.stat("x").name == "x"


def test_what_cannot_be_held_is_not_taken(
    face: Face, short_tmp: Path, few_descriptors: Callable[[], None]
) -> None:
    """Of two only one could be kept, and the other would be nowhere: both are still there."""
    with (
        running_broker(short_tmp) as broker,
        face.connect(broker.dir, scopes=["user"], changes=True) as board,
    ):
        for name in ("x", "y"):
            board.post(name, 0, scope="user")
        few_descriptors()
        with pytest.raises(pagsrv.PagsrvError, match=r"nothing was taken.*ulimit"):
            board.take_many(["x", "y"])
        assert sorted(board.names()) == ["x", "y"]
        with pytest.raises(pagsrv.InvalidParameter, match="253"):
            board.take_many(["x"] * 254)
        board.take("x").close()


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[], None]]:
    """A function after which this process has no free descriptor but one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def lower() -> None:
        probe = os.open(os.devnull, os.O_RDONLY)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 1, hard))

    yield lower
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_killed_broker_is_no_broker(face: Face, short_tmp: Path) -> None:
    """SIGKILL under a connection, a watch and a wait: each says NoBroker."""
    with running_broker(short_tmp) as broker:
        board = face.connect(broker.dir, scopes=["user"])
        events = board.watch(initial=True)
        assert next(events).event == "live"
        broker.kill()
        for call in (board.names, lambda: next(events), lambda: board.wait("x")):
            with pytest.raises(pagsrv.NoBroker):
                call()
        board.close()
        events.close()
        with pytest.raises(pagsrv.NoBroker, match="pagsrv broker"):
            face.connect(broker.dir)


def test_nobody_there_is_said_with_the_places(
    face: Face, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NoBroker names every directory looked in, and what to do."""
    monkeypatch.setattr("pagsrv.client.where.MACHINE", str(short_tmp / "machine"))
    with pytest.raises(pagsrv.NoBroker) as caught:
        face.connect(str(short_tmp / "none"))
    for part in (f"{short_tmp}/none", f"{short_tmp}/machine", "`pagsrv broker`", "--broker"):
        assert part in str(caught.value)
