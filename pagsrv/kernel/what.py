# SPDX-License-Identifier: MIT
"""What a posted descriptor is, without ever waiting for whoever serves it.

The law: nothing here may block on somebody else's file system, since the poster
chooses the file: statx(2) is told not to ask the server, nothing is read, and only
kinds whose poll the kernel answers itself are tried with epoll. It refuses to judge
what may be posted.
"""

from __future__ import annotations

import os
import select
import stat
import struct
from _socket import AF_UNIX, SO_PEERCRED, SOL_SOCKET
from fcntl import F_GETFL, fcntl
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.facts import Access, FdFacts, FdKind
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import has_pidfs, is_pidfd_link, own_inode
from pagsrv.kernel.scm import SO_PEERPIDFD

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from pagsrv.kernel.fd import Fd

PATH_BYTES = 512
"""Longest path or address shown, in bytes of UTF-8; what is longer ends in an ellipsis."""

_AT_EMPTY_PATH, _AT_DONT_SYNC = 0x1000, 0x4000  # linux/fcntl.h, linux/stat.h
_STATX_TYPE_INO = 0x1 | 0x100  # STATX_TYPE | STATX_INO of linux/stat.h
_MODE = struct.Struct("28xH2xQ")  # stx_mode, stx_ino of struct statx (linux/stat.h)
_DEVICE = struct.Struct("136xII")  # stx_dev_major, stx_dev_minor
_STATX_BYTES = 256

_INT = struct.Struct("i")
_KINDS: dict[int, FdKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFLNK: "file",  # open(2) with O_PATH | O_NOFOLLOW
}
_ACCESS: dict[int, Access] = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "rw"}
# Files and directories are never tried: their poll is the file system's, which may be somebody's
# program; the kernel's own pipes, sockets and anonymous files answer at once.
_TRIED: frozenset[FdKind] = frozenset({"fifo", "socket", "char", "pidfd", "anon"})
_EPOLL = "anon_inode:[eventpoll]"  # its poll asks every file in it, and so anybody's program


class _Node(NamedTuple):
    kind: FdKind
    device: int
    inode: int


def describe(fd: Fd, inodes: Collection[int] = (), addresses: Collection[str] = ()) -> FdFacts:
    """What *fd* is; it stays the caller's.

    *inodes* are those of our own listening sockets and connections, *addresses* the
    paths our listening sockets are bound to: a descriptor that is one of them, or a
    connection to one, is `ours`, and so is any connection to this very process.
    """
    link = _link(fd)
    node = _node(fd, link)
    flags = fcntl(fd.fileno(), F_GETFL)
    text, ours = link, False
    if node.kind == "socket" and not flags & os.O_PATH:
        text, ours = _address(fd, addresses)
        ours = ours or node.inode in inodes
    elif node.kind == "fifo" and not link.startswith("/"):
        text = ""
    return FdFacts(
        kind=node.kind,
        access=None if flags & os.O_PATH else _ACCESS.get(flags & os.O_ACCMODE),
        device=node.device,
        inode=node.inode,
        path=printable(text),
        pollable=(
            not flags & os.O_PATH and node.kind in _TRIED and link != _EPOLL and _pollable(fd)
        ),
        ours=ours,
    )


def _link(fd: Fd) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd.fileno()}")
    except OSError:
        return ""


def _node(fd: Fd, link: str) -> _Node:
    """Kind, device and inode, out of what the kernel has at hand."""
    buffer = _statx(fd.fileno())
    if buffer is None:
        try:
            found = os.fstat(fd.fileno())
        except OSError:
            # A user's own FUSE file system shows its files to that user only (EACCES).
            return _Node("file", 0, 0)
        mode, inode, device = found.st_mode, found.st_ino, found.st_dev
    else:
        mode, inode = _MODE.unpack_from(buffer)
        device = os.makedev(*_DEVICE.unpack_from(buffer))
    kind = _KINDS.get(stat.S_IFMT(mode), "anon")
    if is_pidfd_link(link):
        kind = "pidfd"
    elif link.startswith("anon_inode:"):
        # On some kernels an anonymous inode calls itself a regular file.
        kind = "anon"
    elif kind == "file" and (link.startswith("/memfd:") or link == "/secretmem (deleted)"):
        kind = "memfd"
    return _Node(kind, device, inode)


def _statx(fd: int) -> bytes | None:
    """Struct statx of *fd* as cached, so that no file server is asked; None without statx(2)."""
    import ctypes  # noqa: PLC0415 -- the commands never come here

    call = getattr(libc(), "statx", None)
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if call is None or call(fd, b"", _AT_EMPTY_PATH | _AT_DONT_SYNC, _STATX_TYPE_INO, buffer):
        return None
    return buffer.raw


def _pollable(fd: Fd) -> bool:
    """Whether epoll takes it: asked of epoll itself, on a scratch instance (epoll_ctl(2))."""
    with select.epoll() as scratch:
        try:
            scratch.register(fd.fileno(), 0)
        except OSError:
            return False
    return True


def _address(fd: Fd, addresses: Collection[str]) -> tuple[str, bool]:
    """The socket's address in words, the other end's if it has one; and whether it is ours."""
    # A second descriptor, so that the socket object may close its own.
    with fd.dup() as second:
        try:
            sock = second.to_socket()
        except OSError:
            return "", False  # a family that Python cannot hold
    with sock:
        other = _name(sock, peer=True)
        own = _name(sock, peer=False)
        if sock.family == AF_UNIX and (other in addresses or own in addresses):
            return other or own, bool(other or own)
        return other or own, sock.family == AF_UNIX and _leads_here(sock)


def _name(sock: socket.socket, *, peer: bool) -> str:
    try:
        name = sock.getpeername() if peer else sock.getsockname()
    except OSError:
        return ""
    if isinstance(name, bytes):
        return "@" + name.removeprefix(b"\0").decode("utf-8", "surrogateescape")
    if isinstance(name, str):
        return name
    if isinstance(name, tuple) and len(name) > 1 and isinstance(name[0], str):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{host}:{name[1]}"
    return str(name)


def _leads_here(sock: socket.socket) -> bool:
    """Whether this process itself is at the other end (SO_PEERPIDFD, or the pid before pidfs)."""
    try:
        if has_pidfs():
            (number,) = _INT.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERPIDFD, _INT.size))
            try:
                return os.fstat(number).st_ino == own_inode()
            finally:
                os.close(number)
        (pid,) = _INT.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[: _INT.size])
    except OSError:
        return False
    return bool(pid == os.getpid())


def printable(text: str) -> str:
    """*text* with nothing in it that moves a terminal, at most PATH_BYTES of UTF-8."""
    if text.isascii() and text.isprintable() and len(text) <= PATH_BYTES:
        return text
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    raw = clean.encode("utf-8", "replace")
    if len(raw) <= PATH_BYTES:
        return raw.decode()
    return raw[: PATH_BYTES - 3].decode("utf-8", "ignore") + "…"
