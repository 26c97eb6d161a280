# SPDX-License-Identifier: MIT
"""Walkers at hand: who looks beneath the directories of which poster, and who waits for that.

The law: a walker has one task at a time, and the loop goes on; one that takes too long is
killed and its asker told, and until the kernel lets it die it counts. Each uid has a few,
and there is an end to them all, so that nobody's file systems keep others waiting. Nothing
is asked twice. It refuses to know what is looked for.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import msgspec

from pagsrv.daemon.closing import PeerFd, closer
from pagsrv.daemon.log import log
from pagsrv.daemon.tasks import Asked, Walker
from pagsrv.daemon.walker import PIDFD, WHY, Task, Told
from pagsrv.errors import Denied, ProtocolError, QuotaExceeded, Refused, TimedOut
from pagsrv.kernel import scm
from pagsrv.limits import WALK_SECONDS

if TYPE_CHECKING:
    import socket

    from pagsrv.daemon.daemon import Daemon
    from pagsrv.daemon.spawner import Spawner
    from pagsrv.daemon.tasks import Then
    from pagsrv.kernel.fd import Fd
    from pagsrv.nodes import Credentials

_EACH, _MOST = 4, 64
"""So many walkers with the rights of one uid, and in all."""

_STARTS = 8
"""New ones of one uid in a second: whoever kills its own makes no work but this."""

_QUEUED = 256
"""Tasks that may wait for the walkers of one uid."""

_IDLE = 30
"""Seconds that one is kept without a task."""

_told = msgspec.json.Decoder(Told)
_BUSY = "too much is looked for beneath what uid {uid} has posted; try again"
_LATE = f"it took the file system more than {WALK_SECONDS} seconds, so the look was given up"
_WAITED = f"whoever looks there had other things to do for {WALK_SECONDS} seconds; try again"
_ENDED = "the process that looked there ended before it could say; try again"
_NONE = "the process of this broker that looks beneath directories is gone; restart the broker"


class Walkers:
    """The walkers of a broker."""

    def __init__(self, daemon: Daemon, spawner: Spawner | None) -> None:
        self._daemon = daemon
        self._spawner = spawner
        self._all: set[Walker] = set()
        self._idle: dict[Credentials, list[Walker]] = {}
        self._count: Counter[int] = Counter()
        self._starts: Counter[int] = Counter()
        self._waiting: dict[int, deque[Asked]] = {}

    def ask(self, credentials: Credentials, task: Task, directory: Fd, then: Then) -> None:
        """Have *task* done with *credentials*; *directory* stays the caller's."""
        asked = Asked(credentials, task, directory, then)
        uid = credentials.uid
        try:
            if uid not in self._waiting and self._begin(asked):
                return
            waiting = self._waiting.setdefault(uid, deque())
            if len(waiting) >= _QUEUED:
                raise QuotaExceeded(_BUSY.format(uid=uid))
            asked.own = asked.directory = self._daemon.second(directory)
            waiting.append(asked)
        except Refused as error:
            asked.refuse(error)
        except OSError as error:
            asked.refuse(QuotaExceeded(f"nobody can be asked now: {error.strerror}; try again"))

    def _begin(self, asked: Asked) -> bool:
        """Give *asked* to a walker; False if there is none free for it."""
        while True:
            walker = self._free(asked.credentials)
            if walker is None:
                return False
            try:
                walker.give(asked)
            except (BrokenPipeError, ConnectionResetError):
                if walker.pidfd is None:
                    # It never began, and what it said of that is still to be heard.
                    walker.asked = asked
                    return True
                self._end(walker)  # it ended while it was idle
            except OSError:
                self._idle.setdefault(asked.credentials, []).append(walker)
                raise
            else:
                return True

    def _free(self, credentials: Credentials) -> Walker | None:
        idle = self._idle.get(credentials)
        if idle:
            return idle.pop()
        # Its own first: whoever has its share takes nothing of others'.
        if self._count[credentials.uid] >= _EACH:
            room = self._make_room(credentials.uid)
        else:
            room = len(self._all) < _MOST or self._make_room(None)
        return self._start(credentials) if room else None

    def _make_room(self, uid: int | None) -> bool:
        """End a walker without a task, of *uid* if it is said; False if there is none."""
        for idle in self._idle.values():
            for walker in idle:
                if uid is None or walker.credentials.uid == uid:
                    self._end(walker)
                    return True
        return False

    def _start(self, credentials: Credentials) -> Walker:
        uid = credentials.uid
        if self._spawner is None:
            raise Denied(_NONE)
        if self._starts[uid] >= _STARTS:
            raise QuotaExceeded(_BUSY.format(uid=uid))
        try:
            sock = self._spawner.spawn(credentials)
        except (BrokenPipeError, ConnectionResetError):
            raise Denied(_NONE) from None
        walker = Walker(sock, credentials)
        try:
            self._daemon.watch_fd(sock.fileno(), lambda _: self._heard(walker))
        except BaseException:
            sock.close()
            raise
        self._starts[uid] += 1
        self._count[uid] += 1
        self._all.add(walker)
        return walker

    # ── what comes of it ──

    def _heard(self, walker: Walker) -> None:
        try:
            packet = _receive(walker.sock)
        except ProtocolError:
            # Which word of its that was is not known, so none is waited for.
            self._gone(walker, QuotaExceeded("the broker has no descriptor left for it"))
            return
        except OSError:
            self._gone(walker)
            return
        if packet is None:
            return
        with packet:
            if not packet.data:
                self._gone(walker)
            elif packet.data == PIDFD and walker.pidfd is None and len(packet.fds) == 1:
                walker.pidfd = packet.take()[0]
            elif packet.data.startswith(WHY):
                walker.why = packet.data[len(WHY) :].decode("utf-8", "replace")
            else:
                self._answered(walker, packet)

    def _answered(self, walker: Walker, packet: scm.Packet) -> None:
        fds = packet.take()
        if fds and fds[0].fileno() >= self._daemon.most_fds:
            self._daemon.drop(fds)
            full = QuotaExceeded("the broker is near its own limit of descriptors; try again")
            self._settle(walker, full, None)
            return
        try:
            told = _told.decode(packet.data)
        except msgspec.MsgspecError:
            told = None
        if told is None or not _fits(walker.asked, told, len(fds)):
            self._daemon.drop(fds)
            self._gone(walker)
            return
        self._settle(walker, told, fds[0] if fds else None)

    def _settle(self, walker: Walker, told: Told | Refused, fd: Fd | None) -> None:
        asked, walker.asked = walker.asked, None
        if asked is None:  # it was given up
            self._daemon.drop([] if fd is None else [fd])
            return
        walker.age = 0
        self._idle.setdefault(walker.credentials, []).append(walker)
        asked.then(told, fd)
        self._next(walker.credentials.uid)

    def _gone(self, walker: Walker, error: Refused | None = None) -> None:
        asked = walker.asked
        self._end(walker)
        if asked is not None:
            log("walker lost", uid=walker.credentials.uid, why=walker.why)
            if walker.why:
                error = Denied(f"nobody can look there: {walker.why}")
            asked.refuse(error or TimedOut(_ENDED))
        self._next(walker.credentials.uid)

    def _next(self, uid: int) -> None:
        """Whoever waits for the walkers of *uid*, as far as there are some free."""
        waiting = self._waiting.get(uid)
        while waiting:
            asked = waiting[0]
            try:
                if not self._begin(asked):
                    return
            except Refused as error:
                asked.refuse(error)
            except OSError as error:
                asked.refuse(QuotaExceeded(f"nobody can be asked now: {error.strerror}"))
            if waiting and waiting[0] is asked:
                waiting.popleft()
        self._waiting.pop(uid, None)

    def _end(self, walker: Walker) -> None:
        """Have done with *walker*, whatever it does."""
        if walker not in self._all:
            return
        self._all.discard(walker)
        walker.asked = None
        idle = self._idle.get(walker.credentials)
        if idle and walker in idle:
            idle.remove(walker)
        uid = walker.credentials.uid
        self._count[uid] -= 1
        if not self._count[uid]:
            del self._count[uid]
        self._daemon.unwatch_fd(walker.sock.fileno())
        walker.kill()
        # What it sent and nobody read is closed with it, which may take a while.
        closer.close(walker.sock.detach())
        if walker.pidfd is not None:
            walker.pidfd.close()

    # ── looked after ──

    def sweep(self) -> None:
        """Once a second: give up what takes too long, and send away who has nothing to do."""
        self._starts.clear()
        self._idle = {key: idle for key, idle in self._idle.items() if idle}
        for walker in list(self._all):
            walker.age += 1
            if walker.asked is None:
                if walker.age > _IDLE and walker in self._idle.get(walker.credentials, ()):
                    self._end(walker)
            elif walker.age > WALK_SECONDS:
                self._give_up(walker)
        for uid, waiting in list(self._waiting.items()):
            for asked in list(waiting):
                asked.age += 1
                if asked.age > WALK_SECONDS:
                    waiting.remove(asked)
                    asked.refuse(TimedOut(_WAITED))
            self._next(uid)

    def _give_up(self, walker: Walker) -> None:
        """It counts until its socket is hung up: a process may be beyond the reach of signals."""
        asked, walker.asked = walker.asked, None
        if walker.pidfd is None:
            self._end(walker)
        else:
            walker.kill()
        if asked is not None:
            log("walker killed", uid=walker.credentials.uid, at=asked.task.at)
            asked.refuse(TimedOut(_LATE))

    def close(self) -> None:
        """End them all."""
        for waiting in self._waiting.values():
            for asked in waiting:
                asked.done()
        for walker in list(self._all):
            self._end(walker)


def _fits(asked: Asked | None, told: Told, fds: int) -> bool:
    """Whether *told*, with so many descriptors, can be an answer to *asked*."""
    if asked is None:
        return fds <= 1  # it was given up, and what it did is dropped
    if told.error:
        return not fds
    opens = asked.task.access is not None
    return fds == opens and (told.walked is None) == opens


def _receive(sock: socket.socket) -> scm.Packet | None:
    try:
        return scm.receive(sock, owner=PeerFd)
    except ConnectionResetError:
        # It did not read all it was sent; what it said lies behind that (unix(7)).
        return scm.receive(sock, owner=PeerFd)
