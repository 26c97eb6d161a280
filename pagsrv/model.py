# SPDX-License-Identifier: MIT
"""The nouns: who is asking, what was posted, what has happened.

The law: plain values and records; facts of the kernel arrive as arguments. `H`
is a handle: opaque here, an owned descriptor in the daemon, so that nothing in
the core can close one. It refuses to know how a fact was learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, NewType, TypeVar

from msgspec import Struct, field

from pagsrv.ends import Deed
from pagsrv.facts import FdFacts, Isolation, ProcessFacts, RingFacts
from pagsrv.limits import OPENERS
from pagsrv.messages import Fact
from pagsrv.names import EntryName, Scope
from pagsrv.nodes import Credentials
from pagsrv.people import Poster

H = TypeVar("H")
PeerId = NewType("PeerId", int)
"""Names one connection; never used again while the broker runs."""

ProofKind = Literal["kernel", "possession", "groups", "user"]
EventKind = Literal[
    "posted", "assigned", "opened", "taken", "renamed", "changed", "granted", "ungranted",
    "ended", "refused", "linkable", "lost", "present", "live",
]  # fmt: skip


class Moment(NamedTuple):
    """The two clocks: seconds of CLOCK_BOOTTIME for deadlines, seconds since 1970 for people."""

    boot: float
    wall: float


class Proof:
    """That a peer is in a scope: how it was shown, and how well the scope isolates."""

    __slots__ = ("isolation", "proof", "scope")

    def __init__(self, scope: Scope, proof: ProofKind, isolation: Isolation) -> None:
        self.scope = scope
        self.proof = proof
        self.isolation = isolation


class Witness(Struct, Generic[H]):
    """A process as a request brings it: its facts and its pidfd, still the request's."""

    facts: ProcessFacts
    handle: H | None

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from every other process of this boot."""
        return self.facts.pid, self.facts.inode


class Process(Generic[H]):
    """A process entries depend on or came from; the board owns *handle*, its pidfd."""

    __slots__ = ("alive", "deeds", "facts", "handle", "heeded_by", "uid", "uses", "view", "waiting")

    def __init__(self, facts: ProcessFacts, handle: H | None, uid: int) -> None:
        self.facts = facts
        self.handle = handle
        self.uid = uid
        self.alive = True
        self.uses = 0
        self.view: Poster | None = None
        """As entries show it, kept while that is true."""
        self.waiting: set[Entry[H]] = set()
        self.heeded_by: dict[Entry[H], list[Deed]] = {}
        """Those of them that end by something it does, and by what."""
        self.deeds: Counter[Deed] = Counter()
        """How many of them end by each."""


class Peer:
    """One connection's other end, as the kernel described it when it connected."""

    __slots__ = (
        "asker", "attached", "changes", "comm", "gid", "groups", "id", "inode", "kernel", "pid",
        "proofs", "refused", "scopes", "uid",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 -- one field each of what the kernel reports
        self, peer_id: PeerId, *, pid: int, uid: int, gid: int, groups: tuple[int, ...], inode: int
    ) -> None:
        self.id = peer_id
        self.pid = pid
        self.uid = uid
        self.gid = gid
        self.groups = frozenset(groups)
        self.inode = inode
        self.comm = ""
        self.changes = False
        self.attached = False
        """Whether Attach has said which scopes are wanted."""
        self.kernel: Proof | None = None
        """What the kernel itself has shown, once and for all: it is of the moment of connect."""
        self.asker: Peer | None = None
        """The trusted asker that acts on this peer's behalf; then only possession counts."""
        self.refused: dict[str, str] = {}
        self.proofs: dict[Scope, Proof] = {}
        self.scopes: tuple[Scope, ...] = ()

    def prove(self, proof: Proof) -> None:
        """Add *proof*; scopes stay in lookup order (session, pag, user)."""
        scope = proof.scope
        self.proofs[scope] = proof
        if not self.scopes:
            self.scopes = (scope,)
        elif scope not in self.scopes:
            if _RANK[scope.kind] < _RANK[self.scopes[0].kind]:
                self.scopes = (scope, *self.scopes)
            else:
                self.scopes = tuple(sorted(self.proofs, key=lambda one: _RANK[one.kind]))

    def forget(self, scope: Scope) -> None:
        """Drop the proof of *scope*, if there is one."""
        if self.proofs.pop(scope, None) is not None:
            self.scopes = tuple(known for known in self.scopes if known != scope)


_RANK = {"session": 0, "pag": 1, "user": 2}

OpenerKey = PeerId | tuple[PeerId, int, int]
"""A connection; or the asker's, with pid and inode of the peer it served."""


class Opening:
    """That a process opened an entry, and when it last did, in seconds since 1970.

    *peer* is its connection, None if somebody else's served it; *inode* is 0 while not known.
    """

    __slots__ = ("comm", "inode", "peer", "pid", "time", "uid")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer.id if peer.asker is None else None
        self.pid = peer.pid
        self.uid = peer.uid
        self.inode = peer.inode
        self.comm = peer.comm
        self.time = 0.0


Living = Callable[[Opening], tuple[str, bool | None]]
"""What a process calls itself, and whether it lives: None if that is not known."""


class Entry(Generic[H]):
    """One entry; the store owns *handle* (None: empty) and the processes it waits for.

    Its generation is 0 while it is not on the board.
    """

    __slots__ = (
        "created", "credentials", "deadline", "facts", "generation", "gid", "grants", "handle",
        "labels", "last_opened", "lease", "mask", "name", "opener", "openers", "opens", "poster",
        "scope", "turns", "uid", "until", "waits",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 -- an entry is made in one place, whole
        self, scope: Scope, name: EntryName, *, uid: int, gid: int, mask: int, created: float
    ) -> None:
        self.scope = scope
        self.name = name
        self.uid = uid
        self.gid = gid
        self.mask = mask
        self.created = created
        self.generation = 0
        self.handle: H | None = None
        self.facts: FdFacts | None = None
        self.credentials: Credentials | None = None
        """Whose rights lead beneath it, if it is a directory."""
        self.poster: Process[H] | None = None
        self.last_opened: float | None = None
        self.opens = 0
        self.labels: dict[str, str] | None = None
        self.until: tuple[str, ...] = ()
        self.waits: tuple[Process[H], ...] = ()
        self.lease: PeerId | None = None
        self.deadline: float | None = None
        self.turns: int | None = None
        self.grants: tuple[Scope, ...] = ()
        self.opener: OpenerKey | None = None
        """Whoever opened it last, at `last_opened`: mostly the same as before."""
        self.openers: dict[OpenerKey, Opening] | None = None

    def opened_by(self, peer: Peer) -> None:
        """Note that *peer* opens it now; called before `last_opened` moves."""
        if self.openers is None:
            self.openers = {}
        self.date_opener()
        key: OpenerKey = peer.id if peer.asker is None else (peer.id, peer.pid, peer.inode)
        opening = self.openers.pop(key, None)
        self.openers[key] = Opening(peer) if opening is None else opening
        self.opener = key
        if len(self.openers) > OPENERS:
            del self.openers[next(iter(self.openers))]

    def date_opener(self) -> None:
        """Write down when its last opener last did."""
        if self.openers and self.opener is not None and self.last_opened is not None:
            self.openers[self.opener].time = self.last_opened


class By(Struct):
    """Who did it, for events; comm is what the process called itself, decoration only."""

    uid: int
    pid: int
    comm: str


class Event(Struct, Generic[H]):
    """Something that has happened on the board; *hearers* may know of it."""

    event: EventKind
    scope: Scope | None
    name: str
    generation: int = 0
    by: By | None = None
    why: str = ""
    entry: Entry[H] | None = None
    hearers: tuple[PeerId, ...] = ()
    inside: bool = False
    """*why* names what lies beneath the entry: for those alone that may look there."""


class Given(Struct, Generic[H]):
    """What came with a request, and what the kernel says of it.

    *handles* is everything not yet owned: whatever a request leaves in it is dropped.
    """

    handles: list[H] = field(default_factory=list)
    posted: H | None = None
    facts: FdFacts | None = None
    credentials: Credentials | None = None
    poster: Witness[H] | None = None
    ends: list[Witness[H] | None] = field(default_factory=list)
    pag: int | None = None
    no_pag: str = ""
    ring: RingFacts | None = None
    isolation: Isolation = "none"
    loose: str = ""
    behalf: Peer | None = None
    known: list[Fact] = field(default_factory=list)
    why: str = ""
    key: int = 0
    living: Living | None = None

    def claim(self, handle: H | None) -> None:
        """*handle* has an owner now."""
        if handle is not None:
            self.handles.remove(handle)
