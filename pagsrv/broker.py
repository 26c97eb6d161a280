# SPDX-License-Identifier: MIT
"""The broker: all of pagsrv's judgement, none of its I/O.

A request comes in with the handles that travelled beside it and what the kernel
says of them; effects go out. The law: `handle` never raises for what a peer
sent, and every handle that enters is stored, given or dropped, exactly once. It
refuses to know descriptors, clocks, randomness and sockets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from typing import Generic, NamedTuple

from pagsrv import changing, opening, posting, walking
from pagsrv.board import Board
from pagsrv.effects import Answer, Drop, Effect, Errand, Hangup
from pagsrv.ends import Deed
from pagsrv.errors import Denied, InvalidParameter, PagsrvError, QuotaExceeded, Refused
from pagsrv.facts import Isolation, RingFacts
from pagsrv.limits import Limits
from pagsrv.messages import (
    Attach,
    Grant,
    Known,
    List,
    Namespaces,
    Open,
    OpenMany,
    Post,
    Prove,
    Remove,
    Rename,
    Request,
    SetMask,
    SetTimeout,
    Stat,
    Take,
    TakeMany,
    Ungrant,
    Wait,
    Walk,
    Watch,
    WhoAmI,
    Whois,
)
from pagsrv.model import Entry, Given, H, Moment, Peer, PeerId, Process
from pagsrv.names import Scope
from pagsrv.scopes import Scopes
from pagsrv.vitals import Budget
from pagsrv.walking import Outcome


class About(NamedTuple):
    """What a broker says of itself."""

    broker: str
    uid: int
    dir: str


class Broker(Generic[H]):
    """The spine: one peer's request to effects."""

    def __init__(self, about: About, limits: Limits, random: Callable[[], str]) -> None:
        self.about = about
        self.limits = limits
        self.board: Board[H] = Board(limits)
        self.scopes: Scopes[H] = Scopes(self.board, about.broker, about.dir, random)
        self.peers: dict[PeerId, Peer] = {}
        self.calls = 0
        """Those included that never come here: whoever answers them counts them."""
        self.refusals = 0
        self.reasons: Counter[str] = Counter()
        self._connections: Counter[int] = Counter()

    @property
    def epoch(self) -> int:
        """Standing answers of an older epoch are void."""
        return self.board.store.epoch

    def welcome(
        self, peer: Peer, kernel: Given[H] | None = None, *, crowded: bool = False
    ) -> list[Effect[H]]:
        """Admit *peer*, or say no and hang up: not served here, or a budget used up.

        *crowded*: the process around this broker is near its own limit of descriptors.
        """
        self.peers[peer.id] = peer
        self._connections[peer.uid] += 1
        own = self.about.uid
        if own not in (0, peer.uid):
            return self._turn_away(
                peer,
                Denied(f"this broker serves uid {own} only, and you are uid {peer.uid}; run your "
                       "own with `pagsrv broker`, or ask the machine's at /run/pagsrv"),
            )  # fmt: skip
        if self._connections[peer.uid] > self.limits.connections_per_uid:
            most = self.limits.connections_per_uid
            return self._turn_away(
                peer, QuotaExceeded(f"uid {peer.uid} has {most} connections; close some")
            )
        if crowded:
            return self._turn_away(
                peer, QuotaExceeded("the broker is near its own limit of descriptors; try again")
            )
        self.scopes.welcome(peer)
        if kernel is not None:
            self.scopes.believe_kernel(peer, kernel)
        return []

    def refused(self, error: PagsrvError) -> None:
        """Count *error* among the refusals, by its name on the wire."""
        self.refusals += 1
        self.reasons[error.wire.rpartition(".")[2]] += 1

    def _turn_away(self, peer: Peer, error: Refused) -> list[Effect[H]]:
        self.refused(error)
        return [Answer(peer.id, error), Hangup(peer.id, str(error))]

    def handle(
        self, peer: Peer, request: Request, given: Given[H], when: Moment
    ) -> list[Effect[H]]:
        """Judge and apply *request*; what is left in *given* afterwards is dropped."""
        self.calls += 1
        self.board.store.move(when)
        effects = self.expire(when) if self.timed else []
        try:
            if request.CHANGES and not peer.changes:
                raise Denied(
                    "this connection has not announced changes: call Attach with changes true, "
                    "from the process that connected"
                )
            effects += self._judge(given.behalf or peer, request, given, when)
        except Refused as error:
            self.refused(error)
            effects.append(Answer(peer.id, error))
        effects += [Drop(handle) for handle in given.handles]
        given.handles.clear()
        effects += self.scopes.turns(when)
        effects += self.board.drain(when)
        return effects

    def _judge(  # noqa: C901 -- one case for each method
        self, peer: Peer, request: Request, given: Given[H], when: Moment
    ) -> list[Effect[H]]:
        board = self.board
        match request:
            case Open() | OpenMany() | Walk():
                return self._open(peer, request, when)
            case Take() | Stat():
                return self._one(peer, request, given, when)
            case Attach():
                return self.scopes.attach(peer, request, given)
            case Prove():
                return self.scopes.prove(peer, request, given)
            case TakeMany():
                return opening.take_many(board, peer, request.names, when)
            case List():
                return board.listing(peer, request)
            case Post():
                return posting.post(board, peer, request, given, when)
            case Wait():
                return board.wait(peer, request, when)
            case Watch():
                return board.watch(peer, request, when)
            case Whois():
                return [Answer(peer.id, Known(given.known))]
            case WhoAmI():
                return self.scopes.who_am_i(peer)
        return self._change(peer, request, given, when)

    def _one(
        self, peer: Peer, request: Take | Stat, given: Given[H], when: Moment
    ) -> list[Effect[H]]:
        """One entry, by its name."""
        board = self.board
        reference = board.reference(request.name, request.scope)
        if isinstance(request, Stat):
            return board.stat(peer, reference, given.living, brief=bool(request.brief))
        return opening.take_one(board, peer, reference, when)

    def _open(self, peer: Peer, request: Open | OpenMany | Walk, when: Moment) -> list[Effect[H]]:
        if isinstance(request, Open) and request.proved is not None:
            self.scopes.check(peer, request.proved)
        if isinstance(request, Walk) or walking.is_walked(request):
            return walking.walk(self.board, peer, request)
        if isinstance(request, OpenMany):
            return opening.open_many(self.board, peer, request.names, when)
        reference = self.board.reference(request.name, request.scope)
        return opening.open_one(self.board, peer, reference, when)

    def reached(self, errand: Errand[H], outcome: Outcome[H], when: Moment) -> list[Effect[H]]:
        """Answer an errand with its *outcome*, every handle of which is dropped after that."""
        self.board.store.move(when)
        effects = self.expire(when) if self.timed else []
        try:
            effects += walking.reached(self.board, errand, outcome, when)
        except Refused as error:
            self.refused(error)
            effects.append(Answer(errand.to, error))
        effects += [Drop(handle) for handle in outcome.handles]
        return effects + self.board.drain(when)

    def _change(
        self, peer: Peer, request: Request, given: Given[H], when: Moment
    ) -> list[Effect[H]]:
        board = self.board
        match request:
            case Namespaces():
                from pagsrv import survey  # noqa: PLC0415 -- most brokers are never asked

                return survey.namespaces(board, peer)
            case Remove():
                return changing.remove(board, peer, request)
            case Rename():
                return changing.rename(board, peer, request)
            case SetMask():
                return changing.set_mask(board, peer, request)
            case SetTimeout():
                return changing.set_timeout(board, peer, request, when)
            case Grant():
                return changing.grant(board, peer, request, given)
            case Ungrant():
                return changing.ungrant(board, peer, request)
        raise InvalidParameter("method", f"{request.METHOD} is not the board's to answer")

    def lent(self, entries: tuple[Entry[H], ...], peer: Peer, wall: float) -> list[Effect[H]]:
        """Account for a standing answer given once more; *wall* is seconds since 1970."""
        self.calls += 1
        for entry in entries:
            entry.opens += 1
            if entry.opener is not peer.id:
                entry.opened_by(peer)
            entry.last_opened = wall
        board = self.board
        board.opens += len(entries)
        if not board.watches.watchers:
            return []
        for entry in entries:
            board.note("opened", entry, peer)
        return board.drain(Moment(0, wall))

    @property
    def timed(self) -> bool:
        """Whether anything here has a deadline at all; mostly nothing has."""
        board = self.board
        return bool(board.store.timed or board.watches.waiters or self.scopes.attaching)

    def expire(self, when: Moment) -> list[Effect[H]]:
        """Take down what is past its deadline, and answer who waited too long."""
        effects: list[Effect[H]] = []
        store = self.board.store
        store.move(when)
        deadline = store.next_deadline()
        if deadline is not None and deadline <= when.boot:
            for entry in store.due(when.boot):
                effects += self.board.end(entry, "ttl")
        if self.board.watches.waiters:
            effects += self.board.give_up(when)
        effects += self.scopes.turns(when)
        return effects + self.board.drain(when) if effects else effects

    def budgets(self, asker: Peer) -> list[Budget]:
        """What *asker*'s uid uses of what it may, and what others do if that is its business."""
        from pagsrv import survey  # noqa: PLC0415 -- as above

        everybody = self.oversees(asker)
        return survey.budgets(self.board, asker.uid, self._connections, everybody=everybody)

    def oversees(self, asker: Peer) -> bool:
        """Whether what everybody does here is *asker*'s business: root's, and the broker's own."""
        return asker.uid in (0, self.about.uid)

    def next_deadline(self) -> float | None:
        """When `expire` next has work, in seconds of CLOCK_BOOTTIME."""
        deadlines = (
            self.board.store.next_deadline(),
            self.board.watches.next_deadline(),
            self.scopes.next_deadline(),
        )
        return min((one for one in deadlines if one is not None), default=None)

    def exited(self, process: Process[H], when: Moment) -> list[Effect[H]]:
        """A process is gone: end what waited for it."""
        entries, handles = self.board.store.processes.exited(process)
        effects: list[Effect[H]] = [Drop(handle) for handle in handles]
        for entry in entries:
            for why in ("exit", "leader"):
                if f"{why}={process.facts.pid}" in entry.until:
                    effects += self.board.end(entry, why)
        return effects + self.board.drain(when)

    def did(self, process: Process[H], deed: Deed, when: Moment) -> list[Effect[H]]:
        """A process has done something: end what was to end then."""
        effects: list[Effect[H]] = []
        for entry, deeds in list(process.heeded_by.items()):
            if deed in deeds:
                effects += self.board.end(entry, deed)
        return effects + self.board.drain(when)

    def overlooked(
        self, why: str, when: Moment, pids: Container[int] | None = None
    ) -> list[Effect[H]]:
        """Nobody can say what processes have done, or those of *pids*: end what that may end."""
        effects: list[Effect[H]] = []
        for pid, process in list(self.board.store.processes.heeded.items()):
            if pids is not None and pid not in pids:
                continue
            for entry, deeds in list(process.heeded_by.items()):
                effects += self.board.end(entry, f"{', '.join(deeds)}: {why}")
        return effects + self.board.drain(when)

    def ring_seen(
        self, ring: RingFacts, isolation: Isolation, loose: str, when: Moment
    ) -> list[Effect[H]]:
        """The kernel's word on one session's ring, from a look between requests."""
        effects = self.scopes.seen(ring, isolation, loose, when)
        return effects + self.board.drain(when)

    def emptied(self, scope: Scope, when: Moment) -> list[Effect[H]]:
        """No process is left in the session *scope*, whatever descriptors still pin its ring."""
        effects = self.scopes.emptied(scope)
        return effects + self.board.drain(when)

    def orphaned(self, scope: Scope, when: Moment) -> list[Effect[H]]:
        """The same where the scope goes on: end those of its entries that were to end then."""
        effects: list[Effect[H]] = []
        for entry in list(self.board.store.orphans.get(scope, ())):
            effects += self.board.end(entry, "orphan")
        return effects + self.board.drain(when)

    def hung_up(self, entry: Entry[H], when: Moment) -> list[Effect[H]]:
        """The other end of a posted descriptor is gone: end the entry."""
        return self.board.end(entry, "hup") + self.board.drain(when)

    def goodbye(self, peer: Peer, when: Moment) -> list[Effect[H]]:
        """Forget *peer*: its leases end, its watches and turns too."""
        if self.peers.pop(peer.id, None) is None:
            return []
        self._connections[peer.uid] -= 1
        board = self.board
        board.watches.forget(peer.id)
        effects: list[Effect[H]] = []
        for entry in list(board.store.leases.get(peer.id, ())):
            effects += board.end(entry, "lease", peer)
        self.scopes.goodbye(peer)
        effects += self.scopes.turns(when)
        return effects + board.drain(when)
