# SPDX-License-Identifier: MIT
"""The facts a request needs: asked of the kernel once, before the broker judges.

The law: what a peer says is a claim until it has been looked at here; whatever
descriptor a fact brings along is in the Given that is returned, or closed. It
refuses to judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagsrv.daemon import credentials
from pagsrv.daemon.log import log
from pagsrv.daemon.outbox import may_send
from pagsrv.ends import DEEDS, NEED_PIDFD, Ask, Deed
from pagsrv.errors import Denied, InvalidParameter, ProtocolError, QuotaExceeded, Refused
from pagsrv.facts import ProcessFacts
from pagsrv.kernel import keys, peer, process, what
from pagsrv.kernel.scm import Packet
from pagsrv.messages import (
    Attach,
    Grant,
    Post,
    Prove,
    Request,
    Stat,
    Take,
    TakeMany,
    Whois,
    shown_by,
)
from pagsrv.model import Given, Opening, Peer, Witness
from pagsrv.names import Scope, parse_scope
from pagsrv.posting import check_own, ends_asked
from pagsrv.proofs import groups, possession

if TYPE_CHECKING:
    from pagsrv.daemon.connection import Connection
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.kernel.fd import Fd

_KERNEL_PROOF = (
    "this broker can prove only uid {own}'s sessions: a session of another uid needs the kernel's "
    "own proof (`pagsrv peerkeyring install`), which is not to be had ({why}); use your user or "
    "PAG scope, or a broker of your own (`pagsrv session --broker`)"
)
_NO_POSSESSION = (
    "this broker's configuration takes no proof by possession ([proofs] use), and the kernel says "
    "nothing of your session ({why}); use your user or PAG scope"
)
_NO_PIDFS = (
    "this kernel has no pidfs (Linux 6.9), so a proof of possession could be relayed and none is "
    "taken; use your user or PAG scope"
)
# What is lent could be asked for again; what is taken would be nowhere.
_NO_WAY_OUT = (
    "processes of the broker's uid have more descriptors on their way, unread, than the kernel "
    "lets them: it is left on the board; try again when they are read"
)


class Facts:
    """What the kernel says of a request's descriptors, processes, keyrings and sender."""

    def __init__(self, daemon: Daemon, *, two_groups: bool) -> None:
        self._daemon = daemon
        self._two_groups = two_groups

    def gather(
        self, connection: Connection, request: Request, packet: Packet | None
    ) -> Given[Fd] | None:
        """The facts for *request*; None if they come later, by `connection.judge`."""
        self._check_fds(request, packet)
        if request.CHANGES:
            self._check_sender(connection, packet)
            _check_way_out(request)
        if self._daemon.behalf.elsewhere(connection, request, packet, self._later):
            return None
        unknown = self._unnamed(connection, request, packet)
        if unknown is not None:
            self._later(connection, request, packet, unknown)
            return None
        if isinstance(request, Attach):
            return self._attached(connection, request)
        if isinstance(request, Prove):
            return self._prove(connection, request)
        if isinstance(request, Grant):
            return self._grant(request)
        given = self._with_fds(connection, request, packet.take() if packet else [])
        if isinstance(request, Stat):
            given.living = self._living
        return given

    def _unnamed(
        self, connection: Connection, request: Request, packet: Packet | None
    ) -> int | None:
        """A gid that may be a PAG and was not looked up yet; the name service may be slow."""
        if isinstance(request, Attach):
            found = sorted(connection.peer.groups)
        else:
            shown = self._shown(request, packet)
            if not self._daemon.behalf.trusted(connection.peer):
                shown = None  # refused before it is asked
            found = [] if shown is None else sorted(self._daemon.behalf.groups_of(shown))
        candidates = groups.pag_candidates(found)
        if not candidates and self._two_groups:
            candidates = groups.pairs(found)
        if len(candidates) != 1:
            return None  # of several none counts, whatever they are called
        return candidates[0] if self._daemon.gids.is_to_be_asked(candidates[0]) else None

    @staticmethod
    def _shown(request: Request, packet: Packet | None) -> Fd | None:
        index = request.fd if isinstance(request, Whois) else shown_by(request)
        return None if index is None or packet is None else packet.fds[index]

    def _later(
        self, connection: Connection, request: Request, packet: Packet | None, gid: int
    ) -> None:
        """Gather again once *gid* is looked up; the descriptors wait with the question."""
        kept = None
        if packet is not None:
            kept = Packet(packet.data, packet.take(), packet.sender, packet.sender_pid)

        def gather() -> None:
            with kept or Packet(b""):
                try:
                    given = self.gather(connection, request, kept)
                except Refused as error:
                    connection.refuse(error)
                    return
            if given is not None:
                connection.judge(given)

        def again() -> None:
            if not connection.closed:
                connection.guard(gather)
            elif kept is not None:
                kept.close()

        connection.awaiting = True
        self._daemon.gids.ask(gid, again)

    def _with_fds(self, connection: Connection, request: Request, fds: list[Fd]) -> Given[Fd]:
        given: Given[Fd] = Given(handles=fds)
        try:
            index = shown_by(request)
            actor, pidfd = connection.peer, connection.pidfd
            if index is not None:
                actor, pidfd = self._daemon.behalf.peer(actor, fds[index])
                given.behalf = actor
                asker = connection.peer
                log("on behalf", method=request.METHOD.rpartition(".")[2], uid=actor.uid,
                    pid=actor.pid, asker=asker.uid, by=asker.pid)  # fmt: skip
                given.handles += [] if pidfd is None else [pidfd]
            if isinstance(request, Whois):
                given.known = self._daemon.behalf.whois(actor, request, fds)
            if isinstance(request, Post):
                connection.name_peer()
                self._post((actor, pidfd), request, fds, given)
        except BaseException:
            for fd in given.handles:
                fd.close()
            raise
        return given

    def _check_fds(self, request: Request, packet: Packet | None) -> None:
        came = len(packet.fds) if packet else 0
        named = set(request.indices())
        if packet is None and named and not request.CHANGES:
            raise Denied(
                "descriptors are taken only over a connection that has announced changes: call "
                "Attach with changes true"
            )
        if len(named) != came:
            raise ProtocolError(
                f"the message names {len(named)} descriptors and {came} came with it"
            )
        if came and packet and max(fd.fileno() for fd in packet.fds) >= self._daemon.most_fds:
            raise QuotaExceeded("the broker is near its own limit of descriptors; remove entries")
        for index in named:
            if not 0 <= index < came:
                raise InvalidParameter("fd", f"there is no descriptor {index}: {came} came along")

    @staticmethod
    def _check_sender(connection: Connection, packet: Packet | None) -> None:
        asker = connection.peer
        if packet is None or not asker.changes:
            return  # the broker says why
        # A peer outside our pid namespace has the number 0, as has an unknown sender.
        by_pid = 0 < packet.sender_pid == asker.pid
        same = packet.sender == asker.inode if asker.inode else by_pid
        if not same:
            raise Denied(
                "only the process that connected may change the board over this connection; "
                "connect again from this process"
            )

    def _living(self, opening: Opening) -> tuple[str, bool | None]:
        """What the process of *opening* calls itself, and whether it lives, as of now."""
        connection = None if opening.peer is None else self._daemon.connections.get(opening.peer)
        if connection is not None and not opening.inode:
            opening.inode, pidfd = peer.process_of(connection.sock)
            if pidfd is not None:
                pidfd.close()
        if not opening.inode or not opening.pid:
            return opening.comm, None
        try:
            name = process.name_of(opening.pid, opening.inode)
        except OSError:
            return opening.comm, None
        return opening.comm if name is None else name, name is not None

    # ── Attach and Prove ──

    def _attached(self, connection: Connection, request: Attach) -> Given[Fd]:
        connection.identify()
        asker = connection.peer
        given = self._session(connection, request)
        pidfd = connection.pidfd
        found = sorted(asker.groups)
        if groups.pag_candidates(found) or self._two_groups:
            why = "the kernel gives no pidfd of the peer (Linux 6.5)"
            if pidfd is not None:
                why = peer.same_user_namespace(pidfd)
            given.pag, given.no_pag = groups.judge(
                found,
                named=self._daemon.gids.named,
                userns_reason=why,
                two_groups=self._two_groups,
            )
        else:
            given.no_pag = "you are in no PAG; `pagsrv pagsh` starts one"
        return given

    def _session(self, connection: Connection, request: Attach) -> Given[Fd]:
        """What the kernel shows of the peer's session, and what speaks against possession."""
        given: Given[Fd] = Given()
        asked = request.scopes
        if asked is not None and not any(word.startswith("session") for word in asked):
            return given
        asker = connection.peer
        proof = asker.kernel
        if proof is None or proof.scope not in self._daemon.broker.board.store.spaces:
            given = self._daemon.sessions.of(connection.sock, asker.uid) or given
        if given.ring is None:
            given.why = connection.no_session or self._against_possession(asker)
        return given

    def _against_possession(self, asker: Peer) -> str:
        """Why *asker* cannot show a session by possession here; '' if it may try."""
        own, ways = self._daemon.uid, self._daemon.sessions.ways
        if asker.uid == own and ways.possession:
            return "" if asker.inode else _NO_PIDFS
        if asker.kernel is not None:
            return f"the kernel shows that you are in {asker.kernel.scope}"
        if asker.uid == own:
            return _NO_POSSESSION.format(why=ways.why_not())
        return _KERNEL_PROOF.format(own=own, why=ways.why_not())

    def _prove(self, connection: Connection, request: Prove) -> Given[Fd]:
        asker = connection.peer
        given: Given[Fd] = Given()
        scopes = self._daemon.broker.scopes
        claimed = scopes.claimed(asker, self._daemon.now())
        nonce = scopes.nonce(asker, self._daemon.now())
        if nonce is None:
            given.why = "no nonce is out for this connection, or it is too old: Attach again"
        elif claimed not in (None, request.ring):
            given.why = f"Attach named ring {claimed}, and this proves another: Attach again"
        else:
            scope = Scope("session", request.ring)
            verdict = possession.verify(
                nonce, request.ring, uid=asker.uid, inode=asker.inode,
                broker_id=self._daemon.broker.about.broker, known_key=scopes.proof_key(scope),
            )  # fmt: skip
            given.ring, given.key, given.why = verdict.facts, verdict.key, verdict.why
            given.isolation, given.loose = possession.isolation(verdict.facts)
        return given

    # ── Post and Grant ──

    def _post(
        self, poster: tuple[Peer, Fd | None], request: Post, fds: list[Fd], given: Given[Fd]
    ) -> None:
        if request.fd is not None:
            given.posted = fds[request.fd]
            given.facts = what.describe(given.posted, *self._daemon.own_sockets())
            if given.facts.kind == "dir":
                given.credentials = credentials.of_poster(*poster)
        # Judged first: each of them may open a descriptor here, and many came for free.
        asks = ends_asked(request)
        self._heed(poster, asks, request, fds)
        given.poster = self._poster(*poster, given)
        for ask, end in zip(asks, request.until or (), strict=True):
            pidfd = None if end.fd is None else fds[end.fd]
            given.ends.append(self._end(poster[1], ask, pidfd, given))

    def _poster(self, poster: Peer, pidfd: Fd | None, given: Given[Fd]) -> Witness[Fd]:
        facts = ProcessFacts(poster.pid, poster.uid, poster.gid, poster.inode, poster.comm)
        witness: Witness[Fd] = Witness(facts, None)
        known = self._daemon.broker.board.store.processes.knows(witness)
        if not known and pidfd is not None and process.is_alive(pidfd):
            witness.handle = pidfd.dup()
            given.handles.append(witness.handle)
        return witness

    def _end(
        self, own: Fd | None, ask: Ask, pidfd: Fd | None, given: Given[Fd]
    ) -> Witness[Fd] | None:
        """The process that *ask* speaks of: of *pidfd*, or the poster, whose pidfd is *own*."""
        if ask.kind == "orphan":
            self._check_counted()
        if ask.kind not in NEED_PIDFD or (pidfd is None and ask.number):
            return None
        if ask.kind in DEEDS:
            return self._doer(own, pidfd, given)
        if ask.kind == "exit":
            if pidfd is None:
                return given.poster
            facts = process.from_pidfd(pidfd)
            return None if facts is None else Witness(facts, pidfd)
        look = pidfd or own
        leader = None if look is None else process.leader_of(look)
        if leader is None:
            return None
        given.handles.append(leader[1])
        return Witness(*leader)

    def _heed(
        self, poster: tuple[Peer, Fd | None], asks: list[Ask], request: Post, fds: list[Fd]
    ) -> None:
        """Hear from now on of what processes do that *asks* name by that."""
        doers: dict[int, set[Deed]] = {}
        for ask, end in zip(asks, request.until or (), strict=True):
            if ask.kind in DEEDS:
                look = poster[1] if end.fd is None else fds[end.fd]
                found = None if look is None else process.from_pidfd(look)
                if found is not None:
                    check_own(poster[0], found)
                    doers.setdefault(found.pid, set()).add(ask.kind)
        if doers:
            # What was done before is no affair of this entry; it may end others of its poster.
            self._daemon.deeds.hear()
            self._daemon.deeds.follow(poster[0].uid, doers)

    @staticmethod
    def _doer(own: Fd | None, pidfd: Fd | None, given: Given[Fd]) -> Witness[Fd] | None:
        """As _end(), of who is followed by now: so it lives and its uid is its own since then."""
        look = pidfd or own
        facts = None if look is None else process.from_pidfd(look)
        handle = pidfd if pidfd is not None or given.poster is None else given.poster.handle
        return None if facts is None else Witness(facts, handle)

    def _check_counted(self) -> None:
        why = self._daemon.sessions.count_members()
        if why:
            raise InvalidParameter(
                "until",
                f"this broker cannot tell when a session has no process left: {why}; use leader "
                "or exit",
            )

    def _grant(self, request: Grant) -> Given[Fd]:
        given: Given[Fd] = Given()
        scope = parse_scope(request.to, "to")
        if isinstance(scope, Scope) and scope.kind == "session":
            given.ring = keys.ring_facts(scope.number)
            given.isolation, given.loose = possession.isolation(given.ring)
        return given


def _check_way_out(request: Request) -> None:
    """QuotaExceeded for a take whose descriptor could not be sent."""
    if isinstance(request, Take | TakeMany) and not may_send():
        raise QuotaExceeded(_NO_WAY_OUT)
