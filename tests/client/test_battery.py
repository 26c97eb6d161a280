# SPDX-License-Identifier: MIT
"""What both faces do, with a real broker: one battery, run through each of them.

The law: a method returns what the broker says, raises what it refuses with, and leaves
no descriptor behind. Everything here is in the user scope: sessions are in test_session.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pagsrv
from tests.actors import Actor
from tests.client.faces import Face
from tests.running import Running

SOMEBODY = f"user:{os.geteuid() + 1}"


@pytest.fixture
def board(face: Face, broker: Running) -> Iterator[pagsrv.Board]:
    """A board without a session, so that no keyring is touched."""
    with face.connect(broker.dir, scopes=["user"]) as board:
        yield board


@pytest.fixture
def null() -> Iterator[int]:
    """A descriptor to post."""
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def same_file(one: pagsrv.Fd, other: int) -> bool:
    """Whether both are the same file."""
    left, right = os.fstat(one.fileno()), os.fstat(other)
    return (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino)


def test_what_is_posted_is_opened(board: pagsrv.Board, name: str, null: int) -> None:
    """The descriptor that comes is the posted one's duplicate, close-on-exec, the caller's."""
    entry = board.post(name, null, scope="user")
    assert (f"user:{os.geteuid()}", name, True, "char", "rw") == (
        entry.scope, entry.name, entry.assigned, entry.kind, entry.access,
    )  # fmt: skip
    with board.open(name) as fd:
        assert isinstance(fd, pagsrv.Fd)
        assert same_file(fd, null)
        assert not os.get_inheritable(fd.fileno())
    with board.open(name, "user") as fd:
        assert same_file(fd, null)
    with board.open(f"user:{os.geteuid()}/{name}") as fd:
        assert same_file(fd, null)


def test_a_connection_is_finished_by_whom_opens_it(board: pagsrv.Board, name: str) -> None:
    """The very same open file: what one end was told is read by who opens the other."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            board.post(name, theirs, scope="user")
        ours.sendall(b"first half, ")
        with board.take(name).to_socket() as taken:
            assert taken.recv(100) == b"first half, "
            taken.sendall(b"second half")
        assert ours.recv(100) == b"second half"
        assert ours.recv(100) == b""


def test_taking_removes(board: pagsrv.Board, name: str, null: int) -> None:
    """After a take there is no entry."""
    board.post(name, null, scope="user")
    with board.take(name, "user") as fd:
        assert same_file(fd, null)
    with pytest.raises(pagsrv.NoEntry):
        board.take(name)


def test_many_are_opened_in_order_or_none(board: pagsrv.Board, name: str, null: int) -> None:
    """open_many gives one descriptor a name, in their order; one that lacks spoils all."""
    reading, writing = os.pipe()
    board.post(f"{name}-a", null, scope="user")
    board.post(f"{name}-b", reading, scope="user")
    first, second, third = board.open_many([f"{name}-b", f"{name}-a", f"{name}-b"])
    with first, second, third:
        assert same_file(first, reading)
        assert same_file(second, null)
        assert same_file(third, reading)
    os.close(reading)
    os.close(writing)
    with pytest.raises(pagsrv.NoEntry):
        board.open_many([f"{name}-a", f"{name}-c"])
    with pytest.raises(pagsrv.InvalidParameter):
        board.open_many([])


def test_many_are_taken_or_none(board: pagsrv.Board, name: str, null: int) -> None:
    """take_many removes all of them in one moment; one that lacks leaves the others there."""
    for letter in "ab":
        board.post(f"{name}-{letter}", null, scope="user")
    with pytest.raises(pagsrv.NoEntry):
        board.take_many([f"{name}-a", f"{name}-c"])
    for fd in board.take_many([f"{name}-b", f"{name}-a"]):
        with fd:
            assert same_file(fd, null)
    with pytest.raises(pagsrv.NoEntry):
        board.open(f"{name}-a")


def test_as_many_as_one_message_carries(board: pagsrv.Board, name: str, null: int) -> None:
    """253 descriptors come in one answer; 254 names are refused by the broker's sentence."""
    board.post(name, null, scope="user")
    fds = board.open_many([name] * 253)
    assert len({fd.fileno() for fd in fds}) == 253
    for fd in fds:
        fd.close()
    with pytest.raises(pagsrv.InvalidParameter, match="253"):
        board.open_many([name] * 254)


def test_an_empty_entry_is_assigned_by_posting(board: pagsrv.Board, name: str, null: int) -> None:
    """create() makes one that cannot be opened until post() gives it a descriptor."""
    assert not board.create(name, scope="user", labels={"for": "later"}).assigned
    with pytest.raises(pagsrv.NotAssigned):
        board.open(name)
    entry = board.post(name, null, scope="user")
    assert entry.assigned
    assert entry.labels == {"for": "later"}
    board.open(name).close()


def test_replacing_takes_a_word_or_the_generation(
    board: pagsrv.Board, name: str, null: int
) -> None:
    """A second post is refused; with replace, or the right generation, it is not."""
    first = board.post(name, null, scope="user")
    with pytest.raises(pagsrv.Exists):
        board.post(name, null, scope="user")
    second = board.post(name, null, scope="user", replace=True)
    assert second.generation > first.generation
    with pytest.raises(pagsrv.Stale):
        board.post(name, null, scope="user", expect=first.generation)
    board.post(name, null, scope="user", expect=second.generation)


def test_every_word_of_a_post_arrives(board: pagsrv.Board, name: str, null: int) -> None:
    """Mask, labels and end conditions are what the entry shows afterwards."""
    with Actor() as leader:
        leader(os.setsid)
        led = f"leader={leader.pid}"
        entry = board.post(
            name, null, scope="user", mask="alswrv-----v------------", labels={"a": "b"},
            until=["exit", led, "ttl=60", "opens=3", "lease"],
        )  # fmt: skip
        assert entry.mask == "alswrv-----v------------"
        assert entry.labels == {"a": "b"}
        assert set(entry.until) == {f"exit={os.getpid()}", led, "ttl=60", "opens=3", "lease"}
        assert entry == board.stat(name)


def test_another_process_ends_an_entry(board: pagsrv.Board, name: str, null: int) -> None:
    """`exit=PID`, and an Until with the caller's own pidfd, speak of that process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    pidfd = os.pidfd_open(child)
    mine = pagsrv.Until("exit", pidfd)
    try:
        entry = board.post(name, null, scope="user", until=[f"exit={child}"])
        assert entry.until[0] == f"exit={child}"
        other = board.post(f"{name}-b", null, scope="user", until=["ttl=99", mine])
        assert ["ttl=99", f"exit={child}"] == list(other.until[:2])
        with board.watch("user") as events:
            os.close(writing)
            os.waitpid(child, 0)
            ended: dict[str, str] = {}
            while len(ended) < 2:
                event = next(events)
                if event.event == "ended":
                    ended[event.name] = event.why
        assert ended == {name: "exit", f"{name}-b": "exit"}
    finally:
        os.close(pidfd)


def test_a_process_that_is_not_there_is_a_wrong_parameter(
    board: pagsrv.Board, name: str, null: int
) -> None:
    """`exit=PID` of nobody is refused before anything is sent."""
    for cond in ("exit=999999999", f"exit={2**80}", f"exit={'9' * 5000}"):
        with pytest.raises(pagsrv.InvalidParameter, match="no such process"):
            board.post(name, null, scope="user", until=["exit", cond])
    with pytest.raises(pagsrv.InvalidParameter, match="no end condition"):
        board.post(name, null, scope="user", until=["sunset"])
    with pytest.raises(pagsrv.NoEntry):
        board.stat(name)


def test_a_descriptor_that_is_none_is_an_oserror(board: pagsrv.Board, name: str) -> None:
    """EBADF comes from sendmsg(2); the board goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        board.post(name, reading, scope="user")
    with pytest.raises(pagsrv.NoEntry):
        board.stat(name)


def test_what_cannot_be_written_down_is_a_wrong_parameter(board: pagsrv.Board, null: int) -> None:
    """Names that are not UTF-8, and calls over 64 KiB."""
    lone = "\udcff"
    wrong: list[Callable[[], object]] = [
        lambda: board.open(lone),
        lambda: board.open("x", lone),
        lambda: board.open_many([lone]),
        lambda: board.stat(lone),
        lambda: board.post(lone, null, scope="user"),
        lambda: board.open("x" * 70_000),
        lambda: board.open_many(["x" * 400] * 253),
        lambda: board.stat("x" * 70_000),
    ]
    for call in wrong:
        with pytest.raises(pagsrv.InvalidParameter):
            call()
    board.names()


def test_names_of_every_kind_arrive_as_they_are(board: pagsrv.Board, name: str, null: int) -> None:
    """Quotes, backslashes and letters beyond ASCII are names like any other."""
    for odd in (f'{name}"', f"{name}\\", f"{name}-ü-\u2603-\U0001f4cc", f"{name} with spaces"):
        assert board.post(odd, null, scope="user").name == odd
        board.open(odd).close()
        for fd in board.open_many([odd, odd]):
            fd.close()
        assert odd in board.names()
        assert board.stat(odd).name == odd
        board.take(odd).close()


def test_lists_longer_than_a_message_come_whole(board: pagsrv.Board, name: str, null: int) -> None:
    """List answers in as many packets as it takes."""
    wanted = [f"{name}-{number:03}-{'x' * 200}" for number in range(400)]
    for one in wanted:
        board.post(one, null, scope="user")
    assert set(wanted) <= set(board.names())
    assert set(wanted) <= set(board.names("user", all=True))
    entries = [entry for entry in board.list("user") if entry.name in set(wanted)]
    assert sorted(wanted) == sorted(entry.name for entry in entries)
    assert isinstance(entries[0], pagsrv.Entry)
    for one in wanted:
        board.remove(one)


def test_changing(board: pagsrv.Board, name: str, null: int) -> None:
    """rename, set_mask, set_timeout and remove answer with what became of the entry."""
    entry = board.post(name, null, scope="user")
    moved = board.rename(name, f"{name}-b", expect=entry.generation)
    assert moved.name == f"{name}-b"
    masked = board.set_mask(moved.name, "3f010000")
    assert masked.mask == "alswrv-----v------------"
    assert "ttl=60" in board.set_timeout(moved.name, 60).until
    assert "ttl=60" not in board.set_timeout(moved.name, 0, "user").until
    with pytest.raises(pagsrv.Stale):
        board.remove(moved.name, expect=entry.generation)
    board.remove(moved.name, "user")
    with pytest.raises(pagsrv.NoEntry):
        board.remove(moved.name)


def test_granting(board: pagsrv.Board, name: str, null: int) -> None:
    """A grant goes to an exact scope, and ends."""
    board.post(name, null, scope="user")
    board.grant(name, SOMEBODY)
    board.ungrant(name, SOMEBODY)
    with pytest.raises(pagsrv.NoEntry):
        board.ungrant(name, SOMEBODY, "user")
    with pytest.raises(pagsrv.InvalidParameter):
        board.grant(name, "session")


def test_waiting(board: pagsrv.Board, name: str, null: int) -> None:
    """wait() answers at once for what is there, and TimedOut for what does not come."""
    with pytest.raises(pagsrv.TimedOut):
        board.wait(name, timeout=0.001)
    board.post(name, null, scope="user")
    assert board.wait(name).name == name
    assert board.wait(name, "user", timeout=60).name == name


def test_watching(face: Face, own_broker: Running, name: str, null: int) -> None:
    """Events come in order, on a connection that leaves the board free."""
    with (
        face.connect(own_broker.dir, scopes=["user"]) as board,
        board.watch("user") as events,
    ):
        assert board.health().watches == 1, "it stands when it is entered"
        board.post(name, null, scope="user")
        board.open(name).close()
        board.remove(name)
        seen = [next(events) for _ in range(3)]
    assert [("posted", name), ("opened", name), ("ended", name)] == [
        (event.event, event.name) for event in seen
    ]
    assert isinstance(seen[0], pagsrv.Event)
    assert seen[0].by is not None
    assert seen[0].by.pid == os.getpid()


def test_watching_from_what_is_there(board: pagsrv.Board, name: str, null: int) -> None:
    """With initial, `present` comes for each entry and then `live`."""
    board.post(name, null, scope="user")
    with board.watch("user", initial=True) as events:
        seen = [next(events)]
        while seen[-1].event != "live":
            seen.append(next(events))
    assert {"present"} == {event.event for event in seen[:-1]}
    assert name in [event.name for event in seen]


def test_a_watch_refused_says_so(board: pagsrv.Board) -> None:
    """What the broker refuses a watch with is raised where the first event would come."""
    events = board.watch("session")
    with pytest.raises(pagsrv.NoSession):
        next(events)
    events.close()


def test_who_and_how(board: pagsrv.Board, broker: Running) -> None:
    """whoami, health, attached, broker_id and dir say the same of the same broker."""
    identity, attached = board.whoami(), board.attached
    assert isinstance(identity, pagsrv.Identity)
    assert isinstance(attached, pagsrv.Attached)
    assert {identity.broker} == {attached.broker, board.broker_id}
    assert (identity.dir, identity.uid) == (board.dir, os.geteuid()) == (broker.dir, attached.uid)
    assert [one.scope for one in attached.scopes] == [f"user:{os.geteuid()}"]
    assert [one.scope for one in identity.scopes] == [f"user:{os.geteuid()}"]
    assert attached.nonce is None
    vitals = board.health()
    assert isinstance(vitals, pagsrv.Vitals)
    assert vitals.pid == broker.pid
    assert not vitals.dumpable


def test_a_board_is_closed_once_and_for_all(face: Face, broker: Running) -> None:
    """Afterwards every method is a ValueError, and closing again is nothing."""
    board = face.connect(broker.dir, scopes=["user"])
    assert board.fileno() >= 0
    board.close()
    board.close()
    calls: list[Callable[[], object]] = [
        lambda: board.open("x"), board.names, board.fileno, lambda: board.take("x"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_lease_ends_with_the_board(face: Face, broker: Running, name: str, null: int) -> None:
    """Closing the board that posted with `lease` takes the entry down."""
    with face.connect(broker.dir, scopes=["user"]) as other:
        with other.watch("user") as events:
            with face.connect(broker.dir, scopes=["user"], changes=True) as board:
                board.post(name, null, scope="user", until=["lease"])
            last = next(events)
            while last.event != "ended":
                last = next(events)
        assert (last.name, last.why) == (name, "lease")
        with pytest.raises(pagsrv.NoEntry):
            other.stat(name)


def test_nothing_is_changed_without_saying_so(
    face: Face, broker: Running, name: str, null: int
) -> None:
    """A board attaches for changes by itself, once, whichever changing call is first."""
    firsts: list[Callable[[pagsrv.Board], object]] = [
        lambda board: board.create(f"{name}-empty", scope="user"),
        lambda board: board.post(f"{name}-b", null, scope="user"),
        lambda board: board.take(name),
        lambda board: board.take_many([name])[0],
        lambda board: board.rename(name, f"{name}-c"),
        lambda board: board.set_mask(name, "3f010000"),
        lambda board: board.set_timeout(name, 60),
        lambda board: board.grant(name, SOMEBODY),
        lambda board: board.remove(name),
    ]
    for first in firsts:
        with face.connect(broker.dir, scopes=["user"]) as maker:
            maker.post(name, null, scope="user", replace=True)
        with face.connect(broker.dir, scopes=["user"]) as board:
            result = first(board)
            if isinstance(result, pagsrv.Fd):
                result.close()
            board.names()


# ---- posted directories --------------------------------------------------------------------------


@pytest.fixture
def docs(board: pagsrv.Board, name: str, short_tmp: Path) -> Iterator[str]:
    """An entry that is a directory."""
    (short_tmp / "sub").mkdir()
    (short_tmp / "sub" / "a.txt").write_text("beneath")
    fd = os.open(short_tmp, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        board.post(name, fd, scope="user")
    finally:
        os.close(fd)
    yield name
    board.remove(name)


def test_what_lies_beneath_is_opened(board: pagsrv.Board, docs: str, null: int) -> None:
    """Each with an offset of its own; many at once, with entries among them."""
    for _ in range(2):
        with board.open(f"{docs}/sub/a.txt") as fd:
            assert os.read(fd.fileno(), 99) == b"beneath"
    with board.open(f"{docs}/sub/a.txt", "user", access="rw") as fd:
        os.pwrite(fd.fileno(), b"B", 0)
    board.post(f"{docs}-null", null, scope="user")
    many = board.open_many([f"{docs}/sub/a.txt", f"{docs}-null", f"{docs}/sub"])
    assert os.read(many[0].fileno(), 99) == b"Beneath"
    assert same_file(many[1], null)
    for fd in (*many, *board.open_many([f"{docs}/sub/a.txt"], access="w")):
        fd.close()
    board.remove(f"{docs}-null")


def test_what_lies_beneath_is_listed(board: pagsrv.Board, docs: str, short_tmp: Path) -> None:
    """All of it, however many answers that takes."""
    at = f"user:{os.geteuid()}/{docs}"
    walked = board.walk(f"{docs}/sub")
    assert (walked.at, walked.next) == (f"{at}/sub", None)
    assert [(one.name, one.kind, one.size) for one in walked.nodes] == [("a.txt", "file", 7)]
    names = [f"{'x' * 200}{number:04}" for number in range(600)]
    for one in names:
        (short_tmp / one).touch()
    assert [node.name for node in board.walk(docs, "user").nodes] == ["sub", *names]


def test_what_does_not_lie_beneath(board: pagsrv.Board, docs: str) -> None:
    """The board's refusals."""
    with pytest.raises(pagsrv.NoEntry, match="there is no missing in"):
        board.open(f"{docs}/missing")
    with pytest.raises(pagsrv.InvalidParameter):
        board.open(f"{docs}/../x")
    with pytest.raises(pagsrv.InvalidParameter):
        board.open(docs, access="r")
    with pytest.raises(pagsrv.InvalidParameter):
        board.take(f"{docs}/sub/a.txt")
    with pytest.raises(pagsrv.NoEntry):
        board.walk(f"{docs}/sub/a.txt/x")
