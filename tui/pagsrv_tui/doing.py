# SPDX-License-Identifier: MIT
"""What the viewer has done to the board, and taken back.

The law: every descriptor held for an undo has this file as its owner and is closed when its
five seconds are over, used or not. What may take long (a name service, a connection) runs
in a thread that nobody waits for, at the end least of all. It refuses to know screens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pagsrv.errors import NoBroker
from pagsrv_tui.actions import restoring, why_no_undo

if TYPE_CHECKING:
    from pagsrv.client.aio import Board
    from pagsrv.kernel.fd import Fd
    from pagsrv.messages import EntryView
    from pagsrv_tui.feed import Feed

T = TypeVar("T")

UNDO = 5.0
"""Seconds for which the last change can be taken back."""


class Posting(NamedTuple):
    """What a post form says; *how* is open, dial, listen or empty, and *what* its argument."""

    name: str
    how: str
    what: str = ""
    scope: str | None = None
    mask: str | None = None
    until: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class _Undo(NamedTuple):
    """How to take something back; *fd*, if any, is ours to close."""

    what: str
    back: Callable[[Board], Awaitable[str]]
    fd: Fd | None = None


class Doing:
    """Carries out what was asked for, each answer one sentence; errors are the library's."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._undo: _Undo | None = None
        self._timer: asyncio.TimerHandle | None = None

    def _board(self) -> Board:
        if self._feed.board is None:
            raise NoBroker("no broker answers: nothing was changed")
        return self._feed.board

    # ── undo ──

    def _remember(self, undo: _Undo) -> None:
        self.forget()
        self._undo = undo
        self._timer = asyncio.get_running_loop().call_later(UNDO, self.forget)

    def forget(self) -> None:
        """Nothing can be taken back any more; what was held is closed."""
        if self._timer is not None:
            self._timer.cancel()
        undo, self._undo, self._timer = self._undo, None, None
        if undo is not None and undo.fd is not None:
            undo.fd.close()

    def undoable(self) -> str:
        """What undo() would take back; empty if nothing."""
        return "" if self._undo is None else self._undo.what

    async def undo(self) -> str:
        """Take the last change back, once."""
        board = self._board()
        if self._undo is None:
            return "there is nothing to undo: five seconds are over, or nothing was changed"
        if self._timer is not None:
            self._timer.cancel()
        undo, self._undo, self._timer = self._undo, None, None
        try:
            return await undo.back(board)
        finally:
            if undo.fd is not None:
                undo.fd.close()

    # ── changes ──

    async def remove(self, entry: EntryView) -> str:
        """Remove *entry* as it was seen: another generation is Stale, and nothing is removed."""
        board, name = self._board(), f"{entry.scope}/{entry.name}"
        never = why_no_undo(entry)
        held = await board.open(name) if entry.assigned and not never else None
        try:
            await board.remove(name, expect=entry.generation)
        except BaseException:
            if held is not None:
                held.close()
            raise
        if never:
            self.forget()
            return f"removed {entry.name}; this cannot be undone: {never}"
        without = restoring(entry).without
        lack = f" (without {', '.join(without)})" if without else ""
        self._remember(_Undo(f"the removal of {entry.name}", _again(entry, held), held))
        return f"removed {entry.name}; u puts it back within five seconds{lack}"

    async def set_mask(self, entry: EntryView, mask: str) -> str:
        """Give *entry* another mask."""
        name = f"{entry.scope}/{entry.name}"
        changed = await self._board().set_mask(name, mask, expect=entry.generation)

        async def back(board: Board) -> str:
            await board.set_mask(name, entry.mask, expect=changed.generation)
            return f"{entry.name} has its old mask again"

        self._remember(_Undo(f"the mask of {entry.name}", back))
        return f"{entry.name} has a new mask; u gives it the old one within five seconds"

    async def set_timeout(self, entry: EntryView, seconds: float) -> str:
        """Let *entry* end some seconds from now; 0 clears that."""
        await self._board().set_timeout(f"{entry.scope}/{entry.name}", seconds)
        return f"{entry.name} ends in {seconds:g} s" if seconds else f"{entry.name} has no timeout"

    async def grant(self, entry: EntryView, to: str) -> str:
        """Let the members of *to* open *entry*."""
        name = f"{entry.scope}/{entry.name}"
        await self._board().grant(name, to)

        async def back(board: Board) -> str:
            await board.ungrant(name, to)
            return f"{entry.name} is not granted to {to} any more"

        self._remember(_Undo(f"the grant of {entry.name}", back))
        return f"{entry.name} is granted to {to}; u ends that within five seconds"

    async def post(self, asked: Posting) -> str:
        """Open, dial or listen, here and with our rights, and post what comes of it."""
        board = self._board()
        labels = dict(asked.labels) or None
        if asked.how == "empty":
            entry = await board.create(
                asked.name, scope=asked.scope, mask=asked.mask, until=asked.until, labels=labels
            )
        else:
            with await _apart(_maker(asked)) as fd:
                entry = await board.post(
                    asked.name, fd, scope=asked.scope, mask=asked.mask, until=asked.until,
                    labels=labels,
                )  # fmt: skip
        return f"posted {entry.kind or 'nothing yet'} as {entry.scope}/{entry.name}"


def _again(entry: EntryView, held: Fd | None) -> Callable[[Board], Awaitable[str]]:
    """How *entry* is put back: a new post, ours, of the same open file."""
    until = restoring(entry).until

    async def back(board: Board) -> str:
        if held is None:
            await board.create(
                entry.name, scope=entry.scope, mask=entry.mask, until=until, labels=entry.labels
            )
        else:
            await board.post(
                entry.name, held, scope=entry.scope, mask=entry.mask, until=until,
                labels=entry.labels,
            )  # fmt: skip
        return f"{entry.name} is back: the same open file, posted by this dashboard"

    return back


def _maker(asked: Posting) -> Callable[[], Fd]:
    from pagsrv.cli import places  # noqa: PLC0415 -- most who look never post

    if asked.how == "open":
        return lambda: places.opened(asked.what)
    place = places.parse_place(asked.what)
    make = places.dialled if asked.how == "dial" else places.listening
    return lambda: make(place)


class _Handover:
    """What a thread made, on its way into the loop; whoever it reaches last closes it."""

    def __init__(self, make: Callable[[], Fd]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Fd] = self._loop.create_future()

    def run(self) -> None:
        """The thread."""
        made: Fd | None = None
        fault: BaseException | None = None
        try:
            made = self._make()
        except BaseException as error:  # noqa: BLE001 -- whoever awaits it gets it
            fault = error
        try:
            self._loop.call_soon_threadsafe(self._come, made, fault)
        except RuntimeError:  # the loop has ended meanwhile
            _close(made)

    def _come(self, fd: Fd | None, error: BaseException | None) -> None:
        if self.future.done():  # given up
            _close(fd)
        elif fd is not None:
            self.future.set_result(fd)
        elif error is not None:
            self.future.set_exception(error)


def _close(fd: Fd | None) -> None:
    if fd is not None:
        fd.close()


async def _apart(make: Callable[[], Fd]) -> Fd:
    """What *make* gives, made in a thread of its own; given up, it is closed when it comes.

    The thread is a daemon: a name service that hangs does not keep the dashboard from ending.
    """
    over = _Handover(make)
    Thread(target=over.run, daemon=True, name="pagsrv-tui-post").start()
    return await over.future
