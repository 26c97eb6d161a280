# SPDX-License-Identifier: MIT
"""Who is left in a session: tasks that live, by the keyring their credentials name, and that ring.

The law: asked of the kernel anew each time, for every session at once; it takes
CAP_BPF and CAP_PERFMON. Of a ring it tells what the ring is now, to whom it may show itself or
not. A task that is being made while the kernel counts may be missed, so that a
single zero is no proof of emptiness: two, some time apart, are. Descriptors that hold a
ring count for nothing. It refuses to know what becomes of an empty session.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from typing import TYPE_CHECKING, Self

from pagsrv.kernel.bpf import OBJECT, BpfFault, Program, read_iterator
from pagsrv.kernel.peerkeyring import PeerKeyring

if TYPE_CHECKING:
    from types import TracebackType

_MEMBER = struct.Struct("=qiIIIi4x")  # struct member of contrib/bpf/peerkeyring.bpf.c

# Inodes of the first namespaces: PROC_PID_INIT_INO and PROC_USER_INIT_INO of linux/proc_ns.h.
_FIRST_PID_NAMESPACE, _FIRST_USER_NAMESPACE = 0xEFFFFFFC, 0xEFFFFFFD


def _is_ours(kind: str, inode: int) -> bool:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino == inode
    except OSError:
        return False


def check_first_namespace() -> None:
    """BpfFault unless in the first pid namespace: it alone holds all tasks (pid_namespaces(7))."""
    if not _is_ours("pid", _FIRST_PID_NAMESPACE):
        raise BpfFault(
            "the kernel shows a process in a pid namespace the tasks of that namespace only, "
            "and a session may have others: run the broker outside"
        )


class Members:
    """The counter; owns its program and the iterator of it. BpfFault where it cannot be had."""

    def __init__(self, path: str = OBJECT) -> None:
        check_first_namespace()
        self._same_uids = _is_ours("user", _FIRST_USER_NAMESPACE)
        with Program("members", path) as program:
            self._link = program.attach_iterator()

    def look(self) -> tuple[Counter[int], dict[int, PeerKeyring]]:
        """How many tasks (threads) are in each session keyring, by its serial; and those rings.

        A ring's record is of this moment, its `euid` its owner, its name left out. In another
        user namespace than the first, where uids have other numbers, there are none.
        """
        told = Counter(_MEMBER.iter_unpack(read_iterator(self._link)))
        counts: Counter[int] = Counter()
        rings = {}
        for (expiry, serial, mask, uid, flags, state), tasks in told.items():
            counts[serial] += tasks
            rings[serial] = PeerKeyring(
                serial, mask, uid, flags, expiry, state, uid, 0, has_cred=True, name=""
            )
        return counts, rings if self._same_uids else {}

    def counts(self) -> Counter[int]:
        """How many tasks (threads) are in each session keyring, by its serial."""
        return self.look()[0]

    def members(self, ring: int) -> int:
        """How many tasks are in the session keyring *ring*."""
        return self.counts()[ring]

    def close(self) -> None:
        """Count no more."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
