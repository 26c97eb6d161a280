# SPDX-License-Identifier: MIT
"""Many lines of which a screenful is drawn: what the table and the events have in common.

The law: a line is made when it is drawn and never before, so ten thousand cost no more than
forty. It refuses to know what a line says.
"""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from pagsrv_tui.words import Marks, drawable


def fit(text: str, width: int, marks: Marks, *, right: bool = False) -> str:
    """*text* in exactly *width* cells; what does not fit ends with an ellipsis."""
    text = drawable(text, marks)
    long = cell_len(text)
    if long > width:
        return set_cell_size(text, max(0, width - 1)) + marks.ellipsis if width > 0 else ""
    return " " * (width - long) + text if right else text + " " * (width - long)


class Lines(ScrollView, can_focus=True):
    """Lines with a cursor, *heading* ones above that stay, and *nothing* to say of none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "go(-1)", "Up", show=False),
        Binding("down", "go(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "ends(0)", "First", show=False),
        Binding("end", "ends(1)", "Last", show=False),
    ]

    heading = 0
    nothing = ""

    def __init__(self, id: str) -> None:  # noqa: A002 -- Textual's word
        super().__init__(id=id)
        self.cursor = 0

    def count(self) -> int:
        """How many lines there are, the heading not counted."""
        raise NotImplementedError

    def draw(self, index: int, width: int) -> Strip:
        """Line *index*; the heading's are below 0."""
        raise NotImplementedError

    def moved(self) -> None:
        """The cursor is somewhere else."""

    # ── drawing ──

    def render_line(self, y: int) -> Strip:
        """What is on line *y* of the widget."""
        width = self.scrollable_content_region.width
        index = y - self.heading if y < self.heading else y - self.heading + self.scroll_offset.y
        if not self.count() and index == 0:
            return Strip([Segment(f"  {self.nothing}", self.rich_style)])
        if index >= self.count():
            return Strip.blank(width, self.rich_style)
        return self.draw(index, width).adjust_cell_length(width, self.rich_style)

    def resized(self) -> None:
        """The number of lines has changed, or what they say: draw anew."""
        height = self.count() + self.heading
        if self.virtual_size.height != height:
            self.virtual_size = Size(0, height)
        self.cursor = max(0, min(self.cursor, self.count() - 1))
        self.refresh()

    # ── moving ──

    def go_to(self, index: int) -> None:
        """Put the cursor on line *index* and have it seen."""
        index = max(0, min(index, self.count() - 1))
        changed = index != self.cursor
        self.cursor = index
        self.seen()
        self.refresh()
        if changed:
            self.moved()

    def seen(self) -> None:
        """Scroll no further than it takes to see the cursor."""
        top, room = self.scroll_offset.y, max(1, self.size.height - self.heading)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + room:
            self.scroll_to(y=self.cursor - room + 1, animate=False)

    def shown(self) -> range:
        """The lines on the screen now."""
        top = self.scroll_offset.y
        return range(top, min(self.count(), top + max(0, self.size.height - self.heading)))

    def action_go(self, by: int) -> None:
        """Move by some lines."""
        self.go_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Move by a screenful."""
        self.go_to(self.cursor + by * max(1, self.size.height - self.heading - 1))

    def action_ends(self, last: int) -> None:
        """Go to the first line, or the last."""
        self.go_to(self.count() - 1 if last else 0)

    def region_of(self, index: int) -> Region:
        """Where line *index* is drawn."""
        return Region(0, index + self.heading - self.scroll_offset.y, self.size.width, 1)
