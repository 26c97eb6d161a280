# SPDX-License-Identifier: MIT
"""What lies beneath a directory, opened and listed by openat2(2).

The law: nothing is reached that is not beneath, whatever is renamed meanwhile, and nothing
of /proc; what is no file and no directory is never opened, so that nothing waits for a peer
of it. A refusal names the first name on the way at which it goes no further. All of it may
take as long as the file system does. It refuses to know whose rights it acts with.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
import struct
from contextlib import suppress
from fcntl import F_GETFL, F_SETFL, fcntl
from typing import TYPE_CHECKING

from msgspec.json import encode

from pagsrv.errors import Denied, InvalidParameter, NoEntry, QuotaExceeded, Refused, TimedOut
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from pagsrv.limits import NODES_BYTES
from pagsrv.nodes import Asked, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    Path = tuple[str, ...]

_OPENAT2 = 437  # asm-generic/unistd.h; Linux 5.6
_HOW = struct.Struct("QQQ")  # struct open_how (linux/openat2.h)
_RESOLVE = 0x08 | 0x02  # RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
_TRIES = 1000
"""EAGAIN of openat2(2): a rename on the way; each try takes microseconds."""

_FLAGS: dict[Asked, int] = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block",
}  # fmt: skip
_PROC = 0x9FA0  # PROC_SUPER_MAGIC of linux/magic.h
_STATFS_BYTES = 256
_WORD = struct.Struct("l")
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_NAMES = 1 << 20
"""Names looked through in one directory; the rest is for whoever opens it."""

_PAGE = 1024
"""Names in one answer at most: its room is for about half of that."""

_SAID: dict[int, tuple[type[Refused], str]] = {
    errno.ENOENT: (NoEntry, "there is no {name} in {where}, as its poster sees it"),
    errno.ENOTDIR: (NoEntry, "{where} is no directory, so there is no {name} in it"),
    errno.EXDEV: (
        Denied, "{full} is a link that leaves the posted directory, and no such link is followed"
    ),
    errno.ELOOP: (
        Denied, "{full} is a link in a circle or one of /proc, and no such link is followed"
    ),
    errno.EACCES: (Denied, "{full} is reached with its poster's rights, and they do not suffice"),
    errno.EPERM: (Denied, "{full} is reached with its poster's rights, and they do not suffice"),
    errno.EAGAIN: (TimedOut, "{full} is leased to somebody who would have to be asked; try again"),
}  # fmt: skip

_UNENDING = "names on the way are renamed all the time; try again"


def open_beneath(top: Fd, at: str, path: Path, access: Asked) -> Fd:
    """The file or directory at *path* beneath *top*, opened anew, the caller's; else Refused.

    *at* is what *top* is called. A directory is opened for reading only.
    """
    with _found(top, at, path) as found:
        kind = _kind(found)
        full = "/".join((at, *path))
        if kind not in ("file", "dir"):
            raise Denied(f"{full} is a {kind}: only files and directories are opened beneath")
        if kind == "dir" and access != "r":
            raise InvalidParameter("access", f"{full} is a directory: it is opened for reading")
        try:
            return _reopened(found, _FLAGS[access])
        except OSError as error:
            raise _refusal(error, full) from None


def walk(top: Fd, at: str, path: Path, after: str | None) -> tuple[str, list[Node], str | None]:
    """What lies in the directory at *path* beneath *top*, or the file there alone; else Refused.

    Where that is, by its full name; the names after *after*, in order, as many as one answer
    holds; the last of them if there are more.
    """
    with _found(top, at, path) as found:
        full = "/".join((at, *path))
        try:
            if _kind(found) == "dir":
                with _reopened(found, os.O_RDONLY | os.O_DIRECTORY) as directory:
                    return full, *_listed(directory, after)
            parent = "/".join((at, *path[:-1]))
            return parent, [_node(path[-1], os.fstat(found.fileno()), None)], None
        except OSError as error:
            raise _refusal(error, full) from None


def look(top: Fd, at: str, path: Path) -> tuple[str, list[Node]]:
    """The place at *path* beneath *top* itself, be it a link; where that is; else Refused."""
    with _found(top, at, path, os.O_NOFOLLOW) as found:
        try:
            seen = os.fstat(found.fileno())
            target = None
            if stat.S_ISLNK(seen.st_mode):
                target = _shown(os.readlink("", dir_fd=found.fileno()))
        except OSError as error:
            raise _refusal(error, "/".join((at, *path))) from None
        return "/".join((at, *path[:-1])), [_node(path[-1] if path else ".", seen, target)]


# ── reaching ──


def _found(top: Fd, at: str, path: Path, flags: int = 0) -> Fd:
    """The place at *path* (O_PATH), the caller's."""
    try:
        found = _openat2(top, "/".join(path) or ".", flags)
    except OSError as error:
        raise _explained(top, at, path, error) from None
    try:
        _check_file_system(found, "/".join((at, *path)))
    except BaseException:
        found.close()
        raise
    return found


def _openat2(top: Fd, path: str, flags: int = 0) -> Fd:
    import ctypes  # noqa: PLC0415 -- see libc

    how = _HOW.pack(os.O_PATH | os.O_CLOEXEC | flags, 0, _RESOLVE)
    size = ctypes.c_size_t(len(how))
    for _ in range(_TRIES):
        number = libc().syscall(_OPENAT2, top.fileno(), path.encode(), how, size)
        if number >= 0:
            return Fd(number)
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code))
    raise OSError(errno.EAGAIN, _UNENDING)


def _reopened(found: Fd, flags: int) -> Fd:
    """The same inode opened: by our own table, since its name may be another's by now.

    O_NONBLOCK so that a lease (fcntl(2)) is not waited for; the file given does not keep it.
    """
    more = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    opened = Fd(os.open(f"/proc/self/fd/{found.fileno()}", flags | more))
    try:
        fcntl(opened.fileno(), F_SETFL, fcntl(opened.fileno(), F_GETFL) & ~os.O_NONBLOCK)
    except BaseException:
        opened.close()
        raise
    return opened


def _kind(found: Fd) -> str:
    return _KINDS.get(stat.S_IFMT(os.fstat(found.fileno()).st_mode), "thing")


def _check_file_system(found: Fd, full: str) -> None:
    """Denied if it is of a procfs: its /proc/self would be us, with all that we hold."""
    import ctypes  # noqa: PLC0415 -- see libc

    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc().fstatfs(found.fileno(), buffer):
        raise Denied(f"the kernel does not say of what file system {full} is")
    if _WORD.unpack_from(buffer.raw)[0] == _PROC:
        raise Denied(f"{full} is of /proc, and nothing of that is reached")


# ── listing ──


def _listed(directory: Fd, after: str | None) -> tuple[list[Node], str | None]:
    with os.scandir(directory.fileno()) as entries:
        rest = ((_shown(entry.name), entry) for entry in _some(entries))
        wanted = (pair for pair in rest if after is None or pair[0] > after)
        # One more than are ever told; a page of a large directory sorts no more than that.
        chosen = heapq.nsmallest(_PAGE + 1, wanted, key=lambda pair: pair[0])
    nodes: list[Node] = []
    room = NODES_BYTES
    for name, entry in chosen:
        node = _looked(directory, name, entry)
        if node is None:
            continue
        room -= len(encode(node)) + 1
        if nodes and (room < 0 or len(nodes) == _PAGE):
            return nodes, nodes[-1].name
        nodes.append(node)
    return nodes, None


def _some(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    for number, entry in enumerate(entries):
        if number == _NAMES:
            raise QuotaExceeded(f"there are more than {_NAMES} names; open the directory instead")
        yield entry


def _looked(directory: Fd, name: str, entry: os.DirEntry[str]) -> Node | None:
    """One name of *directory*; None if it is gone by now."""
    try:
        found = os.stat(entry.name, dir_fd=directory.fileno(), follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError:
        return Node(name, None, None, None, None)
    target = None
    if stat.S_ISLNK(found.st_mode):
        with suppress(OSError):
            target = _shown(os.readlink(entry.name, dir_fd=directory.fileno()))
    return _node(name, found, target)


def _node(name: str, found: os.stat_result, target: str | None) -> Node:
    size = found.st_size if stat.S_ISREG(found.st_mode) else None
    return Node(name, _KINDS.get(stat.S_IFMT(found.st_mode)), size, found.st_mtime, target)


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


# ── refusing ──


def _explained(top: Fd, at: str, path: Path, error: OSError) -> Refused:
    """*error* in words, by the first name on the way that leads no further now."""
    for count in range(1, len(path)):
        try:
            _openat2(top, "/".join(path[:count])).close()
        except OSError as earlier:
            error, path = earlier, path[:count]
            break
    full = "/".join((at, *path))
    if error.errno == errno.ENOENT and path:
        with suppress(OSError), _openat2(top, "/".join(path), os.O_NOFOLLOW):
            return NoEntry(f"{full} is a link to what is not there, as its poster sees it")
    return _refusal(error, full)


def _refusal(error: OSError, full: str) -> Refused:
    """What the kernel has against *full*."""
    where, _, name = full.rpartition("/")
    code = error.errno
    if code == errno.ENAMETOOLONG:
        return InvalidParameter("name", f"{name[:40]}... is too long to be a file's name")
    if code == errno.EAGAIN and error.strerror == _UNENDING:
        return TimedOut(f"{full}: {_UNENDING}")
    if code in _SCARCE:
        return QuotaExceeded(f"{full} cannot be opened now: {error.strerror}; try again")
    kind, text = _SAID.get(code or 0, (Denied, "{full} cannot be opened: {why}"))
    return kind(text.format(full=full, where=where, name=name, why=error.strerror))
