# SPDX-License-Identifier: MIT
"""Anything happens, and processes do things: exec, setsid, uid, and the end of a session.

The law: besides what holds for anything (anything.py), a process is heeded while an entry
ends by what it does and its number is its own, and at no other time.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from pagsrv.ends import DEEDS, Deed
from pagsrv.model import Process
from pagsrv.names import Scope
from pagsrv.processes import Processes
from tests.anything import NUMBERS, SCOPES, Anything


class AnythingDone(Anything):
    """The same machine, with deeds."""

    @property
    def followed(self) -> Processes[int]:
        """The store's processes."""
        return self.table.broker.board.store.processes

    def heeded(self) -> list[Process[int]]:
        """Every process that some entry ends by what it does, in some order."""
        return [process for _, process in sorted(self.followed.heeded.items())]

    @invariant()
    def heeded_for_a_reason(self) -> None:
        """Nobody is listened to whom no entry names, and who has exited is not."""
        entries = set(self.entries())
        for process in self.heeded():
            assert process.handle is not None
            pid = process.facts.pid
            assert {one: set(deeds) for one, deeds in process.heeded_by.items()} == {
                one: {deed for deed in DEEDS if f"{deed}={pid}" in one.until}
                for one in entries
                if process in one.waits and any(f"{deed}={pid}" in one.until for deed in DEEDS)
            }
            assert self.followed.wanted()[pid] == set().union(*process.heeded_by.values())
            assert process.heeded_by
        orphans = self.table.broker.board.store.orphans
        assert {one for some in orphans.values() for one in some} == {
            one for one in entries if "orphan" in one.until
        }

    @rule(number=NUMBERS, deed=st.sampled_from(DEEDS))
    def do(self, number: int, deed: Deed) -> None:
        """A process that is heeded does something."""
        heeded = self.heeded()
        if heeded:
            before = self.seen()
            process = heeded[number % len(heeded)]
            self.settle(self.table.broker.did(process, deed, self.table.now), before)
            assert deed not in self.followed.wanted().get(process.facts.pid, ())

    @rule(number=NUMBERS)
    def renumber(self, number: int) -> None:
        """A process's number is given away again."""
        heeded = self.heeded()
        if heeded:
            self.followed.renumbered(heeded[number % len(heeded)])

    @rule(scope=st.sampled_from((*SCOPES, None)))
    def overlook(self, scope: Scope | None) -> None:
        """Nobody knows what processes did, or a session's last process is gone."""
        broker, now = self.table.broker, self.table.now
        before = self.seen()
        effects = broker.overlooked("lost", now) if scope is None else broker.orphaned(scope, now)
        self.settle(effects, before)
        assert not (self.followed.heeded if scope is None else broker.board.store.orphans
                    .get(scope))  # fmt: skip
