# SPDX-License-Identifier: MIT
"""What the core wants done, as values.

The law: an effect says who and what, and for every handle whether it is lent
(stays the board's), given (leaves it) or dropped (nobody's any more). It refuses
to know how any of it is carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic

from msgspec import Struct

from pagsrv.errors import PagsrvError
from pagsrv.messages import EntryReply, EntryView, EventView, Open, OpenMany, Reply, Walk
from pagsrv.model import Entry, H, Peer, PeerId, Process
from pagsrv.names import Place, Scope
from pagsrv.nodes import Asked
from pagsrv.vitals import NamespaceView


class Answer(Struct, Generic[H]):
    """Reply to the call that *to* is waiting on.

    *lend* is duplicated on the way out, *give* leaves with the reply. With
    *standing*, the same request from this peer has the same answer until the
    epoch moves, and only `Broker.lent` need hear of it.
    """

    to: PeerId
    reply: Reply | PagsrvError
    lend: tuple[H, ...] = ()
    give: tuple[H, ...] = ()
    standing: tuple[Entry[H], ...] = ()


class Look(Struct, Generic[H]):
    """Reply once what socket *handle* is at this moment is in the reply; it stays the board's."""

    to: PeerId
    reply: EntryReply
    handle: H


class Step(Struct, Generic[H]):
    """One name to be reached: *place* beneath *handle*, or *handle* itself if it has no path."""

    place: Place
    entry: Entry[H]
    handle: H
    access: Asked = "r"


class Errand(Struct, Generic[H]):
    """Have *request* of *peer* carried out beneath directories, and come back with the outcome.

    The handles stay the board's; one that is not there any more by then is judged anew.
    """

    to: PeerId
    peer: Peer
    request: Open | OpenMany | Walk
    steps: tuple[Step[H], ...]


class Listing(Struct):
    """Reply with many entries, or with *names*, whatever number of messages that takes."""

    to: PeerId
    entries: Iterator[EntryView]
    names: Sequence[str] | None = None


class Survey(Struct):
    """Reply with namespaces; who leads those that show members is still to be asked."""

    to: PeerId
    spaces: Iterator[tuple[Scope, NamespaceView]]


class Presence(Struct):
    """The first events of a watch: what is there now, then live; none of them may be dropped."""

    to: PeerId
    events: Iterator[EventView]


class Tell(Struct):
    """One event for a watcher; it may be dropped and counted if the watcher is slow."""

    to: PeerId
    event: EventView


class Mind(Struct, Generic[H]):
    """Look after *handle* until it is dropped: a process's exit, or an entry's hang-up."""

    handle: H
    subject: Process[H] | Entry[H]


class Drop(Struct, Generic[H]):
    """Close it: nobody owns it any more."""

    handle: H


class Hangup(Struct):
    """Close the connection of *peer*, after what is already answered."""

    peer: PeerId
    why: str


Effect = (
    Answer[H] | Look[H] | Errand[H] | Listing | Survey | Presence | Tell | Mind[H] | Drop[H]
    | Hangup
)  # fmt: skip
