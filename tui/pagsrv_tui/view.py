# SPDX-License-Identifier: MIT
"""What the dashboard knows of a board: a View, and reduce(), which alone makes new ones.

The law: pure; which entries there are is the watch's word alone, what is in one is the
word of the newest stat, and an answer that was overtaken changes nothing. So after any
order of events and answers the rows are what a listing would show. Rows that may have
changed are in `wanted`: whoever can ask takes them out by asked(). It refuses to know
how anything is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from pagsrv_tui.messages import (
    Absent,
    Connected,
    Happened,
    Key,
    Lost,
    Namespaced,
    Pulse,
    Shown,
    Silent,
    Told,
)

if TYPE_CHECKING:
    from pagsrv.messages import EntryView, EventView, Identity
    from pagsrv.vitals import NamespaceView

EVENTS = 1000
"""Events remembered: a screenful many times over, and no more memory after a week."""

PULSES = 120
"""Looks at the broker's health remembered, one a second."""

Link = Literal["connecting", "live", "silent", "lost"]


class Row(NamedTuple):
    """One entry; *entry* is None until the first answer about it."""

    key: Key
    generation: int
    entry: EntryView | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """One namespace; *version* moves with every change of its rows, *members* with their names."""

    scope: str
    rows: Mapping[str, Row] = field(default_factory=dict)
    told: NamespaceView | None = None
    """What the broker says of it; None until it has."""
    version: int = 0
    members: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """Everything known at one moment."""

    link: Link = "connecting"
    why: str = ""
    retry: float = 0.0
    identity: Identity | None = None
    filling: bool = True
    """The board is being told from the beginning; a row may yet come."""
    spaces: Mapping[str, Space] = field(default_factory=dict)
    wanted: Mapping[Key, int] = field(default_factory=dict)
    events: tuple[EventView, ...] = ()
    heard: int = 0
    """Events ever, those forgotten included."""
    pulses: tuple[Pulse, ...] = ()

    def row(self, key: Key) -> Row | None:
        """The row of *key*."""
        space = self.spaces.get(key.scope)
        return None if space is None else space.rows.get(key.name)

    def count(self) -> int:
        """How many entries there are."""
        return sum(len(space.rows) for space in self.spaces.values())


def reduce(view: View, message: Told) -> View:
    """*view* after *message*."""
    return reduce_all(view, (message,))


def reduce_all(view: View, messages: Iterable[Told]) -> View:
    """*view* after all of *messages*: what is copied is copied once."""
    draft = _Draft(view)
    for message in messages:
        draft.take(message)
    return draft.done()


def asked(view: View) -> tuple[View, Mapping[Key, int]]:
    """*view* without its wants, and those: keys and their generations, to be asked about now."""
    if not view.wanted:
        return view, {}
    return replace(view, wanted={}), view.wanted


class _Draft:
    """A View being changed; what it shares with the old one is copied before the first change."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.spaces = dict(view.spaces)
        self.rows: dict[str, dict[str, Row]] = {}
        self.members: dict[str, int] = {}
        self.wanted = dict(view.wanted)
        self.events: list[EventView] = []

    def take(self, message: Told) -> None:
        """One message."""
        match message:
            case Happened(event):
                self.happened(event)
            case Shown(entries):
                for entry in entries:
                    self.shown(entry)
            case Absent(key, generation):
                row = self.row(key)
                if row is not None and row.generation == generation:
                    self.drop(key)
            case Namespaced(namespaces):
                self.namespaced(namespaces)
            case _:
                self.of_the_link(message)

    def of_the_link(self, message: Connected | Lost | Silent | Pulse) -> None:
        """What concerns no entry."""
        match message:
            case Connected(identity):
                self.begin(identity)
            case Lost(why, retry):
                self.view = replace(self.view, link="lost", why=why, retry=retry)
            case Silent(seconds):
                why = f"it has not answered for {seconds:.0f} s"
                self.view = replace(self.view, link="silent", why=why)
            case Pulse():
                pulses = (*self.view.pulses[1 - PULSES :], message)
                link: Link = "live" if self.view.link == "silent" else self.view.link
                self.view = replace(self.view, pulses=pulses, link=link)

    def begin(self, identity: Identity) -> None:
        """A new telling: generations of an earlier one mean nothing in it."""
        self.rows, self.members, self.wanted, self.spaces = {}, {}, {}, {}
        self.view = replace(
            self.view, link="live", why="", identity=identity, filling=True, pulses=()
        )

    # ── rows ──

    def row(self, key: Key) -> Row | None:
        """The row of *key* as it is by now."""
        rows = self.rows.get(key.scope)
        if rows is not None:
            return rows.get(key.name)
        space = self.spaces.get(key.scope)
        return None if space is None else space.rows.get(key.name)

    def mine(self, scope: str) -> dict[str, Row]:
        """The rows of *scope*, ours to change."""
        rows = self.rows.get(scope)
        if rows is None:
            space = self.spaces.get(scope)
            if space is None:
                space = self.spaces[scope] = Space(scope)
            rows = self.rows[scope] = dict(space.rows)
        return rows

    def put(self, row: Row, *, fresh: bool) -> None:
        """Have *row*; *fresh* if there was none of its name."""
        self.mine(row.key.scope)[row.key.name] = row
        if fresh:
            self.members[row.key.scope] = self.members.get(row.key.scope, 0) + 1

    def drop(self, key: Key) -> None:
        """Have no row of *key*."""
        if self.mine(key.scope).pop(key.name, None) is not None:
            self.members[key.scope] = self.members.get(key.scope, 0) + 1
        self.wanted.pop(key, None)

    def want(self, key: Key, generation: int) -> None:
        """There is an entry *key*, at least at *generation*, and it may have changed."""
        row = self.row(key)
        if row is None:
            row = Row(key, generation)
            self.put(row, fresh=True)
        elif row.generation < generation:
            row = row._replace(generation=generation)
            self.put(row, fresh=False)
        self.wanted[key] = row.generation

    def shown(self, entry: EntryView) -> None:
        """An answer; the watch has said whether there is such an entry."""
        key = Key(entry.scope, entry.name)
        row = self.row(key)
        if row is not None and entry.generation >= row.generation:
            self.put(Row(key, entry.generation, entry), fresh=False)
            if key in self.wanted:
                self.wanted[key] = entry.generation

    # ── events ──

    def happened(self, event: EventView) -> None:
        """One event."""
        if event.event not in ("present", "live"):
            self.events.append(event)
        if event.scope is not None and event.name:
            _MEANS.get(event.event, _touched)(self, Key(event.scope, event.name), event)
        elif event.event == "live":
            self.view = replace(self.view, filling=False)

    def namespaced(self, told: tuple[NamespaceView, ...]) -> None:
        """All the namespaces there are for us, the empty ones too; rows are the watch's."""
        known = {one.scope: one for one in told}
        for scope in self.spaces.keys() | known.keys():
            space = self.spaces.get(scope) or Space(scope)
            self.spaces[scope] = replace(space, told=known.get(scope))
            self.rows.setdefault(scope, dict(space.rows))

    def done(self) -> View:
        """The View that has come of it."""
        for scope, rows in self.rows.items():
            space = self.spaces[scope]
            if not rows and space.told is None:
                del self.spaces[scope]
                continue
            self.spaces[scope] = replace(
                space, rows=rows, version=space.version + 1,
                members=space.members + self.members.get(scope, 0),
            )  # fmt: skip
        events = (*self.view.events, *self.events)[-EVENTS:] if self.events else self.view.events
        return replace(
            self.view, spaces=self.spaces, wanted=self.wanted, events=events,
            heard=self.view.heard + len(self.events),
        )  # fmt: skip


def _present(draft: _Draft, key: Key, event: EventView) -> None:
    """It was there when the watch began; the listing that follows tells the rest."""
    if draft.row(key) is None:
        draft.put(Row(key, event.generation), fresh=True)


def _touched(draft: _Draft, key: Key, event: EventView) -> None:
    draft.want(key, event.generation)


def _gone(draft: _Draft, key: Key, event: EventView) -> None:
    row = draft.row(key)
    # A newer one of the name may have been shown already, before its event has come.
    if row is not None and row.generation <= event.generation:
        draft.drop(key)


def _renamed(draft: _Draft, key: Key, event: EventView) -> None:
    before = Key(key.scope, event.why.removeprefix("was "))
    row = draft.row(before)
    if row is not None and row.generation < event.generation:
        draft.drop(before)
    draft.want(key, event.generation)


_MEANS: dict[str, Callable[[_Draft, Key, EventView], None]] = {
    "present": _present,
    "ended": _gone,
    "taken": _gone,
    "renamed": _renamed,
}
