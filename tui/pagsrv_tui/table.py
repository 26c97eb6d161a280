# SPDX-License-Identifier: MIT
"""The table of entries: its columns, which rows are in it and in what order.

The law: pure; a column is data, said once, and the widget, the sorting commands and the
settings are made from it. Rows of equal standing are in the order of their names, so that
nothing jumps. It refuses to know how a row is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pagsrv_tui import words
from pagsrv_tui.view import Row, View
from pagsrv_tui.words import Marks

if TYPE_CHECKING:
    from pagsrv.messages import EntryView


class Column(NamedTuple):
    """One column: how it is called, how wide it is, what it shows and sorts by."""

    name: str
    title: str
    width: int
    show: Callable[[EntryView, float, Marks], str]
    order: Callable[[EntryView], Any]
    right: bool = False
    lasting: bool = True
    """Its order changes with membership alone: posting, ending, renaming."""


def _by(entry: EntryView) -> tuple[int, str, int]:
    if entry.poster is None:
        return (2, "", 0)
    return (0 if entry.poster.alive else 1, entry.poster.comm, entry.poster.pid)


def _last(entry: EntryView, now: float, marks: Marks) -> str:
    return marks.dash if entry.last_opened is None else words.age(now - entry.last_opened)


COLUMNS: tuple[Column, ...] = (
    Column("name", "NAME", 14, lambda e, *_: words.plain(e.name), lambda e: e.name),
    Column("scope", "SCOPE", 18, lambda e, *_: e.scope, lambda e: e.scope),
    Column("kind", "KIND", 6, lambda e, *_: e.kind or "empty", lambda e: e.kind or "~",
           lasting=False),
    Column("access", "ACC", 3, lambda e, _, m: e.access or m.dash, lambda e: e.access or "~",
           lasting=False),
    Column("mask", "MASK", 14, lambda e, *_: words.short_mask(e.mask), lambda e: e.mask,
           lasting=False),
    Column("owner", "OWNER", 9, lambda e, *_: f"{e.owner.uid}:{e.owner.gid}",
           lambda e: (e.owner.uid, e.owner.gid)),
    Column("poster", "POSTER", 15, lambda e, _, m: words.poster(e, m), _by, lasting=False),
    Column("opens", "OPENS", 5, lambda e, *_: words.number(e.opens), lambda e: -e.opens,
           right=True, lasting=False),
    Column("last", "LAST", 4, _last, lambda e: -(e.last_opened or 0), right=True, lasting=False),
    Column("ends", "ENDS", 12, words.next_end,
           lambda e: (words.deadline(e) or float("inf"), not e.until, e.until), lasting=False),
    Column("peer", "PEER OR PATH", 16, lambda e, _, m: words.where(e, m),
           lambda e: words.where(e, words.ASCII), lasting=False),
    Column("age", "AGE", 4, lambda e, now, _: words.age(now - e.created), lambda e: -e.created,
           right=True),
    Column("generation", "GEN", 6, lambda e, *_: str(e.generation), lambda e: e.generation,
           right=True, lasting=False),
)  # fmt: skip

BY_NAME = {column.name: column for column in COLUMNS}

WORTH = (
    "name", "kind", "ends", "opens", "poster", "peer", "scope", "last", "access", "mask", "owner",
    "age", "generation",
)  # fmt: skip
"""The columns that stay the longer the narrower it gets, first to last."""

_GAP = 2


class Look(NamedTuple):
    """What of the board is looked at, and how; the viewer's choice."""

    scope: str | None = None
    """None: the whole board."""
    sort: str = "name"
    reverse: bool = False
    filter: str = ""
    columns: tuple[str, ...] = ()
    """Empty: as many as there is room for."""


def fitting(look: Look, width: int) -> list[tuple[Column, int]]:
    """The columns that fit into *width* cells, in their order, each with its width.

    What is left goes to the name, and what it does not need to where the entry leads.
    """
    chosen = [name for name in WORTH if not look.columns or name in look.columns]
    if look.scope is not None and not look.columns:
        chosen.remove("scope")
    if "name" not in chosen:
        chosen.insert(0, "name")
    taken: list[str] = []
    room = width
    for name in chosen:
        need = BY_NAME[name].width + (_GAP if taken else 0)
        if need > room and taken:
            break
        taken.append(name)
        room -= need
    more = min(max(0, room), 14)
    extra = {"name": more if "peer" in taken else max(0, room), "peer": max(0, room) - more}
    return [
        (column, column.width + extra.get(column.name, 0))
        for column in COLUMNS
        if column.name in taken
    ]


def matches(row: Row, needles: Sequence[str]) -> bool:
    """Whether every word of a filter is somewhere in what the row says; case is nothing."""
    entry = row.entry
    said = [row.key.name, row.key.scope]
    if entry is not None:
        said += [entry.kind or "empty", entry.mask, *entry.until, str(entry.owner.uid)]
        said += [f"{key}={value}" for key, value in entry.labels.items()]
        said += [words.where(entry, words.ASCII)]
        if entry.poster is not None:
            said += [entry.poster.comm, str(entry.poster.pid)]
    text = "\n".join(said).casefold()
    return all(needle in text for needle in needles)


def rows(view: View, look: Look) -> list[Row]:
    """The rows that *look* shows, in its order; those not told of yet come last."""
    if look.scope is None:
        found = [row for space in view.spaces.values() for row in space.rows.values()]
    else:
        space = view.spaces.get(look.scope)
        found = [] if space is None else list(space.rows.values())
    needles = look.filter.casefold().split()
    if needles:
        found = [row for row in found if matches(row, needles)]
    if look.sort == "name":  # the usual order, many thousand rows at every change
        found.sort(key=_name, reverse=look.reverse)
        return found
    found.sort(key=_name)
    order = BY_NAME[look.sort].order
    known = [row for row in found if row.entry is not None]
    known.sort(key=lambda row: order(row.entry), reverse=look.reverse)  # type: ignore[arg-type]
    return known + [row for row in found if row.entry is None]


def _name(row: Row) -> tuple[str, str]:
    return row.key.name, row.key.scope


def spaces(view: View) -> list[str]:
    """The scopes of the board: sessions, then PAGs, then users, each by number."""
    rank = {"session": 0, "pag": 1, "user": 2}

    def place(scope: str) -> tuple[int, int]:
        kind, _, number = scope.partition(":")
        return rank.get(kind, 3), int(number) if number.isdigit() else 0

    return sorted(view.spaces, key=place)
