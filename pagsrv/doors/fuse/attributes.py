# SPDX-License-Identifier: MIT
"""What a file system shows of an entry: mode, times, extended attributes; and a mode's mask.

The law: who is not in the scope sees no file at all, so that a mode speaks of the possessors
alone: r for everybody if they may read, w for the owner if they may write. A chmod changes
these two rights and never anybody else's. Pure. It refuses to know who asks.
"""

from __future__ import annotations

import stat
from errno import ENODATA, EPERM
from typing import TYPE_CHECKING

from pagsrv.errors import PagsrvError
from pagsrv.kernel.fuse import ROOT, Attributes
from pagsrv.masks import READ, WRITE, format_mask, parse_mask
from pagsrv.messages import EntryView

if TYPE_CHECKING:
    from pagsrv.doors.fuse.nodes import Below, Node
    from pagsrv.nodes import Node as Found

PREFIX = "user.pagsrv."
MASK = f"{PREFIX}mask"
_POSSESSOR = 24
_SIZE = 4096
"""Of every posted file, as of every file of sysfs: who reads to the end finds out. With a size of 0
the kernel would answer sendfile(2) by itself, that there is nothing."""

_UNSAYABLE = 0o7133  # setuid and the like, x, and w of group and others
_ENTER = 0o111  # of directories: whoever reads them enters them


_FORMS = {
    "file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK, None: stat.S_IFREG,
}  # fmt: skip


class NotToBeHad(PagsrvError):
    """A file system could, and this one does not."""

    errno = EPERM


class NoAttribute(PagsrvError):
    """There is no extended attribute of that name."""

    errno = ENODATA


def of_root(uid: int, gid: int, since: float) -> Attributes:
    """The directory, mounted *since* then, in seconds since 1970."""
    return Attributes(ROOT, stat.S_IFDIR | 0o755, uid, gid, since, since, since, 2)


def is_directory(view: EntryView) -> bool:
    """Whether the entry *view* is one to go beneath."""
    return view.kind == "dir"


def of(node: Node, view: EntryView, *, gone: bool = False) -> Attributes:
    """The entry *view* of *node*; *gone*: it is not on the board any more."""
    mode = mode_of(view.mask)
    # An inode stays what it was.
    mode |= (stat.S_IFDIR | mode >> 2 & _ENTER) if node.directory else stat.S_IFREG
    return Attributes(
        node.inode, mode, view.owner.uid, view.owner.gid,
        view.last_opened or view.created, view.created, view.created, 0 if gone else 1,
        _SIZE if view.assigned else 0,
    )  # fmt: skip


def beneath(node: Below, *, gone: bool = False) -> Attributes:
    """What lies beneath an entry, as it was last seen: with the entry's owner and rights."""
    view, found = node.top.view, node.found
    held = mode_of(view.mask)
    form = form_of(found)
    if form == stat.S_IFDIR:
        held &= 0o444
        held |= held >> 2
    elif form == stat.S_IFLNK:
        held = 0o777
    elif found.kind != "file":
        held = 0
    moment = found.modified or view.created
    size = len((found.target or "").encode()) if form == stat.S_IFLNK else found.size or 0
    return Attributes(
        node.inode, form | held, view.owner.uid, view.owner.gid, moment, moment, moment,
        0 if gone else 1, size,
    )  # fmt: skip


def form_of(found: Found) -> int:
    """What stat(2) calls it. A socket is what open(2) never opens: so is a fifo, and a device."""
    return _FORMS.get(found.kind, stat.S_IFSOCK)


def mode_of(mask: str) -> int:
    """The permission bits of a *mask* in letters: 0644, 0444, 0200 or 0."""
    held = parse_mask(mask) >> _POSSESSOR
    return (0o444 if held & READ else 0) | (0o200 if held & WRITE else 0)


def mask_of(mask: str, mode: int, *, directory: bool = False) -> str:
    """*mask* as chmod(2) with *mode* leaves it, both in letters; NotToBeHad what none can say."""
    if mode & (_UNSAYABLE & ~_ENTER if directory else _UNSAYABLE):
        raise NotToBeHad("a mode says r and w of the owner here, and r of the others with it")
    bits = parse_mask(mask) & ~((READ | WRITE) << _POSSESSOR)
    wanted = (READ if mode & 0o400 else 0) | (WRITE if mode & 0o200 else 0)
    return format_mask(bits | wanted << _POSSESSOR)


def extended(view: EntryView) -> dict[str, str]:
    """The extended attributes of the entry *view*, by their full names."""
    poster = view.poster
    found: dict[str, object | None] = {
        "scope": view.scope,
        "kind": view.kind,
        "access": view.access,
        "path": view.path,
        "assigned": str(view.assigned).lower(),
        "mask": view.mask,
        "rights": view.rights,
        "generation": view.generation,
        "poster": None if poster is None else f"{poster.pid} {poster.comm}",
        "until": " ".join(view.until) or None,
        "opens": view.opens,
        "created": view.created,
        "last_opened": view.last_opened,
        "deadline": view.deadline,
        "granted_from": view.granted_from,
    }
    found |= {f"label.{key}": value for key, value in view.labels.items()}
    return {PREFIX + key: str(value) for key, value in found.items() if value is not None}
