# SPDX-License-Identifier: MIT
"""What has happened, the latest last, each kind in its colour and in its word.

The law: it follows the latest until the cursor leaves it. It refuses to know what an event
changes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual.strip import Strip

from pagsrv_tui.widgets.lines import Lines, fit
from pagsrv_tui.words import Marks, plain

if TYPE_CHECKING:
    from pagsrv.messages import EventView

_TONES = {
    "posted": "good", "assigned": "good", "granted": "good", "ended": "bad", "refused": "bad",
    "lost": "bad", "linkable": "bad", "ungranted": "warn", "taken": "warn", "changed": "warn",
    "renamed": "warn", "opened": "calm",
}  # fmt: skip


def said(event: EventView) -> str:
    """An event in one line, for the filter too."""
    name = f"{event.scope}/{event.name}" if event.name else event.scope or ""
    by = "" if event.by is None else f"  by {event.by.comm} {event.by.pid} of uid {event.by.uid}"
    why = f"  {event.why}" if event.why else ""
    return plain(f"{event.event:<9} {name}{by}{why}")


class EventLog(Lines):
    """A line for each event."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "event-log--time", "event-log--good", "event-log--bad", "event-log--warn",
        "event-log--calm", "event-log--cursor",
    }  # fmt: skip

    nothing = "nothing has happened yet"

    def __init__(self, marks: Marks) -> None:
        super().__init__("events-panel")
        self._marks = marks
        self._events: Sequence[EventView] = ()

    def show(self, events: Sequence[EventView], needle: str) -> None:
        """Show *events*, or those in which all words of *needle* are."""
        following = self.cursor >= len(self._events) - 1
        words = needle.casefold().split()
        self._events = events if not words else [
            one for one in events if all(word in said(one).casefold() for word in words)
        ]  # fmt: skip
        if following:
            self.cursor = len(self._events) - 1
        self.resized()
        if following:
            self.seen()

    def count(self) -> int:
        """How many events are shown."""
        return len(self._events)

    def draw(self, index: int, width: int) -> Strip:
        """One event."""
        event = self._events[index]
        base = self.rich_style
        if index == self.cursor and self.has_focus:
            base = self.get_component_rich_style("event-log--cursor")
        when = time.strftime("%H:%M:%S", time.localtime(event.time))
        tone = self.get_component_rich_style(
            f"event-log--{_TONES.get(event.event, 'calm')}", partial=True
        )
        faint = self.get_component_rich_style("event-log--time", partial=True)
        text = fit(said(event), width - 10, self._marks)
        return Strip([
            Segment(f" {when} ", base + faint), Segment(text[:10], base + tone),
            Segment(text[10:], base),
        ])  # fmt: skip
