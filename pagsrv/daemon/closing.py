# SPDX-License-Identifier: MIT
"""Closing what strangers made: out of the loop, since close(2) may wait for them.

Whoever serves a file system in user space is asked at every close and may never
answer, a socket may linger over its last close for as long as SO_LINGER says
(socket(7)), and a pipe waits for whoever writes to it at that moment, from a page that
need not come. The law: the number is free at once, the loop goes on, and a thread that
waits is followed by another. It refuses to know what the descriptor was good for.
"""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress

from pagsrv.kernel.fd import Fd

_MOST = 256
_END = -1
_TRIES, _TRY_SECONDS = 10, 0.1
"""How long the end may take: a thread more for each that hangs."""

_AT_ONCE = ("anon_inode:[pidfd]", "pidfd:", "anon_inode:[eventfd]")
"""What /proc/self/fd shows for files whose close takes no lock of anybody's: no path begins so."""


class Closer:
    """Threads that close, made when they are needed; they end with the process."""

    def __init__(self) -> None:
        self._numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._threads = 0
        self._done = 0
        self._seen = 0
        self._ended = threading.Semaphore(0)

    def close(self, number: int) -> None:
        """Close descriptor *number*, ours from now on, in its own time."""
        self._numbers.put(number)
        if not self._threads:
            self._start()

    def sweep(self) -> None:
        """Start one thread more if nothing was closed since the last time and something waits."""
        done, self._seen = self._seen, self._done
        if done == self._seen and not self._numbers.empty():
            self._start()

    def finish(self) -> None:
        """At the end: have closed what waits for nobody.

        A thread that cannot be ended, whoever it waits for, keeps what this process holds open.
        """
        if not self._threads:
            return
        self._numbers.put(_END)
        for _ in range(_TRIES):
            if self._ended.acquire(timeout=_TRY_SECONDS):
                return
            self._start()  # the others hang

    def _start(self) -> None:
        if self._threads < _MOST:
            # RuntimeError: no more threads for now; the next sweep tries again.
            with suppress(RuntimeError):
                threading.Thread(target=self._work, name="closing", daemon=True).start()
                self._threads += 1

    def _work(self) -> None:
        while True:
            number = self._numbers.get()
            if number == _END:
                self._ended.release()
                continue
            # Whatever close(2) says, the number is gone (EIO, EINTR).
            with suppress(OSError):
                os.close(number)
            self._done += 1


closer = Closer()


class PeerFd(Fd):
    """A descriptor that came from a peer; so is every duplicate of it."""

    __slots__ = ()

    def close(self) -> None:
        """Close it now if the kernel alone does that, else soon; see Closer."""
        if self.closed:
            return
        try:
            link = os.readlink(f"/proc/self/fd/{self.fileno()}")
        except OSError:
            link = ""
        if link.startswith(_AT_ONCE):
            super().close()
        else:
            closer.close(self.detach())
