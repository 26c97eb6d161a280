# SPDX-License-Identifier: MIT
"""A client of s6-fdholderd that says what it is told to, in an encoding of its own.

The law: nothing of pagsrv's codec is used; every descriptor that comes is the caller's. It
refuses to know what a right answer is.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from struct import calcsize, pack, unpack, unpack_from
from typing import NamedTuple, Self

from pagsrv.kernel import scm
from pagsrv.kernel.fd import Fd

SECONDS = 20
NEVER = pack(">QI", (1 << 62) + (1 << 61), 0)
_FRAME = ">IH"
_TRIP = 255


class Answer(NamedTuple):
    """A frame: its payload and the descriptors that belong to it."""

    payload: bytes
    fds: list[Fd]

    @property
    def status(self) -> int:
        """The errno it begins with."""
        return self.payload[0]


def frame(payload: bytes, fds: int = 0) -> bytes:
    """*payload* with its header."""
    return pack(_FRAME, len(payload), fds) + payload


def counted(name: bytes) -> bytes:
    """An id as it travels."""
    return bytes((len(name),)) + name + b"\0"


class Raw:
    """A connection to *path*, closed by `with`."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(path)  # it blocks where the queue is full
        except BaseException:
            self.sock.close()
            raise
        self.sock.settimeout(SECONDS)
        self._bytes = b""
        self._fds: list[Fd] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
        for fd in self._fds:
            fd.close()

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send *data* as it is, with *fds*, at most 253."""
        sent = self.sock.sendmsg([data], scm.ancillary(fds))
        if sent < len(data):
            self.sock.sendall(data[sent:])

    def read(self) -> Answer | None:
        """The next frame; None if the other end hangs up."""
        while True:
            if len(self._bytes) >= calcsize(_FRAME):
                size, fds = unpack_from(_FRAME, self._bytes)
                if len(self._bytes) >= 6 + size and len(self._fds) >= fds:
                    payload, self._bytes = self._bytes[6 : 6 + size], self._bytes[6 + size :]
                    came, self._fds = self._fds[:fds], self._fds[fds:]
                    return Answer(payload, came)
            try:
                packet = scm.receive_blocking(self.sock, 65536, stream=True)
            except ConnectionResetError:
                return None
            self._fds += packet.take()
            if not packet.data:
                return None
            self._bytes += packet.data

    def ask(self, payload: bytes, fds: Sequence[int] = ()) -> Answer:
        """Send a request, and read its answer."""
        self.send(frame(payload, len(fds)), fds)
        answer = self.read()
        assert answer is not None, "it hung up"
        return answer

    # ── requests ──

    def store(self, name: bytes, fd: int, limit: bytes = NEVER) -> int:
        """Store, and its errno."""
        return self.ask(b"S" + limit + counted(name), [fd]).status

    def delete(self, name: bytes) -> int:
        """Delete, and its errno."""
        return self.ask(b"D" + counted(name)).status

    def retrieve(self, name: bytes, *, delete: bool = False) -> Answer:
        """Retrieve."""
        return self.ask(b"R" + bytes((delete,)) + counted(name))

    def ids(self) -> list[bytes]:
        """Every id."""
        answer = self.ask(b"L")
        assert answer.status == 0
        return answer.payload[5:].split(b"\0")[:-1]

    def get_dump(self) -> list[tuple[bytes, bytes, Fd]]:
        """Every id, its limit as it travelled, and its descriptor."""
        head = self.ask(b"?")
        assert (head.status, len(head.payload)) == (0, 9), os.strerror(head.status)
        turns, total = unpack(">II", head.payload[1:])
        assert turns == -(-total // _TRIP)
        found = []
        for _ in range(turns):
            answer = self.read()
            assert answer is not None, "it hung up in the middle of a dump"
            found += list(zip_items(answer))
        assert len(found) == total
        return found

    def set_dump(self, items: Iterable[tuple[bytes, bytes, Fd]], most: int = 200) -> int:
        """Set a dump in parts of *most*; the errno at its end."""
        waiting = list(items)
        head = self.ask(b"!" + pack(">I", len(waiting)))
        assert unpack(">I", head.payload[1:]) == (-(-len(waiting) // _TRIP),)
        status = 0
        while waiting:
            some, waiting = waiting[:most], waiting[most:]
            told = b"".join(limit + counted(name) for name, limit, _ in some)
            status = self.ask(b"." + told, [fd.fileno() for _, _, fd in some]).status
        return status


def zip_items(answer: Answer) -> Iterable[tuple[bytes, bytes, Fd]]:
    """The items of one part of a dump."""
    rest = answer.payload
    for fd in answer.fds:
        size = rest[12]
        yield rest[13 : 13 + size], rest[:12], fd
        assert rest[13 + size] == 0
        rest = rest[14 + size :]
    assert rest == b""
