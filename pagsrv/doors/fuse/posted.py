# SPDX-License-Identifier: MIT
"""An open handle on a posted file: its readers and writers, and who polls it.

The law: the loop waits neither for the file nor for a lock that its poster may hold: a mount that
serves several uids moves no byte in the loop. Only kinds whose poll the kernel answers by itself
are looked at by epoll, edge by edge. Who waits is served in turn. It refuses to know names.
"""

from __future__ import annotations

import os
import select
from collections import deque
from contextlib import suppress
from errno import EAGAIN, EINTR, EOPNOTSUPP
from fcntl import F_GETFL, fcntl
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.doors.fuse.nodes import Below, Node
from pagsrv.doors.fuse.transfers import Reading, Writing
from pagsrv.kernel import fuse, what
from pagsrv.kernel.acting import acting_as

if TYPE_CHECKING:
    from collections.abc import Callable

    from pagsrv.doors.fuse.loop import Loop
    from pagsrv.doors.fuse.transfers import Transfer
    from pagsrv.doors.fuse.workers import Workers
    from pagsrv.facts import FdFacts
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.fuse import Question

_ALWAYS = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM
_OVER = select.POLLERR | select.POLLHUP
_PART = fuse.MOST_IO - 4096  # the least of a longer read: its buffer may begin within a page
_KNOWN = 0xFFFF  # of the events of poll(2): what is above are flags of epoll's


class _Line:
    """Who waits to read, or to write: the first is served, or wants to be when it can."""

    def __init__(self) -> None:
        self.busy: Transfer | None = None
        self.queue: deque[Transfer] = deque()


class Means(NamedTuple):
    """What moves bytes; *here*: that may be done in the loop."""

    loop: Loop
    workers: Workers
    here: bool


class Posted:
    """Owns *fd*, which *uid* opened, until `release`."""

    def __init__(
        self, fd: Fd, facts: FdFacts, node: Node | Below, uid: int, means: Means
    ) -> None:  # fmt: skip
        self.fd = fd
        self.node = node
        self.seeks = isinstance(node, Below)
        """Whether the offsets are the handle's own."""
        self.uid = uid
        self.over: Callable[[Transfer], None] = lambda _: None
        """Told of each transfer that is answered."""
        self._stream = facts.kind not in ("file", "memfd", "block")
        # Terminals are not looked at where the poster may be another uid: it could hold their lock.
        own = means.here and facts.kind == "char" and _is_taken(fd)
        self._pollable = facts.pollable or own
        self._loop, self._workers, self._here = means
        # Of a user's mount all bytes are that user's.
        self._named = (
            os.geteuid() == 0 and facts.kind == "socket" and what.protocol(fd) in what.UNIX
        )
        self._armed = 0
        self._polled = 0
        self._lines = {select.POLLIN: _Line(), select.POLLOUT: _Line()}

    # ── reads and writes ──

    def start(self, transfer: Transfer) -> None:
        """Answer *transfer*, now or when its turn has come."""
        if isinstance(transfer, Reading) and self._stream and transfer.size >= _PART:
            # Of a longer read the kernel would want the next part, and wait for it.
            transfer.size -= 1
        line = self._lines[transfer.event]
        if not transfer.patient:
            self._attempt(transfer)
            return
        line.queue.append(transfer)
        if len(line.queue) == 1:
            self._next(line)

    def _next(self, line: _Line) -> None:
        if line.queue and line.busy is None:
            line.busy = line.queue.popleft()
            self._attempt(line.busy)

    def _attempt(self, transfer: Transfer) -> None:
        if self._here:
            self._carry(transfer)
        else:
            self._workers.do(transfer.uid, lambda: self._carry(transfer))

    def _carry(self, transfer: Transfer) -> None:
        """Do it without a wait; what cannot be done so, or is not to be had so, in a thread."""
        number = self._done(transfer, transfer.at_once)
        if number == EOPNOTSUPP and self._pollable and not self._ready(transfer.event):
            number = EAGAIN
        if number == EOPNOTSUPP or (number == EAGAIN and not self._pollable):
            # A file that is not in memory is waited for by nature.
            self._slowly(transfer)
        elif self._here:
            self._settle(transfer, number)
        else:
            self._loop.soon(lambda: self._settle(transfer, number))

    def _done(self, transfer: Transfer, way: Callable[[Fd], memoryview | bytes]) -> int:
        """Do it in this *way*, and answer; the errno if it fails, else 0."""
        try:
            answer = self._moved(transfer, way)
        except OSError as error:
            return error.errno or EINTR
        self._loop.reply(transfer.unique, answer)
        return 0

    def _moved(
        self, transfer: Transfer, way: Callable[[Fd], memoryview | bytes]
    ) -> memoryview | bytes:
        """The same as whoever asks: the file is anybody's, and our rights are not theirs."""
        if self._named and isinstance(transfer, Writing):
            return transfer.sent(self.fd)
        with acting_as(transfer.uid, transfer.gid):
            return way(self.fd)

    def _slowly(self, transfer: Transfer) -> None:
        def work() -> None:
            number = EAGAIN
            if transfer.patient or self._ready(transfer.event):
                number = self._done(transfer, transfer.slowly)
            self._loop.soon(lambda: self._settle(transfer, number))

        if self._here:
            self._workers.do(transfer.uid, work)
        else:
            work()

    def _settle(self, transfer: Transfer, number: int) -> None:
        """It is answered (0), or failed with that errno, or has to wait (EAGAIN)."""
        line = self._lines[transfer.event]
        if line.busy is transfer:
            line.busy = None
        if number == EAGAIN and self._waits(transfer):
            self._arm(transfer.event)
            line.queue.appendleft(transfer)
            if self._ready(transfer.event):
                # It has become so meanwhile, which nobody may have heard.
                self._loop.soon(lambda: self._next(line))
            return
        if number:
            self._fail(transfer, EINTR if transfer.interrupted and number == EAGAIN else number)
        else:
            self.over(transfer)
        if line.queue:
            self._loop.soon(lambda: self._next(line))

    def _waits(self, transfer: Transfer) -> bool:
        if not transfer.patient or transfer.interrupted:
            return False
        return not fcntl(self.fd.fileno(), F_GETFL) & os.O_NONBLOCK

    def _fail(self, transfer: Transfer, number: int) -> None:
        part = transfer.part()
        if part is None:
            self._loop.reply(transfer.unique, error=number)
        else:
            self._loop.reply(transfer.unique, part)
        self.over(transfer)

    def interrupt(self, transfer: Transfer) -> None:
        """Its asker does not want to wait any more."""
        transfer.interrupted = True
        queue = self._lines[transfer.event].queue
        if transfer in queue:
            queue.remove(transfer)
            self._fail(transfer, EINTR)
        else:
            transfer.kick()

    # ── readiness ──

    def poll(self, question: Question) -> None:
        """Say what is ready, and tell later if that is wanted."""
        _, handle, flags, events = question.fields(fuse.POLL_IN)
        events &= _KNOWN
        if not self._pollable:
            self._loop.reply(question.unique, fuse.number(events & _ALWAYS))
            return
        if flags & fuse.POLL_SCHEDULE:
            self._polled = handle
            # Before it is looked at, so that nothing happens in between unseen.
            self._arm(events)
        self._loop.reply(question.unique, fuse.number(self._ready(events)))

    def _ready(self, events: int) -> int:
        look = select.poll()
        look.register(self.fd.fileno(), events)
        return next((found for _, found in look.poll(0)), 0) & (events | _OVER)

    def _arm(self, events: int) -> None:
        """Hear of *events* from now on, each time they come anew (EPOLLET of epoll(7))."""
        wanted = self._armed | events
        number = self.fd.fileno()
        if not self._armed:
            self._loop.watch(number, wanted | select.EPOLLET, self._heard)
        elif wanted != self._armed:
            self._loop.change(number, wanted | select.EPOLLET)
        self._armed = wanted

    def _heard(self, events: int) -> None:
        for event, line in self._lines.items():
            if events & (event | _OVER):
                self._next(line)
        if self._polled:
            self._loop.notice(fuse.poll_notice(self._polled))

    def release(self, then: Callable[[], None]) -> None:
        """Nobody holds it any more; *then* is called once it is closed.

        That is done in a thread: its server may be asked, and not answer.
        """
        if self._armed:
            self._loop.forget(self.fd.fileno())

        def close() -> None:
            close_quietly(self.fd)
            self._loop.soon(then)

        self._workers.do(self.uid, close)


def close_quietly(fd: Fd) -> None:
    """Close *fd*; what its server says to that concerns nobody here, and closed it is."""
    with suppress(OSError):
        fd.close()


def _is_taken(fd: Fd) -> bool:
    """Whether epoll takes it."""
    with select.epoll() as scratch:
        try:
            scratch.register(fd.fileno(), 0)
        except OSError:
            return False
    return True
