# SPDX-License-Identifier: MIT
"""How each screen looks, as text: so nothing is told by its colour alone.

The law: what is shown comes from values (boards.py) and a clock that stands still; the pictures
lie in __snapshots__, and PAGSRV_SNAPSHOTS=write paints them anew. It refuses to know brokers.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.command import SearchIcon
from textual.scrollbar import ScrollBar
from textual.widgets import RadioButton

from pagsrv_tui.app import Dashboard
from pagsrv_tui.feed import Feed
from pagsrv_tui.messages import Key, Lost, Silent, Told
from tests.tui.boards import WALL, a_board
from tests.tui.driving import Driver

PICTURES = Path(__file__).parent / "__snapshots__"
SIZES = ((80, 24), (120, 36))


class Still(Feed):
    """A feed that tells what it was given, and hears no question."""

    def __init__(self, tell: Callable[[list[Told]], None], told: Sequence[Told]) -> None:
        super().__init__(None, tell, changes=True)
        self._told = list(told)

    async def run(self) -> None:
        """Tell it, and nothing more."""
        self._out(self._told)

    def ask(self, wants: Mapping[Key, int] | Iterable[tuple[Key, int]]) -> None:
        """Nobody answers."""


STATES: dict[str, tuple[Sequence[str], Sequence[Told]]] = {
    "board": ((), a_board()),
    "namespace": (("right_square_bracket", "down"), a_board()),
    "socket": (("down", "down"), a_board()),
    "events": (("2",), a_board()),
    "health": (("4", "z"), a_board()),
    "filter": (("slash", "h", "u", "p"), a_board()),
    "sorted": (("greater_than_sign",) * 7, a_board()),
    "help": (("question_mark",), a_board()),
    "remove": (("d",), a_board()),
    "mask": (("m",), a_board()),
    "post": (("p",), a_board()),
    "jump": (("j",), a_board()),
    "guest": (("end",), a_board()),
    "lost": ((), [*a_board(), Lost("the broker at /run/pagsrv hung up: it was stopped", 2.0)]),
    "silent": ((), [*a_board(), Silent(10.0)]),
    "connecting": ((), []),
    "readonly": ((), a_board()),
}


async def painted(
    state: str, *sizes: tuple[int, int], plain: bool = False
) -> list[str]:  # fmt: skip
    """The screen of *state*, in each of *sizes*."""
    keys, told = STATES[state]
    app = Dashboard(
        feed=lambda tell: Still(tell, told), clock=lambda: WALL, plain=plain,
        read_only=state == "readonly",
    )  # fmt: skip
    async with app.run_test(size=sizes[0]) as pilot:
        at = Driver(app, pilot)
        if told:
            await at.until(lambda: app.board.view.spaces)
        await at.press(*keys)
        screens = []
        for size in sizes:
            await pilot.resize_terminal(*size)
            await pilot.pause()
            screens.append(at.screen() + "\n")
        return screens


@pytest.fixture
def drawn_plainly() -> Iterator[None]:
    """Textual's own parts are drawn in ASCII for a whole process: put them back."""
    before = ScrollBar.renderer, SearchIcon.icon, RadioButton.BUTTON_LEFT, RadioButton.BUTTON_RIGHT
    yield
    ScrollBar.renderer, SearchIcon.icon, RadioButton.BUTTON_LEFT, RadioButton.BUTTON_RIGHT = before


def without_this_machine(text: str) -> str:
    """*text* without what the kernel here says of the runner's own keys."""
    return re.sub(r"(?m)^ keys +.*$", " keys       <of this machine>", text)


@pytest.mark.parametrize("state", STATES)
def test_screen_looks_as_painted(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text in the same place, in a small terminal and, when that grows, in a larger."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for size, screen in zip(SIZES, asyncio.run(painted(state, *SIZES)), strict=True):
        seen = without_this_machine(screen)
        picture = PICTURES / f"{state}-{size[0]}x{size[1]}.txt"
        if os.environ.get("PAGSRV_SNAPSHOTS") == "write":
            picture.parent.mkdir(exist_ok=True)
            picture.write_text(seen)
        assert picture.read_text() == seen


@pytest.mark.usefixtures("drawn_plainly")
@pytest.mark.parametrize("state", ["namespace", "events", "health", "help", "post", "lost"])
def test_plain_terminals_get_ascii_and_nothing_else(state: str) -> None:
    """The Linux console has a small font: what it cannot draw is not sent to it."""
    (seen,) = asyncio.run(painted(state, (80, 24), plain=True))
    assert {one for one in seen if not one.isascii()} == set()


def test_every_line_fits() -> None:
    """From the smallest terminal to a wall: no line is wider, none is missing."""
    sizes = ((80, 24), (300, 100), (100, 30))
    for size, screen in zip(sizes, asyncio.run(painted("board", *sizes)), strict=True):
        lines = screen.removesuffix("\n").split("\n")
        assert len(lines) == size[1]
        assert max(map(cell_len, lines)) <= size[0]
        assert any("NAME" in line and "ENDS" in line for line in lines)
