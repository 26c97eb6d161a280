# SPDX-License-Identifier: MIT
"""What waits to be sent on one connection, and the descriptors that go with it.

The law: the outbox owns what it holds: a lent descriptor is duplicated when its
message has to wait, and closed once it is sent or the connection is gone. What
can be sent at once is sent at once. It refuses to know messages, only bytes.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from errno import EMFILE, ETOOMANYREFS

from pagsrv.kernel.fd import Fd
from pagsrv.kernel.scm import ancillary
from pagsrv.limits import OUT_QUEUE_BYTES

FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


def may_send() -> bool:
    """Whether the kernel would take a descriptor of ours to be sent, now.

    What is on its way and unread is counted for all processes of a uid, against the limit of
    descriptors of who sends; beyond it sendmsg(2) answers ETOOMANYREFS (unix(7)).
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        try:
            ours.sendmsg([b"x"], ancillary([ours.fileno()]), FLAGS)
        except OSError as error:
            if error.errno == ETOOMANYREFS:
                return False
            raise
    return True


class _Waiting:
    """One message, or what is left of it, with the descriptors that are its own."""

    __slots__ = ("data", "fds")

    def __init__(self, data: bytes, fds: list[Fd]) -> None:
        self.data = data
        self.fds = fds


class Outbox:
    """The way out of one connection; a *stream* may send a message in parts."""

    __slots__ = ("_most_fds", "_queue", "_sock", "_source", "_stream", "size")

    def __init__(self, sock: socket.socket, *, stream: bool, most_fds: int) -> None:
        self._sock = sock
        self._most_fds = most_fds
        self._stream = stream
        self._queue: deque[_Waiting] = deque()
        self._source: Iterator[bytes] | None = None
        self.size = 0

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._queue) or self._source is not None

    @property
    def messages(self) -> int:
        """How many messages wait."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether a source is being sent; what is put meanwhile comes after it."""
        return self._source is not None

    def put(self, data: bytes, lend: Sequence[Fd] = (), give: Sequence[Fd] = ()) -> None:
        """Send *data* now or later; *lend* stays the caller's, *give* is owned here from now on.

        OSError (EPIPE, ECONNRESET, ETOOMANYREFS) as sendmsg(2), or EMFILE where there is no
        room for *lend* to wait; then *give* is closed.
        """
        fds = [*lend, *give]
        sent = 0
        try:
            if not self:
                sent = self._send(data, fds)
            if sent < len(data):
                waiting = _Waiting(data[sent:], [] if sent else self._duplicates(lend))
                self._queue.append(waiting)
                self.size += len(data) - sent
                if not sent:
                    waiting.fds += give
                    give = ()
        finally:
            for fd in give:
                fd.close()

    def _duplicates(self, fds: Sequence[Fd]) -> list[Fd]:
        """A second descriptor of each, below the number that keeps the broker going."""
        with ExitStack() as kept:
            made = [kept.enter_context(fd.dup()) for fd in fds]
            if any(fd.fileno() >= self._most_fds for fd in made):
                raise OSError(EMFILE, os.strerror(EMFILE))
            kept.pop_all()
        return made

    def _send(self, data: bytes, fds: Sequence[Fd]) -> int:
        beside = ancillary([fd.fileno() for fd in fds])
        try:
            sent = self._sock.sendmsg([data], beside, FLAGS)
        except BlockingIOError:
            return 0
        return sent if self._stream else len(data)

    def stream(self, source: Iterator[bytes]) -> None:
        """Send every message of *source*, drawing the next one when there is room for it."""
        self._source = source
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the reader lets us; OSError as sendmsg(2)."""
        while True:
            while self._queue:
                waiting = self._queue[0]
                sent = self._send(waiting.data, waiting.fds)
                if sent:
                    self.size -= sent
                    for fd in waiting.fds:
                        fd.close()
                    waiting.fds = []
                    waiting.data = waiting.data[sent:]
                if waiting.data:
                    return
                self._queue.popleft()
            if self._source is None:
                return
            self._draw(self._source)

    def _draw(self, source: Iterator[bytes]) -> None:
        for data in source:
            self._queue.append(_Waiting(data, []))
            self.size += len(data)
            return
        self._source = None

    @property
    def full(self) -> bool:
        """Whether so much waits that its reader should be heard no more for now."""
        return self.size > OUT_QUEUE_BYTES

    def close(self) -> None:
        """Drop what waits and close what it owned."""
        for waiting in self._queue:
            for fd in waiting.fds:
                fd.close()
        self._queue.clear()
        self._source = None
        self.size = 0
