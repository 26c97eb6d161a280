# SPDX-License-Identifier: MIT
"""One client of the s6 door: bytes and descriptors in, answers out, nothing left behind.

The law: while an answer waits nothing is read, so that a client which does not read holds
up itself; what it sends and what waits for it is bounded; whatever breaks the protocol raises,
and close() closes all that is here. It refuses to know the board, and what a request means.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from collections.abc import Callable, Sequence
from fcntl import ioctl
from select import EPOLLIN, EPOLLOUT
from socket import MSG_NOSIGNAL
from termios import TIOCOUTQ
from typing import TYPE_CHECKING

from pagsrv.doors import s6_wire as wire
from pagsrv.kernel import scm
from pagsrv.limits import MESSAGE_FDS, OUT_QUEUE_FDS

if TYPE_CHECKING:
    import socket

    from pagsrv.doors.s6_board import Answer
    from pagsrv.kernel.fd import Fd

    Judge = Callable[[wire.Request, Sequence[Fd], int], tuple[Answer, int]]

_INT = struct.Struct("i")

_READ = 4096
"""Bytes read in one turn: some hundred requests at most, so that others get theirs."""

_AHEAD = 2 * wire.FRAME_FDS
"""Descriptors that may have come and belong to no whole request yet."""


class HungUp(Exception):
    """The client is gone."""


class Client:
    """A connection, owned; *judge* answers its requests, or is None: it may ask for nothing."""

    def __init__(self, sock: socket.socket, judge: Judge | None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.served = judge is not None
        self._judge = judge
        self._bytes = bytearray()
        self._fds: list[Fd] = []
        self._left = 0
        self._flying = 0
        self._waiting: deque[tuple[memoryview, list[Fd]]] = deque()

    @property
    def wanted(self) -> int:
        """What epoll(7) shall tell of it."""
        return EPOLLOUT if self._waiting else EPOLLIN

    @property
    def waiting(self) -> int:
        """How many descriptors wait to be sent."""
        return sum(len(fds) for _, fds in self._waiting)

    def close(self) -> None:
        """Hang up, and close every descriptor that is here."""
        self.sock.close()
        for fd in self._fds:
            fd.close()
        for _, fds in self._waiting:
            for fd in fds:
                fd.close()
        self._fds, self._waiting = [], deque()

    def turn(self) -> None:
        """Do what can be done at once; HungUp, Malformed, OSError: it is to be closed."""
        if not self._waiting:
            self._read()
        self._flush()
        while not self._waiting and (frame := self._frame()) is not None:
            self._handle(*frame)
            self._flush()

    def _read(self) -> None:
        packet = scm.receive(self.sock, _READ, stream=True)
        if packet is None:
            return
        self._fds += packet.take()
        if not packet.data:
            raise HungUp
        if len(self._fds) > _AHEAD:
            raise wire.Malformed("descriptors come that belong to no request")
        self._bytes += packet.data

    def _frame(self) -> tuple[bytes, list[Fd]] | None:
        """The next whole request's payload and descriptors, the caller's; None until it is here."""
        told = wire.header(self._bytes)
        if told is None:
            return None
        size, fds = told
        end = wire.HEADER_BYTES + size
        if len(self._bytes) < end:
            return None
        if len(self._fds) < fds:
            # They travel with its bytes; who waited for them here would read without end.
            raise wire.Malformed(f"a request is to have {fds} descriptors, and fewer came with it")
        payload = bytes(self._bytes[wire.HEADER_BYTES : end])
        del self._bytes[:end]
        came, self._fds = self._fds[:fds], self._fds[fds:]
        return payload, came

    def _handle(self, payload: bytes, fds: list[Fd]) -> None:
        try:
            request = wire.request(payload, len(fds))
            if self._judge is None:
                answer: Answer = [(wire.status(errno.EPERM), [])]
            elif self._has_many_unread() and isinstance(request, wire.Retrieve | wire.GetDump):
                answer = [(wire.status(errno.ENFILE), [])]
            else:
                self._check_turn(request)
                answer, self._left = self._judge(request, fds, self._left)
            self._waiting += [(memoryview(frame), out) for frame, out in answer]
        finally:
            for fd in fds:
                fd.close()

    def _has_many_unread(self) -> bool:
        """Whether it gets no more descriptors for now.

        Those on their way cost no SO_SNDBUF, and are counted for all processes of the uid: beyond
        the limit none of them could send any (ETOOMANYREFS, unix(7)).
        """
        if self._flying > OUT_QUEUE_FDS:
            told = ioctl(self.sock.fileno(), TIOCOUTQ, bytes(_INT.size))
            self._flying *= _INT.unpack(told) != (0,)
        return self._flying > OUT_QUEUE_FDS

    def _check_turn(self, request: wire.Request) -> None:
        """Parts of a dump come when a dump was announced, and nothing else then."""
        if isinstance(request, wire.Part):
            if len(request.items) > self._left:
                raise wire.Malformed("more comes than the dump was to have")
        elif self._left:
            raise wire.Malformed("a dump is not over, and something else is asked for")

    def _flush(self) -> None:
        while self._waiting:
            data, fds = self._waiting[0]
            some = fds[:MESSAGE_FDS]
            # The rest of the descriptors needs a byte to travel with.
            room = len(data) - (len(some) < len(fds))
            try:
                sent = self.sock.sendmsg(
                    [data[:room]], scm.ancillary([fd.fileno() for fd in some]), MSG_NOSIGNAL
                )
            except BlockingIOError:
                return
            self._waiting[0] = (data[sent:], fds[len(some) :])
            self._flying += len(some)
            for fd in some:
                fd.close()
            if sent == len(data):
                self._waiting.popleft()
