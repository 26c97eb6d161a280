# SPDX-License-Identifier: MIT
"""Handles: what is open in the mount, of an empty entry, of a posted file, of the directory.

The law: a handle opened while the entry was empty assigns what is written into it, and replaces;
one opened later is the posted file. A handle's descriptor is closed when the kernel
releases it, and each uid has a number of them. It refuses to know who asks.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass
from errno import EINVAL, ENFILE, ENXIO
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.doors.fuse.nodes import Below
from pagsrv.doors.fuse.posted import Posted, close_quietly
from pagsrv.doors.fuse.transfers import Reading, Transfer, Writing
from pagsrv.errors import PagsrvError
from pagsrv.kernel import fuse

if TYPE_CHECKING:
    from pagsrv.doors.fuse.nodes import Node
    from pagsrv.doors.fuse.posted import Means
    from pagsrv.facts import FdFacts
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.fuse import Question

WAITS_EACH = 4096
"""Reads and writes that wait for one uid: a question that waits costs half a kilobyte."""
BYTES_EACH = 64 << 20
"""And what it wants to write costs what it is."""
LISTINGS_EACH = 64
"""Open directories: each may be some megabytes of names."""

_EMPTY_FLAGS = fuse.DIRECT_IO | fuse.NO_FLUSH
_OWN_FLAGS = _EMPTY_FLAGS | fuse.PARALLEL_WRITES
"""What lies beneath a directory was opened for this handle alone: its offset is the handle's."""
_POSTED_FLAGS = _EMPTY_FLAGS | fuse.NONSEEKABLE | fuse.STREAM | fuse.PARALLEL_WRITES


class TooMany(PagsrvError):
    """A budget of the mount's is used up."""

    errno = ENFILE


class Empty(NamedTuple):
    """A handle on *node*, which was empty when it was opened; *standing*: of who opened it."""

    node: Node
    uid: int
    standing: tuple[bytes, ...]


@dataclass(slots=True)
class Listing:
    """The directory, as it was when it was opened or rewound."""

    names: list[bytes]
    uid: int
    begun: bool = False
    """Whether it was read from the beginning already."""


@dataclass(slots=True)
class Pages(Listing):
    """A directory beneath an entry: as much of it as one answer of the broker's tells."""

    first: int = 0
    """The place of the first of the names."""
    kinds: bytes = b""
    next: str | None = None
    """What follows; None if nothing does."""


Handle = Empty | Posted | Listing


class Files:
    """Every open handle, by the number that the kernel says, and every transfer under way."""

    def __init__(self, means: Means, most_each: int) -> None:
        self._loop, self._means = means.loop, means
        self._most = most_each
        self._lock = threading.Lock()  # of the numbers and counters of handles
        self._numbers = count(1)
        self._handles: dict[int, Handle] = {}
        self._open: Counter[int] = Counter()
        self._listings: Counter[int] = Counter()
        self._waits: Counter[int] = Counter()
        self._bytes: Counter[int] = Counter()
        self._kicked: dict[Transfer, None] = {}
        self._waiting: dict[int, tuple[Posted, Transfer]] = {}
        means.loop.nag = self._nag

    # ── for any thread ──

    def of(self, number: int) -> Handle | None:
        """The handle of that *number*."""
        return self._handles.get(number)

    def check(self, uid: int, *, directory: bool = False) -> None:
        """TooMany if *uid* has as many open as it may."""
        if self._open[uid] >= self._most:
            raise TooMany(f"uid {uid} has {self._most} handles open")
        if directory and self._listings[uid] >= LISTINGS_EACH:
            raise TooMany(f"uid {uid} has the directory open {LISTINGS_EACH} times")

    def close(self, fd: Fd, uid: int) -> None:
        """Close *fd*, ours from now on, where nobody waits for its server, who may be asked."""
        self._means.workers.do(uid, lambda: close_quietly(fd))

    def posted(self, node: Node | Below, fd: Fd, facts: FdFacts, uid: int) -> bytes:
        """The answer that *fd*, ours from now on, was opened."""
        handle = Posted(fd, facts, node, uid, self._means)
        handle.over = self._over
        return self._told(handle, _OWN_FLAGS if isinstance(node, Below) else _POSTED_FLAGS)

    def empty(self, node: Node, uid: int, standing: tuple[bytes, ...]) -> bytes:
        """The answer that an empty entry was opened."""
        return self._told(Empty(node, uid, standing), _EMPTY_FLAGS)

    def listing(self, listing: Listing) -> bytes:
        """The answer that a directory was opened."""
        return self._told(listing, 0)

    def _told(self, handle: Handle, flags: int) -> bytes:
        with self._lock:
            number = next(self._numbers)
            self._handles[number] = handle
            self._open[handle.uid] += 1
            if isinstance(handle, Listing):
                self._listings[handle.uid] += 1
            else:
                handle.node.handles += 1
        return fuse.opened(number, flags)

    # ── for the loop ──

    def read(self, question: Question) -> None:
        """READ, of a file."""
        number, offset, size, how, _, flags, _ = question.fields(fuse.IO_IN)
        handle = self._handles.get(number)
        if isinstance(handle, Posted) and not (how & fuse.READ_OWNED or handle.seeks):
            # The page cache wants it, by an offset of its own: for mmap(2), or for sendfile(2),
            # whose callers read(2) then.
            self._loop.reply(question.unique, error=EINVAL)
        elif isinstance(handle, Posted):
            patient = not flags & os.O_NONBLOCK
            self._start(handle, Reading(question, size, patient=patient), offset)
        else:
            self._loop.reply(question.unique, error=ENXIO)

    def write(self, question: Question, handle: Posted, flags: int) -> None:
        """WRITE, into a posted file."""
        data = question.body[fuse.IO_IN.size :]
        patient = not flags & os.O_NONBLOCK
        offset = question.fields(fuse.IO_IN)[1]
        self._start(handle, Writing(question, data, patient=patient), offset)

    def _start(self, handle: Posted, transfer: Transfer, offset: int) -> None:
        if handle.seeks:
            transfer.offset = offset
        uid, size = transfer.uid, transfer.held
        if self._waits[uid] >= WAITS_EACH or self._bytes[uid] + size > BYTES_EACH:
            self._loop.reply(transfer.unique, error=TooMany.errno)
            return
        self._waits[uid] += 1
        self._bytes[uid] += size
        self._waiting[transfer.unique] = (handle, transfer)
        handle.start(transfer)

    def _over(self, transfer: Transfer) -> None:
        del self._waiting[transfer.unique]
        self._kicked.pop(transfer, None)
        self._waits[transfer.uid] -= 1
        self._bytes[transfer.uid] -= transfer.held

    def interrupt(self, question: Question) -> None:
        """INTERRUPT: somebody does not want to wait any more. What soon ends is let to."""
        found = self._waiting.get(question.fields(fuse.INTERRUPT_IN)[0])
        if found is not None:
            handle, transfer = found
            self._kicked[transfer] = None
            handle.interrupt(transfer)

    def _nag(self) -> bool:
        """Kick once more who was interrupted: a thread may not have been in its wait yet."""
        for transfer in self._kicked:
            transfer.kick()
        return bool(self._kicked)

    def poll(self, question: Question) -> None:
        """POLL."""
        handle = self._handles.get(question.fields(fuse.POLL_IN)[0])
        if isinstance(handle, Posted):
            handle.poll(question)
        else:
            # It can be written to at once.
            self._loop.reply(question.unique, fuse.number(question.fields(fuse.POLL_IN)[3] & 4))

    def release(self, question: Question) -> None:
        """RELEASE and RELEASEDIR: nobody holds it any more."""
        handle = self._handles.pop(question.fields(fuse.RELEASE_IN)[0], None)
        if isinstance(handle, Posted):
            handle.release(lambda: self._closed(handle))
        elif handle is not None:
            self._closed(handle)
        self._loop.reply(question.unique)

    def _closed(self, handle: Handle) -> None:
        with self._lock:
            self._open[handle.uid] -= 1
            if isinstance(handle, Listing):
                self._listings[handle.uid] -= 1
            else:
                handle.node.handles -= 1
