# SPDX-License-Identifier: MIT
"""The sessions on the board, looked after: who is in one, whether its ring lives, who is left.

The law: the best proof that is to be had here is taken, and which it is can be asked
(`proofs`). A ring that is ours is described; of another uid's the kernel's own record is
read, through a process that is in it or a connection that was made in it. It refuses to know
what a proof is worth.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import TYPE_CHECKING

from pagsrv.daemon.log import log
from pagsrv.daemon.ways import Ways
from pagsrv.errors import NoSession, PagsrvError
from pagsrv.facts import RingFacts
from pagsrv.kernel import keys
from pagsrv.kernel.bpf import BpfFault
from pagsrv.kernel.members import Members
from pagsrv.masks import VIEW
from pagsrv.model import Given
from pagsrv.names import Scope
from pagsrv.proofs import kernel, possession

if TYPE_CHECKING:
    from pagsrv.broker import Broker
    from pagsrv.daemon.connection import Connection
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.peerkeyring import PeerKeyring
    from pagsrv.kernel.tasks import Tasks
    from pagsrv.kernel.threads import Thread
    from pagsrv.model import Moment, Peer

_OVER = ("revoked", "expired", "gone")


class Sessions:
    """What the daemon knows of sessions; owns the witnesses and the counter of members."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._witnesses: dict[Scope, socket.socket] = {}
        self._empty: set[Scope] = set()
        self._over: list[RingFacts] = []
        self._closed: set[Scope] = set()
        self._counts: Counter[int] | None = None
        self._rings: dict[int, PeerKeyring] = {}
        # First, since a process is made for it that is to hold nothing of ours.
        self.ways = Ways(daemon.config, root=daemon.uid == 0)
        self._end_when_empty = daemon.config.end_when_empty
        self._members: Members | None = None
        self._uncounted: str | None = None
        self._tasks: Tasks | None = None
        why = self.count_members() if self._end_when_empty else ""
        if why:
            log("empty sessions are not noticed", why=why)
        self.ways.wait()

    def count_members(self) -> str:
        """Be able to notice the last process of a session; why not, where that cannot be had."""
        if self._uncounted is None:
            # Once: a process gets no rights by and by, and anybody may ask, often.
            try:
                self._members, self._uncounted = Members(), ""
            except BpfFault as fault:
                self._uncounted = str(fault)
        return self._uncounted

    @property
    def proofs(self) -> list[str]:
        """The proofs this broker takes, best first."""
        return [*self.ways.taken, "groups", "user"]

    def at_accept(self, sock: socket.socket, uid: int) -> Given[Fd] | None:
        """What the kernel says of the session of the peer of *sock*, which is *uid*'s, at once.

        None if nobody answers.
        """
        record = self.ways.at_once(sock)
        return None if record is None else self._judged(record, uid)

    def of(self, sock: socket.socket, uid: int) -> Given[Fd] | None:
        """The same for one who asks for a session: by whatever way answers."""
        record = self.ways.ask(sock)
        return None if record is None else self._judged(record, uid)

    def of_thread(self, thread: Thread) -> Given[Fd]:
        """What the kernel says of the session of *thread*, which lives; NoSession if it does not.

        Without an answer nothing is done: its names would be looked for in another scope.
        """
        try:
            record = self._asked(thread.tid)
        except BpfFault as fault:
            raise NoSession(f"the kernel does not tell a thread's session here: {fault}") from None
        if record is None or record.euid != thread.uid:
            raise NoSession("which session that thread is in cannot be told at this moment")
        return self._judged(record, thread.uid)

    def _asked(self, tid: int) -> PeerKeyring | None:
        if not self.ways.kernels:
            raise BpfFault("the configuration leaves the kernel's ways out ([proofs] use)")
        if self._tasks is None:
            from pagsrv.kernel.tasks import Tasks  # noqa: PLC0415 -- few brokers need it

            self._tasks = Tasks()
        return self._tasks.ask(tid)

    def at_first_call(self, connection: Connection) -> None:
        """Believe the kernel on the session of *connection*'s peer, which nobody was asked about.

        NoSession if nobody answers: its names would be looked for in another scope.
        """
        peer = connection.peer
        given = self.of(connection.sock, peer.uid)
        if given is None:
            raise NoSession(
                f"which session you are in is not known at this moment ({self.ways.why_not()}): "
                "try again, or Attach and say which scopes you want"
            )
        self._daemon.broker.scopes.believe_kernel(peer, given)
        connection.no_session = given.why
        connection.witness = self.witness(peer, connection.sock) or connection.witness

    def _judged(self, record: PeerKeyring, uid: int) -> Given[Fd]:
        verdict = kernel.judge(record, self._daemon.wall)
        if verdict.ring.state in _OVER:
            self._over.append(verdict.ring)
        elif verdict.ok and self.is_of_another(verdict.ring.serial, uid):
            # Its serial was given away again: the ring that the board still names is no more.
            self._over.append(verdict.ring._replace(uid=uid))
        if verdict.ok and not verdict.ring.mask >> 16 & VIEW:
            self._closed.add(Scope("session", verdict.ring.serial))
        given: Given[Fd] = Given()
        given.ring, given.why = verdict.ring, verdict.why
        given.isolation, given.loose = verdict.isolation, verdict.loose
        return given

    def is_of_another(self, serial: int, uid: int) -> bool:
        """Whether the board holds a session of that *serial* which is not *uid*'s."""
        space = self._daemon.broker.board.store.spaces.get(Scope("session", serial))
        return space is not None and space.uid != uid

    def witness(self, peer: Peer, sock: socket.socket) -> bool:
        """Remember a connection made in a session whose ring shows itself not to us.

        It is another uid's, or closed to its own; of it that connection will be asked later.
        True if *sock* is shared from now on, with a duplicate owned here.
        """
        if peer.kernel is None or peer.kernel.scope in self._witnesses:
            return False
        if peer.uid == self._daemon.uid and peer.kernel.scope not in self._closed:
            return False
        try:
            self._witnesses[peer.kernel.scope] = sock.dup()
        except OSError:
            return False  # no descriptor left: whoever is looked for later may do as well
        return True

    def _find_witness(self, scope: Scope) -> socket.socket | None:
        """The connection to ask about *scope*: the ring may have been closed since it was made."""
        self._closed.add(scope)
        space = self._daemon.broker.board.store.spaces.get(scope)
        for peer in () if space is None else space.members.values():
            connection = self._daemon.connections.get(peer.id)
            if connection is not None and self.witness(peer, connection.sock):
                connection.witness = True
        return self._witnesses.get(scope)

    def look(self, scope: Scope, uid: int) -> RingFacts | None:
        """The ring of *scope*, which is *uid*'s, at this moment; None if nobody can say."""
        ring = keys.ring_facts(scope.number) if uid == self._daemon.uid else None
        if ring is not None and ring.state != "unverifiable":
            return ring
        record = self._rings.get(scope.number)
        if record is not None:
            return kernel.judge(record, self._daemon.wall).ring
        witness = self._find_witness(scope)
        record = None if witness is None else self.ways.ask(witness)
        if record is None:
            return ring
        seen = kernel.judge(record, self._daemon.wall).ring
        # Both are the initial namespace's numbers, of which ours for the owner may differ.
        return seen._replace(uid=uid) if record.key_uid == record.euid else seen

    # ── once a second ──

    def sweep(self, when: Moment) -> None:
        """Look at the ring of every session on the board, and at who is left in it."""
        self.ways.sweep()
        broker = self._daemon.broker
        self._count(broker)
        over, self._over = self._over, []
        for ended in over:
            self._daemon.carry_out(broker.ring_seen(ended, "linkable", "", when))
        for scope, uid in broker.scopes.sessions():
            ring = self.look(scope, uid)
            if ring is not None:
                isolation, loose = possession.isolation(ring)
                self._daemon.carry_out(broker.ring_seen(ring, isolation, loose, when))
        self._end_empty(broker, when)
        here = broker.scopes.forget_idle(self._daemon.uid)
        self._closed &= here
        for scope in self._witnesses.keys() - here:
            self._witnesses.pop(scope).close()

    def _count(self, broker: Broker[Fd]) -> None:
        self._counts, self._rings = None, {}
        if self._members is None or not broker.scopes.sessions():
            return
        try:
            self._counts, self._rings = self._members.look()
        except PagsrvError as error:
            log("empty sessions are not noticed", why=str(error))

    def _end_empty(self, broker: Broker[Fd], when: Moment) -> None:
        counts = self._counts
        if counts is None:
            self._empty.clear()
            return
        orphans = broker.board.store.orphans
        empty = {
            scope
            for scope, _ in broker.scopes.sessions()
            if (self._end_when_empty or scope in orphans) and not counts[scope.number]
        }
        # A task that is being made while the kernel counts may be missed: twice is for sure.
        for scope in empty & self._empty:
            ended = broker.emptied if self._end_when_empty else broker.orphaned
            self._daemon.carry_out(ended(scope, when))
        self._empty = empty

    def close(self) -> None:
        """Let go of everything."""
        for witness in self._witnesses.values():
            witness.close()
        self._witnesses.clear()
        self.ways.close()
        if self._tasks is not None:
            self._tasks.close()
        if self._members is not None:
            self._members.close()


def shut(sock: socket.socket) -> None:
    """Tell the other end that it is over, though a witness may keep the socket itself."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
