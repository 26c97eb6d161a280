# SPDX-License-Identifier: MIT
"""Errands: what the board wants looked at beneath directories, done by walkers.

The law: an errand is answered once, when all of its steps are done or one has failed; what
was opened for it is in its outcome, or dropped. It refuses to know rights: the board judges,
before and after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pagsrv.daemon.closing import PeerFd
from pagsrv.daemon.walker import Task, Told
from pagsrv.effects import Answer, Errand, Step
from pagsrv.errors import QuotaExceeded, Refused, from_wire
from pagsrv.messages import Reply, Walk
from pagsrv.walking import Outcome

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.kernel.fd import Fd
    from pagsrv.nodes import Credentials


class _Trip:
    """One errand under way; owns what was opened for it so far."""

    def __init__(self, daemon: Daemon, errand: Errand[Fd]) -> None:
        self._daemon = daemon
        self._errand = errand
        self._opened: list[Fd | None] = [None] * len(errand.steps)
        self._left = len(errand.steps)
        self._outcome: Outcome[Fd] = Outcome()
        self._beginning = False

    def begin(self) -> None:
        """Ask for every step; the last answer ends the trip."""
        self._beginning = True
        for number, step in enumerate(self._errand.steps):
            if self._outcome.error is not None:
                self._left -= 1  # one has failed already, and all or none is opened
            elif step.place.path is None:
                self._itself(number, step)
            else:
                self._ask(number, step)
        self._beginning = False
        if not self._left:
            self._end()

    def _itself(self, number: int, step: Step[Fd]) -> None:
        self._left -= 1
        try:
            # A stranger's file, and closed as such.
            self._opened[number] = PeerFd(self._daemon.second(step.handle).detach())
        except OSError:
            self._outcome.error = QuotaExceeded("the broker has no descriptor left; try again")

    def _ask(self, number: int, step: Step[Fd]) -> None:
        request = self._errand.request
        at, path = str(step.place.reference), step.place.path or ()
        if isinstance(request, Walk):
            task = Task(at, path, None, request.after, bool(request.only))
        else:
            task = Task(at, path, step.access)

        def then(told: Told | Refused, fd: Fd | None) -> None:
            self._come(number, told, fd)
            self._left -= 1
            if not self._left and not self._beginning:
                self._end()

        # Judged: without credentials it would have been refused.
        credentials = cast("Credentials", step.entry.credentials)
        self._daemon.walkers.ask(credentials, task, step.handle, then)

    def _come(self, number: int, told: Told | Refused, fd: Fd | None) -> None:
        self._opened[number] = fd
        outcome = self._outcome
        if isinstance(told, Refused):
            outcome.error = outcome.error or told
        elif told.error:
            refused = from_wire(told.error, told.parameters)
            outcome.error = outcome.error or cast("Refused", refused)
        else:
            outcome.walked = told.walked

    def _end(self) -> None:
        self._outcome.handles = [fd for fd in self._opened if fd is not None]
        connection = self._daemon.connections.get(self._errand.to)
        if connection is None:
            self._daemon.drop(self._outcome.handles)
        else:
            connection.guard(self._report)

    def _report(self) -> None:
        daemon = self._daemon
        daemon.carry_out(daemon.broker.reached(self._errand, self._outcome, daemon.now()))


class Errands:
    """Carries errands out."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def run(self, errand: Errand[Fd]) -> None:
        """Have *errand* done; its answer comes later, or at once if nobody waits for it."""
        connection = self._daemon.connections.get(errand.to)
        if connection is None:
            return
        if connection.awaiting:
            _Trip(self._daemon, errand).begin()
        else:
            connection.answer(Answer(errand.to, Reply()))  # oneway: it is swallowed
