# SPDX-License-Identifier: MIT
"""What lies beneath an entry that is a directory: found, listed and opened by the broker.

The law: every look and every open is asked of the broker for whoever asks us, by the names that
lead there from the entry; nothing is kept. A link is told only if the broker follows it and
stays beneath. Nothing is made there, removed or renamed. It refuses to know whose rights that
takes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from errno import EINVAL, ENAMETOOLONG, EROFS, ESTALE, EXDEV
from fcntl import F_GETFL, F_SETFL, fcntl
from typing import TYPE_CHECKING

from pagsrv.doors.fuse import attributes
from pagsrv.doors.fuse.attributes import NoAttribute, NotToBeHad
from pagsrv.doors.fuse.files import Pages
from pagsrv.doors.fuse.namespace import refuse
from pagsrv.doors.fuse.nodes import Below
from pagsrv.doors.fuse.posted import Posted
from pagsrv.errors import Denied, NoEntry, PagsrvError, Stale
from pagsrv.kernel import fuse
from pagsrv.limits import NAME_BYTES, PATH_BYTES

if TYPE_CHECKING:
    from pagsrv.doors.fuse.files import Files
    from pagsrv.doors.fuse.namespace import Namespace
    from pagsrv.doors.fuse.nodes import Node
    from pagsrv.doors.fuse.opening import Opener
    from pagsrv.facts import FdFacts
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.fuse import Question
    from pagsrv.messages import Walked
    from pagsrv.nodes import Node as Found

_HANDLED = frozenset(
    {
        fuse.FORGET, fuse.READ, fuse.WRITE, fuse.POLL, fuse.RELEASE, fuse.RELEASEDIR, fuse.FSYNC,
        fuse.FSYNCDIR, fuse.FLUSH, fuse.INTERRUPT, fuse.BATCH_FORGET, fuse.DESTROY, fuse.INIT,
    }
)  # fmt: skip
"""Asked by a handle or of nothing in particular, so answered as of any file."""

_WITHIN = frozenset(
    {
        fuse.LOOKUP, fuse.OPENDIR, fuse.READDIR, fuse.CREATE, fuse.MKNOD, fuse.MKDIR, fuse.SYMLINK,
        fuse.LINK, fuse.UNLINK, fuse.RMDIR, fuse.RENAME, fuse.RENAME2,
    }
)  # fmt: skip
"""What is asked of an entry as the directory that it is."""

_ACCESS = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "rw"}


class Beneath:
    """Answers what is asked about names beneath entries."""

    def __init__(self, space: Namespace, files: Files, opener: Opener) -> None:
        self._space, self._files, self._facts = space, files, opener.facts
        self._answers: dict[int, Callable[[Question], bytes]] = {
            fuse.LOOKUP: self.lookup, fuse.GETATTR: self.getattr, fuse.ACCESS: self.access,
            fuse.READLINK: self.readlink, fuse.OPEN: self.open, fuse.OPENDIR: self.opendir,
            fuse.READDIR: self.readdir, fuse.SETATTR: self.setattr, fuse.STATFS: space.statfs,
            fuse.GETXATTR: self.getxattr, fuse.LISTXATTR: self.listxattr,
        }  # fmt: skip

    def holds(self, question: Question) -> bool:
        """Whether *question* is about what lies beneath an entry."""
        if question.opcode in _HANDLED:
            return False
        node = self._space.nodes.any_of(question.node)
        if node is None or isinstance(node, Below):
            return node is not None
        return node.directory and question.opcode in _WITHIN

    def answer(self, question: Question) -> bytes:
        """The answer to such a question."""
        return self._answers.get(question.opcode, self.refused)(question)

    def refused(self, _: Question) -> bytes:
        """What would change which names there are."""
        raise refuse(EROFS)

    # ── look ──

    def _place(self, question: Question) -> tuple[Node, tuple[str, ...]]:
        """The entry that *question* is beneath, and the names that lead from it."""
        node = self._space.nodes.any_of(question.node)
        if isinstance(node, Below):
            return node.top, node.path
        return self._space.nodes.of(question.node), ()

    def _walk(
        self, question: Question, place: tuple[Node, tuple[str, ...]], *,
        after: str | None = None, only: bool = False,
    ) -> Walked:  # fmt: skip
        top, space = place[0], self._space
        with space.callers.proved(question) as behalf, space.boards.lend() as board:
            return board.look(_named(place), top.scope, after=after, only=only, on_behalf_of=behalf)

    def _look(self, question: Question, place: tuple[Node, tuple[str, ...]]) -> Found:
        found = self._walk(question, place, only=True).nodes
        if len(found) != 1:
            raise NoEntry("the broker tells of no place")
        return found[0]

    def lookup(self, question: Question) -> bytes:
        """LOOKUP."""
        top, path = self._place(question)
        path = (*path, _file_name(question.names()[0]))
        if len("/".join(path).encode()) > PATH_BYTES:
            raise refuse(ENAMETOOLONG)
        found = self._look(question, (top, path))
        number, node = self._space.nodes.tell_below(top, path, found)
        return fuse.entry(number, attributes.beneath(node))

    def getattr(self, question: Question) -> bytes:
        """GETATTR. Who holds a handle may look, as of entries."""
        node, gone = self._space.nodes.below(question.node), False
        try:
            found = self._look(question, (node.top, node.path))
            if attributes.form_of(found) != attributes.form_of(node.found):
                raise Stale("it was replaced by something else")
            node.found = found
        except PagsrvError:
            if not node.handles:
                raise
            gone = True
        return fuse.attributes_of(attributes.beneath(node, gone=gone))

    def access(self, question: Question) -> bytes:
        """ACCESS; whether the poster may write there only an open shows."""
        wanted = question.fields(fuse.ACCESS_IN)[0]
        node = self._space.nodes.below(question.node)
        directory = self._look(question, (node.top, node.path)).kind == "dir"
        if wanted & os.W_OK and directory:
            raise refuse(EROFS)
        if wanted & os.W_OK and "w" not in self._space.see(question, node.top).rights:
            raise Denied("the mask gives no write right")
        if wanted & os.X_OK and not directory:
            raise Denied("nothing is run from here")
        return b""

    def readlink(self, question: Question) -> bytes:
        """READLINK: whoever asked goes on by the text, so none leads out of the directory."""
        node = self._space.nodes.below(question.node)
        place = node.top, node.path
        target = self._look(question, place).target
        if target is None:
            raise refuse(EINVAL)
        try:
            self._walk(question, place)
        except NoEntry:
            pass  # it leads nowhere, and not out
        except Denied:
            raise refuse(EXDEV) from None
        return target.encode()

    def getxattr(self, _: Question) -> bytes:
        """GETXATTR: the entry has them."""
        raise NoAttribute("none beneath an entry")

    def listxattr(self, question: Question) -> bytes:
        """LISTXATTR."""
        return b"" if question.fields(fuse.XATTR_IN)[0] else fuse.number(0)

    # ── directories ──

    def opendir(self, question: Question) -> bytes:
        """OPENDIR."""
        self._files.check(question.uid, directory=True)
        pages = Pages([], question.uid)
        self._turn(question, pages, None)
        return self._files.listing(pages)

    def readdir(self, question: Question) -> bytes:
        """READDIR: a page is asked for when its turn has come, and for whoever reads it."""
        number, offset, size, *_ = question.fields(fuse.IO_IN)
        pages = self._files.of(number)
        if not isinstance(pages, Pages):
            raise refuse(EINVAL)
        if offset < pages.first or (not offset and pages.begun):
            self._turn(question, pages, None)
        pages.begun = True
        while offset >= pages.first + len(pages.names) and pages.next is not None:
            self._turn(question, pages, pages.next)
        return fuse.listing(pages.names, offset, size, pages.kinds, pages.first)

    def _turn(self, question: Question, pages: Pages, after: str | None) -> None:
        """Have *pages* hold the page after the name *after*; None: the first."""
        walked = self._walk(question, self._place(question), after=after)
        names, kinds = [node.name.encode() for node in walked.nodes], []
        kinds = [stat.S_IFMT(attributes.form_of(node)) >> 12 for node in walked.nodes]
        if after is None:
            names, kinds = [b".", b"..", *names], [4, 4, *kinds]
        pages.first = 0 if after is None else pages.first + len(pages.names)
        pages.names, pages.kinds, pages.next = names, bytes(kinds), walked.next

    # ── files ──

    def open(self, question: Question) -> bytes:
        """OPEN, for what is asked; anew, so that the offset and O_APPEND are the handle's own."""
        node = self._space.nodes.below(question.node)
        flags = question.fields(fuse.OPEN_IN)[0]
        self._files.check(question.uid)
        fd = self._opened(question, node, flags)
        try:
            facts = self._prepared(fd, flags)
        except BaseException:
            self._files.close(fd, question.uid)
            raise
        return self._files.posted(node, fd, facts, question.uid)

    def _opened(self, question: Question, node: Below, flags: int) -> Fd:
        access = _ACCESS.get(flags & os.O_ACCMODE, "rw")
        if flags & os.O_TRUNC and access == "r":
            access = "rw"
        space, place = self._space, (node.top, node.path)
        with space.callers.proved(question) as behalf, space.boards.lend() as board:
            return board.open(_named(place), node.top.scope, access=access, on_behalf_of=behalf)

    def _prepared(self, fd: Fd, flags: int) -> FdFacts:
        """What *fd* is, a file; as *flags* of open(2) want it."""
        facts = self._facts(fd)
        if facts.kind != "file":
            raise refuse(ESTALE)
        if flags & os.O_APPEND:
            fcntl(fd.fileno(), F_SETFL, fcntl(fd.fileno(), F_GETFL) | os.O_APPEND)
        if flags & os.O_TRUNC:
            os.ftruncate(fd.fileno(), 0)
        return facts

    def setattr(self, question: Question) -> bytes:
        """SETATTR: a size goes to the file; owners, modes and times are its own."""
        valid, _, number, size, *_ = question.fields(fuse.SETATTR_IN)
        node = self._space.nodes.below(question.node)
        if valid & (fuse.SET_MODE | fuse.SET_UID | fuse.SET_GID) or not valid & fuse.SET_SIZE:
            raise NotToBeHad("it keeps its owner, its mode and its times")
        handle = self._files.of(number) if valid & fuse.SET_FH else None
        if isinstance(handle, Posted):
            os.ftruncate(handle.fd.fileno(), size)
            return self.getattr(question)
        fd = self._opened(question, node, os.O_WRONLY)
        try:
            os.ftruncate(fd.fileno(), size)
        finally:
            self._files.close(fd, question.uid)
        return self.getattr(question)


def _named(place: tuple[Node, tuple[str, ...]]) -> str:
    """As the broker names it, in the entry's scope; the entry itself as the directory it is."""
    top, path = place
    return "/".join((top.name, *(path or (".",))))


def _file_name(raw: bytes) -> str:
    """A file's name, of which the broker knows those of UTF-8."""
    if len(raw) > NAME_BYTES:
        raise refuse(ENAMETOOLONG)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise NoEntry("a name that is not UTF-8 is not opened") from error
