# SPDX-License-Identifier: MIT
"""The door: each question of the kernel's to who answers it, each error to its errno.

The law: what may wait for the broker or for anybody's file is answered in a thread, the rest in
the loop; every question that wants an answer gets one. It refuses to know any answer.
"""

from __future__ import annotations

import os
import resource
import sys
import traceback
from errno import EINVAL, EIO, ENODATA, ENOLCK, ENOSYS
from typing import TYPE_CHECKING

from pagsrv.doors.fuse import attributes
from pagsrv.doors.fuse.beneath import Beneath
from pagsrv.doors.fuse.files import Empty, Files
from pagsrv.doors.fuse.opening import MOST_DIGITS, Opener
from pagsrv.doors.fuse.posted import Means, Posted
from pagsrv.doors.fuse.workers import Workers
from pagsrv.errors import PagsrvError
from pagsrv.kernel import fuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from pagsrv.doors.fuse.loop import Loop
    from pagsrv.doors.fuse.namespace import Namespace
    from pagsrv.kernel.fuse import Question

_CALLS, _CALLS_EACH = 16, 4
_WAITS, _WAITS_EACH = 128, 32
_LOCKED = frozenset(
    (fuse.LOOKUP, fuse.CREATE, fuse.MKNOD, fuse.UNLINK, fuse.RENAME, fuse.RENAME2)
)  # fmt: skip
"""Who waits for these holds the directory's lock, and everybody else waits for that."""
_WALKS, _WALKS_EACH = 64, 4
_RESERVE = 256  # descriptors for ourselves


class Door:
    """Answers every question that *loop* reads; *device* is the mount's number."""

    def __init__(self, loop: Loop, space: Namespace, device: int, *, everybody: bool) -> None:
        """*everybody*: several uids are served."""
        self._loop, self._space = loop, space
        # Apart: a file that nobody serves is to hold up no call of the board's.
        self._calls, self._waits = Workers(_CALLS, _CALLS_EACH), Workers(_WAITS, _WAITS_EACH)
        means = Means(loop, self._waits, not everybody)
        self._files = files = Files(means, _most_handles(everybody=everybody))
        self._opener = opener = Opener(space, files, device)
        self._beneath = Beneath(space, files, opener)
        # Apart, too: a file system that does not answer is waited for, by who asks for it.
        self._walks = Workers(_WALKS, _WALKS_EACH)
        self._here: dict[int, Callable[[Question], None]] = {
            fuse.READ: files.read, fuse.WRITE: self._write, fuse.POLL: files.poll,
            fuse.INTERRUPT: files.interrupt,
            fuse.RELEASE: files.release, fuse.RELEASEDIR: files.release,
            fuse.INIT: self._begin, fuse.FORGET: self._forget, fuse.BATCH_FORGET: self._forget_all,
            fuse.DESTROY: self._nothing, fuse.FSYNCDIR: self._nothing,
            fuse.GETXATTR: self._getxattr, fuse.FSYNC: self._fsync, fuse.SETATTR: self._setattr,
            fuse.GETLK: self._no_lock, fuse.SETLK: self._no_lock, fuse.SETLKW: self._no_lock,
        }  # fmt: skip
        self._elsewhere: dict[int, Callable[[Question], bytes]] = {
            fuse.LOOKUP: space.lookup, fuse.GETATTR: space.getattr,
            fuse.ACCESS: space.access, fuse.STATFS: space.statfs, fuse.MKNOD: space.mknod,
            fuse.UNLINK: space.unlink, fuse.RENAME: space.rename, fuse.RENAME2: space.rename2,
            fuse.LISTXATTR: space.listxattr, fuse.SETXATTR: space.setxattr,
            fuse.REMOVEXATTR: space.refused,
            fuse.MKDIR: space.refused, fuse.SYMLINK: space.refused, fuse.LINK: space.refused,
            fuse.RMDIR: space.rmdir, fuse.OPEN: opener.open, fuse.CREATE: opener.create,
            fuse.OPENDIR: opener.opendir, fuse.READDIR: opener.readdir,
        }  # fmt: skip
        loop.answer = self.answer

    def answer(self, question: Question) -> None:
        """Answer *question*, or see to it that it will be."""
        here = self._here.get(question.opcode)
        elsewhere = self._elsewhere.get(question.opcode)
        if self._beneath.holds(question):
            self._walk(question)
        elif elsewhere is not None:
            self._call(question, elsewhere)
        elif here is None:
            self._loop.reply(question.unique, error=ENOSYS)
        else:
            try:
                here(question)
            except Exception:  # noqa: BLE001 -- others are served on, and whoever asks is told
                self._bug(question)

    def _bug(self, question: Question) -> None:
        traceback.print_exc(file=sys.stderr)
        self._loop.reply(question.unique, error=EIO)

    def _call(
        self, question: Question, asked: Callable[[Question], bytes], workers: Workers | None = None
    ) -> None:
        """Have a thread answer it."""

        def call() -> None:
            try:
                answer = asked(question)
            except PagsrvError as error:
                self._loop.reply(question.unique, error=error.errno)
            except OSError as error:
                self._loop.reply(question.unique, error=error.errno or EIO)
            except Exception:  # noqa: BLE001 -- whoever asks is not to wait for ever
                self._bug(question)
            else:
                self._loop.reply(question.unique, answer)

        (workers or self._calls).do(question.uid, call, first=question.opcode in _LOCKED)

    def _walk(self, question: Question) -> None:
        """Have what is asked of something beneath an entry answered."""
        long = question.opcode == fuse.SETATTR or (
            question.opcode == fuse.OPEN and question.fields(fuse.OPEN_IN)[0] & os.O_TRUNC
        )
        self._call(question, self._beneath.answer, self._waits if long else self._walks)

    # ── in the loop ──

    def _write(self, question: Question) -> None:
        number, offset, _, _, _, flags, _ = question.fields(fuse.IO_IN)
        handle = self._files.of(number)
        if isinstance(handle, Posted):
            self._files.write(question, handle, flags)
            return
        if not isinstance(handle, Empty) or (offset and not flags & os.O_APPEND):
            self._loop.reply(question.unique, error=EINVAL)
            return
        data = bytes(question.body[fuse.IO_IN.size :][:MOST_DIGITS])
        self._call(question, lambda asked: self._opener.write(asked, handle, data))

    def _getxattr(self, question: Question) -> None:
        # The kernel itself asks for security.capability before each write.
        if bytes(question.body[fuse.XATTR_IN.size :]).startswith(attributes.PREFIX.encode()):
            self._call(question, self._space.getxattr)
        else:
            self._loop.reply(question.unique, error=ENODATA)

    def _fsync(self, question: Question) -> None:
        self._call(question, self._opener.fsync, self._waits)

    def _setattr(self, question: Question) -> None:
        # A size goes to a file, which may be anybody's.
        size = question.fields(fuse.SETATTR_IN)[0] & fuse.SET_SIZE
        self._call(question, self._opener.setattr, self._waits if size else None)

    def _begin(self, question: Question) -> None:
        _, minor, readahead, flags = question.fields(fuse.INIT_IN)
        self._loop.reply(question.unique, fuse.begun(minor, readahead, flags))

    def _forget(self, question: Question) -> None:
        self._space.nodes.forget(question.node, question.fields(fuse.FORGET_IN)[0])

    def _forget_all(self, question: Question) -> None:
        count, _ = question.fields(fuse.BATCH_IN)
        numbers = memoryview(question.body[fuse.BATCH_IN.size :]).cast("Q")[: 2 * count]
        for node, times in zip(numbers[::2], numbers[1::2], strict=True):
            self._space.nodes.forget(node, times)

    def _no_lock(self, question: Question) -> None:
        # Nobody else would be kept out: the kernel's own would be of one look-up's inode.
        self._loop.reply(question.unique, error=ENOLCK)

    def _nothing(self, question: Question) -> None:
        self._loop.reply(question.unique)


def _most_handles(*, everybody: bool) -> int:
    """How many handles a uid may have open: each is a descriptor of ours."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = max(_RESERVE, hard - _RESERVE)
    return room // 4 if everybody else room
