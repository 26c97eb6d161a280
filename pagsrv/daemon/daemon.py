# SPDX-License-Identifier: MIT
"""The daemon: one thread, one epoll, every descriptor of the board.

The law: effects are carried out here and only here; a descriptor is closed only
after nobody minds it; nothing waits but epoll. It refuses to know what an effect
is good for.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EMFILE
from fcntl import ioctl
from functools import cached_property
from struct import Struct
from typing import TYPE_CHECKING

from pagsrv.broker import About, Broker
from pagsrv.daemon.accepted import accept
from pagsrv.daemon.behalf import Behalf
from pagsrv.daemon.closing import PeerFd, closer
from pagsrv.daemon.config import Config
from pagsrv.daemon.connection import Connection
from pagsrv.daemon.deeds import Deeds
from pagsrv.daemon.elsewhere import Elsewhere
from pagsrv.daemon.errands import Errands
from pagsrv.daemon.facts import Facts
from pagsrv.daemon.gids import GidNames
from pagsrv.daemon.log import log
from pagsrv.daemon.sessions import Sessions, shut
from pagsrv.daemon.sockets import Sockets
from pagsrv.daemon.standing import StandingAnswers
from pagsrv.daemon.timing import EVERY, Timing
from pagsrv.daemon.walkers import Walkers
from pagsrv.effects import (
    Answer,
    Drop,
    Effect,
    Errand,
    Hangup,
    Listing,
    Look,
    Mind,
    Presence,
    Survey,
    Tell,
)
from pagsrv.errors import PagsrvError
from pagsrv.kernel import peer as kernel_peer
from pagsrv.kernel import what
from pagsrv.kernel.fd import Fd
from pagsrv.messages import Request
from pagsrv.model import Entry, Given, Moment, Peer, PeerId, Process
from pagsrv.watching import Watcher

if TYPE_CHECKING:
    from pagsrv.daemon.leaders import Leaders
    from pagsrv.daemon.spawner import Spawner

SWEEP_SECONDS = 1.0
_SIOCOUTQ = 0x5411  # TIOCOUTQ of asm-generic/ioctls.h; unix(7)
_INT = Struct("i")
_RESERVE = 64
_BATCH = 64


class Daemon:
    """A broker with its sockets; owns everything it has accepted or been handed."""

    def __init__(self, config: Config, broker_id: str, spawner: Spawner | None = None) -> None:
        self.uid = os.getuid()
        self.config = config
        about = About(broker_id, self.uid, config.dir)
        self.broker: Broker[Fd] = Broker(about, config.limits, lambda: os.urandom(16).hex())
        self.connections: dict[PeerId, Connection] = {}
        self.standing = StandingAnswers()
        self.events_lost = self.bugs = self._next_peer = 0
        self.wall = time.time()
        self.gids = GidNames()
        self.elsewhere = Elsewhere()
        self.sockets = Sockets(self)
        self.walkers = Walkers(self, spawner)
        self.facts = Facts(self, two_groups=config.two_group_pags)
        self.sessions = Sessions(self)
        self.deeds = Deeds(self)
        self.behalf = Behalf(self, config.trusted_group)
        self.timing = Timing()
        self.most_fds = self._raise_limit()
        self.stopping = False
        chores = (self.gids.give_up, self.elsewhere.sweep, self.walkers.sweep)
        self.each_sweep: list[Callable[[], None]] = [*chores]
        self._poll = select.epoll()
        self._ready: dict[int, Callable[[int], None]] = {}
        self._minded: dict[int, Process[Fd] | Entry[Fd]] = {}
        self._closing: list[socket.socket | Fd] = []
        self._parting: list[Effect[Fd]] = []
        self._listeners: list[socket.socket] = []
        self._own: tuple[list[int], list[str]] = [], []
        self._kept: list[socket.socket] = []
        self._started = time.monotonic()
        self._sweep_at = self._started + SWEEP_SECONDS
        self._due = self._sweep_at
        self._carriers: dict[type, Callable[..., None]] = {
            Answer: self._answer, Listing: self._listing, Presence: self._presence,
            Tell: self._tell, Mind: self._mind, Drop: self._drop, Hangup: self._hang_up,
            Look: self.sockets.look, Survey: self._survey, Errand: Errands(self).run,
        }  # fmt: skip
        self.watch_fd(self.gids.fileno(), lambda _: self.gids.collect())
        self.watch_fd(self.elsewhere.fileno(), lambda _: self.elsewhere.collect())

    @staticmethod
    def _raise_limit() -> int:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard - min(_RESERVE, hard // 4)

    # ── the loop ──

    def watch_fd(self, fd: int, ready: Callable[[int], None], mask: int = select.EPOLLIN) -> None:
        """Call *ready* with the events of *fd*, which stays the caller's."""
        self._poll.register(fd, mask)
        self._ready[fd] = ready

    def listen(self, sock: socket.socket, kind: type[Connection]) -> None:
        """Accept connections of *kind* on *sock*, owned here from now on."""
        sock.setblocking(False)
        self._listeners.append(sock)
        self._own[0].append(os.fstat(sock.fileno()).st_ino)
        self._own[1].append(what.name_of(sock.getsockname))
        self.watch_fd(sock.fileno(), lambda _: self._accept(sock, kind))

    def keep(self, *socks: socket.socket) -> None:
        """Own *socks* until the end."""
        self._kept += socks

    def run(self) -> None:
        """Serve until `stopping` is set."""
        poll, ready = self._poll.poll, self._ready
        now = time.monotonic()
        unmeasured, every = 0, EVERY
        while not self.stopping:
            events = poll(self._due - now if now < self._due else 0, _BATCH)
            self.wall = time.time()
            unmeasured += 1
            if unmeasured < every:
                for fd, mask in events:
                    serve = ready.get(fd)
                    if serve is not None:
                        serve(mask)
                        if self._parting:
                            self._part()
            else:
                unmeasured = 0
                self._serve_measured(events)
            if self._closing:
                self._close_all()
            now = time.monotonic()
            if now >= self._due:
                self._tick()
                unmeasured = every  # so that who is asked seldom is measured, too

    def _serve_measured(self, events: list[tuple[int, int]]) -> None:
        """As in run(), and note how long each call took."""
        for fd, mask in events:
            serve = self._ready.get(fd)
            if serve is not None:
                calls, begin = self.broker.calls, time.monotonic()
                serve(mask)
                self.timing.note(self.broker.calls - calls, time.monotonic() - begin)
                if self._parting:
                    self._part()

    def _tick(self) -> None:
        when = self.now()
        self.carry_out(self.broker.expire(when))
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_SECONDS
            self.sessions.sweep(when)
            self.deeds.sweep()
            closer.sweep()
            for chore in self.each_sweep:
                chore()
        self._close_all()
        self._plan()

    def _plan(self) -> None:
        """Wake up for the next deadline, or the next sweep."""
        self._due = self._sweep_at
        deadline = self.broker.next_deadline()
        if deadline is not None:
            wait = max(0.0, deadline - time.clock_gettime(time.CLOCK_BOOTTIME))
            self._due = min(self._due, time.monotonic() + wait)

    def now(self) -> Moment:
        """Both clocks."""
        return Moment(time.clock_gettime(time.CLOCK_BOOTTIME), self.wall)

    def uptime(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    # ── connections ──

    def _accept(self, listener: socket.socket, kind: type[Connection]) -> None:
        try:
            sock = accept(listener, kind.socket_type)
        except OSError:
            return
        try:
            facts = kernel_peer.identify(sock, process=False)
        except PagsrvError as error:
            log("not admitted", why=str(error))
            sock.close()
            return
        self._next_peer += 1
        peer = Peer(
            PeerId(self._next_peer), pid=facts.pid, uid=facts.uid, gid=facts.gid,
            groups=facts.groups, inode=facts.inode,
        )  # fmt: skip
        session = self.sessions.at_accept(sock, facts.uid)
        effects = self.broker.welcome(peer, session, crowded=sock.fileno() >= self.most_fds)
        connection = kind(self, sock, peer)
        if session is not None:
            connection.witness = self.sessions.witness(peer, sock)
            connection.no_session = session.why
        elif self.sessions.ways.tells:
            connection.ask_later()
        self.connections[peer.id] = connection
        try:
            self.watch_fd(connection.fd, connection.ready)
        except OSError as error:
            # ENOSPC: max_user_watches of epoll(7) is used up.
            log("not admitted", why=error.strerror)
            connection.close()
            return
        if effects:
            self.carry_out(effects)
        else:
            # The first packet has come with the connection as a rule; if not, this does nothing.
            connection.ready(select.EPOLLIN)

    def judge(self, connection: Connection, request: Request, given: Given[Fd]) -> list[Effect[Fd]]:
        """The broker's judgement; it may have moved the next deadline."""
        effects = self.broker.handle(connection.peer, request, given, self.now())
        if self._due != self._sweep_at or self.broker.timed:
            self._plan()
        return effects

    def unwatch_fd(self, fd: int) -> None:
        """Call nobody for *fd* any more; before it is closed."""
        self._poll.unregister(fd)
        self._ready.pop(fd, None)

    def rearm(self, fd: int, mask: int) -> None:
        """Listen for other events of a connection."""
        self._poll.modify(fd, mask)

    def accept_rights(self, sock: socket.socket) -> None:
        """Descriptors may come over this connection from now on."""
        kernel_peer.accept_rights(sock)

    def unread(self, sock: socket.socket) -> int:
        """How many bytes, overhead included, the peer has not read yet."""
        told: bytes = ioctl(sock.fileno(), _SIOCOUTQ, b"\0" * _INT.size)
        size: int = _INT.unpack(told)[0]
        return size

    def forget(self, connection: Connection) -> None:
        """*connection* has ended: close what it owned once this batch of events is done."""
        self._ready.pop(connection.fd, None)
        if connection.witness or connection.rights:
            # Closing alone does not take it out: a witness shares it, or a thread closes it later.
            with suppress(OSError):
                self._poll.unregister(connection.fd)
        if connection.witness:
            shut(connection.sock)
        if connection.rights:
            # What came over it and was not read is closed with it, which may take a while.
            self._closing.append(PeerFd(connection.sock.detach()))
        else:
            self._closing.append(connection.sock)
        if connection.pidfd is not None:
            self._closing.append(connection.pidfd)
        self.connections.pop(connection.peer.id, None)
        # Not now: effects half carried out come first, or events would be told out of order.
        self._parting += self.broker.goodbye(connection.peer, self.now())

    def _part(self) -> None:
        """Carry out what the end of connections led to, which may end some more."""
        while self._parting:
            parting, self._parting = self._parting, []
            self.carry_out(parting)
            # Somebody's turn may have come, and with it a deadline of its own.
            self._plan()

    def _close_all(self) -> None:
        self._part()
        closing, self._closing = self._closing, []
        for one in closing:
            one.close()

    @property
    def watchers(self) -> dict[PeerId, Watcher]:
        """Who watches the board."""
        return self.broker.board.watches.watchers

    def own_sockets(self) -> tuple[list[int], list[str]]:
        """The inodes of our listening sockets and the names they are bound to."""
        return self._own

    @cached_property
    def leaders(self) -> Leaders:
        """Who leads which session; loaded when it is first asked."""
        from pagsrv.daemon.leaders import Leaders  # noqa: PLC0415 -- most brokers never are

        return Leaders(self)

    # ── effects ──

    def carry_out(self, effects: Iterable[Effect[Fd]]) -> None:
        """Do what the core wants done, in its order."""
        for effect in effects:
            self._carriers[type(effect)](effect)

    def _answer(self, effect: Answer[Fd]) -> None:
        connection = self.connections.get(effect.to)
        if connection is not None:
            connection.answer(effect)
        else:
            self.drop(effect.give)

    def _listing(self, effect: Listing) -> None:
        connection = self.connections.get(effect.to)
        if connection is not None:
            connection.listing(effect)

    def _survey(self, effect: Survey) -> None:
        connection = self.connections.get(effect.to)
        if connection is not None:
            connection.survey(effect)

    def _presence(self, effect: Presence) -> None:
        connection = self.connections.get(effect.to)
        if connection is not None:
            connection.presence(effect)

    def _tell(self, effect: Tell) -> None:
        connection = self.connections.get(effect.to)
        if connection is not None:
            connection.tell(effect.event)

    def _hang_up(self, effect: Hangup) -> None:
        connection = self.connections.get(effect.peer)
        if connection is not None:
            log("hung up", uid=connection.peer.uid, pid=connection.peer.pid, why=effect.why)
            connection.close()

    def _mind(self, effect: Mind[Fd]) -> None:
        fd = effect.handle.fileno()
        mask = select.EPOLLIN if isinstance(effect.subject, Process) else 0
        self._minded[fd] = effect.subject
        try:
            self.watch_fd(fd, lambda _: self._fired(fd), mask)
        except OSError as error:
            del self._minded[fd]
            log("cannot be minded", why=error.strerror)

    def _fired(self, fd: int) -> None:
        subject = self._minded[fd]
        if isinstance(subject, Process):
            if subject.heeded_by:
                # What it did is told by now, whatever epoll's order: the first to fire wins.
                self.deeds.hear()
            self.carry_out(self.broker.exited(subject, self.now()))
        else:
            self.carry_out(self.broker.hung_up(subject, self.now()))

    def _unmind(self, handle: Fd) -> None:
        fd = handle.fileno()
        if self._minded.pop(fd, None) is not None:
            # Explicitly: others may hold the same open file, and epoll would keep it then.
            self._poll.unregister(fd)
            self._ready.pop(fd, None)

    def _drop(self, effect: Drop[Fd]) -> None:
        self.drop((effect.handle,))

    def second(self, fd: Fd) -> Fd:
        """A second descriptor of *fd*, for a thread to close; OSError also near our own limit."""
        made = Fd(fd.dup().detach())
        if made.fileno() >= self.most_fds:
            made.close()
            raise OSError(EMFILE, os.strerror(EMFILE))
        return made

    def drop(self, handles: Iterable[Fd]) -> None:
        """Nobody owns *handles* any more: close them once this batch of events is done."""
        for handle in handles:
            self._unmind(handle)
            self._closing.append(handle)

    def unmind(self, handles: Iterable[Fd]) -> None:
        """*handles* are about to leave the board."""
        for handle in handles:
            self._unmind(handle)

    def close(self) -> None:
        """Close everything."""
        for connection in list(self.connections.values()):
            connection.close()
        for entry in list(self.broker.board.store.entries()):
            self.carry_out(self.broker.board.end(entry, "removed"))
        self._close_all()
        closer.finish()
        for sock in (*self._listeners, *self._kept):
            sock.close()
        self.sessions.close()
        self.deeds.close()
        self.walkers.close()
        self._poll.close()
        self.gids.close()
        self.elsewhere.close()
