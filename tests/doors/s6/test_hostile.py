# SPDX-License-Identifier: MIT
"""Clients that break s6-fdholderd's protocol, or the door's patience.

The law: only they are hung up; the neighbour, connected before, is answered as ever, and
the door holds as many descriptors afterwards as before. It refuses to know the right way.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from struct import pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagsrv.kernel import scm
from tests.actors import Actor
from tests.conftest import make_short_directory
from tests.daemon.waiting import until
from tests.doors.s6.conftest import Door, running_door
from tests.doors.s6.raw import NEVER, Raw, counted, frame
from tests.doors.s6.test_peers import session_door
from tests.installing import answering
from tests.running import KERNEL, running_broker

__all__ = ["answering"]

pytestmark = pytest.mark.kernel

ITEM = NEVER + counted(b"x")


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """A door that these tests share."""
    path = make_short_directory()
    (path / "broker").mkdir()
    with (
        running_broker(path / "broker") as board,
        running_door(path, board.dir, "--scope", "user") as running,
    ):
        yield running
    shutil.rmtree(path)


@pytest.fixture
def neighbour(door: Door, note: str) -> Iterator[Raw]:
    """A client that has stored something, and minds its own business."""
    with Raw(door.path) as raw, open(note, "rb") as file:
        assert raw.store(b"mine", file.fileno()) == 0
        raw.ids()  # its answer comes when what was before is over
        before = held(door)
        yield raw
        assert raw.ids() == [b"mine"]
        # Who is gone is told of in its turn.
        until(lambda: held(door) == before, raw.ids, "it holds what it held")
        assert raw.delete(b"mine") == 0


def held(door: Door) -> int:
    """How many descriptors the door holds; 0 where that is not told."""
    return door.descriptors() if os.geteuid() == 0 else 0


def hung_up(raw: Raw) -> bool:
    """Whether the other end hangs up, and says nothing before."""
    return raw.read() is None


BAD = [
    b"\0" * 6, b"\xff" * 6, pack(">IH", 1 << 28, 0), frame(b"X"), frame(b"L", 1)[:4] + b"\1\0L",
    frame(b"Lx"), frame(b"D\0\0"), frame(b"D\3ab\0"), frame(b"R\0"), frame(b"!1"), frame(b"S"),
    frame(b"S" + ITEM, 1), frame(b"." + ITEM, 1),
    frame(b"." + ITEM), frame(b"S" + ITEM), frame(b"!" + pack(">I", 3)) + frame(b"L"),
    frame(b"!" + pack(">I", 3)) + frame(b"D" + counted(b"mine")),
]  # fmt: skip


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_what_is_no_request_ends_the_connection(door: Door, neighbour: Raw, data: bytes) -> None:
    """At once, whether it comes whole or byte by byte."""
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        with Raw(door.path) as raw:
            try:
                for piece in pieces:
                    raw.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                continue
            answer = raw.read()
            assert answer is None or (data.startswith(b"\0\0\0\5") and hung_up(raw))
    assert neighbour.ids() == [b"mine"]


@pytest.mark.parametrize("count", [1, 253])
def test_descriptors_that_belong_to_nothing(
    door: Door, neighbour: Raw, note: str, count: int
) -> None:
    """They are closed, with the connection when there are too many."""
    with open(note, "rb") as file, Raw(door.path) as raw:
        try:
            for _ in range(20):
                raw.send(b"\0", [file.fileno()] * count)
        except (BrokenPipeError, ConnectionResetError):
            return
        assert hung_up(raw)
    assert neighbour.ids() == [b"mine"]


def test_a_store_that_is_left_in_the_middle(door: Door, neighbour: Raw, note: str) -> None:
    """Nothing is stored, and nothing stays open."""
    told = frame(b"S" + ITEM, 1)
    with open(note, "rb") as file:
        for end in range(1, len(told)):
            with Raw(door.path) as raw:
                raw.send(told[:end], [file.fileno()])
    assert neighbour.ids() == [b"mine"]


def test_a_dump_that_is_left_in_the_middle(door: Door, neighbour: Raw, note: str) -> None:
    """What came in whole parts is there, as at s6-fdholderd."""
    with open(note, "rb") as file, Raw(door.path) as raw:
        raw.ask(b"!" + pack(">I", 9))
        assert raw.ask(b"." + ITEM, [file.fileno()]).status == errno.EAGAIN
        raw.send(frame(b"." + ITEM + ITEM, 2)[:30], [file.fileno()] * 2)
    assert sorted(neighbour.ids()) == [b"mine", b"x"]
    assert neighbour.delete(b"x") == 0


def test_more_than_was_announced(door: Door, neighbour: Raw, note: str) -> None:
    """Nothing of it is kept."""
    with open(note, "rb") as file, Raw(door.path) as raw:
        raw.ask(b"!" + pack(">I", 1))
        raw.send(frame(b"." + ITEM + NEVER + counted(b"y"), 2), [file.fileno()] * 2)
        assert hung_up(raw)
    assert neighbour.ids() == [b"mine"]


def ask_and_ask(raw: Raw, request: bytes) -> None:
    """Send *request* until there is no room for more, which there has to be an end of."""
    raw.sock.setblocking(False)
    with suppress(BlockingIOError):
        for _ in range(1000):
            raw.sock.sendall(request * 1000)
        pytest.fail("whatever comes is read")


def test_who_asks_and_does_not_read(door: Door, neighbour: Raw) -> None:
    """It waits for itself: what it has asked for is not done before there is room."""
    with Raw(door.path) as raw:
        ask_and_ask(raw, frame(b"R\0" + counted(b"mine")))
        assert neighbour.ids() == [b"mine"]


def test_who_dumps_and_does_not_read(door: Door, neighbour: Raw, note: str) -> None:
    """The same, with many descriptors under way."""
    with open(note, "rb") as file:
        for number in range(600):
            assert neighbour.store(b"%d" % number, file.fileno()) == 0
    with Raw(door.path) as raw:
        ask_and_ask(raw, frame(b"?"))
        assert len(neighbour.ids()) == 601
    for number in range(600):
        assert neighbour.delete(b"%d" % number) == 0


def test_who_has_many_descriptors_unread_gets_no_more(
    door: Door, neighbour: Raw, note: str
) -> None:
    """ENFILE, until it has read them: all processes of the uid share what may be on its way."""
    with open(note, "rb") as file:
        for number in range(600):
            assert neighbour.store(b"%d" % number, file.fileno()) == 0
    with Raw(door.path) as raw:
        raw.send(frame(b"?") * 20)
        assert len(neighbour.ids()) == 601  # its turn comes after that one's
        statuses, came = [], 0
        while len(statuses) < 20:
            answer = raw.read()
            assert answer is not None
            came += len(answer.fds)
            for fd in answer.fds:
                fd.close()
            if not answer.fds:
                statuses.append(answer.status)
        assert set(statuses) == {0, errno.ENFILE}
        assert came == 601 * statuses.count(0)
        for _, _, fd in raw.get_dump():
            fd.close()
    for number in range(600):
        assert neighbour.delete(b"%d" % number) == 0


def test_who_leaves_while_it_is_answered(door: Door, neighbour: Raw) -> None:
    """A hundred times, at once after asking."""
    for _ in range(100):
        with Raw(door.path) as raw:
            raw.send(frame(b"R\0" + counted(b"mine")) * 3 + frame(b"?"))
    assert neighbour.ids() == [b"mine"]


def test_a_crowd(door: Door, neighbour: Raw) -> None:
    """Who comes when the house is full is hung up; who was there is served."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(Raw(door.path)) for _ in range(300)]
        assert neighbour.ids() == [b"mine"]
        served = [one.ask(b"L") for one in crowd[:255]]
        assert [one.status for one in served] == [0] * 255
        assert all(map(hung_up, crowd[255:]))
    with Raw(door.path) as late:
        assert late.ids() == [b"mine"]


PIECES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([*BAD, frame(b"L"), frame(b"?"), frame(b"D" + counted(b"gone"))]),
    st.builds(frame, st.binary(min_size=1, max_size=40), st.integers(0, 3)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.tuples(PIECES, st.integers(0, 3)), max_size=6))
def test_any_bytes_with_any_descriptors(
    door: Door, neighbour: Raw, note: str, pieces: list[tuple[bytes, int]]
) -> None:
    """Nobody else notices."""
    with open(note, "rb") as file, Raw(door.path) as raw, suppress(ConnectionError):
        for piece, count in pieces:
            raw.sock.sendmsg([piece], scm.ancillary([file.fileno()] * count))
    assert neighbour.ids() == [b"mine"]


def knock(path: str, times: int) -> list[int]:
    """Connect *times*, and hold them; how each was answered: an errno, or 0 for a hang-up."""
    told = []
    with ExitStack() as stack:
        raws = [stack.enter_context(Raw(path)) for _ in range(times)]
        for raw in raws:
            try:
                raw.send(frame(b"L"))
                answer = raw.read()
            except (BrokenPipeError, ConnectionResetError):
                answer = None
            told.append(0 if answer is None else answer.status)
    return told


@pytest.mark.root
@pytest.mark.usefixtures("answering")
def test_a_crowd_of_strangers_takes_nobodys_place(short_tmp: Path) -> None:
    """Sixteen are told EPERM, the rest is hung up, and the session is served."""
    with session_door(short_tmp, KERNEL) as (door, login, _), Actor() as outsider:
        told = outsider(knock, door.path, 300)
        assert login.actor(knock, door.path, 20) == [0] * 20
    assert sorted(told) == [0] * 284 + [errno.EPERM] * 16
