# SPDX-License-Identifier: MIT
"""The session keyring of one task, and who is in our own: asked of the kernel anew each time.

The law: what is told is of the moment of the question, by the number of a task in the first pid
namespace; whoever asks makes sure that the number is the right task's meanwhile. A program
stays loaded, an answer is never kept. It refuses to judge what is told.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

from pagsrv.kernel.bpf import OBJECT, BpfFault, Program, read_iterator
from pagsrv.kernel.members import check_first_namespace
from pagsrv.kernel.peerkeyring import PeerKeyring, parse

if TYPE_CHECKING:
    from types import TracebackType

    from pagsrv.kernel.fd import Fd

_TASK = struct.Struct("=iI80s")  # struct task of contrib/bpf/peerkeyring.bpf.c
_TID = struct.Struct("=i")


class Tasks:
    """What root may ask; owns its program. BpfFault where it cannot be had."""

    def __init__(self, path: str = OBJECT) -> None:
        check_first_namespace()
        self._program = Program("tasks", path)

    def ask(self, tid: int) -> PeerKeyring | None:
        """The session keyring and the euid of thread *tid* now; None if there is none. BpfFault."""
        with self._program.attach_iterator(tid=tid) as link:
            for found, _, record in _TASK.iter_unpack(read_iterator(link)):
                if found == tid:
                    return parse(record)
        return None

    def close(self) -> None:
        """Ask no more."""
        self._program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Mates:
    """Who is in the session keyring of the calling thread, and of its euid; owns *link*."""

    def __init__(self, link: Fd) -> None:
        check_first_namespace()
        self._link = link

    @classmethod
    def own(cls, path: str = OBJECT) -> Self:
        """By our own rights; BpfFault without them."""
        check_first_namespace()
        with Program("mates", path) as program:
            return cls(program.attach_iterator())

    def includes(self, tid: int) -> bool:
        """Whether thread *tid* is one of them now. BpfFault."""
        return (tid,) in _TID.iter_unpack(read_iterator(self._link))

    def close(self) -> None:
        """Ask no more."""
        self._link.close()


__all__ = ["BpfFault", "Mates", "Tasks"]
