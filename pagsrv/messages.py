# SPDX-License-Identifier: MIT
"""The messages of org.pagsrv.Board, typed: what may be asked and what is answered.

The law: fields and nothing else; org.pagsrv.Board.varlink says the same in
Varlink's words and a test holds the two together. An integer called fd, or a
list called fds, is an index into the descriptors that travel with the message.
It refuses to know bytes (codec.py does) and what a name means.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct, field

from pagsrv.errors import BOARD, SERVICE
from pagsrv.nodes import Node
from pagsrv.people import ByView, Opener, Owner, Poster
from pagsrv.sockets import SocketView
from pagsrv.vitals import Activity, Budget, NamespaceView, Way


class Request(Struct, forbid_unknown_fields=True):
    """One method's parameters."""

    METHOD: ClassVar[str] = ""
    CHANGES: ClassVar[bool] = False
    """It changes the board: taken only from the process that connected, once it said so."""

    def indices(self) -> list[int]:
        """The descriptors this message speaks of, as indices."""
        return []


def shown_by(request: Request) -> int | None:
    """What shows on whose behalf *request* is made, a socket or a pidfd, as an index."""
    shown: int | None = getattr(request, "on_behalf_of", None)
    return shown


class Attach(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Attach"
    scopes: list[str] | None = None
    changes: bool | None = None


class Prove(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Prove"
    ring: int


class Until(Struct, frozen=True, forbid_unknown_fields=True):
    """One end condition; fd is the pidfd of the process that it speaks of, if it does."""

    cond: str
    fd: int | None = None


class Post(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Post"
    CHANGES: ClassVar[bool] = True
    name: str
    scope: str | None = None
    fd: int | None = None
    replace: bool | None = None
    expect: int | None = None
    mask: str | None = None
    until: list[Until] | None = None
    labels: dict[str, str] | None = None
    on_behalf_of: int | None = None

    def indices(self) -> list[int]:
        """The posted descriptor, the pidfds of its end conditions, the socket shown."""
        found = [self.fd, self.on_behalf_of, *(end.fd for end in self.until or ())]
        return [index for index in found if index is not None]


class _Named(Request):
    name: str
    scope: str | None = None


class _Behalf(Request):
    """A call that a trusted asker may make on behalf of the peer or the thread it shows."""

    def indices(self) -> list[int]:
        """The socket or pidfd shown."""
        shown = shown_by(self)
        return [] if shown is None else [shown]


class Open(_Behalf):
    METHOD: ClassVar[str] = f"{BOARD}.Open"
    name: str
    scope: str | None = None
    on_behalf_of: int | None = None
    proved: list[str] | None = None
    access: str | None = None


class Take(_Named):
    METHOD: ClassVar[str] = f"{BOARD}.Take"
    CHANGES: ClassVar[bool] = True


class OpenMany(Request):
    METHOD: ClassVar[str] = f"{BOARD}.OpenMany"
    names: list[str]
    access: str | None = None


class Walk(_Behalf):
    METHOD: ClassVar[str] = f"{BOARD}.Walk"
    name: str
    scope: str | None = None
    after: str | None = None
    on_behalf_of: int | None = None
    only: bool | None = None


class TakeMany(Request):
    METHOD: ClassVar[str] = f"{BOARD}.TakeMany"
    CHANGES: ClassVar[bool] = True
    names: list[str]


class List(_Behalf):
    METHOD: ClassVar[str] = f"{BOARD}.List"
    scope: str | None = None
    all: bool | None = None
    names: bool | None = None
    on_behalf_of: int | None = None


class Stat(_Behalf):
    METHOD: ClassVar[str] = f"{BOARD}.Stat"
    name: str
    scope: str | None = None
    on_behalf_of: int | None = None
    brief: bool | None = None


class Remove(_Behalf):
    METHOD: ClassVar[str] = f"{BOARD}.Remove"
    CHANGES: ClassVar[bool] = True
    name: str
    scope: str | None = None
    expect: int | None = None
    on_behalf_of: int | None = None


class Rename(_Behalf):
    METHOD: ClassVar[str] = f"{BOARD}.Rename"
    CHANGES: ClassVar[bool] = True
    name: str
    to: str
    scope: str | None = None
    expect: int | None = None
    on_behalf_of: int | None = None


class SetMask(_Behalf):
    METHOD: ClassVar[str] = f"{BOARD}.SetMask"
    CHANGES: ClassVar[bool] = True
    name: str
    mask: str
    scope: str | None = None
    expect: int | None = None
    on_behalf_of: int | None = None


class SetTimeout(Request):
    METHOD: ClassVar[str] = f"{BOARD}.SetTimeout"
    CHANGES: ClassVar[bool] = True
    name: str
    seconds: float
    scope: str | None = None


class Grant(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Grant"
    CHANGES: ClassVar[bool] = True
    name: str
    to: str
    scope: str | None = None


class Ungrant(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Ungrant"
    CHANGES: ClassVar[bool] = True
    name: str
    from_: str = field(name="from")
    scope: str | None = None


class Wait(_Named):
    METHOD: ClassVar[str] = f"{BOARD}.Wait"
    timeout: float | None = None


class Watch(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Watch"
    scope: str | None = None
    initial: bool | None = None
    live: bool | None = None


class WhoAmI(Request):
    METHOD: ClassVar[str] = f"{BOARD}.WhoAmI"


class Whois(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Whois"
    fd: int | None = None
    pidfd: int | None = None

    def indices(self) -> list[int]:
        """The socket whose peer, or the pidfd whose process, is asked about."""
        return [index for index in (self.fd, self.pidfd) if index is not None]


class Health(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Health"


class Namespaces(Request):
    METHOD: ClassVar[str] = f"{BOARD}.Namespaces"


class GetInfo(Request):
    METHOD: ClassVar[str] = f"{SERVICE}.GetInfo"


class GetInterfaceDescription(Request):
    METHOD: ClassVar[str] = f"{SERVICE}.GetInterfaceDescription"
    interface: str


REQUESTS: tuple[type[Request], ...] = (
    Attach, Prove, Post, Open, Take, OpenMany, TakeMany, Walk, List, Stat, Remove, Rename,
    SetMask, SetTimeout, Grant, Ungrant, Wait, Watch, WhoAmI, Whois, Health, Namespaces,
    GetInfo, GetInterfaceDescription,
)  # fmt: skip

METHODS: list[str] = [kind.METHOD for kind in REQUESTS if kind.METHOD.startswith(BOARD)]

STREAMED = frozenset((List, Namespaces, Watch))
"""Calls that answer with several replies and so want `more`."""


class Reply(Struct):
    """One method's answer; an empty one where there is nothing to say."""


class ProofView(Struct):
    scope: str
    proof: str
    isolation: str


class LimitsView(Struct):
    message_bytes: int
    message_fds: int
    name_bytes: int
    labels: int


class Attached(Reply):
    broker: str
    uid: int
    limits: LimitsView
    methods: list[str]
    scopes: list[ProofView]
    nonce: str | None = None


class Proved(Reply):
    scopes: list[ProofView]


class EntryView(Struct, omit_defaults=True):
    """One entry as the asker may see it; times are seconds since 1970.

    *deadline* is when its ttl is over; *path* what the kernel called the descriptor when it was
    posted. In an answer to Stat are *socket*, if it is one, and *openers*, the latest first.
    """

    scope: str
    name: str
    assigned: bool
    kind: str | None
    access: str | None
    mask: str
    rights: str
    owner: Owner
    poster: Poster | None
    until: tuple[str, ...]
    generation: int
    created: float
    last_opened: float | None
    opens: int
    labels: dict[str, str]
    # By a factory, since a plain default would be left out; it may be absent in what is read.
    granted_from: str | None = field(default_factory=lambda: None)
    deadline: float | None = None
    path: str | None = None
    socket: SocketView | None = None
    openers: tuple[Opener, ...] | None = None


class EntryReply(Reply):
    entry: EntryView


class Opened(Reply):
    fd: int


class OpenedMany(Reply):
    fds: list[int]


class Walked(Reply):
    """What lies there, by name: *at* is the directory; *next*, if there is more, for `after`."""

    at: str
    nodes: list[Node]
    next: str | None


class Listed(Reply):
    entries: list[EntryView]


class ListedNames(Reply):
    names: list[str]


class ListedNamespaces(Reply):
    namespaces: list[NamespaceView]


class EventView(Reply):
    """One event; time is seconds since 1970."""

    time: float
    event: str
    scope: str | None
    name: str
    generation: int
    by: ByView | None
    why: str


class RefusedScope(Struct):
    scope: str
    why: str


class Identity(Reply):
    """The answer to WhoAmI."""

    dir: str
    broker: str
    uid: int
    default: str | None
    scopes: list[ProofView]
    refused: list[RefusedScope]


class Fact(Struct):
    """One thing known of a peer, or why it is not: value is None then and strength none.

    Strength is kernel (as of connect, or of this moment from a pidfd), procfs-racy (read
    from /proc between two looks at the pidfd) or none.
    """

    fact: str
    value: str | None
    evidence: str
    strength: str
    why: str


class Known(Reply):
    """The answer to Whois."""

    facts: list[Fact]


class Vitals(Reply):
    """The answer to Health; uptime in seconds, counters since the start.

    *unsupported* are the end conditions that are not to be had, each with why.
    *budgets* holds the asker's own first; root and the broker's own uid are told of others.
    """

    version: str
    pid: int
    uptime: float
    dumpable: bool
    proofs: list[str]
    connections: int
    namespaces: int
    entries: int
    watches: int
    epoch: int
    calls: int
    opens: int
    refusals: int
    events_lost: int
    unsupported: dict[str, str]
    ways: list[Way]
    """How a session may be proved, best first; *why* not taken, or by what."""
    budgets: list[Budget]
    activity: Activity | None


class Info(Reply):
    vendor: str
    product: str
    version: str
    url: str
    interfaces: list[str]


class Description(Reply):
    description: str
