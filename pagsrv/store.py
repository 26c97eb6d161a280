# SPDX-License-Identifier: MIT
"""The store: every namespace, every entry, and who owns each handle.

The law: a handle is in exactly one place. What a method returns as `list[H]`
belongs to the caller from then on; what it raises on still belongs to the
caller. Budgets are charged here, per uid first. Whatever may change an answer
moves the epoch. It refuses to know who may do what (policy.py) and why (board.py).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Generic

from msgspec import Struct, field

from pagsrv.errors import Exists, NoSession, QuotaExceeded
from pagsrv.facts import FdFacts, Isolation
from pagsrv.limits import Limits
from pagsrv.model import Entry, H, Moment, Peer, PeerId, Process, Witness
from pagsrv.names import EntryName, Scope
from pagsrv.nodes import Credentials
from pagsrv.processes import Processes

_SLACK = 64
"""Deadlines changed or dropped that may wait in the heap besides those that count."""


_STEP = 0.1
"""Seconds between the two clocks that are no accident of when they were read."""


class Namespace(Generic[H]):
    """All entries of one scope, and what is known of the scope itself."""

    __slots__ = (
        "charged", "entries", "guests", "isolation", "key", "members", "scope", "since", "turned",
        "uid", "unverifiable_since",
    )  # fmt: skip

    def __init__(
        self, scope: Scope, uid: int, isolation: Isolation, charged: int, since: float
    ) -> None:
        self.scope = scope
        self.since = since
        self.uid = uid
        self.charged = charged
        self.isolation: Isolation = isolation
        self.turned = ""
        self.entries: dict[EntryName, Entry[H]] = {}
        self.members: dict[PeerId, Peer] = {}
        self.guests: set[Entry[H]] = set()
        self.key = 0
        self.unverifiable_since: float | None = None

    def idle(self) -> bool:
        """Whether nothing holds the namespace: no entry, no member, no grant to it.

        A session's is kept while its ring lives: what was once seen of it must not be forgotten.
        """
        held = self.entries or self.members or self.guests
        return not held and self.scope.kind != "session"


class Hold(Struct, Generic[H]):
    """What an entry is given when it is assigned: the handle and all that ends it."""

    handle: H | None
    facts: FdFacts | None
    poster: Witness[H] | None
    credentials: Credentials | None = None
    until: tuple[str, ...] = ()
    waits: list[Witness[H]] = field(default_factory=list)
    lease: PeerId | None = None
    deadline: float | None = None
    turns: int | None = None


class Store(Generic[H]):
    """The board's memory."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.when = Moment(0, 0)
        """Both clocks, as of the last thing that happened or the last look at them."""
        self.offset = 0.0
        """What makes seconds since 1970 of seconds of CLOCK_BOOTTIME."""
        self.spaces: dict[Scope, Namespace[H]] = {}
        self.processes: Processes[H] = Processes(limits.processes_per_uid)
        self.leases: dict[PeerId, set[Entry[H]]] = {}
        self.orphans: dict[Scope, set[Entry[H]]] = {}
        """Those that end with the last process of their session, by that."""
        self.epoch = 1
        self.count = 0
        self._generation = 0
        self._deadlines: list[tuple[float, int, Entry[H]]] = []
        self._entries_of: Counter[int] = Counter()
        self._spaces_of: Counter[int] = Counter()
        self._grants_of: Counter[int] = Counter()

    def entries(self) -> Iterator[Entry[H]]:
        """Every entry of the board."""
        for space in self.spaces.values():
            yield from space.entries.values()

    def find(self, scope: Scope, name: EntryName) -> Entry[H] | None:
        """The entry of that name in that scope."""
        space = self.spaces.get(scope)
        return None if space is None else space.entries.get(name)

    def namespace(
        self, scope: Scope, uid: int, isolation: Isolation, charged: int | None = None
    ) -> Namespace[H]:
        """The namespace of *scope*, which is *uid*'s.

        If it is new it is charged to *charged*, where somebody else than *uid* makes it.
        NoSession if it is a session of another uid: a ring that is over, whose serial a new one
        has got.
        """
        space = self.spaces.get(scope)
        if space is not None and space.uid != uid and scope.kind == "session":
            raise NoSession(
                f"the board still holds another {scope}, of uid {space.uid}, whose ring is over; "
                "connect again in a moment"
            )
        if space is None:
            payer = uid if charged is None else charged
            _charge(self._spaces_of, payer, self.limits.namespaces_per_uid, "scopes")
            space = self.spaces[scope] = Namespace(scope, uid, isolation, payer, self.when.wall)
        return space

    def move(self, when: Moment) -> None:
        """It is *when* now; the clocks are read one after the other, and a step is more."""
        self.when = when
        offset = when.wall - when.boot
        if not -_STEP < offset - self.offset < _STEP:
            self.offset = offset

    def used(self, uid: int) -> tuple[int, int, int, int]:
        """How many entries, namespaces, processes and grants *uid* is charged for."""
        return (
            self._entries_of[uid], self._spaces_of[uid], self.processes.used(uid),
            self._grants_of[uid],
        )  # fmt: skip

    def charged(self) -> set[int]:
        """Every uid that is charged for an entry or a namespace."""
        return set(+self._entries_of) | set(+self._spaces_of)

    def discard(self, space: Namespace[H]) -> None:
        """Forget an idle namespace."""
        if space.idle():
            self.forget(space)

    def forget(self, space: Namespace[H]) -> None:
        """Forget a namespace whose scope has ended; its entries are gone already."""
        if self.spaces.pop(space.scope, None) is not None:
            self._spaces_of[space.charged] -= 1
            self.epoch += 1

    def add(self, space: Namespace[H], entry: Entry[H]) -> None:
        """Put an empty *entry* into *space*; Exists or QuotaExceeded change nothing."""
        if entry.name in space.entries:
            raise Exists(f"{entry.scope}/{entry.name} is already there; replace replaces it")
        if len(space.entries) >= self.limits.entries_per_scope:
            raise QuotaExceeded(
                f"{space.scope} holds {self.limits.entries_per_scope} entries, the most a scope "
                "may; remove some"
            )
        _charge(self._entries_of, entry.uid, self.limits.entries_per_uid, "entries")
        space.entries[entry.name] = entry
        self.count += 1
        self.touch(entry)

    def touch(self, entry: Entry[H]) -> None:
        """Note a change of *entry*: a new generation, a new epoch."""
        self._generation += 1
        entry.generation = self._generation
        self.epoch += 1

    def assign(
        self, entry: Entry[H], hold: Hold[H], *, keep_ends: bool = False
    ) -> tuple[list[Process[H]], list[H]]:
        """Own what *hold* brings, releasing what was held; *keep_ends* leaves the ends alone.

        Returns the processes whose handles were taken over (those of processes followed
        already were not) and the handles released, now the caller's.
        """
        fresh: list[Process[H]] = []
        released = [] if entry.handle is None else [entry.handle]
        entry.handle, entry.facts = hold.handle, hold.facts
        entry.credentials = hold.credentials
        if not keep_ends:
            waits, lease = entry.waits, entry.lease
            entry.waits = tuple(self._adopt(entry, wait, fresh) for wait in hold.waits)
            released += self._end_waits(entry, waits, lease)
            self._begin_waits(entry, hold)
        poster, entry.poster = entry.poster, None
        if hold.poster is not None:
            entry.poster = self._adopt(entry, hold.poster, fresh)
        if poster is not None:
            released += self.processes.release(poster)
        self.touch(entry)
        return fresh, released

    def _adopt(self, entry: Entry[H], witness: Witness[H], fresh: list[Process[H]]) -> Process[H]:
        process, new = self.processes.adopt(entry.uid, witness)
        if new:
            fresh.append(process)
        return process

    def _begin_waits(self, entry: Entry[H], hold: Hold[H]) -> None:
        entry.until, entry.turns, entry.lease = hold.until, hold.turns, hold.lease
        for process in entry.waits:
            process.waiting.add(entry)
            self.processes.heed(process, entry)
        if hold.lease is not None:
            self.leases.setdefault(hold.lease, set()).add(entry)
        if "orphan" in hold.until:
            self.orphans.setdefault(entry.scope, set()).add(entry)
        self.set_deadline(entry, hold.deadline)

    def _end_waits(
        self, entry: Entry[H], waits: tuple[Process[H], ...], lease: PeerId | None
    ) -> list[H]:
        released: list[H] = []
        for process in waits:
            process.waiting.discard(entry)
            self.processes.unheed(process, entry)
            released += self.processes.release(process)
        leased = self.leases.get(lease) if lease is not None else None
        if lease is not None and leased is not None:
            leased.discard(entry)
            if not leased:
                del self.leases[lease]
        orphans = self.orphans.get(entry.scope)
        if orphans is not None:
            orphans.discard(entry)
            if not orphans:
                del self.orphans[entry.scope]
        return released

    def remove(self, entry: Entry[H]) -> list[H]:
        """Take *entry* off the board; every handle it held is now the caller's."""
        space = self.spaces[entry.scope]
        if space.entries.get(entry.name) is not entry:
            return []
        del space.entries[entry.name]
        self.count -= 1
        self._entries_of[entry.uid] -= 1
        for scope in entry.grants:
            self.ungrant(entry, scope)
        released = [] if entry.handle is None else [entry.handle]
        released += self._end_waits(entry, entry.waits, entry.lease)
        if entry.poster is not None:
            released += self.processes.release(entry.poster)
        entry.waits, entry.poster, entry.handle = (), None, None
        entry.deadline = entry.lease = None
        entry.generation = 0
        self.epoch += 1
        self.discard(space)
        return released

    def rename(self, entry: Entry[H], name: EntryName) -> None:
        """Give *entry* another name in its scope; Exists changes nothing."""
        space = self.spaces[entry.scope]
        if name in space.entries:
            raise Exists(f"{entry.scope}/{name} is already there; remove it or choose another name")
        del space.entries[entry.name]
        entry.name = name
        space.entries[name] = entry
        self.touch(entry)

    def grant(self, entry: Entry[H], space: Namespace[H]) -> None:
        """Let the members of *space* see and open *entry* by its full name."""
        if len(entry.grants) >= self.limits.grants_per_entry:
            raise QuotaExceeded(
                f"{entry.scope}/{entry.name} is granted to {len(entry.grants)} scopes already, "
                "the most one entry may be; `pagsrv ungrant` one"
            )
        _charge(self._grants_of, entry.uid, self.limits.grants_per_uid, "grants")
        entry.grants = (*entry.grants, space.scope)
        space.guests.add(entry)
        self.touch(entry)

    def ungrant(self, entry: Entry[H], scope: Scope) -> None:
        """End the grant of *entry* to *scope*."""
        entry.grants = tuple(known for known in entry.grants if known != scope)
        self._grants_of[entry.uid] -= 1
        space = self.spaces[scope]
        space.guests.discard(entry)
        self.discard(space)
        self.touch(entry)

    def set_deadline(self, entry: Entry[H], deadline: float | None) -> None:
        """End *entry* at *deadline* (seconds of CLOCK_BOOTTIME), or at no time."""
        entry.deadline = deadline
        if deadline is not None:
            if len(self._deadlines) > 2 * self.count + _SLACK:
                live = [item for item in self._deadlines if item[2].deadline == item[0]]
                heapq.heapify(live)
                self._deadlines = live
            heapq.heappush(self._deadlines, (deadline, id(entry), entry))

    @property
    def timed(self) -> bool:
        """Whether any entry may have a deadline."""
        return bool(self._deadlines)

    def next_deadline(self) -> float | None:
        """When `due` next has work, in seconds of CLOCK_BOOTTIME."""
        while self._deadlines:
            deadline, _, entry = self._deadlines[0]
            if entry.deadline == deadline:
                return deadline
            heapq.heappop(self._deadlines)
        return None

    def due(self, now: float) -> list[Entry[H]]:
        """The entries whose deadline has passed; they are still on the board."""
        found: list[Entry[H]] = []
        deadline = self.next_deadline()
        while deadline is not None and deadline <= now:
            found.append(heapq.heappop(self._deadlines)[2])
            deadline = self.next_deadline()
        return found


def _charge(count: Counter[int], uid: int, most: int, what: str) -> None:
    if count[uid] >= most:
        raise QuotaExceeded(
            f"uid {uid} has {most} {what} on this board already, the most one user may; "
            "remove some, or raise the limit in the broker's configuration"
        )
    count[uid] += 1
