# SPDX-License-Identifier: MIT
"""The rights of the calling process that it may change itself: its groups, its ids.

The law: it changes the calling process and nothing else, and says in one sentence
what is missing when the kernel refuses; what cannot be given away whole is not given
away by half. It refuses to know what a PAG is good for, and whom it becomes.
"""

from __future__ import annotations

import grp
import os
import resource
import struct
from collections.abc import Collection

from pagsrv.errors import Denied
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import undumpable

_PAG, _PAG_MASK = 0x41000000, 0x00FFFFFF  # the range of OpenAFS's one-group PAGs
_TRIES = 64

_CAP_HEADER = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3 (linux/capability.h)
_NO_CAPS = bytes(2 * 3 * 4)  # effective, permitted, inheritable, each in two halves
_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h


def own_groups() -> set[int]:
    """Every group that counts for files we open: the effective one, and the supplementary."""
    return {os.getegid(), *os.getgroups()}


def become(uid: int, gid: int, groups: Collection[int]) -> None:
    """Be *uid* in just these groups, for good, without any capability; Denied if that cannot be.

    Nobody else of that uid may trace this process or get at its descriptors (ptrace(2)). Of a
    process that has those ids already none is changed, so that no right is needed.
    """
    same = own_groups() == {gid, *groups} and os.getresuid() == (uid, uid, uid)
    try:
        if not same:
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        if libc().capset(_CAP_HEADER, _NO_CAPS):
            raise Denied("the kernel did not take our capabilities from us")
        confine()
        # A change of ids may have made us dumpable as /proc/sys/fs/suid_dumpable says.
        undumpable()
        for limit in (resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
            resource.setrlimit(limit, (0, 0))
    except OSError as error:
        raise Denied(f"the kernel did not make us uid {uid}: {error.strerror}") from error
    if os.getresuid() != (uid, uid, uid) or own_groups() != {gid, *groups}:
        raise Denied(f"we are not uid {uid} as it was")


def confine() -> None:
    """Get no more rights by execve(2), for good (no_new_privs); Denied if that cannot be.

    Who posts what others gave it does that: the board lends nobody the rights of who is confined.
    """
    if libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Denied("the kernel did not take no_new_privs")


def new_pag() -> int:
    """Put the calling process into a new PAG and out of any other; its number, a group id.

    Denied without the right to change groups. Threads go along (setgroups(2), nptl(7)).
    """
    groups = os.getgroups()
    pag = _unused(groups)
    kept = [gid for gid in groups if gid & ~_PAG_MASK != _PAG]
    try:
        os.setgroups([*kept, pag])
    except PermissionError as error:
        raise Denied(
            "a new PAG needs the right to change groups (CAP_SETGID): run it as root, "
            "or use a new session instead: pagsrv session"
        ) from error
    except OSError as error:
        raise Denied(
            f"the kernel did not take the group of a new PAG: {error.strerror}; "
            "in a user namespace that does not map it there are no PAGs"
        ) from error
    return pag


def _unused(groups: list[int]) -> int:
    """A number that is no group's, by name or by membership; random, since nobody keeps a list."""
    for _ in range(_TRIES):
        pag = _PAG | int.from_bytes(os.getrandom(3))
        if pag in groups:
            continue
        try:
            grp.getgrgid(pag)
        except KeyError:
            return pag
    raise Denied("every group number tried for a new PAG has a name: ask who gives them out")
