# SPDX-License-Identifier: MIT
"""The kernel's questions to a file system in user space, and the answers' layouts.

The law: layouts of linux/fuse.h and nothing else, of the version said here: the kernel speaks
to each file system in the version it asked for. A question that is cut short is a
ProtocolError. It refuses to know descriptors, and what is answered.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pagsrv.errors import ProtocolError

MAJOR, MINOR = 7, 31
"""Linux 5.4's; what came later is asked for by flags, and none of it is here."""

MOST_IO = 1 << 20
"""Bytes of one read or write: as many as the kernel's 256 pages of 4 KiB."""

ROOT = 1
"""The node id of the directory that is mounted."""

LOOKUP, FORGET, GETATTR, SETATTR = 1, 2, 3, 4
READLINK, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK = 5, 6, 8, 9, 10, 11, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 14, 15, 16, 17, 18, 20
SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR, FLUSH, INIT = 21, 22, 23, 24, 25, 26
OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, ACCESS, CREATE = 27, 28, 29, 30, 34, 35
GETLK, SETLK, SETLKW = 31, 32, 33
INTERRUPT, DESTROY, POLL, BATCH_FORGET, RENAME2 = 36, 38, 40, 42, 45

NOTIFY_POLL = 1

# Of open_flags in an answer to OPEN and CREATE.
DIRECT_IO, NONSEEKABLE, STREAM, NO_FLUSH, PARALLEL_WRITES = 1, 1 << 2, 1 << 4, 1 << 5, 1 << 6

# Of `valid` in SETATTR.
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_FH = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 6

POLL_SCHEDULE = 1

READ_OWNED = 2
"""Of read_flags: a process reads, and not the page cache (FUSE_READ_LOCKOWNER)."""

_POSIX_LOCKS, _ATOMIC_TRUNCATE, _BIG_WRITES, _FLOCK_LOCKS = 1 << 1, 1 << 3, 1 << 5, 1 << 10
_PARALLEL_DIRECTORIES, _HANDLES_KILLPRIV, _MAX_PAGES = 1 << 18, 1 << 19, 1 << 22
WANTED = (
    _ATOMIC_TRUNCATE | _BIG_WRITES | _PARALLEL_DIRECTORIES | _HANDLES_KILLPRIV | _MAX_PAGES
    | _POSIX_LOCKS | _FLOCK_LOCKS
)  # fmt: skip

IN = struct.Struct("=IIQQIIIHH")  # struct fuse_in_header
OUT = struct.Struct("=IiQ")  # struct fuse_out_header
_ATTR = struct.Struct("=6Q10I")  # struct fuse_attr
_ENTRY = struct.Struct("=4Q2I")  # struct fuse_entry_out, without its attr
_ATTR_OUT = struct.Struct("=QII")  # struct fuse_attr_out, without its attr
_INIT_OUT = struct.Struct("=4IHHIIHHII6I")
_OPEN_OUT = struct.Struct("=QIi")
_PAIR = struct.Struct("=II")
_STATFS = struct.Struct("=5Q4I24x")
_DIRENT = struct.Struct("=QQII")
_WIDE = struct.Struct("=Q")

INIT_IN = struct.Struct("=IIII")
OPEN_IN = struct.Struct("=II")
CREATE_IN = struct.Struct("=IIII")
IO_IN = struct.Struct("=QQIIQII")  # of READ and WRITE, which have the same
RELEASE_IN = struct.Struct("=QIIQ")
HANDLE_IN = struct.Struct("=QQ")  # the beginning of FSYNC's
SETATTR_IN = struct.Struct("=IIQ5Q3I4I4x")
GETATTR_IN = struct.Struct("=IIQ")
XATTR_IN = struct.Struct("=II")
RENAME_IN = struct.Struct("=Q")
RENAME2_IN = struct.Struct("=QII")
MKNOD_IN = struct.Struct("=IIII")
ACCESS_IN = struct.Struct("=II")
FORGET_IN = struct.Struct("=Q")
BATCH_IN = struct.Struct("=II")
POLL_IN = struct.Struct("=QQII")
INTERRUPT_IN = struct.Struct("=Q")

_DIRECTORY, _BLOCK, _SECTOR = 0o040000 >> 12, 4096, 512
_A_MOMENT = 1_000_000  # nanoseconds
_UNKNOWN_INODE = 0xFFFFFFFF
_DIRENT_ALIGN = 8
_DOTS = 2  # . and ..


class Question(NamedTuple):
    """One request. *tid* is the thread that waits for the answer, in our pid namespace; 0: outside.

    *uid* and *gid* are its file-system ids, in the user namespace that mounted.
    """

    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    tid: int
    body: memoryview

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        """The numbers at the beginning of the body."""
        try:
            return layout.unpack_from(self.body)
        except struct.error as error:
            raise ProtocolError(f"the kernel's question {self.opcode} is cut short") from error

    def names(self, after: struct.Struct | None = None) -> list[bytes]:
        """The names, each ended by a NUL, that follow *after*."""
        raw = bytes(self.body[after.size if after else 0 :])
        return raw.split(b"\0")[:-1]


def parse(raw: memoryview) -> Question:
    """What was read from /dev/fuse."""
    if len(raw) < IN.size:
        raise ProtocolError("a question of the kernel's is cut short")
    size, opcode, unique, node, uid, gid, tid, more, _ = IN.unpack_from(raw)
    if size != len(raw) or more:
        raise ProtocolError("a question of the kernel's has another length than it says")
    return Question(opcode, unique, node, uid, gid, tid, raw[IN.size :])


class Attributes(NamedTuple):
    """What stat(2) shows of a node; times are seconds since 1970."""

    inode: int
    mode: int
    uid: int
    gid: int
    accessed: float = 0
    modified: float = 0
    changed: float = 0
    links: int = 1
    size: int = 0

    def pack(self) -> bytes:
        """As struct fuse_attr."""
        whole, parts = [], []
        for moment in (self.accessed, self.modified, self.changed):
            whole.append(int(moment))
            parts.append(int(moment % 1 * 1_000_000_000))
        blocks = self.size // _SECTOR
        return _ATTR.pack(
            self.inode, self.size, blocks, *whole, *parts, self.mode, self.links, self.uid,
            self.gid, 0, _BLOCK, 0,
        )  # fmt: skip


# ---- answers -------------------------------------------------------------------------------------


def reply(unique: int, body: bytes = b"", error: int = 0) -> bytes:
    """A whole answer; *error* is an errno."""
    return OUT.pack(OUT.size + len(body), -error, unique) + body


def poll_notice(handle: int) -> bytes:
    """That what was polled by the kernel's *handle* may be ready."""
    return OUT.pack(OUT.size + _WIDE.size, NOTIFY_POLL, 0) + _WIDE.pack(handle)


def begun(minor: int, readahead: int, flags: int) -> bytes:
    """The answer to INIT; what is kept is asked for anew each time."""
    return _INIT_OUT.pack(
        MAJOR, min(minor, MINOR), readahead, flags & WANTED, 64, 48, MOST_IO, 1,
        MOST_IO // _BLOCK, 0, 0, 0, *(0,) * 6,
    )  # fmt: skip


def entry(node: int, attributes: Attributes) -> bytes:
    """A node found, not to be remembered: the next to look may be another session's.

    Its attributes are good for the question that follows; who got no node asks for none.
    """
    return _ENTRY.pack(node, 0, 0, 0, 0, _A_MOMENT) + attributes.pack()


def attributes_of(attributes: Attributes) -> bytes:
    """The answer to GETATTR and SETATTR, not to be remembered."""
    return _ATTR_OUT.pack(0, 0, 0) + attributes.pack()


def opened(handle: int, flags: int) -> bytes:
    """The answer to OPEN and OPENDIR, and the end of CREATE's."""
    return _OPEN_OUT.pack(handle, flags, 0)


def number(value: int) -> bytes:
    """The answer to WRITE, POLL and a GETXATTR that asks for the size."""
    return _PAIR.pack(value, 0)


def statfs(name_bytes: int) -> bytes:
    """The answer to STATFS: no blocks, and names as long as that."""
    return _STATFS.pack(0, 0, 0, 0, 0, _BLOCK, name_bytes, _BLOCK, 0)


def listing(
    names: list[bytes], start: int, room: int, kinds: bytes = b"", first: int = 0
) -> bytes:  # fmt: skip
    """Entries of a directory from place *start* on, as many as go into *room* bytes.

    *kinds* are the DT_* of readdir(3), 0 where it is not known; *first* is the place of names[0].
    """
    parts: list[bytes] = []
    for place in range(start, first + len(names)):
        name = names[place - first]
        kind = kinds[place - first] if kinds else _DIRECTORY if place < _DOTS else 0
        one = _DIRENT.pack(_UNKNOWN_INODE, place + 1, len(name), kind) + name
        one += bytes(-len(one) % _DIRENT_ALIGN)
        room -= len(one)
        if room < 0:
            break
        parts.append(one)
    return b"".join(parts)
