# SPDX-License-Identifier: MIT
"""Who is left in a session: tasks that live, counted by the keyring their credentials name.

The law: asked of the kernel anew each time, for every session at once; it takes
CAP_BPF and CAP_PERFMON. A task that is being made while the kernel counts may be missed, so that a
single zero is no proof of emptiness: two, some time apart, are. Descriptors that hold a
ring count for nothing. It refuses to know what becomes of an empty session.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from typing import TYPE_CHECKING, Self

from pagsrv.kernel.bpf import OBJECT, BpfFault, Program, read_iterator

if TYPE_CHECKING:
    from types import TracebackType

_SERIAL = struct.Struct("=i")
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # its inode: PROC_PID_INIT_INO of linux/proc_ns.h


def _sees_every_task() -> bool:
    """Whether ours is the first pid namespace, which holds all tasks (pid_namespaces(7))."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _FIRST_PID_NAMESPACE
    except OSError:
        return False


class Members:
    """The counter; owns its program and the iterator of it. BpfFault where it cannot be had."""

    def __init__(self, path: str = OBJECT) -> None:
        if not _sees_every_task():
            raise BpfFault(
                "the kernel shows a process in a pid namespace the tasks of that namespace only, "
                "and a session may have others: run the broker outside"
            )
        with Program("members", path) as program:
            self._link = program.attach_iterator()

    def counts(self) -> Counter[int]:
        """How many tasks (threads) are in each session keyring, by its serial."""
        raw = read_iterator(self._link)
        return Counter(serial for (serial,) in _SERIAL.iter_unpack(raw))

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
