# SPDX-License-Identifier: MIT
"""The dashboard as a Textual application: compose, bind, and nothing else.

The law: what it shows is view.py's and what it does actions.py's. It refuses to know
either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from textual.app import App, SystemCommand
from textual.screen import Screen

from pagsrv_tui.actions import ACTIONS
from pagsrv_tui.feed import Feed
from pagsrv_tui.messages import Told
from pagsrv_tui.screens.board import BoardScreen
from pagsrv_tui.settings import Settings
from pagsrv_tui.table import COLUMNS
from pagsrv_tui.themes import DARK, LIGHT
from pagsrv_tui.words import ASCII, UNICODE


class Dashboard(App[None]):
    """Every namespace of one board."""

    TITLE = "pagsrv"
    CSS_PATH = "dashboard.tcss"
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [  # noqa: RUF012 -- the type is Textual's
        (0, "-narrow"), (100, "-wide"), (160, "-wider"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-low"), (32, "-high")]  # noqa: RUF012 -- as above

    def __init__(  # noqa: PLR0913 -- each of them is a word of the command line or of a test
        self, dir: str | None = None, *, read_only: bool = False,  # noqa: A002 -- as the option
        feed: Callable[[Callable[[list[Told]], None]], Feed] | None = None,
        settings: Settings | None = None, notice: str = "", plain: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        super().__init__()
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        given = settings or Settings()
        known = given.theme in self.available_themes
        self.theme = given.theme if known else DARK.name
        self._notice = notice
        self.plain = plain
        self.board = BoardScreen(
            feed or (lambda tell: Feed(dir, tell, changes=not read_only)), given,
            ASCII if plain else UNICODE, clock, read_only=read_only,
        )  # fmt: skip

    def get_default_screen(self) -> Screen[None]:
        """The board: there is none beneath it."""
        return self.board

    def on_mount(self) -> None:
        """Draw as the terminal can."""
        if self.plain:
            from pagsrv_tui.widgets import plain  # noqa: PLC0415 -- few terminals

            plain.use(self)

    def on_ready(self) -> None:
        """The screen is there, for what is to be said on it."""
        self.theme_changed_signal.subscribe(self, lambda _: self.board.remember())
        if self._notice:
            self.call_later(self._say)

    def _say(self) -> None:
        self.notify(self._notice, severity="warning", markup=False, timeout=10)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: every action, every column to sort by, the themes."""
        for action in ACTIONS:
            why = self.board.reason(action.name)
            told = f"not now: {why}" if why else action.help
            yield SystemCommand(action.label, told, partial(self.board.act, action.name))
        for column in COLUMNS:
            look = self.board.look
            yield SystemCommand(
                f"Sort by {column.name}", "order the entries by it",
                partial(self.board.looking, look._replace(sort=column.name)),
            )  # fmt: skip
        yield SystemCommand("Theme", "choose the colours", self.action_change_theme)
        del screen
