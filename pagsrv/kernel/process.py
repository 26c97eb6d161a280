# SPDX-License-Identifier: MIT
"""Processes, by pidfd: who it is, whether it lives, who leads its session.

The law: a process id is a name that is given away again, so what is asked by number
is asked between two looks at the pidfd that pins it (pidfd_open(2)); a number alone
serves for decoration only. It refuses to know what a process may do.
"""

from __future__ import annotations

import os
import struct
from errno import EINVAL, EMFILE, ENFILE, ENOMEM, ENOTTY, EREMOTE, ESRCH
from fcntl import ioctl
from functools import lru_cache
from select import POLLIN, poll
from typing import NamedTuple

from pagsrv.errors import PagsrvError
from pagsrv.facts import ProcessFacts
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc

_INFO = struct.Struct("QQ11Ii")  # struct pidfd_info, first version (linux/pidfd.h; Linux 6.13)
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, …)
_INFO_CGROUP = 1 << 2  # PIDFD_INFO_CGROUPID
_CGROUP_ASKED = _INFO.pack(_INFO_CGROUP, *(0 for _ in range(13)))
_TOLD_BYTES = 4096
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_SET_NAME = 3, 4, 15  # linux/prctl.h
_EVERY_UID = [b"0", b"0", b"4294967295"]  # user_namespaces(7): seen from our own
_COMM_BYTES = 15  # TASK_COMM_LEN without its NUL (linux/sched.h)


class NoProcess(PagsrvError):
    """There is no such process, or the kernel will not show it."""


def open_pidfd(pid: int) -> Fd:
    """A pidfd of process *pid*, the caller's; NoProcess if there is none."""
    try:
        return Fd(os.pidfd_open(pid))
    except (OSError, OverflowError) as error:
        raise NoProcess(f"there is no process {pid} to be watched: {error}") from error


def comm(pid: int) -> str:
    """What process *pid* calls itself, printable, at most 15 characters; '' if it is gone.

    Decoration: any process names itself as it likes, and the number may be another's by now.
    """
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            raw = file.read(4 * _COMM_BYTES)
    except OSError:
        return ""
    text = raw.removesuffix(b"\n")[:_COMM_BYTES].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def name_of(pid: int, inode: int) -> str | None:
    """comm() of the process *pid* of that pidfs *inode*; None if it has exited.

    OSError where no descriptor is to be had to look with.
    """
    try:
        pidfd = Fd(os.pidfd_open(pid))
    except OSError as error:
        if error.errno in (EMFILE, ENFILE, ENOMEM):
            raise
        return None
    with pidfd:
        if inode_of(pidfd) != inode:
            return None
        name = comm(pid)
        return name if is_alive(pidfd) else None


def descriptors() -> int:
    """How many descriptors this process holds (proc_pid_fd(5): the size since Linux 6.2)."""
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd")) - 1


def is_alive(pidfd: Fd) -> bool:
    """Whether the process of *pidfd* has not exited; a zombie has."""
    watch = poll()
    watch.register(pidfd.fileno(), POLLIN)
    return not watch.poll(0)


def is_pidfd(fd: Fd) -> bool:
    """Whether *fd* is a pidfd. Asked before any ioctl: elsewhere the number means other things."""
    return is_pidfd_link(_link(fd))


def is_pidfd_link(link: str) -> bool:
    """Whether *link* is what /proc/self/fd shows for a pidfd (proc_pid_fd(5))."""
    return link == "anon_inode:[pidfd]" or link.startswith("pidfd:[")


def _link(fd: Fd) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd.fileno()}")
    except OSError:
        return ""


def pid_of(pidfd: Fd) -> int:
    """The number of the process of *pidfd* in our own pid namespace; 0 if it has none."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd.fileno()}", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return 0
    for line in lines:
        if line.startswith(b"Pid:"):
            return max(0, int(line[4:]))
    return 0


def from_pidfd(pidfd: Fd) -> ProcessFacts | None:
    """The facts of the process of *pidfd*, still the caller's; None if it has exited.

    None also for a descriptor that is no pidfd, and for a process outside our own pid
    namespace. The uid and gid are the effective ones.
    """
    if not is_pidfd(pidfd):
        return None
    found = _ask(pidfd)
    if found is None:
        return None
    pid, uid, gid = found
    name = comm(pid)
    if not is_alive(pidfd):
        return None
    return ProcessFacts(pid, uid, gid, inode_of(pidfd), name)


def inode_of(pidfd: Fd) -> int:
    """The pidfs inode of the process of *pidfd*, its own for one boot; 0 without pidfs."""
    return os.fstat(pidfd.fileno()).st_ino if has_pidfs() else 0


@lru_cache(maxsize=1)
def has_pidfs() -> bool:
    """Whether a pidfd's inode is the process's own (Linux 6.9), and not shared by all of them.

    Before pidfs every pidfd had the one inode of the anonymous file system, the same as
    an eventfd's; a 32-bit kernel cuts the number short, so that it is not unique there.
    """
    probe = os.pidfd_open(os.getpid())
    try:
        other = os.eventfd(0)
        try:
            return os.fstat(probe).st_dev != os.fstat(other).st_dev and struct.calcsize("l") > 4
        finally:
            os.close(other)
    finally:
        os.close(probe)


@lru_cache(maxsize=1)
def own_inode() -> int:
    """The pidfs inode of the calling process, asked anew after fork(); 0 without pidfs.

    A child that a bare clone(2) made would still hear its parent's: a proof with that fails.
    """
    if not has_pidfs():
        return 0
    pidfd = os.pidfd_open(os.getpid())
    try:
        return os.fstat(pidfd).st_ino
    finally:
        os.close(pidfd)


os.register_at_fork(after_in_child=own_inode.cache_clear)


def _ask(pidfd: Fd) -> tuple[int, int, int] | None:
    """Process id, effective uid and gid; None if it has exited, or has no number here."""
    buffer = bytearray(_INFO.size)
    try:
        ioctl(pidfd.fileno(), _GET_INFO, buffer)
    except OSError as error:
        if error.errno in (ESRCH, EREMOTE):
            return None
        if error.errno not in (ENOTTY, EINVAL):
            raise NoProcess(f"the kernel does not show this process: {error}") from error
        return _ask_proc(pidfd)
    fields = _INFO.unpack(buffer)
    return (fields[3], fields[7], fields[8]) if fields[3] > 0 else None


def _ask_proc(pidfd: Fd) -> tuple[int, int, int] | None:
    """As _ask(), where the kernel has no PIDFD_GET_INFO (before 6.13)."""
    pid = pid_of(pidfd)
    if not pid or not is_alive(pidfd):
        return None
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return None
    # Alive afterwards: so the number was its own while we read.
    if not is_alive(pidfd):
        return None
    fields = {line.partition(b":")[0]: line.split() for line in lines if line}
    return pid, int(fields[b"Uid"][2]), int(fields[b"Gid"][2])


class Standing(NamedTuple):
    """A process as its pidfd shows it: its number in our pid namespace and its cgroup's id.

    *pid* is 0 if it has exited or has no number here, *cgroup* 0 if the kernel does not tell.
    """

    pid: int
    cgroup: int


def standing(pidfd: Fd) -> Standing:
    """The number and the cgroup of the process of *pidfd*, a pidfd for sure, in one question.

    The cgroup is told of a process that has been reaped, too. What is asked by that number
    holds if the process `is_alive` afterwards.
    """
    buffer = bytearray(_CGROUP_ASKED)
    try:
        ioctl(pidfd.fileno(), _GET_INFO, buffer)
    except OSError as error:
        return Standing(pid_of(pidfd) if error.errno in (ENOTTY, EINVAL) else 0, 0)
    mask, cgroup, _, pid, *_ = _INFO.unpack(buffer)
    return Standing(max(0, pid), cgroup if mask & _INFO_CGROUP else 0)


def told(pid: int, name: str) -> str | None:
    """What /proc/PID/*name* says of process *pid*; None if it is gone or hidden.

    A number alone: whose it was is known by looking at the pidfd afterwards (`is_alive`).
    """
    try:
        file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(file, _TOLD_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(file)


def leader_of(pidfd: Fd) -> tuple[ProcessFacts, Fd] | None:
    """The leader of the session that *pidfd*'s process is in, and its pidfd, the caller's.

    None if the process or the leader has exited, or the leader is outside our pid
    namespace. While a process is in a session the leader's number is not given away
    (getsid(2)), so the process being alive afterwards makes the pidfd the right one.
    """
    facts = from_pidfd(pidfd)
    if facts is None:
        return None
    try:
        sid = os.getsid(facts.pid)
        if not sid:
            return None
        leader = open_pidfd(sid)
    except (ProcessLookupError, PermissionError, NoProcess):
        return None
    try:
        found = from_pidfd(leader)
        if found is not None and os.getsid(facts.pid) == sid and is_alive(pidfd):
            return found, leader
    except (ProcessLookupError, PermissionError):
        pass
    except BaseException:
        leader.close()
        raise
    leader.close()
    return None


def dumpable() -> int:
    """PR_GET_DUMPABLE of prctl(2): 0 or 2 keep same-uid processes from our descriptors, 1 not."""
    return int(libc().prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0))


def call_oneself(name: str) -> None:
    """Have ps(1) and others tell this process from its parent: *name* has at most 15 letters."""
    libc().prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


class Status(NamedTuple):
    """What /proc/PID/status says of a process's rights: each id real, effective, saved, fs."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: frozenset[int]
    confined: bool
    """no_new_privs is set, as whoever gives rights up for good has to do first (landlock(7))."""
    everybody: bool
    """Its user namespace has every uid as it is here: ours, or one that only root could make."""


def confined() -> bool:
    """Whether no_new_privs is set here; False where /proc does not say."""
    own = _read_status(os.getpid())
    return own is not None and own.confined


def status_of(pidfd: Fd) -> Status | None:
    """The rights of the process of *pidfd* at this moment; None if it has exited, or is hidden."""
    pid = pid_of(pidfd)
    status = _read_status(pid) if pid else None
    return status if is_alive(pidfd) else None


def _read_status(pid: int) -> Status | None:
    """The same by number, which may be another's by now (proc_pid_status(5))."""
    told: dict[bytes, list[bytes]] = {}
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                key, _, rest = line.partition(b":")
                told[key] = rest.split()
        with open(f"/proc/{pid}/uid_map", "rb") as file:
            uids = file.read(_TOLD_BYTES).split()
        return Status(
            tuple(map(int, told[b"Uid"])), tuple(map(int, told[b"Gid"])),
            frozenset(map(int, told[b"Groups"])), told[b"NoNewPrivs"] != [b"0"],
            uids == _EVERY_UID,
        )  # fmt: skip
    except (OSError, KeyError, ValueError):
        return None


def undumpable() -> None:
    """Keep processes of our uid from our descriptors (pidfd_getfd(2)); exec undoes it."""
    if libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) or dumpable() not in (0, 2):
        raise PagsrvError("the kernel did not take PR_SET_DUMPABLE: our descriptors lie open")
