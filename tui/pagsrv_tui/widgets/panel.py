# SPDX-License-Identifier: MIT
"""A tab of text: lines in parts (panels.py), and a sparkline or two below.

The law: the text of others is content, never markup. It refuses to know what is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Sparkline, Static

from pagsrv_tui.panels import Line, Role
from pagsrv_tui.words import UNICODE, Marks, drawable

_STYLES: dict[Role, str] = {
    "": "", "title": "bold $text-primary", "key": "$foreground-muted", "dim": "$foreground-muted",
    "good": "$text-success", "warn": "$text-warning", "bad": "bold $text-error",
}  # fmt: skip


def content(lines: Iterable[Line], marks: Marks = UNICODE) -> Content:
    """*lines* with their roles' colours."""
    return Content("\n").join(
        [
            Content.assemble(*((drawable(part.text, marks), _STYLES[part.role]) for part in line))
            for line in lines
        ]
    )


class Panel(VerticalScroll):
    """Text that scrolls; at most *graphs* sparklines beneath it."""

    def __init__(self, id: str, graphs: int = 0, *, marks: Marks = UNICODE) -> None:  # noqa: A002
        super().__init__(id=id)
        self._graphs = graphs if marks is UNICODE else 0
        self._marks = marks
        self._text = Static("", classes="text", markup=False)
        self._said: list[Line] | None = None

    def compose(self) -> ComposeResult:
        """The text; sparklines come when there is something to draw."""
        yield self._text

    def say(self, lines: list[Line]) -> None:
        """Show *lines*; the same again cost nothing."""
        if lines != self._said:
            self._said = lines
            self._text.update(content(lines, self._marks))

    def plot(self, number: int, data: Sequence[float], caption: str = "") -> None:
        """Show *data* in sparkline *number*; without any it is not there."""
        if number >= self._graphs:
            return
        if data and not self.query(f".graph-{number}"):
            self.mount(
                Static(caption, classes=f"caption graph-{number}", markup=False),
                Sparkline(data, classes=f"graph graph-{number}"),
            )
            return
        for widget in self.query(f".graph-{number}"):
            widget.display = bool(data)
            if isinstance(widget, Sparkline):
                widget.data = data
            elif isinstance(widget, Static) and caption:
                widget.update(caption)
