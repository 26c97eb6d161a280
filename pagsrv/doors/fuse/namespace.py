# SPDX-License-Identifier: MIT
"""The questions about names: what is there, as the asker may see it; making, removing, renaming.

The law: a name in the directory is a bare name, looked up as for any client; a node is one entry
of one scope. What the broker refuses is refused with the errno of the one table (errors.py).
It refuses to know bytes of posted files.
"""

from __future__ import annotations

import os
import stat
import time
from errno import EBUSY, EEXIST, EINVAL, ENAMETOOLONG, ENOTDIR, EOPNOTSUPP, EPERM, ERANGE, EROFS
from typing import TYPE_CHECKING

from pagsrv.doors.fuse import attributes
from pagsrv.doors.fuse.attributes import MASK, NoAttribute, NotToBeHad
from pagsrv.errors import Denied, Exists, InvalidParameter, NoEntry, PagsrvError, Stale
from pagsrv.kernel import fuse
from pagsrv.limits import NAME_BYTES
from pagsrv.messages import EntryView
from pagsrv.names import parse_name

if TYPE_CHECKING:
    from pagsrv.doors.fuse.boards import Boards
    from pagsrv.doors.fuse.callers import Callers
    from pagsrv.doors.fuse.nodes import Node, Nodes
    from pagsrv.kernel.fuse import Question

_TRIES = 8  # of a change that somebody else's came before
_CREATE_ONLY = 1  # XATTR_CREATE of sys/xattr.h


def refuse(number: int) -> OSError:
    """The error of that *number*, as a file system answers it."""
    return OSError(number, os.strerror(number))


class Namespace:
    """What each asker finds in the directory."""

    def __init__(
        self, boards: Boards, callers: Callers, nodes: Nodes, *, scope: str | None = None
    ) -> None:
        """*scope*: where new entries go; None: where any post goes."""
        self.boards, self.callers, self.nodes = boards, callers, nodes
        self.scope = scope
        self._since = time.time()

    def see(self, question: Question, node: Node) -> EntryView:
        """The entry of *node* as it is now, for the asker. NoEntry, Denied, Unproved."""
        with self.callers.proved(question) as behalf, self.boards.lend() as board:
            node.view = board.stat(node.name, node.scope, brief=True, on_behalf_of=behalf)
        return node.view

    # ── look ──

    def lookup(self, question: Question) -> bytes:
        """LOOKUP."""
        name = _name(question.names()[0], missing=True)
        with self.callers.proved(question) as behalf, self.boards.lend() as board:
            view = board.stat(name, brief=True, on_behalf_of=behalf)
        return self.told(view)

    def told(self, view: EntryView) -> bytes:
        """The answer that the entry *view* was found."""
        number, node = self.nodes.tell(view)
        return fuse.entry(number, attributes.of(node, view))

    def getattr(self, question: Question) -> bytes:
        """GETATTR. Who holds a handle may look, also when the entry is gone, or another's."""
        if question.node == fuse.ROOT:
            found = attributes.of_root(os.geteuid(), os.getegid(), self._since)
            return fuse.attributes_of(found)
        node = self.nodes.of(question.node)
        gone = False
        try:
            view = self.see(question, node)
        except PagsrvError:
            if not node.handles:
                raise
            view, gone = node.view, True
        if attributes.is_directory(view) is not node.directory and not node.handles:
            raise Stale(f"{node.name} was replaced")
        return fuse.attributes_of(attributes.of(node, view, gone=gone))

    def access(self, question: Question) -> bytes:
        """ACCESS."""
        if question.node == fuse.ROOT:
            return b""
        wanted = question.fields(fuse.ACCESS_IN)[0]
        node = self.nodes.of(question.node)
        view = self.see(question, node)
        writes = view.access in ("w", "rw") and "r" in view.rights
        held = os.R_OK if "r" in view.rights else 0
        held |= os.W_OK if (writes if view.assigned else "w" in view.rights) else 0
        held |= os.X_OK if node.directory and held & os.R_OK else 0
        if wanted & ~held:
            raise Denied("its mask, or what was posted, does not give that")
        return b""

    def names(self, question: Question) -> list[bytes]:
        """The bare names that lead somewhere, after . and .. ."""
        with self.callers.proved(question) as behalf, self.boards.lend() as board:
            if behalf is not None:
                found = set(board.names(on_behalf_of=behalf))
            else:
                # Scope by scope: what a grant shows is found by its full name only, so not here.
                scopes = [one.scope for one in board.attached.scopes]
                found = {name for scope in scopes for name in board.names(scope)}
        return [b".", b"..", *sorted(name.encode() for name in found)]

    def statfs(self, _: Question) -> bytes:
        """STATFS."""
        return fuse.statfs(NAME_BYTES)

    # ── extended attributes ──

    def getxattr(self, question: Question) -> bytes:
        """GETXATTR."""
        room = question.fields(fuse.XATTR_IN)[0]
        name = question.names(fuse.XATTR_IN)[0].decode("utf-8", "replace")
        if question.node == fuse.ROOT or not name.startswith(attributes.PREFIX):
            raise NoAttribute(name)
        found = attributes.extended(self.see(question, self.nodes.of(question.node)))
        if name not in found:
            raise NoAttribute(name)
        return _fitting(found[name].encode(), room)

    def listxattr(self, question: Question) -> bytes:
        """LISTXATTR."""
        room = question.fields(fuse.XATTR_IN)[0]
        if question.node == fuse.ROOT:
            return _fitting(b"", room)
        found = attributes.extended(self.see(question, self.nodes.of(question.node)))
        return _fitting(b"".join(name.encode() + b"\0" for name in found), room)

    def setxattr(self, question: Question) -> bytes:
        """SETXATTR: the mask may be set, and nothing else."""
        size, flags = question.fields(fuse.XATTR_IN)
        raw, _, rest = bytes(question.body[fuse.XATTR_IN.size :]).partition(b"\0")
        name = raw.decode("utf-8", "replace")
        if not name.startswith("user."):
            raise refuse(EOPNOTSUPP)
        if name != MASK:
            raise NotToBeHad(name)
        if flags & _CREATE_ONLY:
            raise refuse(EEXIST)
        self.set_mask(question, self._node(question), rest[:size].decode("utf-8", "replace"))
        return b""

    def _node(self, question: Question) -> Node:
        if question.node == fuse.ROOT:
            raise NotToBeHad("the directory is nobody's entry")
        return self.nodes.of(question.node)

    def set_mask(
        self, question: Question, node: Node, mask: str, expect: int | None = None
    ) -> None:
        """Change who may do what with the entry of *node*; Stale if it is not as *expect*-ed."""
        with self.callers.proved(question) as behalf, self.boards.lend() as board:
            node.view = board.set_mask(
                node.name, mask, node.scope, expect=expect, on_behalf_of=behalf
            )

    # ── change ──

    def setattr(self, question: Question) -> bytes:
        """SETATTR: a mode changes the mask; times and sizes are not kept."""
        valid, _, _, *more = question.fields(fuse.SETATTR_IN)
        mode, uid, gid = more[-4], more[-2], more[-1]
        if valid & (fuse.SET_MODE | fuse.SET_UID | fuse.SET_GID):
            node = self._node(question)
            view = self.see(question, node)
            same_uid = not valid & fuse.SET_UID or uid == view.owner.uid
            if not same_uid or (valid & fuse.SET_GID and gid != view.owner.gid):
                raise NotToBeHad("an entry keeps its owner")
            if valid & fuse.SET_MODE:
                self._chmod(question, node, view, stat.S_IMODE(mode))
        if valid & fuse.SET_SIZE and not valid & fuse.SET_FH and more[0]:
            raise refuse(EINVAL)
        return self.getattr(question)

    def _chmod(self, question: Question, node: Node, view: EntryView, mode: int) -> None:
        """Change what *mode* says of the mask; what others make of the rest meanwhile is kept."""
        for _ in range(_TRIES):
            mask = attributes.mask_of(view.mask, mode, directory=node.directory)
            if mask == view.mask:
                return
            try:
                self.set_mask(question, node, mask, view.generation)
            except Stale:
                view = self.see(question, node)
            else:
                return
        raise refuse(EBUSY)

    def create(self, question: Question, raw: bytes) -> tuple[EntryView, bool]:
        """An empty entry of that name, or what is there; whether it is new."""
        name = _name(raw)
        with self.callers.proved(question) as behalf, self.boards.lend() as board:
            try:
                view = board.create(name, scope=self.scope, on_behalf_of=behalf)
                new = True
            except Exists:
                view = board.stat(name, self.scope, brief=True, on_behalf_of=behalf)
                new = False
        return view, new

    def mknod(self, question: Question) -> bytes:
        """MKNOD: an empty entry is a plain file that nobody has opened."""
        mode = question.fields(fuse.MKNOD_IN)[0]
        if not stat.S_ISREG(mode):
            raise refuse(EPERM)
        view, new = self.create(question, question.names(fuse.MKNOD_IN)[0])
        if not new:
            raise refuse(EEXIST)
        return self.told(view)

    def unlink(self, question: Question) -> bytes:
        """UNLINK; the kernel asks it of no directory."""
        return self._remove(question)

    def rmdir(self, question: Question) -> bytes:
        """RMDIR: an entry that is a directory is withdrawn so, whatever lies beneath it."""
        return self._remove(question, directory=True)

    def _remove(self, question: Question, *, directory: bool = False) -> bytes:
        name = _name(question.names()[0], missing=True)
        with self.callers.proved(question) as behalf, self.boards.lend() as board:
            view = board.stat(name, brief=True, on_behalf_of=behalf)
            scope = view.scope
            if directory and not attributes.is_directory(view):
                raise refuse(ENOTDIR)
            board.remove(name, scope, on_behalf_of=behalf)
        self.nodes.removed(scope, name)
        return b""

    def rename(self, question: Question) -> bytes:
        """RENAME."""
        return self._rename(question, question.names(fuse.RENAME_IN))

    def rename2(self, question: Question) -> bytes:
        """RENAME2: with no flag but RENAME_NOREPLACE, which is how it is here anyhow."""
        if question.fields(fuse.RENAME2_IN)[1] & ~1:
            raise refuse(EINVAL)
        return self._rename(question, question.names(fuse.RENAME2_IN))

    def _rename(self, question: Question, names: list[bytes]) -> bytes:
        """Within the scope; what has the new name already is not replaced."""
        if question.fields(fuse.RENAME_IN)[0] != fuse.ROOT:
            raise refuse(EROFS)
        old, new = _name(names[0], missing=True), _name(names[1])
        with self.callers.proved(question) as behalf, self.boards.lend() as board:
            view = board.rename(old, new, on_behalf_of=behalf)
        self.nodes.renamed(old, view)
        return b""

    def refused(self, _: Question) -> bytes:
        """What no entry can be: a directory, a link."""
        raise refuse(EPERM)


def _name(raw: bytes, *, missing: bool = False) -> str:
    """The entry's name in *raw*; what cannot be one is an error, or *missing* alone."""
    if len(raw) > NAME_BYTES:
        raise refuse(ENAMETOOLONG)
    try:
        return parse_name(raw.decode("utf-8", "surrogateescape"))
    except InvalidParameter as error:
        if missing:
            raise NoEntry(str(error)) from error
        raise


def _fitting(value: bytes, room: int) -> bytes:
    """*value*, or its size if that is all that is asked for; ERANGE if there is no room."""
    if not room:
        return fuse.number(len(value))
    if len(value) > room:
        raise refuse(ERANGE)
    return value
