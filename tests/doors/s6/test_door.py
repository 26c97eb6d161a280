# SPDX-License-Identifier: MIT
"""The s6 door and the board behind it: what is stored there is posted here, and the reverse.

The law: one side is asked by Debian's clients or the raw one, the other by pagsrv's own. It
refuses to know who is let in (test_peers.py) and who misbehaves (test_hostile.py).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from struct import pack

import pytest

from pagsrv.client.blocking import Board, connect
from pagsrv.client.channel import Channel
from pagsrv.doors import s6_wire as wire
from pagsrv.doors.s6_board import Shelf
from pagsrv.kernel.fd import Fd
from pagsrv.names import Scope
from tests.actors import Actor
from tests.cli.command import COMMAND, environment, execute
from tests.doors.s6.conftest import Door, clients, running_door, stored
from tests.doors.s6.raw import NEVER, Raw
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel


@pytest.fixture
def own(board: Running) -> Iterator[Board]:
    """The board as its own client sees it."""
    with connect(board.dir, scopes=["user"], changes=True) as found:
        yield found


@pytest.fixture
def raw(door: Door) -> Iterator[Raw]:
    """A connection to the door."""
    with Raw(door.path) as found:
        yield found


def test_what_is_stored_is_on_the_board(door: Door, own: Board, note: str, board: Running) -> None:
    """`pagsrv ls` shows it, `pagsrv open` gets that very file."""
    assert stored(door.path, "unix:/run/x", note).status == 0
    (entry,) = own.list()
    assert (entry.name, entry.kind, entry.access) == ("unix:\\run\\x", "file", "r")
    said = execute([*COMMAND, "ls"], environment(board.dir), None, ())
    assert said.out == f"user:{os.geteuid()}/unix:\\run\\x\n"
    with own.open("unix:\\run\\x") as fd:
        assert os.fstat(fd.fileno()).st_ino == os.stat(note).st_ino


def test_what_is_posted_is_there(door: Door, own: Board, note: str) -> None:
    """s6's clients list it, retrieve it, take it; empty entries they do not see."""
    with open(note, "rb") as file:
        own.post("a", file, scope="user")
    own.create("empty", scope="user")
    assert clients("s6-fdholder-list", door.path).out == "a\n"
    assert clients("s6-fdholder-retrieve", door.path, "a", "cat").out == "what the file says\n"
    assert clients("s6-fdholder-retrieve", door.path, "empty", "cat").err.endswith(
        f"{os.strerror(errno.ENXIO)}\n"
    )
    assert clients("s6-fdholder-retrieve", "-D", door.path, "a", "true").status == 0
    assert own.names() == ["empty"]
    assert stored(door.path, "empty", note).status == 0
    assert own.stat("empty").assigned


def test_times_are_ttls(raw: Raw, own: Board, note: str) -> None:
    """A limit is the entry's deadline; never is none; one that is past is over at once."""
    with open(note, "rb") as file:
        limit = pack(">QI", (1 << 62) + 37 + int(time.time()) + 600, 0)
        assert [raw.store(b"a", file.fileno(), limit), raw.store(b"b", file.fileno())] == [0, 0]
        with own.watch("user") as events:
            assert raw.store(b"past", file.fileno(), pack(">QI", (1 << 62) + 5, 0)) == 0
            told = [(one.event, one.name) for one in islice(events, 2)]
        assert told == [("posted", "past"), ("ended", "past")]
        far = pack(">QI", (1 << 62) + (1 << 40), 0)
        assert raw.store(b"far", file.fileno(), far) == 0
    deadline = own.stat("a").deadline
    assert deadline is not None
    assert abs(deadline - time.time() - 600) < 5
    assert own.stat("b").until == ()
    assert own.stat("far").until[0].startswith("ttl=3153")
    limits = {one: limit for one, limit, fd in raw.get_dump() if fd.close() is None}
    assert abs(int.from_bytes(limits[b"a"][:8], "big") - int.from_bytes(limit[:8], "big")) <= 1


BAD_IDS = (b"a\nb", b"\xff\xfe", b"..", b"session:1", b"back\\slash")


def test_ids_that_no_entry_can_have(raw: Raw, note: str) -> None:
    """They are refused with EINVAL, by every request, and the connection lives."""
    for one in BAD_IDS:
        with open(note, "rb") as file:
            assert raw.store(one, file.fileno()) == errno.EINVAL, one
        assert raw.retrieve(one).status == raw.delete(one) == errno.EINVAL
        assert raw.retrieve(one, delete=True).status == errno.EINVAL
    assert raw.ids() == []


def test_what_the_mask_forbids_is_eperm(raw: Raw, own: Board, note: str) -> None:
    """Reading, deleting, dumping; a dump leaves nothing out in silence."""
    with open(note, "rb") as file:
        own.post("hidden", file, scope="user", mask="3d3d0000")  # all but read
        own.post("kept", file, scope="user", mask="1f1f0000")  # all but setattr
    assert raw.retrieve(b"hidden").status == errno.EPERM
    assert raw.delete(b"kept") == errno.EPERM
    assert raw.retrieve(b"kept", delete=True).status == errno.EPERM
    assert raw.ask(b"?").status == errno.EPERM
    assert sorted(raw.ids()) == [b"hidden", b"kept"]


@contextmanager
def running_small(tmp: Path) -> Iterator[tuple[Door, Board]]:
    """A door to a board of eight entries, and that board."""
    (tmp / "small").mkdir()
    with (
        running_broker(tmp / "small", config="[limits]\nentries_per_uid = 8\n") as broker,
        running_door(tmp, broker.dir, "--scope", "user") as door,
        connect(broker.dir, scopes=["user"], changes=True) as own,
    ):
        yield door, own


def test_a_full_board_is_enfile(short_tmp: Path, note: str) -> None:
    """As a full s6-fdholderd is; of a part of a dump that does not fit nothing is kept."""
    with running_small(short_tmp) as (door, own), Raw(door.path) as raw, open(note, "rb") as file:
        number = file.fileno()
        assert [raw.store(b"%d" % one, number) for one in range(9)] == [0] * 8 + [errno.ENFILE]
        with own.open("0") as before:
            assert raw.delete(b"7") == 0
            with open(os.devnull, "rb") as other, ExitStack() as stack:
                fds = [stack.enter_context(open(other.name, "rb")) for _ in range(3)]
                items = [
                    (name, NEVER, fd) for name, fd in zip((b"0", b"x", b"y"), fds, strict=True)
                ]
                assert raw.set_dump(items) == errno.ENFILE  # type: ignore[arg-type]  # has a fileno
            assert sorted(raw.ids()) == [b"%d" % one for one in range(7)]
            with own.open("0") as after:
                assert os.path.sameopenfile(before.fileno(), after.fileno())
            own.remove("0")
            own.post("once", file, scope="user", until=["opens=1"])
            nulls = [Fd(os.open(os.devnull, os.O_RDONLY)) for _ in range(3)]
            three = zip((b"once", b"x", b"y"), [NEVER] * 3, nulls, strict=True)
            assert raw.set_dump(three) == errno.ENFILE
            for fd in nulls:
                fd.close()
            assert own.stat("once").until == ("opens=1",)


def test_what_a_count_of_opens_ends_is_in_no_dump(raw: Raw, own: Board, note: str) -> None:
    """A dump would use it up; it stays, and can be retrieved."""
    with open(note, "rb") as file:
        own.post("once", file, scope="user", until=["opens=1"])
    assert raw.get_dump() == []
    assert raw.ids() == [b"once"]
    with raw.retrieve(b"once").fds[0]:
        assert raw.ids() == []


class Meddled(Board):
    """A board on which somebody replaces an entry between two calls of ours, *times* times."""

    def __init__(self, channel: Channel, file: str, times: int) -> None:
        super().__init__(channel)
        self.file = file
        self.times = times

    def open_many(self, names: Sequence[str]) -> list[Fd]:
        """What is there, after somebody else was."""
        if self.times:
            self.times -= 1
            with open(self.file, "rb") as file:
                self.post("b", file, scope="user", replace=True)
        return super().open_many(names)


@pytest.mark.parametrize(("times", "status"), [(1, 0), (100, errno.EAGAIN)])
def test_a_dump_is_of_one_moment(
    board: Running, note: str, short_tmp: Path, times: int, status: int
) -> None:
    """It is begun anew if the board changes under it, and given up if that never ends."""
    scope = Scope("user", os.geteuid())
    (short_tmp / "new").touch()
    channel = Channel(board.dir, ["user"], prove=True)
    with Meddled(channel, str(short_tmp / "new"), times) as own, open(note, "rb") as file:
        for name in "ab":
            own.post(name, file, scope="user")
        generation = own.stat("b").generation
        answer, _ = Shelf(own, scope).answer(wire.GetDump(), [], 0)
        assert answer[0][0][6] == status
        fds = [fd for _, out in answer for fd in out]
        found = [os.fstat(fd.fileno()).st_ino for fd in fds]
        for fd in fds:
            fd.close()
        assert own.stat("b").generation > generation
        assert own.times == (0 if status == 0 else 92)
        both = [os.stat(note).st_ino, (short_tmp / "new").stat().st_ino]
        assert found == (both if status == 0 else [])


def test_six_hundred_move_to_another_scope_and_back(
    door: Door, board: Running, short_tmp: Path
) -> None:
    """Every id keeps its own file, its time, and is nowhere twice."""
    files = {b"unix:/run/%d" % number: short_tmp / f"f{number}" for number in range(600)}
    there = short_tmp / "there"
    there.mkdir()
    with (
        Actor() as actor,
        running_door(there, board.dir, "--scope", "session", "--same-uid", by=actor) as second,
        Raw(door.path) as one,
        Raw(second.path) as other,
    ):
        for name, path in files.items():
            path.touch()
            with path.open("rb") as file:
                assert one.store(name, file.fileno()) == 0
        for source, target in ((one, other), (other, one)):
            move(source, target, set(files))
        for name, _, fd in one.get_dump():
            with fd:
                assert os.fstat(fd.fileno()).st_ino == files[name].stat().st_ino
        assert other.ids() == []


def move(source: Raw, target: Raw, names: set[bytes]) -> None:
    """All of *names* from one to the other."""
    items = source.get_dump()
    try:
        assert {name for name, _, _ in items} == names
        assert target.set_dump(items) == 0
        assert [source.delete(name) for name in names] == [0] * len(names)
    finally:
        for _, _, fd in items:
            fd.close()
    assert set(target.ids()) == names


def test_ten_thousand_retrieves_leave_nothing(door: Door, board: Running, note: str) -> None:
    """Broker, door and client hold as many descriptors afterwards as before."""
    with Raw(door.path) as raw, open(note, "rb") as file:
        assert raw.store(b"a", file.fileno()) == 0
        raw.ids()  # its answer comes when what was before is over
        before = holding(door, board)
        for _ in range(10_000):
            (fd,) = raw.retrieve(b"a").fds
            fd.close()
        raw.ids()
        assert holding(door, board) == before


def holding(door: Door, board: Running) -> tuple[int, int, int]:
    """How many descriptors the broker, the door and we hold."""
    if os.geteuid() != 0:
        pytest.skip("only root can count the descriptors of what is not dumpable")
    return board.descriptors(), door.descriptors(), len(os.listdir("/proc/self/fd"))
