# SPDX-License-Identifier: MIT
"""The dashboard, driven: keys pressed in it, the screen read, at a real broker, in a real session.

The law: each test's body runs in a forked process with a session keyring of its own
(tests/actors.py), so the runner's is never touched; it waits for what is to come and never
for time to pass; and it holds afterwards what it held before. It refuses to know what is
tested.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from pagsrv_tui.app import Dashboard
from pagsrv_tui.messages import Key
from tests.actors import Actor
from tests.conftest import held_descriptors

SECONDS = 20
"""How long anything may take before the test fails: a deadline, never a pause."""

Body = Callable[[Path], Awaitable[None]]

_bodies: dict[str, Body] = {}


def in_session(body: Body) -> Callable[[Path], None]:
    """Make a test of *body*, run in a session of its own; it is given a short directory."""
    _bodies[body.__qualname__] = body

    def test(short_tmp: Path) -> None:
        with Actor() as actor:
            actor(_run, body.__qualname__, short_tmp)

    test.__name__, test.__doc__, test.__module__ = body.__name__, body.__doc__, body.__module__
    return test


def _run(name: str, short_tmp: Path) -> None:
    os.environ["XDG_CONFIG_HOME"] = str(short_tmp / "config")
    for variable in ("NO_COLOR", "PAGSRV_DIR"):
        os.environ.pop(variable, None)
    before = held_descriptors()
    asyncio.run(_bodies[name](short_tmp))
    gc.collect()
    left = {fd: what for fd, what in held_descriptors().items() if before.get(fd) != what}
    assert left == {}, f"descriptors left open: {left}"


class Driver:
    """A running dashboard and the hand on its keys."""

    def __init__(self, app: Dashboard, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot
        self.board = app.board

    def screen(self) -> str:
        """What is on the screen, without its colours."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)

    def said(self) -> list[str]:
        """The notices so far."""
        return [one.message for one in self.app._notifications]

    async def until(self, holds: Callable[[], Any], what: str = "") -> None:
        """Return when *holds*; fail with the screen if it does not come."""
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{what or 'it'} did not come\n{self.screen()}"
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    async def until_shown(self, *texts: str) -> None:
        """Return when all of *texts* are on the screen."""
        await self.until(lambda: all(text in self.screen() for text in texts), f"{texts}")

    async def until_said(self, text: str) -> None:
        """Return when a notice has *text* in it."""
        await self.until(lambda: any(text in one for one in self.said()), repr(text))

    async def live(self) -> None:
        """Return when the board has been told whole."""
        view = self.board
        await self.until(
            lambda: (
                view.view.link == "live"
                and not view.view.filling
                and all(
                    row.entry for space in view.view.spaces.values() for row in space.rows.values()
                )
            )
        )

    async def press(self, *keys: str) -> None:
        """Press *keys*, one after the other."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Type *text* over what the line says."""
        await self.press("ctrl+u", *(_KEYS.get(one, one) for one in text))

    async def choose(self, scope: str, name: str) -> None:
        """Put the cursor on an entry."""
        self.board.go_to_key(Key(scope, name))
        await self.until(lambda: self.entry() is not None and self.entry().name == name)

    def entry(self) -> Any:  # noqa: ANN401 -- an EntryView or None, for assertions
        """The entry under the cursor."""
        row = self.board.current()
        return None if row is None else row.entry


_KEYS = {
    ":": "colon", "/": "slash", ".": "full_stop", "-": "minus", "=": "equals_sign", " ": "space",
    "_": "underscore",
}  # fmt: skip


@asynccontextmanager
async def driven(
    dir: str,  # noqa: A002 -- as the option
    *,
    size: tuple[int, int] = (120, 36),
    **options: Any,  # noqa: ANN401 -- the dashboard's own
) -> AsyncIterator[Driver]:
    """A dashboard at the broker of *dir*, ended with its block."""
    app = Dashboard(dir, **options)
    async with app.run_test(size=size) as pilot:
        yield Driver(app, pilot)
