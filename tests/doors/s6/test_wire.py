# SPDX-License-Identifier: MIT
"""The codec of s6-fdholderd's protocol, without a socket.

The law: any bytes are a request or Malformed, and what is written is what s6's clients
read. It refuses to know the door.
"""

from __future__ import annotations

from struct import pack, unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.doors import s6_wire as wire
from pagsrv.doors.s6_board import id_of, name_of
from pagsrv.errors import InvalidParameter
from tests.doors.s6.raw import NEVER, Answer, counted, zip_items

IDS = st.binary(min_size=1, max_size=255).filter(lambda one: b"\0" not in one)
LIMITS = st.one_of(st.none(), st.integers(0, 1 << 40).map(float))
_TAI = (1 << 62) + 37


@given(st.binary(max_size=80), st.integers(0, 300))
def test_any_bytes_are_a_request_or_malformed(payload: bytes, fds: int) -> None:
    """Nothing else is raised, whatever comes."""
    try:
        wire.request(payload, fds)
    except wire.Malformed:
        return


@given(IDS)
def test_requests_with_an_id(one: bytes) -> None:
    """Each of them brings the id whole."""
    told = counted(one)
    assert wire.request(b"D" + told, 0) == wire.Delete(one)
    assert wire.request(b"R\0" + told, 0) == wire.Retrieve(one, delete=False)
    assert wire.request(b"R\1" + told, 0) == wire.Retrieve(one, delete=True)
    assert wire.request(b"S" + NEVER + told, 1) == wire.Store(wire.Item(one, None))


def test_requests_without_one() -> None:
    """List, dump, and the announcement of one."""
    assert wire.request(b"L", 0) == wire.ListIds()
    assert wire.request(b"?", 0) == wire.GetDump()
    assert wire.request(b"!" + pack(">I", 600), 0) == wire.SetDump(600)


@pytest.mark.parametrize(
    ("payload", "fds"),
    [
        (b"", 0), (b"X", 0), (b"L", 1), (b"Lx", 0), (b"?x", 0), (b"!", 0), (b"!" + bytes(5), 0),
        (b"D", 0), (b"D\0\0", 0), (b"D\1ab", 0), (b"D\2ab\0x", 0), (b"D\3a\0b\0", 0),
        (b"D\2ab\0", 1), (b"R\0", 0), (b"R", 0), (b"S" + NEVER + b"\1a\0", 0),
        (b"S" + NEVER + b"\1a\0", 2), (b"S" + NEVER, 1), (b"S" + bytes(11), 1),
        (b".", 0), (b"." + NEVER + b"\1a\0", 2), (b"." + NEVER + b"\1a\0x", 1),
        (b"." + NEVER + b"\1a\0", 0),
    ],
)  # fmt: skip
def test_what_is_no_request(payload: bytes, fds: int) -> None:
    """It is Malformed."""
    with pytest.raises(wire.Malformed):
        wire.request(payload, fds)


def test_headers() -> None:
    """None until whole; what no request has is Malformed."""
    assert wire.header(b"\0\0\0\1\0") is None
    assert wire.header(b"\0\0\0\1\0\2rest") == (1, 2)
    for size, fds in ((0, 0), (wire.PAYLOAD_BYTES + 1, 0), (0xFFFFFFFF, 0), (1, 256)):
        with pytest.raises(wire.Malformed):
            wire.header(pack(">IH", size, fds))


@given(st.lists(st.tuples(IDS, LIMITS), max_size=20))
def test_a_dump_is_what_a_part_brings(pairs: list[tuple[bytes, float | None]]) -> None:
    """What GetDump gives out is what SetDump takes: the ids, and the times."""
    items = [wire.Item(*pair) for pair in pairs]
    (head, _), *frames = wire.dump(items, 1e9)
    assert unpack(">II", head[7:]) == (len(frames), len(items))
    came: list[wire.Item] = []
    for frame, count in frames:
        part = wire.request(b"." + frame[6:], count)
        assert isinstance(part, wire.Part)
        came += part.items
    assert came == items


@given(st.integers(0, 2000))
def test_dumps_come_in_as_many_frames_as_clients_count(total: int) -> None:
    """One for 255 descriptors, and none brings more than that."""
    (head, none), *frames = wire.dump([wire.Item(b"x", None)] * total, 0.0)
    assert (none, unpack(">II", head[7:])) == (0, (-(-total // 255), total))
    counts = [count for _, count in frames]
    assert (sum(counts), len(frames)) == (total, -(-total // 255))
    assert all(0 < count <= 255 for count in counts)
    if total <= 253 * len(frames):
        assert all(count <= 253 for count in counts), "the kernel sends these in one turn"


def test_times() -> None:
    """TAI64N, 37 seconds ahead of Unix time; far away is never, and never is far away."""
    told = pack(">QI", _TAI + 1_700_000_000, 500_000_000) + b"\1a\0"
    assert wire.request(b"S" + told, 1) == wire.Store(wire.Item(b"a", 1_700_000_000.5))
    frame = wire.dump([wire.Item(b"a", 1_700_000_000.5)], 0.0)[1][0]
    assert frame[6:] == told
    never = wire.dump([wire.Item(b"a", None)], 1e9)[1][0]
    ((_, limit, _),) = zip_items(Answer(never[6:], [None]))  # type: ignore[list-item]  # uncounted
    assert unpack(">QI", limit) == (_TAI + 10**9 + (1 << 61), 0)


@given(IDS)
def test_an_id_has_a_name_of_its_own_or_none(one: bytes) -> None:
    """What is named is called by the same id again."""
    try:
        name = name_of(one)
    except InvalidParameter:
        return
    assert id_of(name) == one


@pytest.mark.parametrize("one", [b"unix:/run/x", "ü".encode(), b"a b", b"x" * 255])
def test_ids_that_have_a_name(one: bytes) -> None:
    """Paths among them, which are what s6 calls sockets by."""
    assert id_of(name_of(one)) == one


@pytest.mark.parametrize("one", [b"a\nb", b"\xff", b".", b"..", b"session:1", b"a\\b"])
def test_ids_that_have_none(one: bytes) -> None:
    """What a name cannot be, and a backslash."""
    with pytest.raises(InvalidParameter):
        name_of(one)
