# SPDX-License-Identifier: MIT
"""The loop: the kernel's questions, descriptors that are ready, what threads have done.

The law: one thread looks, and nothing in it waits; an answer is one write, from whatever thread.
It ends when the file system is taken down, or when it is told to. It refuses to know what is
asked.
"""

from __future__ import annotations

import os
import select
import signal
from collections import deque
from collections.abc import Callable, Sequence
from errno import EAGAIN, ECONNABORTED, EINTR, ENODEV, ENOENT, ENOTCONN
from typing import TYPE_CHECKING, Self

from pagsrv.kernel import fuse

if TYPE_CHECKING:
    from types import TracebackType

    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.fuse import Question

_TOO_LATE = (ENOENT, ENODEV, ENOTCONN, ECONNABORTED)
_BYTES = fuse.MOST_IO + 4096  # as linux/fuse.h wants it: the largest write and its head
_MOMENT = 0.05  # seconds
_TURN = 64  # questions, before others have theirs
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Loop:
    """Reads *device*, which stays the caller's, and calls `answer` for each question."""

    def __init__(self, device: Fd) -> None:
        self.answer: Callable[[Question], None] = lambda _: None
        self.nag: Callable[[], bool] = lambda: False
        """Called after each turn; while it says True, again after a moment."""
        self._device = device.fileno()
        self._buffer = memoryview(bytearray(_BYTES))
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._soon: deque[Callable[[], None]] = deque()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._ended = False
        os.set_blocking(self._device, False)
        self.watch(self._device, select.EPOLLIN, self._asked)
        self.watch(self._wake, select.EPOLLIN, self._woken)

    # ── for any thread ──

    def soon(self, call: Callable[[], None]) -> None:
        """Have the loop call *call*."""
        self._soon.append(call)
        os.eventfd_write(self._wake, 1)

    def reply(self, unique: int, *parts: memoryview | bytes, error: int = 0) -> None:
        """Answer question *unique*; nothing if nobody waits for it any more."""
        size = fuse.OUT.size + sum(map(len, parts))
        self._write((fuse.OUT.pack(size, -error, unique), *parts))

    def notice(self, raw: bytes) -> None:
        """Tell the kernel something that it has not asked for."""
        self._write((raw,))

    def _write(self, parts: Sequence[memoryview | bytes]) -> None:
        try:
            os.writev(self._device, parts)
        except OSError as error:
            # The question was withdrawn, or the file system is down.
            if error.errno not in _TOO_LATE:
                raise

    # ── for the loop's own ──

    def watch(self, fd: int, mask: int, ready: Callable[[int], None]) -> None:
        """Call *ready* with the events of *fd*; OSError as epoll_ctl(2)."""
        self._epoll.register(fd, mask)
        self._watched[fd] = ready

    def change(self, fd: int, mask: int) -> None:
        """Look for other events of *fd*."""
        self._epoll.modify(fd, mask)

    def forget(self, fd: int) -> None:
        """Look at *fd* no more; to be called before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def end(self) -> None:
        """Return from `run` after this turn."""
        self._ended = True

    def run(self) -> None:
        """Serve until the file system is taken down, or one of ENDING comes, blocked until now."""
        for number in ENDING:
            # Who was told to ignore one (nohup) goes on doing so.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: self.soon(self.end))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        while not self._ended:
            moment = _MOMENT if self.nag() else None
            for fd, events in self._epoll.poll(moment):
                ready = self._watched.get(fd)
                if ready is not None:
                    ready(events)

    def _woken(self, _: int) -> None:
        os.eventfd_read(self._wake)
        # What comes meanwhile has its turn after what is ready by then.
        for _ in range(len(self._soon)):
            self._soon.popleft()()

    def _asked(self, _: int) -> None:
        for _ in range(_TURN):
            try:
                size = os.readv(self._device, [self._buffer])
            except OSError as error:
                if error.errno in (EINTR, ENOENT):
                    continue  # withdrawn before it was read
                if error.errno == ENODEV:
                    self._ended = True
                elif error.errno != EAGAIN:
                    raise
                return
            # A copy: the question may outlast this turn, the buffer does not.
            self.answer(fuse.parse(memoryview(bytes(self._buffer[:size]))))

    def close(self) -> None:
        """Stop looking; the device stays the caller's.

        What wakes us stays until the process ends: threads may have something to tell yet.
        """
        self._epoll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
