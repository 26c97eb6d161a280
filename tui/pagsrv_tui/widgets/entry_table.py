# SPDX-License-Identifier: MIT
"""The table of entries.

The law: rows come sorted and filtered (table.py); the cursor stays on its entry while rows
come and go around it. It refuses to know the board.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from pagsrv_tui.messages import Key
from pagsrv_tui.table import Column, Look, fitting
from pagsrv_tui.view import Row
from pagsrv_tui.widgets.lines import Lines, fit
from pagsrv_tui.words import Marks

_TONES = {"name": "name", "ends": "ends", "mask": "faint", "generation": "faint", "owner": "faint"}


class EntryTable(Lines):
    """A line for each entry, the chosen one marked by a sign as well as by its colour."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "entry-table--head", "entry-table--cursor", "entry-table--name", "entry-table--faint",
        "entry-table--ends", "entry-table--gone", "entry-table--sorted",
    }  # fmt: skip

    heading = 1
    nothing = "no entries: p posts one"

    class Chosen(Message):
        """The cursor is on *key*; None: on nothing."""

        def __init__(self, key: Key | None) -> None:
            super().__init__()
            self.key = key

    class SortAsked(Message):
        """A heading was clicked."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self, marks: Marks, clock: Callable[[], float]) -> None:
        super().__init__("entries")
        self._marks, self._clock = marks, clock
        self._rows: Sequence[Row] = ()
        self._look = Look()
        self._columns: list[tuple[Column, int]] = []
        self._width = -1
        self._key: Key | None = None

    # ── what is shown ──

    def show(self, rows: Sequence[Row], look: Look, key: Key | None) -> None:
        """Show *rows*, the cursor on *key* if it is there, else where it was."""
        self._rows, self._look, self._width = rows, look, -1
        if key is not None and self._at(self.cursor) != key:
            found = next((at for at, row in enumerate(rows) if row.key == key), None)
            self.cursor = self.cursor if found is None else found
        self.resized()
        self.seen()
        self._tell()

    def count(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def _at(self, index: int) -> Key | None:
        return self._rows[index].key if 0 <= index < len(self._rows) else None

    def on_screen(self) -> list[Row]:
        """The rows on the screen."""
        return [self._rows[index] for index in self.shown()]

    def moved(self) -> None:
        """Say where the cursor is."""
        self._tell()

    def _tell(self) -> None:
        key = self._at(self.cursor)
        if key != self._key:
            self._key = key
            self.post_message(self.Chosen(key))

    # ── drawing ──

    def draw(self, index: int, width: int) -> Strip:
        """A row, or the heading."""
        if self._width != width:
            self._width = width
            self._columns = fitting(self._look, width - 2)
        strip, style = self._heading() if index < 0 else self._row(index)
        return strip.extend_cell_length(width, style)

    def _heading(self) -> tuple[Strip, Style]:
        head = self.get_component_rich_style("entry-table--head")
        chosen = self.get_component_rich_style("entry-table--sorted")
        parts = [Segment("  ", head)]
        for column, width in self._columns:
            title, style = column.title, head
            if column.name == self._look.sort:
                title += self._marks.down if self._look.reverse else self._marks.up
                style = chosen
            text = fit(title, width, self._marks, right=column.right)
            parts += [Segment(text, style), Segment("  ", head)]
        return Strip(parts), head

    def _row(self, index: int) -> tuple[Strip, Style]:
        row = self._rows[index]
        base = self.rich_style
        mark = "  "
        if index == self.cursor:
            base = self.get_component_rich_style("entry-table--cursor")
            mark = ">" + " "
        entry = row.entry
        parts = [Segment(mark, base)]
        for column, width in self._columns:
            text = "" if entry is None else column.show(entry, self._clock(), self._marks)
            if column.name == "name":
                text = self._named(row)
            style = base + self._tone(column, row, chosen=index == self.cursor)
            cell = fit(text, width, self._marks, right=column.right)
            parts += [Segment(cell, style), Segment("  ", base)]
        return Strip(parts), base

    def _named(self, row: Row) -> str:
        column = self._columns[0][0]
        text = column.show(row.entry, 0.0, self._marks) if row.entry else row.key.name
        if row.entry is not None and row.entry.granted_from:
            text = f"{self._marks.guest} {text}"
        return text

    def _tone(self, column: Column, row: Row, *, chosen: bool) -> Style:
        entry = row.entry
        if chosen:
            return Style()
        gone = entry is not None and entry.poster is not None and not entry.poster.alive
        tone = "gone" if gone and column.name == "poster" else _TONES.get(column.name)
        return Style() if tone is None else self.get_component_rich_style(
            f"entry-table--{tone}", partial=True
        )  # fmt: skip

    # ── the mouse ──

    def on_click(self, event: events.Click) -> None:
        """Choose a row, or sort by a column."""
        place = event.get_content_offset(self)
        if place is None:
            return
        if place.y >= self.heading:
            self.go_to(place.y - self.heading + self.scroll_offset.y)
            return
        at = 2
        for column, width in self._columns:
            if at <= place.x < at + width:
                self.post_message(self.SortAsked(column.name))
            at += width + 2
