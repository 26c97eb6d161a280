# SPDX-License-Identifier: MIT
"""One read or write that the kernel waits for, at the posted file's own offset.

The law: it is tried without a wait first (RWF_NOWAIT of preadv2(2)), since O_NONBLOCK would be
set for everybody who holds the file; what cannot be tried so is done in a thread, which a signal
gets out of it. It refuses to know who waits for its turn.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
from errno import EINTR
from typing import TYPE_CHECKING

from pagsrv.kernel import fuse
from pagsrv.kernel.acting import send_as
from pagsrv.kernel.libc import libc

if TYPE_CHECKING:
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.fuse import Question

KICK = signal.SIGUSR1
_OWN_OFFSET = -1  # the file's, of preadv2(2)


class Transfer:
    """A question that moves bytes; *patient*: its asker wants to wait for them."""

    event = 0
    """What is to be ready, as poll(2) says it."""
    held = 0
    """Bytes that are kept for it."""
    offset = _OWN_OFFSET
    """Where it begins."""

    def __init__(self, question: Question, *, patient: bool) -> None:
        self.unique = question.unique
        self.uid, self.gid, self.tid = question.uid, question.gid, question.tid
        self.patient = patient
        self.interrupted = False
        self.thread = 0
        """Who does it, where it may wait; 0 until then."""

    def at_once(self, fd: Fd) -> memoryview | bytes:
        """The answer, if no wait is needed; OSError: EAGAIN, EOPNOTSUPP or what the file says."""
        raise NotImplementedError

    def part(self) -> bytes | None:
        """The answer to what was done so far; None if nothing was."""
        return None

    def slowly(self, fd: Fd) -> bytes:
        """The answer, however long it takes; InterruptedError once `interrupted`."""
        self.thread = threading.get_ident()
        while not self.interrupted:
            got = self._call(fd.fileno())
            if got >= 0:
                return self._told(got)
            number = ctypes.get_errno()
            if number != EINTR:
                raise OSError(number, os.strerror(number))
        raise InterruptedError

    def _call(self, fd: int) -> int:
        raise NotImplementedError

    def _told(self, got: int) -> bytes:
        raise NotImplementedError

    def kick(self) -> None:
        """Get the thread that does it out of its wait, if it is in one already."""
        if self.thread:
            signal.pthread_kill(self.thread, KICK)


class Reading(Transfer):
    """A read of at most *size* bytes."""

    event = select.POLLIN

    def __init__(self, question: Question, size: int, *, patient: bool) -> None:
        super().__init__(question, patient=patient)
        self.size = min(size, fuse.MOST_IO)
        self._own: ctypes.Array[ctypes.c_char] | None = None

    def at_once(self, fd: Fd) -> memoryview | bytes:
        """As for any transfer."""
        buffer = bytearray(self.size)
        got = os.preadv(fd.fileno(), [buffer], self.offset, os.RWF_NOWAIT)
        return memoryview(buffer)[:got]

    def _call(self, fd: int) -> int:
        self._own = ctypes.create_string_buffer(self.size)
        if self.offset == _OWN_OFFSET:
            return int(libc().read(fd, self._own, self.size))
        return int(libc().pread(fd, self._own, self.size, ctypes.c_longlong(self.offset)))

    def _told(self, got: int) -> bytes:
        return b"" if self._own is None else self._own.raw[:got]


class Writing(Transfer):
    """A write of *data*, all of it if its asker is patient."""

    event = select.POLLOUT

    def __init__(self, question: Question, data: memoryview, *, patient: bool) -> None:
        super().__init__(question, patient=patient)
        self.data = data
        self.held = len(data)
        self.done = 0

    def at_once(self, fd: Fd) -> memoryview | bytes:
        """As for any transfer."""
        while self.done < len(self.data):
            rest = self.data[self.done :]
            got = os.pwritev(fd.fileno(), [rest], self._place(), os.RWF_NOWAIT)
            if not got:
                break
            self.done += got
        return fuse.number(self.done)

    def sent(self, fd: Fd) -> bytes:
        """The same over the Unix socket *fd*, in its asker's name."""
        while self.done < len(self.data):
            got = send_as(fd, self.data[self.done :], self.tid)
            if not got:
                break
            self.done += got
        return fuse.number(self.done)

    def part(self) -> bytes | None:
        """The bytes written so far are the answer, as of any write that was cut short."""
        return fuse.number(self.done) if self.done else None

    def _call(self, fd: int) -> int:
        rest = bytes(self.data[self.done :])
        place = self._place()
        if place == _OWN_OFFSET:
            return int(libc().write(fd, rest, len(rest)))
        return int(libc().pwrite(fd, rest, len(rest), ctypes.c_longlong(place)))

    def _place(self) -> int:
        return self.offset if self.offset == _OWN_OFFSET else self.offset + self.done

    def _told(self, got: int) -> bytes:
        self.done += got
        return fuse.number(self.done)
