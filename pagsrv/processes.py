# SPDX-License-Identifier: MIT
"""The processes that entries came from or wait for: one pidfd each, however many entries.

The law: a process is known while some entry uses it; its handle is owned here
from `adopt` on and handed back by `release` or `exited`. It refuses to know how
an exit is noticed.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic

from pagsrv.ends import DEEDS, Deed
from pagsrv.errors import QuotaExceeded
from pagsrv.model import Entry, H, Process, Witness


class Processes(Generic[H]):
    """Every process in use, by what the kernel calls it."""

    def __init__(self, per_uid: int) -> None:
        self._per_uid = per_uid
        self._known: dict[tuple[int, int], Process[H]] = {}
        self._count: Counter[int] = Counter()
        self.heeded: dict[int, Process[H]] = {}
        """Those that some entry ends by what they do, by their number while it is theirs."""
        self.turns = 0
        """Moves whenever what `wanted` tells may have become less."""

    def knows(self, witness: Witness[H]) -> bool:
        """Whether that process is in use already, so that no further handle is needed."""
        return witness.key in self._known

    def used(self, uid: int) -> int:
        """How many of them *uid* is charged for."""
        return self._count[uid]

    def lives(self, witness: Witness[H]) -> bool:
        """Whether its exit can still be waited for."""
        process = self._known.get(witness.key)
        return witness.handle is not None or (process is not None and process.alive)

    def admit(self, uid: int, witnesses: list[Witness[H]]) -> None:
        """QuotaExceeded if those of *witnesses* not known yet would be too many for *uid*."""
        new = {witness.key for witness in witnesses} - self._known.keys()
        if self._count[uid] + len(new) > self._per_uid:
            raise QuotaExceeded(
                f"entries of uid {uid} already wait for {self._per_uid} processes, the most this "
                "broker follows for one user; remove some"
            )

    def adopt(self, uid: int, witness: Witness[H]) -> tuple[Process[H], bool]:
        """The process, now used once more; True if the witness's handle was taken over."""
        process = self._known.get(witness.key)
        if process is None:
            process = self._known[witness.key] = Process(witness.facts, None, uid)
            self._count[uid] += 1
        process.uses += 1
        new = process.handle is None and witness.handle is not None
        if new:
            process.handle = witness.handle
            process.view = None
        process.alive = process.handle is not None
        return process, new

    def heed(self, process: Process[H], entry: Entry[H]) -> None:
        """*entry* ends by something that *process* does, if its end conditions say so."""
        pid = process.facts.pid
        deeds = [deed for deed in DEEDS if f"{deed}={pid}" in entry.until]
        if deeds and entry not in process.heeded_by:
            process.heeded_by[entry] = deeds
            process.deeds.update(deeds)
            self.heeded[pid] = process

    def unheed(self, process: Process[H], entry: Entry[H]) -> None:
        """*entry* does not any more."""
        deeds = process.heeded_by.pop(entry, None)
        if deeds is not None:
            process.deeds.subtract(deeds)
            self.turns += 1
            if not process.heeded_by:
                self.renumbered(process)

    def renumbered(self, process: Process[H]) -> None:
        """Its number is not its own any more: what is told of that number is of another."""
        if self.heeded.get(process.facts.pid) is process:
            del self.heeded[process.facts.pid]
            self.turns += 1

    def wanted(self) -> dict[int, set[Deed]]:
        """What is to be told of which process."""
        return {
            pid: {deed for deed, entries in process.deeds.items() if entries}
            for pid, process in self.heeded.items()
        }

    def release(self, process: Process[H]) -> list[H]:
        """One use less; the handle of a process nobody uses any more is the caller's."""
        process.uses -= 1
        if process.uses:
            return []
        self._forget(process)
        return self._surrender(process)

    def exited(self, process: Process[H]) -> tuple[list[Entry[H]], list[H]]:
        """It is gone: the entries that waited for it, and its handle, now the caller's.

        Its name is free from now on: without pidfs, a later process of that pid has the same.
        """
        process.alive = False
        process.view = None
        self._forget(process)
        self.renumbered(process)
        return list(process.waiting), self._surrender(process)

    def _forget(self, process: Process[H]) -> None:
        key = process.facts.pid, process.facts.inode
        if self._known.get(key) is process:
            del self._known[key]
            self._count[process.uid] -= 1

    @staticmethod
    def _surrender(process: Process[H]) -> list[H]:
        handle, process.handle = process.handle, None
        return [] if handle is None else [handle]
