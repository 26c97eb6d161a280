# SPDX-License-Identifier: MIT
"""Threads that wait in the kernel for our answer: who one is, and what it holds.

The law: a thread is asked about by a pidfd of its own (PIDFD_THREAD; Linux 6.9), and believed
only if it lives afterwards. Its credentials are its own, not its process's (credentials(7) and
keyrings(7) are of threads), and so may its descriptors be. It refuses to know what it waits for.
"""

from __future__ import annotations

import ctypes
import os
import struct
from errno import EBADF, EINVAL, ESRCH
from fcntl import ioctl
from typing import NamedTuple

from pagsrv.errors import PagsrvError
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import NoProcess, is_alive, is_pidfd, open_pidfd, told

_PIDFD_THREAD = os.O_EXCL  # linux/pidfd.h
_PIDFD_GETFD = 438  # asm-generic/unistd.h
_INFO = struct.Struct("QQ11Ii")  # struct pidfd_info, first version (linux/pidfd.h; Linux 6.13)
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, …)
_STANDING = (b"Uid:", b"Gid:", b"Groups:", b"CapPrm:")


class Thread(NamedTuple):
    """A thread as its pidfd shows it, the numbers as our own namespaces have them."""

    tid: int
    pid: int
    uid: int
    """The effective one, as *gid*."""
    gid: int
    fsuid: int
    real: tuple[int, int]
    """The uid and gid that are not changed by a set-user-ID program."""


class NotOpen(PagsrvError):
    """The number that was said is no open descriptor of the thread's."""

    errno = EINVAL


def open_thread(tid: int) -> Fd:
    """A pidfd of thread *tid* alone, the caller's; NoProcess if there is none, or no such pidfd.

    Where the kernel is older than PIDFD_THREAD only a process's first thread has one.
    """
    try:
        return Fd(os.pidfd_open(tid, _PIDFD_THREAD))
    except OSError as error:
        if error.errno != EINVAL:
            raise NoProcess(f"there is no thread {tid} to be asked about: {error}") from error
    try:
        return Fd(os.pidfd_open(tid))
    except OSError as error:
        raise NoProcess(
            f"thread {tid} is not the first of its process, and this kernel is too old to be asked "
            "about others (Linux 6.9)"
        ) from error


def look(pidfd: Fd) -> Thread | None:
    """The thread of *pidfd*, still the caller's; None if it has exited, or is outside our view.

    None also for what is no pidfd.
    """
    if not is_pidfd(pidfd):
        return None
    buffer = bytearray(_INFO.size)
    try:
        ioctl(pidfd.fileno(), _GET_INFO, buffer)
    except OSError:
        return None  # ESRCH, EREMOTE; ENOTTY before Linux 6.13, where none of this is proved
    fields = _INFO.unpack(buffer)
    if not fields[2] or not is_alive(pidfd):
        return None
    return Thread(fields[2], fields[3], fields[7], fields[8], fields[11], fields[5:7])


def process_of(pidfd: Fd, thread: Thread) -> Fd:
    """A pidfd of the process of *thread*, whose own is *pidfd*; the caller's. NoProcess."""
    process = open_pidfd(thread.pid)
    # A process's number is its own while one of its threads lives.
    if is_alive(pidfd):
        return process
    process.close()
    raise NoProcess(f"thread {thread.tid} has exited")


def groups_of(pidfd: Fd, thread: Thread) -> tuple[int, ...]:
    """Its supplementary groups; none if it has exited."""
    for line in (told(thread.tid, "status") or "").split("\n"):
        if line.startswith("Groups:") and is_alive(pidfd):
            return tuple(map(int, line.split()[1:]))
    return ()


def standing(tid: int) -> tuple[bytes, ...]:
    """Ids, groups and capabilities of thread *tid*, to be compared.

    Whoever asks makes sure that the number is the right thread's meanwhile. NoProcess.
    """
    try:
        with open(f"/proc/{tid}/status", "rb") as file:
            return tuple(line for line in file if line.startswith(_STANDING))
    except OSError as error:
        raise NoProcess(f"what thread {tid} may cannot be told: {error}") from error


def descriptor(pidfd: Fd, number: int) -> Fd:
    """What *number* is to the thread of *pidfd*, once more; the caller's.

    NotOpen; OSError as pidfd_getfd(2): EPERM if we may not trace it.
    """
    got = libc().syscall(_PIDFD_GETFD, pidfd.fileno(), number, 0)
    if got >= 0:
        return Fd(got)  # close-on-exec always
    why = ctypes.get_errno()
    if why in (EBADF, ESRCH):
        raise NotOpen(f"{number} is no open descriptor of the process that wrote it")
    raise OSError(why, os.strerror(why))
