# SPDX-License-Identifier: MIT
"""What processes do (exec, setsid, a change of user id), heard while some entry ends by it.

The law: a process is followed before it is looked at, so that nothing it does in between
is missed; the board hears of deeds in the order they were done; what cannot be known any
more ends the entry. Nobody listens while nobody needs it. It refuses to know how the kernel tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from pagsrv.daemon.log import log
from pagsrv.errors import InvalidParameter, QuotaExceeded
from pagsrv.kernel import procevents
from pagsrv.kernel.procevents import Dropped, NoEvents, NoRoom, ProcessEvents

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.ends import Deed
    from pagsrv.kernel.fd import Fd
    from pagsrv.processes import Processes

_KINDS: dict[str, int] = {
    "exec": procevents.EXEC,
    "setsid": procevents.SETSID,
    "uid": procevents.UID,
}
_DEEDS: dict[int, Deed] = {
    procevents.EXEC: "exec",
    procevents.SETSID: "setsid",
    procevents.UID: "uid",
}


class Deeds:
    """Listens for the board; owns the subscription while there is one."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._events: ProcessEvents | None = None
        self._followed: dict[int, int] = {}
        self._turn = -1
        self._why: str | None = None

    @property
    def _processes(self) -> Processes[Fd]:
        return self._daemon.broker.board.store.processes

    def why_not(self) -> str:
        """Why process events are not to be had, and what to do; empty if they are.

        As of the last time anybody asked for them: this may be asked by anybody, and often.
        """
        if self._why is None:
            try:
                ProcessEvents().close()
                self._why = ""
            except NoEvents as error:
                self._why = str(error)
        return self._why

    def follow(self, doers: Mapping[int, Iterable[Deed]]) -> None:
        """Hear from now on of these deeds of these processes, by number.

        InvalidParameter where that is not to be had, QuotaExceeded for too many processes.
        """
        asked = _kinds(doers)
        wanted = _more(self._followed, asked)
        if wanted == self._followed:
            return
        try:
            events = self._events or self._begin()
            try:
                events.follow(wanted)
            except NoRoom:
                # Some of that may be of posts that were refused since the last sweep.
                wanted = _more(_kinds(self._processes.wanted()), asked)
                events.follow(wanted)
        except NoEvents as error:
            self._why = str(error)
            words = ", ".join(sorted({deed for deeds in doers.values() for deed in deeds}))
            raise InvalidParameter("until", f"{words} is not to be had here: {error}") from None
        except NoRoom:
            raise QuotaExceeded(
                f"this broker already heeds what {len(self._processes.heeded)} processes do, the "
                "most it can; use exit or leader"
            ) from None
        self._why = ""
        self._followed, self._turn = wanted, -1

    def _begin(self) -> ProcessEvents:
        events = ProcessEvents()
        try:
            self._daemon.watch_fd(events.fileno(), lambda _: self._woken())
        except OSError as error:
            events.close()
            raise NoEvents(f"they cannot be waited for ({error.strerror})") from None
        self._events = events
        return events

    def _woken(self) -> None:
        self.hear()
        self.sweep()

    def hear(self) -> None:
        """Take what was told so far, and end what that ends: before a post that may end so, too."""
        if self._events is None:
            return
        daemon = self._daemon
        broker, when, processes = daemon.broker, daemon.now(), self._processes
        try:
            told = self._events.read()
        except Dropped as error:
            log("process events were dropped", entries="those that end by such are ended")
            daemon.carry_out(broker.overlooked(str(error), when))
            return
        for kind, pid in told:
            process = processes.heeded.get(pid)
            if process is None:
                continue
            deed = _DEEDS.get(kind)
            if deed is None:
                processes.renumbered(process)
            else:
                daemon.carry_out(broker.did(process, deed, when))

    def sweep(self) -> None:
        """Follow no more than is needed, and nobody where nothing is; between requests only."""
        events = self._events
        processes = self._processes
        if events is None or self._turn == processes.turns:
            return
        if not processes.heeded:
            self._end(events)
            return
        followed = _kinds(processes.wanted())
        # What it let through so far is more than is wanted: it may stay for now.
        with suppress(NoRoom, NoEvents):
            events.follow(followed)
            self._followed, self._turn = followed, processes.turns

    def _end(self, events: ProcessEvents) -> None:
        self._daemon.unwatch_fd(events.fileno())
        events.close()
        self._events, self._followed = None, {}

    def close(self) -> None:
        """Listen no more."""
        if self._events is not None:
            self._end(self._events)


def _kinds(doers: Mapping[int, Iterable[Deed]]) -> dict[int, int]:
    """The same as the kernel's kinds of events, or-ed together."""
    return {pid: sum(_KINDS[deed] for deed in set(deeds)) for pid, deeds in doers.items()}


def _more(followed: dict[int, int], asked: dict[int, int]) -> dict[int, int]:
    return {**followed, **{pid: followed.get(pid, 0) | kinds for pid, kinds in asked.items()}}
