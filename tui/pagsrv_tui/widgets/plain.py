# SPDX-License-Identifier: MIT
"""Textual's own parts in ASCII, for terminals whose font has no blocks.

The law: they show the same as Textual's. It refuses to know what for.
"""

from __future__ import annotations

from math import ceil

from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style
from textual.app import App
from textual.command import SearchIcon
from textual.scrollbar import ScrollBar, ScrollBarRender
from textual.widgets import RadioButton


def use(app: App[None]) -> None:
    """Have *app*, and whatever else runs in this process, drawn so."""
    ScrollBar.renderer = AsciiBar
    SearchIcon.icon = ">"  # type: ignore[assignment]  # a reactive's default
    RadioButton.BUTTON_LEFT, RadioButton.BUTTON_RIGHT = "(", ")"
    app.add_class("-ascii")


class AsciiBar(ScrollBarRender):
    """The thumb is #, the rest a line."""

    @classmethod
    def render_bar(  # noqa: PLR0913, PLR0917 -- Textual's signature
        cls,
        size: int = 25,
        virtual_size: float = 50,
        window_size: float = 20,
        position: float = 0,
        thickness: int = 1,
        vertical: bool = True,  # noqa: FBT001, FBT002 -- as above
        back_color: Color = Color.parse("#555555"),  # noqa: B008 -- as above
        bar_color: Color = Color.parse("bright_magenta"),  # noqa: B008 -- as above
    ) -> Segments:
        """One bar."""
        if window_size and size and virtual_size and size != virtual_size:
            step = virtual_size / size
            start = int(position / step)
            end = start + max(1, ceil(window_size / step))
        else:
            start, end = 0, 0
        thumb, rest = Style(color=bar_color), Style(color=back_color)
        line = "|" if vertical else "-"
        cells = [
            Segment("#" * thickness if start <= at < end else line * thickness,
                    thumb if start <= at < end else rest)
            for at in range(size)
        ]  # fmt: skip
        return Segments(cells, new_lines=vertical)
