# SPDX-License-Identifier: MIT
"""What a posted descriptor is, without ever waiting for whoever serves it.

The law: nothing here may block on somebody else's file system or on a lock that the
poster can hold, since the poster chooses the file: statx(2) is told not to ask the
server, nothing is read, a socket is asked nothing that takes its lock (getsockopt(2)
does where a program of a cgroup looks on, getsockname(2) does for all but Unix
sockets), and only kinds whose poll the kernel answers itself are tried with epoll. It
refuses to judge what may be posted.
"""

from __future__ import annotations

import os
import select
import stat
import struct
from _socket import AF_UNIX, SOCK_STREAM, SOL_SOCKET
from errno import ENOSYS, EPERM
from fcntl import F_GETFL, fcntl
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.facts import Access, FdFacts, FdKind
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import has_pidfs, is_pidfd_link, own_inode
from pagsrv.kernel.scm import SO_PEERPIDFD

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection

    from pagsrv.kernel.fd import Fd

PATH_BYTES = 512
"""Longest path or address shown, in bytes of UTF-8; what is longer ends in an ellipsis."""

_AT_EMPTY_PATH, _AT_DONT_SYNC = 0x1000, 0x4000  # linux/fcntl.h, linux/stat.h
_STATX_TYPE_INO = 0x1 | 0x100  # STATX_TYPE | STATX_INO of linux/stat.h
_MODE = struct.Struct("28xH2xQ")  # stx_mode, stx_ino of struct statx (linux/stat.h)
_DEVICES = struct.Struct("128xIIII")  # stx_rdev_major, stx_rdev_minor, stx_dev_major, _minor
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
_POLLED = frozenset(
    ("UNIX", "UNIX-STREAM", "TCP", "TCPv6", "MPTCP", "MPTCPv6", "UDP", "UDPv6", "PING", "PINGv6",
     "RAW", "RAWv6", "NETLINK", "PACKET")
)  # fmt: skip
"""Sockets whose poll takes no lock; that of a vsock does, for one."""
UNIX = ("UNIX", "UNIX-STREAM")
"""What `protocol` says of Unix sockets."""
_CUSE = "/cuse/"  # a character device that is somebody's program: its poll asks that
_EPOLL = "anon_inode:[eventpoll]"  # its poll asks every file in it, and so anybody's program


class _Node(NamedTuple):
    kind: FdKind
    device: int
    inode: int
    rdev: int = 0


def describe(fd: Fd, inodes: Collection[int] = (), addresses: Collection[str] = ()) -> FdFacts:
    """What *fd* is; it stays the caller's.

    *inodes* are those of our own listening sockets and connections, *addresses* the
    paths our listening sockets are bound to: a descriptor that is one of them, or a
    connection to one, is `ours`, and so is any connection to this very process.
    """
    link = _link(fd)
    node = _node(fd, link)
    flags = fcntl(fd.fileno(), F_GETFL)
    text, ours, known = link, False, ""
    if node.kind == "socket" and not flags & os.O_PATH:
        known = protocol(fd)
        text, ours = _address(fd, addresses) if known in UNIX else ("", False)
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
            not flags & os.O_PATH
            and (known in _POLLED if node.kind == "socket" else _answers(node, link))
            and _pollable(fd)
        ),
        ours=ours,
    )


def is_socket(fd: Fd) -> bool:
    """Whether *fd* is a socket, and no name of one (O_PATH)."""
    return _link(fd).startswith("socket:")


def protocol(fd: Fd) -> str:
    """The kernel's own name for the protocol of socket *fd* ("TCP", "UNIX"); '' if it has none.

    That of its making, which no lock guards; it is the one thing a socket tells without one.
    *fd* is known to be a socket: of another file its file system would be asked.
    """
    try:
        return os.getxattr(fd.fileno(), "system.sockprotoname").rstrip(b"\0").decode("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _link(fd: Fd) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd.fileno()}")
    except OSError:
        return ""


def _node(fd: Fd, link: str) -> _Node:
    """Kind, device and inode, out of what the kernel has at hand."""
    try:
        buffer = _statx(fd.fileno())
        if buffer is None:
            found = os.fstat(fd.fileno())
            mode, inode = found.st_mode, found.st_ino
            device, rdev = found.st_dev, found.st_rdev
        else:
            mode, inode = _MODE.unpack_from(buffer)
            *theirs, major, minor = _DEVICES.unpack_from(buffer)
            device, rdev = os.makedev(major, minor), os.makedev(*theirs)
    except OSError:
        # A user's own FUSE file system shows its files to that user only (EACCES).
        return _Node("file", 0, 0)
    kind = _KINDS.get(stat.S_IFMT(mode), "anon")
    if is_pidfd_link(link):
        kind = "pidfd"
    elif link.startswith("anon_inode:"):
        # On some kernels an anonymous inode calls itself a regular file.
        kind = "anon"
    elif kind == "file" and (link.startswith("/memfd:") or link == "/secretmem (deleted)"):
        kind = "memfd"
    return _Node(kind, device, inode, rdev)


def _statx(fd: int) -> bytes | None:
    """Struct statx of *fd* as cached, so that no file server is asked; None without statx(2)."""
    import ctypes  # noqa: PLC0415 -- the commands never come here

    call = getattr(libc(), "statx", None)
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if call is None:
        return None
    if call(fd, b"", _AT_EMPTY_PATH | _AT_DONT_SYNC, _STATX_TYPE_INO, buffer):
        number = ctypes.get_errno()
        if number in (ENOSYS, EPERM):
            return None  # an old kernel, or a seccomp filter older than the call
        raise OSError(number, os.strerror(number))
    return buffer.raw


def _answers(node: _Node, link: str) -> bool:
    """Whether it is the kernel itself that answers a poll of it."""
    if node.kind == "char":
        try:
            place = os.readlink(f"/sys/dev/char/{os.major(node.rdev)}:{os.minor(node.rdev)}")
        except OSError:
            return False
        return _CUSE not in place
    return node.kind in _TRIED and link != _EPOLL


def _pollable(fd: Fd) -> bool:
    """Whether epoll takes it: asked of epoll itself, on a scratch instance (epoll_ctl(2))."""
    with select.epoll() as scratch:
        try:
            scratch.register(fd.fileno(), 0)
        except OSError:
            return False
    return True


def _address(fd: Fd, addresses: Collection[str]) -> tuple[str, bool]:
    """A Unix socket's address, the other end's if it has one; and whether it is ours."""
    import socket  # noqa: PLC0415 -- costs milliseconds that a command without sockets saves

    # A second descriptor, so that the socket object may close its own; its kind is said, since
    # asking for it may wait, and no call below depends on it.
    with socket.socket(AF_UNIX, SOCK_STREAM, 0, fileno=fd.dup().detach()) as sock:
        other, own = name_of(sock.getpeername), name_of(sock.getsockname)
        if other in addresses or own in addresses:
            return other or own, bool(other or own)
        return other or own, _leads_here(sock)


def name_of(ask: Callable[[], object]) -> str:
    """The name of a Unix socket in words, as its getsockname or getpeername *ask* tells it."""
    try:
        name = ask()
    except OSError:
        return ""
    if isinstance(name, bytes):
        return "@" + name.removeprefix(b"\0").decode("utf-8", "surrogateescape")
    return str(name)


def _leads_here(sock: socket.socket) -> bool:
    """Whether this process itself is at the other end; False before pidfs, where the name tells.

    SO_PEERPIDFD is the one option that is never shown to a cgroup's program, and takes no lock.
    """
    if not has_pidfs():
        return False
    try:
        (number,) = _INT.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERPIDFD, _INT.size))
    except OSError:
        return False
    try:
        return os.fstat(number).st_ino == own_inode()
    finally:
        os.close(number)


def printable(text: str) -> str:
    """*text* with nothing in it that moves a terminal, at most PATH_BYTES of UTF-8."""
    if text.isascii() and text.isprintable() and len(text) <= PATH_BYTES:
        return text
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    raw = clean.encode("utf-8", "replace")
    if len(raw) <= PATH_BYTES:
        return raw.decode()
    return raw[: PATH_BYTES - 3].decode("utf-8", "ignore") + "…"
