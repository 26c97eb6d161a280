# SPDX-License-Identifier: MIT
"""The protocol of s6-fdholderd as bytes: frames, requests, answers, times.

A frame is four bytes of length, two that count descriptors (both big-endian), and the
payload; descriptors belong to frames in the order they come, wherever in the bytes the kernel
has put them. A request begins with one of seven letters, an answer with an errno in one byte.
The law: bytes only, and whatever is not exactly a request is Malformed. It refuses to
know sockets, descriptors and what an id means.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pagsrv.errors import ProtocolError

ID_BYTES = 255
"""The longest id: its length travels in one byte."""

FRAME_FDS = 255
"""The most descriptors of one frame. The kernel sends 253 at once: a frame may take two turns."""

_HEADER = struct.Struct(">IH")
_COUNT = struct.Struct(">I")
_TIME = struct.Struct(">QI")  # TAI64N: seconds, nanoseconds
HEADER_BYTES = _HEADER.size

_ITEM_BYTES = _TIME.size + 1 + ID_BYTES + 1
PAYLOAD_BYTES = 1 + FRAME_FDS * _ITEM_BYTES
"""The largest request there is: a full part of a dump."""

_TAI = 1 << 62
_AHEAD = 37
"""TAI is so many seconds ahead of Unix time: ten, and the leap seconds up to 2017, the last."""
_NEVER = _TAI + (1 << 60)
"""s6 writes "never" as now and 2**61 seconds; its own clients take half of that for never."""
_INFINITE = 1 << 61


class Malformed(ProtocolError):
    """These bytes are no request of an s6 client."""


class Item(NamedTuple):
    """A descriptor's id, and when it is to end: seconds since 1970, or None for never."""

    id: bytes
    limit: float | None


class Store(NamedTuple):
    """Keep the one descriptor that came."""

    item: Item


class Delete(NamedTuple):
    """Keep it no longer."""

    id: bytes


class Retrieve(NamedTuple):
    """Give it out; *delete*: and keep it no longer."""

    id: bytes
    delete: bool


class ListIds(NamedTuple):
    """Say every id."""


class GetDump(NamedTuple):
    """Give everything out."""


class SetDump(NamedTuple):
    """*total* descriptors will come, in parts."""

    total: int


class Part(NamedTuple):
    """A part of a dump, an item for each descriptor that came."""

    items: tuple[Item, ...]


Request = Store | Delete | Retrieve | ListIds | GetDump | SetDump | Part


# ---- requests ------------------------------------------------------------------------------------


def header(data: bytes | bytearray) -> tuple[int, int] | None:
    """How many bytes and descriptors the frame at the beginning of *data* has after its header.

    None while the header is not whole; Malformed if no request is so large.
    """
    if len(data) < HEADER_BYTES:
        return None
    size, fds = _HEADER.unpack_from(data)
    if not 0 < size <= PAYLOAD_BYTES or fds > FRAME_FDS:
        raise Malformed(f"no request has {size} bytes and {fds} descriptors")
    return size, fds


def request(payload: bytes, fds: int) -> Request:
    """The request that *payload* is, with which *fds* descriptors came; Malformed if none."""
    letter, rest = payload[:1], payload[1:]
    if letter == b".":
        return Part(_items(rest, fds))
    if fds != (letter == b"S"):
        raise Malformed(f"{fds} descriptors came with the request {letter!r}")
    match letter:
        case b"S":
            return Store(_items(rest, 1)[0])
        case b"D":
            return Delete(_whole(*_id(rest, 0)))
        case b"R":
            return Retrieve(_whole(*_id(rest, 1)), rest[0] != 0)
        case b"L" | b"?" if not rest:
            return ListIds() if letter == b"L" else GetDump()
        case b"!" if len(rest) == _COUNT.size:
            return SetDump(_COUNT.unpack(rest)[0])
    raise Malformed(f"{payload[:20]!r} is no request")


def _id(data: bytes, place: int) -> tuple[bytes, bytes]:
    """The id whose length stands at *place* of *data*, and what follows its NUL."""
    if len(data) <= place:
        raise Malformed("a request ends before its id")
    end = place + 1 + data[place]
    found = data[place + 1 : end]
    if not found or data[end : end + 1] != b"\0" or b"\0" in found:
        raise Malformed("an id is 1 to 255 bytes, ends with a NUL and has no other")
    return found, data[end + 1 :]


def _whole(found: bytes, rest: bytes) -> bytes:
    if rest:
        raise Malformed("something follows the id")
    return found


def _items(data: bytes, count: int) -> tuple[Item, ...]:
    """Exactly *count* items, one at least."""
    items = []
    for _ in range(count):
        if len(data) < _TIME.size:
            raise Malformed("an item ends before its time")
        limit = _limit(*_TIME.unpack_from(data))
        found, data = _id(data, _TIME.size)
        items.append(Item(found, limit))
    if data or not items:
        raise Malformed("there are not as many items as descriptors")
    return tuple(items)


def _limit(seconds: int, nanoseconds: int) -> float | None:
    if seconds >= _NEVER:
        return None
    return seconds - _TAI - _AHEAD + nanoseconds / 1e9


# ---- answers -------------------------------------------------------------------------------------


def _frame(payload: bytes, fds: int = 0) -> bytes:
    return _HEADER.pack(len(payload), fds) + payload


def status(number: int) -> bytes:
    """The answer that is an errno, 0 if all is well."""
    return _frame(bytes((number & 0xFF,)))


def retrieved() -> bytes:
    """The answer to Retrieve that one descriptor comes with."""
    return _frame(b"\0", 1)


def listing(ids: Sequence[bytes]) -> bytes:
    """The answer to ListIds."""
    return _frame(b"\0" + _COUNT.pack(len(ids)) + b"".join(one + b"\0" for one in ids))


def trips(count: int) -> int:
    """In how many frames *count* descriptors come: both sides count on it."""
    return -(-count // FRAME_FDS)


def expecting(count: int) -> bytes:
    """The answer to SetDump."""
    return _frame(b"\0" + _COUNT.pack(trips(count)))


def dump(items: Sequence[Item], now: float) -> list[tuple[bytes, int]]:
    """The answer to GetDump, frame by frame, each with how many of the descriptors it brings.

    They are spread evenly, so that most frames need no second turn of the kernel's.
    """
    count, turns = len(items), trips(len(items))
    frames = [(_frame(b"\0" + _COUNT.pack(turns) + _COUNT.pack(count)), 0)]
    for turn in range(turns):
        part = items[count * turn // turns : count * (turn + 1) // turns]
        frames.append((_frame(_pack(part, now), len(part)), len(part)))
    return frames


def _pack(items: Iterable[Item], now: float) -> bytes:
    return b"".join(
        _TIME.pack(*_label(item.limit, now)) + bytes((len(item.id),)) + item.id + b"\0"
        for item in items
    )


def _label(limit: float | None, now: float) -> tuple[int, int]:
    """A time as TAI64N; *now*, in seconds since 1970, is what "never" counts from."""
    whole = int(now if limit is None else limit)
    never = _INFINITE if limit is None else 0
    return _TAI + _AHEAD + whole + never, 0 if limit is None else int((limit - whole) * 1e9)
