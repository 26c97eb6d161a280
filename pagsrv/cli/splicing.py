# SPDX-License-Identifier: MIT
"""connect: bytes between our stdin and stdout and an entry, until either end closes.

The law: no flag of an open file is changed, since others hold it too; so nothing is
made non-blocking, and a pipe is written to only when it has room for the piece. What
was read is written before more is read. It refuses to know what flows; what it writes
to descriptor 1 is the entry's, and no words of ours.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import ExitStack, closing
from errno import ECONNRESET, EINVAL, EIO, ENOTCONN, EPIPE
from fcntl import F_GETFL, fcntl
from select import PIPE_BUF, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll
from typing import TYPE_CHECKING

from pagsrv.client.blocking import connect as connect_board
from pagsrv.errors import PagsrvError
from pagsrv.names import parse_place, parse_scope

if TYPE_CHECKING:
    import argparse

_STDIN, _STDOUT = 0, 1
_PIECE = 65536
_FAULTS = POLLHUP | POLLERR | POLLNVAL
_GONE = (EPIPE, ECONNRESET, ENOTCONN)


class NoFlow(PagsrvError):
    """Bytes do not flow through what is posted there."""


class End:
    """One of the descriptors: how to read a piece of it, and to write one."""

    def __init__(self, number: int) -> None:
        """Borrow descriptor *number*."""
        self.number = number
        mode = os.fstat(number).st_mode
        self.is_socket = stat.S_ISSOCK(mode)
        self.is_file = stat.S_ISREG(mode) or stat.S_ISBLK(mode)
        access = fcntl(number, F_GETFL) & os.O_ACCMODE
        self.reads = access in (os.O_RDONLY, os.O_RDWR)
        self.writes = access in (os.O_WRONLY, os.O_RDWR)
        self.sock = socket.socket(fileno=os.dup(number)) if self.is_socket else None

    def close(self) -> None:
        """Give back what was made for reading and writing."""
        if self.sock is not None:
            self.sock.close()

    def read(self) -> bytes | None:
        """A piece; nothing at the end, None if it was not there after all."""
        try:
            if self.sock is not None:
                return self.sock.recv(_PIECE, socket.MSG_DONTWAIT)
            return os.read(self.number, _PIECE)
        except BlockingIOError:
            return None
        except OSError as error:
            # EIO: a terminal whose other end is gone (ioctl_tty(2)).
            if error.errno in (*_GONE, EIO):
                return b""
            raise NoFlow(f"reading failed: {error.strerror}") from None

    def write(self, data: bytes) -> int | None:
        """How much of *data* it took; None if its reader is gone."""
        try:
            if self.sock is not None:
                return self.sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            # A pipe that poll(2) calls writable takes this much without waiting (pipe(7)).
            return os.write(self.number, data if self.is_file else data[:PIPE_BUF])
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in (*_GONE, EIO):
                return None
            raise NoFlow(f"writing failed: {error.strerror}") from None

    def is_stream(self) -> bool:
        """Whether an empty piece is its end: a datagram may be empty."""
        return self.sock is None or self.sock.type != socket.SOCK_DGRAM

    def end_writing(self) -> None:
        """Say that no more comes, where that can be said."""
        if self.sock is None or not self.is_stream():
            return
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno not in (*_GONE, EINVAL):
                raise


class Flow:
    """One direction: from *source* to *sink*, with a piece of it in between."""

    def __init__(self, source: End, sink: End) -> None:
        self.source = source
        self.sink = sink
        self.held = b""
        self.ended = not (source.reads and sink.writes)
        """Nothing more is read."""

    @property
    def done(self) -> bool:
        """Nothing more is read, and what was read is written."""
        return self.ended and not self.held

    @property
    def end(self) -> End:
        """The one to be waited for."""
        return self.sink if self.held else self.source

    @property
    def event(self) -> int:
        """What it is waited for."""
        return POLLOUT if self.held else POLLIN

    def pull(self) -> bool:
        """Read a piece, as there is none in between; true if that was the end."""
        piece = self.source.read()
        if piece is not None:
            self.held = piece
            self.ended = not piece and self.source.is_stream()
        return self.ended

    def push(self) -> bool:
        """Write what is in between; false if its reader is gone, and with it this flow."""
        taken = self.sink.write(self.held)
        if taken is None:
            self.held, self.ended = b"", True
            return False
        self.held = self.held[taken:]
        return True


def connect(given: argparse.Namespace) -> int:
    """connect, from what the parser found."""
    parse_place(given.name)
    if given.scope is not None:
        parse_scope(given.scope)
    _fill()
    with connect_board(given.dir) as board:
        fd = board.open(given.name, given.scope)
    with fd, ExitStack() as stack:
        _check(fd.fileno(), given.name)
        ends = [stack.enter_context(closing(End(n))) for n in (_STDIN, _STDOUT, fd.fileno())]
        _splice(*ends)
    return 0


def _fill() -> None:
    """See to it that descriptor 0 is open, lest the broker's socket become it."""
    try:
        os.fstat(_STDIN)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free: this one


def _check(number: int, name: str) -> None:
    mode = os.fstat(number).st_mode
    if stat.S_ISDIR(mode):
        raise NoFlow(f"{name} is a directory: nothing flows through it")
    if stat.S_ISSOCK(mode):
        with socket.socket(fileno=os.dup(number)) as sock:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise NoFlow(
                    f"{name} is a socket that listens, and nothing flows through it: give it to "
                    f"a server with `pagsrv open {name} -- CMD`"
                )


def _splice(stdin: End, stdout: End, entry: End) -> None:
    """Copy both ways: out of the entry until it ends, into it until stdin does.

    A file has one offset for both: it is read to its end first.
    """
    out, into = Flow(entry, stdout), Flow(stdin, entry)
    in_turns = entry.is_file and entry.reads and entry.writes
    while not _over(out, into, entry):
        flows = [out] if in_turns and not out.done else [out, into]
        ready = _poll(flows)
        if not out.done and not out.held and ready.get(stdout.number):
            return  # nobody reads stdout any more
        for flow in flows:
            if flow.done or not ready.get(flow.end.number, 0) & (flow.event | _FAULTS):
                continue
            if flow.held:
                reader_is_there = flow.push()
                if flow is out and not reader_is_there:
                    return
            elif flow.pull() and flow is into:
                entry.end_writing()


def _over(out: Flow, into: Flow, entry: End) -> bool:
    """A connection is over when its other end is; a file, when both ways are."""
    if entry.reads and not entry.is_file:
        return out.done
    return out.done and into.done


def _poll(flows: list[Flow]) -> dict[int, int]:
    """What can be done with which descriptor; stdout's faults are always asked for."""
    wanted: dict[int, int] = {}
    for flow in flows:
        if not flow.done:
            wanted[flow.end.number] = wanted.get(flow.end.number, 0) | flow.event
            if flow.sink.number == _STDOUT:
                wanted.setdefault(_STDOUT, 0)
    watch = poll()
    for number, events in wanted.items():
        watch.register(number, events)
    return dict(watch.poll())
