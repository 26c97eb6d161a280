# SPDX-License-Identifier: MIT
"""A broker of numbers: the core as the daemon uses it, without a daemon.

The law: handles are numbers, clocks stand still until they are moved, nonces count
up, and a fact of the kernel is whatever the test says. It refuses to know descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pagsrv.broker import About, Broker
from pagsrv.effects import Answer, Drop, Effect, Hangup, Listing, Look, Mind, Presence, Tell
from pagsrv.errors import PagsrvError
from pagsrv.facts import FdFacts, Isolation, ProcessFacts, RingFacts, RingState
from pagsrv.limits import Limits
from pagsrv.messages import (
    Attach,
    Attached,
    EntryReply,
    EntryView,
    EventView,
    List,
    Open,
    Post,
    Prove,
    Reply,
    Request,
    Until,
)
from pagsrv.model import Entry, Given, Moment, Peer, PeerId, Process, Witness
from pagsrv.names import EntryName, Scope
from pagsrv.nodes import Credentials

T = TypeVar("T")

BROKER_ID = "00112233445566778899aabbccddeeff"
SOCKET = FdFacts("socket", "rw", pollable=True)
FILE = FdFacts("file", "r")
DIRECTORY = FdFacts("dir", "r")
HIS = Credentials(1000, 1000, ())
"""Whose rights lead beneath a directory here."""

ANY = "alswrv" * 4
"""The mask that lets everybody do everything."""


def mask(possessor: str = "", user: str = "", group: str = "", other: str = "") -> str:
    """The 24 letters of the rights given."""
    bytes_of = (possessor, user, group, other)
    return "".join(ch if ch in byte else "-" for byte in bytes_of for ch in "alswrv")


def ring_facts(
    serial: int, uid: int = 1000, state: RingState = "live", name: str = "_ses"
) -> RingFacts:
    """A ring as the kernel might describe it."""
    return RingFacts(serial, state, uid, 0x3F030000, name)


def peer_of(
    uid: int = 1000, *, gid: int | None = None, groups: tuple[int, ...] = (), number: int = 1
) -> Peer:
    """A peer that no broker knows yet."""
    own = uid if gid is None else gid
    return Peer(PeerId(number), pid=number, uid=uid, gid=own, groups=groups, inode=number)


@dataclass(frozen=True)
class Ends:
    """End conditions as a post brings them: their words, and the processes some speak of."""

    words: tuple[str, ...] = ()
    processes: tuple[Witness[int] | None, ...] = ()


class Table:
    """A broker, whoever is connected to it, and the last effects."""

    def __init__(self, *, uid: int = 0, limits: Limits | None = None) -> None:
        self.broker: Broker[int] = Broker(
            About(BROKER_ID, uid, "/run/pagsrv"), limits or Limits(), self._nonce
        )
        self.boot, self.wall = 1000.0, 2000.0
        self.effects: list[Effect[int]] = []
        self._numbers = 0

    def number(self) -> int:
        """One never given before."""
        self._numbers += 1
        return self._numbers

    def _nonce(self) -> str:
        return f"{self.number():032x}"

    @property
    def now(self) -> Moment:
        """Both clocks."""
        return Moment(self.boot, self.wall)

    def later(self, seconds: float) -> list[Effect[int]]:
        """Move the clocks, and let the broker notice."""
        self.boot += seconds
        self.wall += seconds
        return self.did(self.broker.expire(self.now))

    def did(self, effects: list[Effect[int]]) -> list[Effect[int]]:
        """Note what the broker wants done."""
        self.effects = effects
        return effects

    # ── who is there ──

    def connect(self, uid: int = 1000, **more: object) -> Peer:
        """A peer that has called nothing yet."""
        gid, groups = more.get("gid", uid), more.get("groups", ())
        assert isinstance(gid, int)
        assert isinstance(groups, tuple)
        peer = peer_of(uid, gid=gid, groups=groups, number=self.number())
        self.did(self.broker.welcome(peer))
        return peer

    def join(
        self, uid: int = 1000, *, session: int | None = None, pag: int | None = None,
        isolation: Isolation = "isolated", changes: bool = True, **more: object,
    ) -> Peer:  # fmt: skip
        """A peer that has attached, in a session or PAG if one is given."""
        peer = self.connect(uid, **more)
        self.attach(peer, pag=pag, changes=changes, why="" if session else "in no session")
        if session is not None:
            self.prove(peer, session, isolation)
        return peer

    def attach(
        self, peer: Peer, scopes: list[str] | None = None, *, changes: bool = True,
        pag: int | None = None, why: str = "",
    ) -> Attached:  # fmt: skip
        """Attach, and the answer."""
        given: Given[int] = Given(pag=pag, no_pag="" if pag else "in no PAG", why=why)
        reply = self.ask(peer, Attach(scopes, changes), given)
        assert isinstance(reply, Attached)
        return reply

    def prove(
        self, peer: Peer, serial: int, isolation: Isolation = "isolated", *, why: str = "",
        loose: str = "the mask was loosened",
    ) -> Reply:  # fmt: skip
        """Prove *serial*, as the daemon does: the nonce is used up first."""
        nonce = self.broker.scopes.nonce(peer, self.now)
        given: Given[int] = Given(
            ring=ring_facts(serial, peer.uid), isolation=isolation, key=serial + 1,
            why=why or ("" if nonce else "no nonce is out"), loose=loose,
        )  # fmt: skip
        return self.ask(peer, Prove(serial), given)

    def leave(self, peer: Peer) -> list[Effect[int]]:
        """Hang up."""
        return self.did(self.broker.goodbye(peer, self.now))

    # ── what is asked ──

    def call(
        self, peer: Peer, request: Request, given: Given[int] | None = None
    ) -> list[Effect[int]]:
        """The effects of *request*."""
        return self.did(self.broker.handle(peer, request, given or Given(), self.now))

    def ask(self, peer: Peer, request: Request, given: Given[int] | None = None) -> Reply:
        """The answer to *request*; a refusal is raised."""
        self.call(peer, request, given)
        return self.answer(peer).reply_or_raise()

    def answer(self, peer: Peer) -> Told:
        """The one answer that *peer* got by the last effects."""
        told = [
            one for one in looked(self.effects) if isinstance(one, Answer) and one.to == peer.id
        ]
        assert len(told) == 1, self.effects
        return Told(told[0])

    def witness(self, uid: int = 1000, pid: int | None = None) -> Witness[int]:
        """A process never seen before, with a handle of its own."""
        number = self.number()
        return Witness(ProcessFacts(pid or number, uid, uid, number, "cmd"), number)

    def given(
        self, peer: Peer, *, empty: bool = False, facts: FdFacts = SOCKET,
        processes: Sequence[Witness[int] | None] = (), credentials: Credentials | None = HIS,
    ) -> Given[int]:  # fmt: skip
        """What comes with a post: a handle, the poster, the processes waited for."""
        poster: Witness[int] = Witness(
            ProcessFacts(peer.pid, peer.uid, peer.gid, peer.inode, "me"), None
        )
        if not self.broker.board.store.processes.knows(poster):
            poster.handle = self.number()
        given: Given[int] = Given(poster=poster, ends=list(processes))
        if not empty:
            given.posted, given.facts = self.number(), facts
            if facts.kind == "dir":
                given.credentials = credentials
        brought = [given.posted, poster.handle, *(one.handle for one in processes if one)]
        given.handles = [handle for handle in brought if handle is not None]
        return given

    def post(
        self, peer: Peer, name: str, scope: str | None = "user", *, empty: bool = False,
        until: Ends | None = None, facts: FdFacts = SOCKET, **more: object,
    ) -> EntryView:  # fmt: skip
        """Post, and what the answer shows."""
        request = Post(name, scope, None if empty else 0, **more)  # type: ignore[arg-type]
        processes: tuple[Witness[int] | None, ...] = ()
        if until is not None:
            request.until = [Until(word) for word in until.words]
            processes = until.processes or (None,) * len(until.words)
        reply = self.ask(peer, request, self.given(peer, empty=empty, facts=facts,
                                                   processes=processes))  # fmt: skip
        assert isinstance(reply, EntryReply)
        return reply.entry

    def open(self, peer: Peer, name: str, scope: str | None = None) -> int:
        """Open, and the handle lent."""
        self.ask(peer, Open(name, scope))
        (handle,) = self.answer(peer).answer.lend
        return handle

    def names(self, peer: Peer, scope: str | None = None, *, every: bool = False) -> set[str]:
        """What a listing shows, as full names."""
        self.call(peer, List(scope, every))
        (listing,) = (one for one in self.effects if isinstance(one, Listing))
        return {f"{view.scope}/{view.name}" for view in listing.entries}

    def entry(self, scope: Scope, name: str) -> Entry[int]:
        """The entry of that name, as the store knows it."""
        entry = self.broker.board.store.find(scope, EntryName(name))
        assert entry is not None
        return entry

    # ── what came of it ──

    def of(self, kind: type[T]) -> list[T]:
        """The last effects of one kind."""
        return [one for one in self.effects if isinstance(one, kind)]

    def dropped(self) -> list[int]:
        """The handles dropped by the last effects."""
        return [one.handle for one in self.effects if isinstance(one, Drop)]

    def told(self, peer: Peer) -> list[EventView]:
        """The events *peer* was told of by the last effects."""
        return [one.event for one in self.of(Tell) if one.to == peer.id]

    def heard(self, peer: Peer) -> list[tuple[str, str, str]]:
        """The same as event, name and why."""
        return [(one.event, one.name, one.why) for one in self.told(peer)]

    def hung_up(self) -> set[PeerId]:
        """Whom the last effects hang up."""
        return {one.peer for one in self.of(Hangup)}

    def minded(self) -> list[Process[int] | Entry[int]]:
        """What the last effects want looked after."""
        return [one.subject for one in self.effects if isinstance(one, Mind)]

    def present(self) -> list[EventView]:
        """The first events of the watch just begun."""
        (presence,) = self.of(Presence)
        return list(presence.events)

    def seen(
        self, serial: int, *, state: RingState = "live", uid: int = 1000,
        isolation: Isolation = "isolated", loose: str = "it was linked into @u",
    ) -> list[Effect[int]]:  # fmt: skip
        """The broker hears of a look at a ring."""
        facts = ring_facts(serial, uid, state)
        return self.did(self.broker.ring_seen(facts, isolation, loose, self.now))


def looked(effects: list[Effect[int]]) -> list[Effect[int]]:
    """The *effects* once a socket was looked at: an answer, with its handle still the board's."""
    return [
        Answer(one.to, one.reply, (one.handle,)) if isinstance(one, Look) else one
        for one in effects
    ]


@dataclass(frozen=True)
class Told:
    """One answer."""

    answer: Answer[int]

    def reply_or_raise(self) -> Reply:
        """The reply; a refusal is raised."""
        if isinstance(self.answer.reply, PagsrvError):
            raise self.answer.reply
        return self.answer.reply
