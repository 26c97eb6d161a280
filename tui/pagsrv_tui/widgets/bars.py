# SPDX-License-Identifier: MIT
"""Two lines of words to press: the tabs, and the keys at the bottom.

The law: each is one widget, since a widget for every word, as Textual's own have it, makes the
start half as long again; what is chosen or cannot be done is told by a sign or by its being
dim, and pressing the latter says why. It refuses to know what a word does.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static


class Words(Static):
    """A line of words; each has the name of its action."""

    class Pressed(Message):
        """A word was clicked."""

        def __init__(self, sign: str) -> None:
            super().__init__()
            self.sign = sign

    def __init__(self, id: str) -> None:  # noqa: A002 -- Textual's word
        super().__init__("", id=id, markup=False)
        self._places: list[tuple[int, int, str]] = []

    def put(self, parts: Sequence[tuple[str, Content]]) -> None:
        """Show *parts*, each a sign and what is said for it."""
        self._places, at = [], 0
        for sign, content in parts:
            self._places.append((at, at + content.cell_length, sign))
            at += content.cell_length
        self.update(Content.assemble(*(content for _, content in parts)))

    def on_click(self, event: events.Click) -> None:
        """Say which."""
        for begin, end, sign in self._places:
            if begin <= event.x < end:
                self.post_message(self.Pressed(sign))


class TabLine(Words):
    """The tabs, by number and name; the chosen one stands in brackets."""

    def __init__(self, titles: Sequence[tuple[str, str]]) -> None:
        super().__init__("tab-line")
        self._titles = titles

    def choose(self, active: str) -> None:
        """Show that *active* is the chosen one."""
        parts = []
        for number, (name, title) in enumerate(self._titles, 1):
            word = f"[{number} {title}]" if name == active else f" {number} {title} "
            style = "bold $text-primary" if name == active else "$foreground-muted"
            parts.append((f"tab_{name}", Content.styled(f" {word} ", style)))
        self.put(parts)


class KeyLine(Words):
    """The keys that matter most: each with its word, dim where it cannot be done now."""

    def show(self, keys: Sequence[tuple[str, str, str, str]]) -> None:
        """Show *keys*: the action, its key, its word, and why not."""
        parts = []
        for name, key, word, why in keys:
            style = "$foreground 40%" if why else ""
            said = Content.assemble((f" {key}", style or "bold $accent"), (f" {word} ", style))
            parts.append((name, said))
        self.put(parts)
