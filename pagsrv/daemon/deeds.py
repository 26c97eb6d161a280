# SPDX-License-Identifier: MIT
"""What processes do (exec, setsid, a change of user id), heard while some entry ends by it.

The law: a process is followed before it is looked at, so that nothing it does in between
is missed; the board hears of deeds in the order they were done; what cannot be known any
more ends the entry. Nobody listens while nobody needs it. It refuses to know how the kernel tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

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


class _Ear(NamedTuple):
    """One uid's subscription, and the kinds of events it lets through, by process number."""

    events: ProcessEvents
    followed: dict[int, int]


class Deeds:
    """Listens for the board; owns the subscriptions while there are any, one for each uid."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._ears: dict[int, _Ear] = {}
        self._whose: dict[int, int] = {}
        """Whose ear hears of a process, while it is heeded."""
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

    def follow(self, uid: int, doers: Mapping[int, Iterable[Deed]]) -> None:
        """Hear from now on of these deeds of these processes, by number, which are *uid*'s.

        InvalidParameter where that is not to be had, QuotaExceeded for too many processes.
        """
        heeded = self._processes.heeded
        asked: dict[int, dict[int, int]] = {}
        for pid, kinds in _kinds(doers).items():
            # Where it is heard of already: it may have been another uid's then.
            whose = self._whose[pid] = self._whose.get(pid, uid) if pid in heeded else uid
            asked.setdefault(whose, {})[pid] = kinds
        try:
            for whose, theirs in asked.items():
                self._follow(whose, theirs)
        except NoEvents as error:
            self._why = str(error)
            words = ", ".join(sorted({deed for deeds in doers.values() for deed in deeds}))
            raise InvalidParameter("until", f"{words} is not to be had here: {error}") from None
        except NoRoom:
            raise QuotaExceeded(
                f"this broker already heeds what {len(heeded)} processes do, the most it can; use "
                "exit or leader"
            ) from None
        self._why = ""

    def _follow(self, uid: int, asked: dict[int, int]) -> None:
        """NoEvents and NoRoom as ProcessEvents has them."""
        ear = self._ears.get(uid) or self._begin(uid)
        wanted = _more(ear.followed, asked)
        if wanted == ear.followed:
            return
        try:
            ear.events.follow(wanted)
        except NoRoom:
            # Some of that may be of posts that were refused since the last sweep.
            wanted = _more(self._wanted(uid), asked)
            ear.events.follow(wanted)
        self._ears[uid], self._turn = _Ear(ear.events, wanted), -1

    def _begin(self, uid: int) -> _Ear:
        events = ProcessEvents()
        try:
            self._daemon.watch_fd(events.fileno(), lambda _: self._woken())
        except OSError as error:
            events.close()
            raise NoEvents(f"they cannot be waited for ({error.strerror})") from None
        ear = self._ears[uid] = _Ear(events, {})
        return ear

    def _wanted(self, uid: int) -> dict[int, int]:
        """What is to be told of the processes that *uid*'s ear hears of."""
        wanted = _kinds(self._processes.wanted())
        return {pid: kinds for pid, kinds in wanted.items() if self._whose.get(pid) == uid}

    def _woken(self) -> None:
        self.hear()
        self._narrow()

    def hear(self) -> None:
        """Take what was told so far, and end what that ends: before a post that may end so, too."""
        for ear in list(self._ears.values()):
            self._hear(ear)

    def _hear(self, ear: _Ear) -> None:
        daemon = self._daemon
        broker, when, processes = daemon.broker, daemon.now(), self._processes
        try:
            told = ear.events.read()
        except Dropped as error:
            log("process events were dropped", entries="those that end by such are ended")
            daemon.carry_out(broker.overlooked(str(error), when, ear.followed))
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
        self._narrow()
        for uid, ear in list(self._ears.items()):
            if not ear.followed:
                self._end(uid)

    def _narrow(self) -> None:
        processes = self._processes
        if self._turn == processes.turns:
            return
        self._turn = processes.turns
        self._whose = {pid: uid for pid, uid in self._whose.items() if pid in processes.heeded}
        for uid, ear in list(self._ears.items()):
            wanted = self._wanted(uid)
            if wanted == ear.followed:
                continue
            try:
                ear.events.follow(wanted)
            except (NoRoom, NoEvents):
                self._turn = -1  # what it let through so far is more: it may stay for now
            else:
                self._ears[uid] = _Ear(ear.events, wanted)

    def _end(self, uid: int) -> None:
        events = self._ears.pop(uid).events
        self._daemon.unwatch_fd(events.fileno())
        events.close()

    def close(self) -> None:
        """Listen no more."""
        for uid in list(self._ears):
            self._end(uid)


def _kinds(doers: Mapping[int, Iterable[Deed]]) -> dict[int, int]:
    """The same as the kernel's kinds of events, or-ed together."""
    return {pid: sum(_KINDS[deed] for deed in set(deeds)) for pid, deeds in doers.items()}


def _more(followed: dict[int, int], asked: dict[int, int]) -> dict[int, int]:
    return {**followed, **{pid: followed.get(pid, 0) | kinds for pid, kinds in asked.items()}}
