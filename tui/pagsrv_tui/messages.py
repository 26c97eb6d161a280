# SPDX-License-Identifier: MIT
"""What the dashboard is told: the one kind of thing that changes a View.

The law: frozen values and nothing else; whoever learns something tells it as one of
these, and view.reduce() says what it means. It refuses to know who learned it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pagsrv.messages import EntryView, EventView, Identity, Vitals
    from pagsrv.vitals import NamespaceView


class Key(NamedTuple):
    """An entry's full name: its scope, decimal as everywhere, and its name there."""

    scope: str
    name: str

    def __str__(self) -> str:
        return f"{self.scope}/{self.name}"


class Connected(NamedTuple):
    """A broker answers, and its board is about to be told from the beginning."""

    identity: Identity


class Lost(NamedTuple):
    """No broker answers, or no more; the next try is in *retry* seconds."""

    why: str
    retry: float


class Silent(NamedTuple):
    """The broker has not answered a question for *seconds*; it may yet."""

    seconds: float


class Happened(NamedTuple):
    """One event of the watch."""

    event: EventView


class Shown(NamedTuple):
    """Answers to a stat, or to the one listing of a new connection."""

    entries: tuple[EntryView, ...]


class Absent(NamedTuple):
    """A stat of *key*, then at *generation* here, found no entry that we may view."""

    key: Key
    generation: int


class Pulse(NamedTuple):
    """How the broker is; *time* in seconds of a clock that does not jump."""

    vitals: Vitals
    time: float


class Namespaced(NamedTuple):
    """What the broker tells of the namespaces that we may know of, all of them."""

    namespaces: tuple[NamespaceView, ...]


Told = Connected | Lost | Silent | Happened | Shown | Absent | Pulse | Namespaced
