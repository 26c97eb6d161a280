# SPDX-License-Identifier: MIT
"""The other end of a Unix socket, as the kernel described it when it connected.

The law: what is asked here is fixed at connect(2), so it is asked once, and only of
sockets of our own accept(): a socketpair speaks for whoever made it. It refuses
to know which scopes follow from it.
"""

from __future__ import annotations

import os
import struct
from _socket import SO_PEERCRED, SOL_SOCKET
from errno import EACCES, EINVAL, ENOTTY, EOPNOTSUPP, EPERM, ERANGE
from fcntl import ioctl
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.errors import PagsrvError
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import has_pidfs, is_alive, own_inode, pid_of, status_of
from pagsrv.kernel.scm import SO_PASSPIDFD, SO_PASSRIGHTS, SO_PEERPIDFD

if TYPE_CHECKING:
    import socket

    from pagsrv.kernel.asking import Askable

__all__ = [
    "PeerFacts", "accept_rights", "confinement", "has_pidfs", "identify", "identify_shown",
    "own_inode", "prepare_listener", "same_user_namespace",
]  # fmt: skip

SO_ACCEPTCONN = 30  # asm-generic/socket.h
SO_PASSCRED = 16  # asm-generic/socket.h
SO_PEERGROUPS = 59  # asm-generic/socket.h; Linux 4.13
_GET_USER_NAMESPACE = 0xFF << 8 | 9  # _IO(PIDFS_IOCTL_MAGIC, 9) (linux/pidfd.h; Linux 6.11)

_INT = struct.Struct("i")
_UCRED = struct.Struct("iII")
_GROUPS_FIRST = 1024  # bytes
_GROUPS_MOST = 65536 * 4  # NGROUPS_MAX of linux/limits.h


class PeerFacts(NamedTuple):
    """Who connected: as it was then, whatever it has become since.

    *pidfd* is the caller's to close; it and *inode* are None and 0 where the kernel
    has no pidfs, or the process was gone before anybody asked.
    """

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...]
    inode: int
    pidfd: Fd | None


def identify(sock: Askable, *, process: bool = True) -> PeerFacts:
    """The process that connected *sock*, a connected socket of our own accept().

    Without *process* its pidfd is left for `process_of`: the kernel keeps it with the
    socket, and not everybody needs it. PagsrvError if the kernel names nobody (the socket
    is not connected).
    """
    try:
        pid, uid, gid = _UCRED.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, _UCRED.size))
        groups = _groups(sock)
    except OSError as error:
        raise PagsrvError(f"the kernel does not say who is at the other end: {error}") from error
    if uid == 0xFFFFFFFF:
        raise PagsrvError("nobody is at the other end of this socket")
    inode, pidfd = process_of(sock) if process else (0, None)
    return PeerFacts(pid, uid, gid, groups, inode, pidfd)


def process_of(sock: Askable) -> tuple[int, Fd | None]:
    """The pidfs inode of the process that connected *sock*, and its pidfd, the caller's.

    0 and None where the kernel has no pidfs, or the process was gone before anybody asked.
    """
    if not has_pidfs():
        return 0, None
    try:
        number = _INT.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERPIDFD, _INT.size))[0]
    except OSError:
        # ENODATA, EINVAL, ESRCH: reaped before the kernel kept its inode; proves nothing then.
        return 0, None
    pidfd = Fd(number)
    return os.fstat(number).st_ino, pidfd


def identify_shown(sock: Askable) -> PeerFacts:
    """As identify(), of a socket that somebody else accepted and shows; PagsrvError if none did.

    Asked of a listener the kernel names who listens there, which is nobody's peer.
    """
    if sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
        raise PagsrvError(
            "nobody is at the other end of this socket: it listens; show a connection it accepted"
        )
    return identify(sock)


def _groups(sock: Askable) -> tuple[int, ...]:
    """The supplementary groups; the effective gid is not among them unless it is one."""
    try:
        raw = sock.getsockopt(SOL_SOCKET, SO_PEERGROUPS, _GROUPS_FIRST)
    except OSError as error:
        if error.errno != ERANGE:
            raise
        raw = _many_groups(sock.fileno())
    return struct.unpack(f"{len(raw) // _INT.size}I", raw) if raw else ()


def _many_groups(fd: int) -> bytes:
    """The same by the C library: Python's own getsockopt() takes 1024 bytes at most."""
    import ctypes  # noqa: PLC0415 -- for the few with more than 256 groups

    buffer = ctypes.create_string_buffer(_GROUPS_MOST)
    size = ctypes.c_uint32(_GROUPS_MOST)
    if libc().getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, buffer, ctypes.byref(size)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw[: size.value]


def _set(sock: socket.socket, option: int, value: int) -> bool:
    try:
        sock.setsockopt(SOL_SOCKET, option, value)
    except OSError:
        return False  # ENOPROTOOPT, or EOPNOTSUPP on 6.16: the kernel is older than the option
    return True


def prepare_listener(sock: socket.socket) -> tuple[str, ...]:
    """Make *sock*'s connections refuse descriptors and name senders; the options that took.

    Before listen(), since accepted sockets inherit it and descriptors sent before accept()
    would otherwise arrive; on a socket that already listens, as the first thing.
    """
    done = []
    if _set(sock, SO_PASSRIGHTS, 0):
        done.append("SO_PASSRIGHTS=0")
    return (*done, *_name_senders(sock))


def _name_senders(sock: socket.socket) -> tuple[str, ...]:
    if has_pidfs() and _set(sock, SO_PASSPIDFD, 1):
        return ("SO_PASSPIDFD=1",)
    return ("SO_PASSCRED=1",) if _set(sock, SO_PASSCRED, 1) else ()


def accept_rights(sock: socket.socket) -> None:
    """Let descriptors come in on the one connection *sock*; without the option they always do.

    Senders are named once more here: who connected to an activated socket before it was
    ours has inherited nothing from `prepare_listener`.
    """
    _name_senders(sock)
    _set(sock, SO_PASSRIGHTS, 1)


def same_user_namespace(pidfd: Fd) -> str:
    """'' if the process of *pidfd* is in our own user namespace, else why that is not known.

    Asked before and after whatever depends on it: a process may change its namespace.
    """
    try:
        ours = os.stat("/proc/self/ns/user")
    except OSError as error:
        return f"our own user namespace cannot be looked at: {error.strerror}"
    try:
        # open_namespace() in the kernel makes it close-on-exec.
        with Fd(ioctl(pidfd.fileno(), _GET_USER_NAMESPACE)) as namespace:
            theirs = os.fstat(namespace.fileno())
    except OSError as error:
        if error.errno not in (ENOTTY, EINVAL, EOPNOTSUPP):
            return _why(error)
        return _by_proc(pidfd, ours)
    return _compare(ours, theirs)


def confinement(pidfd: Fd) -> str:
    """Why the process of *pidfd* may have less rights to files than its ids say; '' if it has not.

    A sandbox takes no_new_privs, but for root in some user namespace (landlock(7), seccomp(2)). Who
    has gone into another comes back into none; the map of its uids shows where even those are
    who may not be looked at.
    """
    status = status_of(pidfd)
    if status is None:
        return "the kernel does not show its status"
    if status.confined:
        return "no_new_privs is set there"
    return "" if status.everybody else same_user_namespace(pidfd)


def _compare(ours: os.stat_result, theirs: os.stat_result) -> str:
    if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
        return ""
    return "it is in another user namespace, where group numbers can be made up"


def _why(error: OSError) -> str:
    if error.errno in (EACCES, EPERM):
        return (
            "the kernel does not show its user namespace to this broker (another user's "
            "process, or one that is not dumpable): a broker of root's can look"
        )
    return f"its user namespace cannot be looked at: {error.strerror}"


def _by_proc(pidfd: Fd, ours: os.stat_result) -> str:
    """As same_user_namespace(), where the kernel is older than the ioctl."""
    pid = pid_of(pidfd)
    if not pid or not is_alive(pidfd):
        return "it has exited, or is outside our process namespace"
    try:
        theirs = os.stat(f"/proc/{pid}/ns/user")
    except OSError as error:
        return _why(error)
    if not is_alive(pidfd):
        return "it has exited"
    return _compare(ours, theirs)
