# SPDX-License-Identifier: MIT
"""The dashboard's one line to the broker: watch, stat, and back again after a loss.

The law: the only user of pagsrv.client.aio. What is learned is told in batches, at once
when it was quiet and else a few times a second, so that a busy board costs no more
than a busy screen. The board is listed once for each connection; from then on events say what
to ask about. It refuses to know what anything means: view.py does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from pagsrv.errors import PagsrvError, Refused
from pagsrv_tui.messages import (
    Absent,
    Connected,
    Happened,
    Key,
    Lost,
    Namespaced,
    Pulse,
    Shown,
    Silent,
    Told,
)

if TYPE_CHECKING:
    from pagsrv.client.aio import Board
    from pagsrv.messages import Identity

PERIOD = 1 / 25
"""Seconds between two batches: below what a person sees as late."""

PULSE = 1.0
"""Seconds between two looks at the broker's health and its namespaces."""

PATIENCE = 5.0
"""Seconds without an answer after which the broker is said to be silent."""

FIRST_RETRY, LAST_RETRY = 0.25, 8.0
"""Seconds before the first and before every later try to reach a lost broker."""

_AT_ONCE = 64
"""Questions under way together, and events read before others have their turn."""


class Feed:
    """Keeps a dashboard informed; *tell* is called with batches, in the loop's thread."""

    patience = PATIENCE

    def __init__(
        self,
        dir: str | None,  # noqa: A002 -- the option is called --dir
        tell: Callable[[list[Told]], None],
        *,
        changes: bool,
    ) -> None:
        self._dir, self._changes, self._out = dir, changes, tell
        self._batch: list[Told] = []
        self._sent = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._wants: dict[Key, int] = {}
        self._listing = False
        self._asking = asyncio.Event()
        self.board: Board | None = None
        """The connection for whoever changes something; None while there is none."""

    # ── telling ──

    def _tell(self, *told: Told) -> None:
        self._batch += told
        if self._timer is None:
            loop = asyncio.get_running_loop()
            due = max(0.0, self._sent + PERIOD - loop.time())
            self._timer = loop.call_later(due, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._sent = asyncio.get_running_loop().time()
        batch, self._batch = self._batch, []
        self._out(batch)

    # ── the connection ──

    async def run(self) -> None:
        """Follow the broker, and the next one, until this is cancelled."""
        from pagsrv.client import aio  # noqa: PLC0415 -- the first screen does not wait for it

        retry = FIRST_RETRY
        try:
            while True:
                why = "the broker hung up"
                try:
                    async with asyncio.timeout(self.patience):
                        board = await aio.connect(self._dir, changes=self._changes)
                    async with board:
                        async with asyncio.timeout(self.patience):
                            identity = await board.whoami()
                        self.board, retry = board, FIRST_RETRY
                        await self._follow(board, identity)
                except TimeoutError:
                    why = "a broker takes connections and does not answer"
                except (PagsrvError, OSError, ValueError) as error:
                    why = str(error)
                finally:
                    self.board = None
                self._tell(Lost(why, retry))
                await asyncio.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _follow(self, board: Board, identity: Identity) -> None:
        self._wants, self._listing = {}, False
        tasks = [
            asyncio.ensure_future(one)
            for one in (self._watch(board, identity), self._inquire(board), self._pulse(board))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    # ── watch ──

    async def _watch(self, board: Board, identity: Identity) -> None:
        """The events; begun anew, with what is there, after some were lost on the way."""
        while True:
            self._tell(Connected(identity))
            async with board.watch(initial=True) as events:
                count = 0
                async for event in events:
                    self._tell(Happened(event))
                    if event.event == "live":
                        self._listing = True
                        self._asking.set()
                    elif event.event == "lost":
                        break
                    count += 1
                    if count % _AT_ONCE == 0:
                        # A full socket would never let anything else have its turn.
                        await asyncio.sleep(0)
            await asyncio.sleep(PULSE)

    # ── stat ──

    def ask(self, wants: Mapping[Key, int] | Iterable[tuple[Key, int]]) -> None:
        """Ask about these entries, each at the generation known, soon."""
        self._wants.update(wants)
        if self._wants:
            self._asking.set()

    async def _inquire(self, board: Board) -> None:
        while True:
            await self._asking.wait()
            self._asking.clear()
            if self._listing:
                self._listing = False
                self._tell(Shown(tuple(await board.list(all=True))))
            while self._wants and not self._listing:
                batch = [self._wants.popitem() for _ in range(min(_AT_ONCE, len(self._wants)))]
                self._tell(*await asyncio.gather(*(self._stat(board, *one) for one in batch)))

    @staticmethod
    async def _stat(board: Board, key: Key, generation: int) -> Told:
        try:
            return Shown((await board.stat(str(key)),))
        except Refused:
            return Absent(key, generation)

    # ── health ──

    async def _pulse(self, board: Board) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asking = asyncio.gather(board.health(), board.namespaces())
            began = loop.time()
            try:
                while not (await asyncio.wait({asking}, timeout=self.patience))[0]:
                    self._tell(Silent(loop.time() - began))
                vitals, namespaces = asking.result()
            finally:
                asking.cancel()
                with suppress(asyncio.CancelledError, PagsrvError, ValueError):
                    await asking
            self._tell(Pulse(vitals, loop.time()), Namespaced(tuple(namespaces)))
            await asyncio.sleep(PULSE)
