# SPDX-License-Identifier: MIT
"""Opening, creating, and assigning what a number means to whoever writes it.

The law: the number is looked up in the descriptors of the thread that writes, by its pidfd, while
it waits; what it has not open, we never post. A file of this mount, or one that would lead
back here, is a Loop. It refuses to know how bytes are moved.
"""

from __future__ import annotations

import os
from errno import EBUSY, EEXIST, EINVAL, EPERM
from typing import TYPE_CHECKING

from pagsrv.doors.fuse import attributes, callers
from pagsrv.doors.fuse.files import Empty, Listing
from pagsrv.doors.fuse.namespace import refuse
from pagsrv.doors.fuse.posted import Posted
from pagsrv.errors import Denied, InvalidParameter, Loop, NotAssigned, Stale
from pagsrv.kernel import fuse, threads, what
from pagsrv.kernel.acting import acting_as
from pagsrv.kernel.peer import confinement

if TYPE_CHECKING:
    from pagsrv.doors.fuse.files import Files
    from pagsrv.doors.fuse.namespace import Namespace
    from pagsrv.doors.fuse.nodes import Node
    from pagsrv.facts import FdFacts
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.fuse import Question

MOST_DIGITS = 20
"""A write has fewer bytes than that, as srvfs has it."""

_TRIES = 8


class Opener:
    """What is asked about handles and takes a call of the broker's."""

    def __init__(self, namespace: Namespace, files: Files, device: int) -> None:
        """*device*: the number of the mount, as stat(2) shows it."""
        self._space, self._files, self._device = namespace, files, device

    def opendir(self, question: Question) -> bytes:
        """OPENDIR."""
        self._files.check(question.uid, directory=True)
        return self._files.listing(Listing(self._space.names(question), question.uid))

    def readdir(self, question: Question) -> bytes:
        """READDIR; from the beginning once more it is as it is by then (rewinddir(3))."""
        number, offset, size, *_ = question.fields(fuse.IO_IN)
        handle = self._files.of(number)
        if not isinstance(handle, Listing):
            raise refuse(EINVAL)
        if not offset and handle.begun:
            handle.names = self._space.names(question)
        handle.begun = True
        return fuse.listing(handle.names, offset, size)

    def open(self, question: Question) -> bytes:
        """OPEN; O_* have no effect on what was posted."""
        return self._open(question, self._space.nodes.of(question.node))

    def create(self, question: Question) -> bytes:
        """CREATE: an empty entry, open; or what is there, unless O_EXCL."""
        self._files.check(question.uid)
        flags = question.fields(fuse.CREATE_IN)[0]
        view, new = self._space.create(question, question.names(fuse.CREATE_IN)[0])
        number, node = self._space.nodes.tell(view)
        try:
            handle = self._created(question, node, flags, new=new)
        except BaseException:
            self._space.nodes.forget(number, 1)
            raise
        return fuse.entry(number, attributes.of(node, node.view)) + handle

    def _created(self, question: Question, node: Node, flags: int, *, new: bool) -> bytes:
        if new:
            return self._files.empty(node, question.uid, _standing(question))
        if flags & os.O_EXCL:
            raise refuse(EEXIST)
        return self._open(question, node)

    def _open(self, question: Question, node: Node) -> bytes:
        self._files.check(question.uid)
        space = self._space
        with space.callers.proved(question) as behalf, space.boards.lend() as board:
            try:
                fd = board.open(node.name, node.scope, on_behalf_of=behalf)
            except NotAssigned:
                return self._files.empty(node, question.uid, _standing(question))
        try:
            facts = self.facts(fd)
        except BaseException:
            self._files.close(fd, question.uid)
            raise
        return self._files.posted(node, fd, facts, question.uid)

    def facts(self, fd: Fd) -> FdFacts:
        """What *fd* is, the caller's; Loop if it leads back here."""
        facts = what.describe(fd)
        if facts.device == self._device:
            raise Loop("that is a file of this mount")
        return facts

    def write(self, question: Question, handle: Empty, data: bytes) -> bytes:
        """WRITE, into a handle opened while the entry was empty: assign, or replace."""
        number = _number(data)
        with callers.asker(question) as pidfd:
            # Whose output it is may have rights of its own, and be led to print a number.
            if _standing(question) != handle.standing:
                raise refuse(EPERM)
            fd = threads.descriptor(pidfd, number)
            try:
                lends = self.facts(fd).kind == "dir"
                self._assign(question, handle.node, fd, confinement(pidfd) if lends else "")
            finally:
                self._files.close(fd, question.uid)
        return fuse.number(len(data))

    def _assign(self, question: Question, node: Node, fd: Fd, confined: str) -> None:
        """Give the entry of *node* the descriptor *fd*, still ours.

        Denied if the writer is *confined* and we are the poster, whose rights a directory lends.
        """
        space = self._space
        for _ in range(_TRIES):
            # The generation, so that an entry that was removed meanwhile stays removed.
            expect = space.see(question, node).generation
            with space.callers.proved(question) as behalf, space.boards.lend() as board:
                if behalf is None and confined:
                    raise Denied(f"who writes here may have given up rights to files: {confined}")
                try:
                    node.view = board.post(
                        node.name, fd, scope=node.scope, expect=expect, on_behalf_of=behalf
                    )
                except Stale:
                    continue
            return
        raise refuse(EBUSY)

    def setattr(self, question: Question) -> bytes:
        """SETATTR, of which a size goes to the posted file if it is asked for by a handle."""
        valid, _, number, size, *_ = question.fields(fuse.SETATTR_IN)
        if valid & fuse.SET_SIZE and valid & fuse.SET_FH:
            handle = self._files.of(number)
            if isinstance(handle, Posted):
                with acting_as(question.uid, question.gid):
                    os.ftruncate(handle.fd.fileno(), size)
        return self._space.setattr(question)

    def fsync(self, question: Question) -> bytes:
        """FSYNC, of the posted file."""
        number, flags = question.fields(fuse.HANDLE_IN)
        handle = self._files.of(number)
        if isinstance(handle, Posted):
            (os.fdatasync if flags & 1 else os.fsync)(handle.fd.fileno())
        return b""


def _standing(question: Question) -> tuple[bytes, ...]:
    """What the asker may; nothing in a user's mount, where the kernel compares (ptrace(2))."""
    return threads.standing(question.tid) if os.geteuid() == 0 else ()


def _number(data: bytes) -> int:
    """The descriptor's number that was written: decimal digits, and a newline perhaps."""
    text = data.removesuffix(b"\n")
    if len(data) >= MOST_DIGITS or not text.isdigit() or int(text) > 0x7FFFFFFF:
        raise InvalidParameter("fd", "write the number of a descriptor that you have open")
    return int(text)
