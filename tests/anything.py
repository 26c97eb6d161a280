# SPDX-License-Identifier: MIT
"""Anything that may happen to a board, in any order, with a ledger of every handle.

The law: the ledger is kept from effects alone and held against the store after each
step; what a name means and who may view what is worked out anew, the slow way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pagsrv.effects import Answer, Drop, Effect, Hangup, Listing, Mind, Tell
from pagsrv.ends import DEEDS, NEED_PIDFD
from pagsrv.errors import PagsrvError
from pagsrv.facts import FdFacts, RingState
from pagsrv.limits import Limits
from pagsrv.messages import (
    Attach,
    Grant,
    List,
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
    Until,
    Wait,
    Watch,
    WhoAmI,
)
from pagsrv.model import Entry, Given, Peer, PeerId, Process
from pagsrv.names import EntryName, Scope, parse_reference
from tests.pure import ANY, Table, looked, mask, ring_facts

LIMITS = Limits(
    connections_per_uid=5, entries_per_uid=6, entries_per_scope=4, namespaces_per_uid=4,
    watches_per_uid=3, processes_per_uid=6, grants_per_entry=2, grants_per_uid=3,
)  # fmt: skip

UIDS = st.sampled_from((1000, 1000, 2000))
RINGS = st.sampled_from((5, 6))
PAGS = st.sampled_from((None, 7))
NUMBERS = st.integers(0, 50)
NAME = st.sampled_from(("a", "b", "c"))
EXACT = st.sampled_from(("session:5", "session:6", "pag:7", "user:1000", "user:2000"))
SCOPES = [Scope("session", 5), Scope("session", 6), Scope("pag", 7), Scope("user", 1000),
          Scope("user", 2000)]  # fmt: skip
SCOPE = st.none() | st.sampled_from(("session", "pag", "user")) | EXACT
FULL = st.one_of(NAME, st.builds("{}/{}".format, EXACT, NAME))
MASKS = st.sampled_from(
    (ANY, mask("alswrv", "v"), mask("alwrv"), mask("sr"), mask("alswrv", "srv", "", "wv"))
)
CONDITIONS = st.sampled_from(
    ("exit", "leader", "lease", "hup", "ttl=5", "ttl=9", "opens=1", "opens=2", *DEEDS, "orphan")
)

LOOKS: st.SearchStrategy[Request] = st.one_of(
    st.builds(Open, NAME, SCOPE),
    st.builds(List, SCOPE, st.booleans(), st.booleans()),
    st.builds(WhoAmI),
)
OPENS: dict[str, Callable[[str], Request]] = {
    "open": Open,
    "stat": Stat,
    "open many": lambda name: OpenMany([name, name]),
    "take": Take,
    "take many": lambda name: TakeMany([name]),
}
CHANGES: dict[str, Callable[[str], Request]] = {
    "remove": Remove,
    "remove that": lambda name: Remove(name, expect=9),
    "rename": lambda name: Rename(name, "c"),
    "open up": lambda name: SetMask(name, ANY),
    "shut": lambda name: SetMask(name, mask("alwrv")),
    "show": lambda name: SetMask(name, mask("alswrv", "v", "v", "v")),
    "timeout": lambda name: SetTimeout(name, 3.0),
    "no timeout": lambda name: SetTimeout(name, 0.0),
    "ungrant": lambda name: Ungrant(name, "user:2000"),
    "end grant": lambda name: Ungrant(name, "session:6"),
}
STAYS: st.SearchStrategy[Request] = st.one_of(
    st.builds(Wait, FULL, st.none(), st.none() | st.sampled_from((0.0, 4.0))),
    st.builds(Watch, SCOPE, st.booleans()),
)
POSTS = st.builds(
    Post, NAME, SCOPE, st.sampled_from((0, 0, 0, None)), st.booleans(),
    st.sampled_from((None,) * 6 + (0, 5, 9)),
    st.none() | MASKS, st.none() | st.lists(st.builds(Until, CONDITIONS), max_size=3, unique=True),
)  # fmt: skip

Seen = set[tuple[PeerId, str, str]]


def rights(peer: Peer, entry: Entry[int]) -> str:
    """What the mask gives *peer*, read off its letters as keyrings(7) tells it."""
    letters = format(entry.mask, "032b")
    byte = {who: letters[at + 2 : at + 8] for at, who in zip((0, 8, 16, 24), "pugo", strict=True)}
    who = "o"
    if peer.uid == entry.uid:
        who = "u"
    elif "1" in byte["g"] and (entry.gid == peer.gid or entry.gid in peer.groups):
        who = "g"
    both = [byte[who]] + ([byte["p"]] if entry.scope in peer.proofs else [])
    return "".join(ch for at, ch in enumerate("alswrv") if any(one[at] == "1" for one in both))


class Anything(RuleBasedStateMachine):
    """A board with small budgets, a few uids, two rings, three names."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(limits=LIMITS)
        self.ledger: dict[int, str] = {}
        self.peers: dict[PeerId, Peer] = {}
        self.busy: set[PeerId] = set()

    # ── the ledger ──

    def entries(self) -> Iterator[Entry[int]]:
        """Everything on the board."""
        return self.table.broker.board.store.entries()

    def seen(self) -> Seen:
        """Which watcher may view which entry."""
        watchers = self.table.broker.board.watches.watchers.values()
        return {
            (watcher.peer.id, str(entry.scope), entry.name)
            for watcher in watchers
            for entry in self.entries()
            if self.views(watcher.peer, entry)
        }

    @staticmethod
    def views(peer: Peer, entry: Entry[int]) -> bool:
        """Whether *peer* may view *entry*, by its mask or a grant."""
        return "v" in rights(peer, entry) or any(one in peer.proofs for one in entry.grants)

    def settle(self, effects: list[Effect[int]], before: Seen, asker: Peer | None = None) -> None:
        """Carry *effects* out as the daemon would, each checked against the ledger."""
        after = before | self.seen()
        gone: list[PeerId] = []
        for effect in effects:
            if isinstance(effect, Answer):
                self.answered(effect, asker)
            elif isinstance(effect, Listing):
                views = list(effect.entries)
                assert all(set("v") <= set(view.rights) for view in views)
            elif isinstance(effect, Drop | Mind):
                assert self.ledger[effect.handle] == "board"
                self.ledger[effect.handle] = "dropped" if isinstance(effect, Drop) else "board"
            elif isinstance(effect, Tell) and effect.event.name:
                event = effect.event
                assert (effect.to, event.scope, event.name) in after
            elif isinstance(effect, Hangup):
                gone.append(effect.peer)
        for peer in gone:
            self.hang_up(peer)

    def answered(self, answer: Answer[int], asker: Peer | None) -> None:
        """An answer is awaited, lends what is stored and gives what was."""
        assert answer.to in self.busy or (asker is not None and answer.to == asker.id)
        self.busy.discard(answer.to)
        if isinstance(answer.reply, PagsrvError):
            assert not answer.lend
            assert not answer.give
        for handle in answer.lend:
            assert self.ledger[handle] == "board"
        for handle in answer.give:
            assert self.ledger[handle] == "board"
            self.ledger[handle] = "given"

    def hang_up(self, peer: PeerId) -> None:
        """The daemon closes the connection and tells the broker."""
        left = self.peers.pop(peer, None)
        self.busy.discard(peer)
        if left is not None:
            before = self.seen()
            self.settle(self.table.broker.goodbye(left, self.table.now), before)

    def ask(self, peer: Peer, request: Request, given: Given[int] | None = None) -> None:
        """One call; who has one out already is not read from."""
        given = given or Given()
        for handle in given.handles:
            self.ledger[handle] = "board"
        before = self.seen()
        expected = self.meaning(peer, request)
        effects = looked(self.table.broker.handle(peer, request, given, self.table.now))
        assert not given.handles
        own = [one for one in effects if isinstance(one, Answer | Listing) and one.to == peer.id]
        assert len(own) <= 1
        if not own and not isinstance(request, Watch):
            assert isinstance(request, Wait | Attach)
            self.busy.add(peer.id)
        if isinstance(request, Watch) and not own:
            self.busy.add(peer.id)
        if isinstance(request, Open):
            (answer,) = own
            assert isinstance(answer, Answer)
            assert answer.lend == expected
        self.settle(effects, before, peer)

    def name_of(self, number: int) -> str:
        """Some entry's name, every third time the bare one."""
        there = list(self.entries())
        if not there:
            return "a"
        entry = there[number % len(there)]
        return entry.name if number % 3 == 0 else f"{entry.scope}/{entry.name}"

    def meaning(self, peer: Peer, request: Request) -> tuple[int, ...]:
        """What an open must lend, looked up the slow way: nothing if it must be refused."""
        if not isinstance(request, Open):
            return ()
        reference = parse_reference(request.name)
        scope = request.scope or (reference.scope and str(reference.scope))
        own: dict[str, Scope] = {scope.kind: scope for scope in peer.proofs}
        if scope is None:
            for kind in ("session", "pag", "user"):
                entry = self.at(own.get(kind), reference.name)
                if entry is not None and "s" in rights(peer, entry):
                    readable = "r" in rights(peer, entry) and entry.handle is not None
                    return (entry.handle,) if readable and entry.handle is not None else ()
            return ()
        kind, colon, _ = scope.partition(":")
        exact = next((one for one in (*own.values(), *SCOPES) if str(one) == scope), None)
        if not colon:
            exact = own.get(kind)
        entry = self.at(exact, reference.name)
        if entry is None or entry.handle is None:
            return ()
        guest = "srv" if any(one in peer.proofs for one in entry.grants) else ""
        return (entry.handle,) if set("srv") <= set(rights(peer, entry) + guest) else ()

    def at(self, scope: Scope | None, name: EntryName) -> Entry[int] | None:
        """The entry there, found by looking at all."""
        for entry in self.entries():
            if (entry.scope, entry.name) == (scope, name):
                return entry
        return None

    def free(self) -> list[Peer]:
        """The peers that are not waiting for an answer."""
        return [peer for peer in self.peers.values() if peer.id not in self.busy]

    def one_of(self, number: int) -> Peer | None:
        """One of those, if there are any."""
        free = self.free()
        return free[number % len(free)] if free else None

    # ── what peers do ──

    @initialize()
    def begin(self) -> None:
        """Two sessions of one uid and another uid are there, each with something posted."""
        for uid, ring, pag in ((1000, 5, 7), (1000, 6, None), (2000, None, 7)):
            self.connect(uid, pag)
            if ring is not None:
                self.enter(len(self.peers) - 1, ring, named=True, good=True, loose=False)
            for name, scope in (("a", "user"), ("b", "session" if ring else "pag")):
                self.post(len(self.peers) - 1, Post(name, scope, 0, True, mask=ANY),
                          pollable=True, alive=True)  # fmt: skip

    @precondition(lambda self: len(self.free()) < 6)
    @rule(uid=UIDS, pag=PAGS)
    def connect(self, uid: int, pag: int | None) -> None:
        """Somebody connects, attaches, and is in a PAG or not."""
        peer = self.table.connect(uid)
        self.peers[peer.id] = peer
        effects, self.table.effects = self.table.effects, []
        self.settle(effects, self.seen(), peer)
        if peer.id in self.peers:
            self.ask(peer, Attach(["pag", "user"], True), Given(pag=pag, no_pag="none"))

    @rule(number=NUMBERS, ring=RINGS, named=st.booleans())
    def attach(self, number: int, ring: int, *, named: bool) -> None:
        """Somebody asks for a session, too; which ring, it says or not."""
        peer = self.one_of(number)
        if peer is not None:
            pag = next((scope.number for scope in peer.proofs if scope.kind == "pag"), None)
            words = [f"session:{ring}" if named else "session", "pag", "user"]
            self.ask(peer, Attach(words, True), Given(pag=pag, no_pag="none"))

    @rule(
        number=NUMBERS,
        ring=RINGS,
        good=st.booleans(),
        loose=st.sampled_from((False,) * 4 + (True,)),
    )
    def prove(self, number: int, ring: int, *, good: bool, loose: bool) -> None:
        """Somebody proves, rightly or wrongly."""
        peer = self.one_of(number)
        if peer is None:
            return
        nonce = self.table.broker.scopes.nonce(peer, self.table.now)
        given: Given[int] = Given(
            ring=ring_facts(ring, peer.uid), why="" if good and nonce else "wrong",
            isolation="linkable" if loose else "isolated", loose="loose",
        )  # fmt: skip
        self.ask(peer, Prove(ring), given)

    @rule(number=NUMBERS, ring=RINGS, named=st.booleans(), good=st.just(value=True),
          loose=st.sampled_from((False,) * 4 + (True,)))  # fmt: skip
    def enter(self, number: int, ring: int, *, named: bool, good: bool, loose: bool) -> None:
        """Somebody attaches and proves at once, as a client does."""
        peer = self.one_of(number)
        self.attach(number, ring, named=named)
        if peer is not None and peer.id not in self.busy:
            self.prove(self.free().index(peer), ring, good=good, loose=loose)

    @rule(number=NUMBERS, request=POSTS, pollable=st.booleans(), alive=st.booleans())
    def post(self, number: int, request: Post, *, pollable: bool, alive: bool) -> None:
        """Somebody posts, assigns or replaces."""
        peer = self.one_of(number)
        if peer is None:
            return
        processes = [
            self.table.witness(peer.uid) if end.cond in NEED_PIDFD and alive else None
            for end in request.until or ()
        ]
        given = self.table.given(
            peer, empty=request.fd is None, processes=processes,
            facts=FdFacts("socket", "rw", pollable=pollable),
        )  # fmt: skip
        self.ask(peer, request, given)

    @rule(number=NUMBERS, request=LOOKS)
    def look_up(self, number: int, request: Request) -> None:
        """Somebody asks by name, or lists."""
        peer = self.one_of(number)
        if peer is not None:
            self.ask(peer, request)

    @rule(number=NUMBERS, at=NUMBERS, what=st.sampled_from(sorted(OPENS)))
    def open(self, number: int, at: int, what: str) -> None:
        """Somebody opens or takes what is there."""
        peer = self.one_of(number)
        if peer is not None:
            self.ask(peer, OPENS[what](self.name_of(at)))

    @rule(number=NUMBERS, at=NUMBERS, what=st.sampled_from(sorted(CHANGES)))
    def change(self, number: int, at: int, what: str) -> None:
        """Somebody changes what is there."""
        peer = self.one_of(number)
        if peer is not None:
            self.ask(peer, CHANGES[what](self.name_of(at)))

    @rule(number=NUMBERS, at=NUMBERS, scope=EXACT)
    def grant(self, number: int, at: int, scope: str) -> None:
        """Somebody grants what is there."""
        peer = self.one_of(number)
        if peer is not None:
            kind, _, serial = scope.partition(":")
            ring = ring_facts(int(serial), peer.uid) if kind == "session" else None
            given: Given[int] = Given(ring=ring, isolation="isolated")
            self.ask(peer, Grant(self.name_of(at), scope), given)

    @rule(number=NUMBERS, request=STAYS)
    def stay(self, number: int, request: Request) -> None:
        """Somebody waits or watches."""
        peer = self.one_of(number)
        if peer is not None:
            self.ask(peer, request)

    @precondition(lambda self: self.peers)
    @rule(number=NUMBERS)
    def leave(self, number: int) -> None:
        """Somebody hangs up, waiting or not."""
        self.hang_up(list(self.peers)[number % len(self.peers)])

    # ── what the world does ──

    @rule(seconds=st.sampled_from((0.1, 0.3, 2.0, 6.0)))
    def later(self, seconds: float) -> None:
        """Time goes by."""
        before = self.seen()
        self.settle(self.table.later(seconds), before)
        deadline = self.table.broker.next_deadline()
        assert deadline is None or deadline > self.table.boot

    @rule(number=NUMBERS)
    def exit(self, number: int) -> None:
        """A process that is followed exits."""
        living = sorted(self.processes(), key=lambda one: one.facts.inode)
        if living:
            before = self.seen()
            process = living[number % len(living)]
            self.settle(self.table.broker.exited(process, self.table.now), before)

    @rule(number=NUMBERS)
    def hang_up_entry(self, number: int) -> None:
        """The other end of a posted descriptor goes."""
        hanging = [entry for entry in self.entries() if "hup" in entry.until and entry.handle]
        if hanging:
            before = self.seen()
            entry = hanging[number % len(hanging)]
            self.settle(self.table.broker.hung_up(entry, self.table.now), before)

    @rule(
        ring=RINGS,
        state=st.sampled_from(("live", "live", "unverifiable", "revoked", "gone")),
        loose=st.booleans(),
    )
    def look(self, ring: int, state: RingState, *, loose: bool) -> None:
        """The sweep looks at a ring."""
        uids = {str(scope): uid for scope, uid in self.table.broker.scopes.sessions()}
        before = self.seen()
        effects = self.table.seen(
            ring, state=state, uid=uids.get(f"session:{ring}", 1000),
            isolation="linkable" if loose else "isolated",
        )  # fmt: skip
        self.settle(effects, before)

    # ── what must hold ──

    def processes(self) -> set[Process[int]]:
        """Every process some entry came from or waits for that is still followed."""
        used = {wait for entry in self.entries() for wait in entry.waits}
        used |= {entry.poster for entry in self.entries() if entry.poster is not None}
        return {process for process in used if process.handle is not None}

    @invariant()
    def handles_are_conserved(self) -> None:
        """What came in and was neither given nor dropped is in the store, once."""
        held = [entry.handle for entry in self.entries() if entry.handle is not None]
        held += [process.handle for process in self.processes() if process.handle is not None]
        assert sorted(held) == sorted(one for one in self.ledger if self.ledger[one] == "board")

    @invariant()
    def budgets_are_what_is_used(self) -> None:
        """Counted anew, each is the same, and within its limit."""
        store = self.table.broker.board.store
        used = [
            (store._entries_of, Counter(one.uid for one in self.entries()), 6),
            (store._spaces_of, Counter(one.charged for one in store.spaces.values()), 4),
            (store._grants_of, Counter(one.uid for one in self.entries() for _ in one.grants), 3),
            (self.table.broker._connections, Counter(one.uid for one in self.peers.values()), 5),
            (store.processes._count,
             Counter(one.uid for one in store.processes._known.values()), 6),
        ]  # fmt: skip
        for kept, counted, most in used:
            assert +kept == counted
            assert all(0 <= number <= most for number in kept.values())
        assert store.count == sum(1 for _ in self.entries())

    @invariant()
    def both_sides_agree(self) -> None:
        """Guests, members, leases and waiting processes are known at both ends."""
        broker = self.table.broker
        store = broker.board.store
        assert set(broker.peers) == set(self.peers)
        for scope, space in store.spaces.items():
            assert not space.idle()
            assert space.guests == {one for one in self.entries() if scope in one.grants}
            assert set(space.members) <= set(self.peers)
        for peer in self.peers.values():
            sessions = {scope for scope in peer.proofs if scope.kind == "session"}
            assert sessions == {
                one.scope for one in store.spaces.values() if peer.id in one.members
            }
            assert all(
                peer.proofs[one].isolation == store.spaces[one].isolation for one in sessions
            )
        leased = {one for entries in store.leases.values() for one in entries}
        assert leased == {one for one in self.entries() if one.lease is not None}
        for entry in self.entries():
            assert all(entry in wait.waiting for wait in entry.waits)

    def teardown(self) -> None:
        """When everybody has left and everything has ended, nothing is left."""
        for peer in list(self.peers):
            self.hang_up(peer)
        for ring in (5, 6):
            self.settle(self.table.seen(ring, state="gone"), set())
        board = self.table.broker.board
        for entry in list(self.entries()):
            self.settle(list(board.end(entry, "removed")), set())
        self.settle(board.drain(self.table.now), set())
        assert "board" not in self.ledger.values()
        store = board.store
        assert store.spaces == {}
        assert store.leases == {}
        counters = (store._entries_of, store._spaces_of, store._grants_of, store.processes._count)
        assert not any(any(counter.values()) for counter in counters)
        assert self.table.broker.next_deadline() is None
