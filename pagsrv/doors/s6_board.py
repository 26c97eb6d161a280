# SPDX-License-Identifier: MIT
"""What s6's clients ask for, done on the board: ids are names, times are ttls, errors errnos.

The law: one scope, said in full in every call, so that nothing is looked up elsewhere; a
part of a dump comes about whole or not at all; a descriptor that is neither posted nor in an
answer is closed. It refuses to know who asks, and how an answer travels.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from pagsrv import errors
from pagsrv.doors import s6_wire as wire
from pagsrv.limits import MESSAGE_FDS, TTL_SECONDS
from pagsrv.names import parse_name

if TYPE_CHECKING:
    from pagsrv.client.blocking import Board
    from pagsrv.kernel.fd import Fd
    from pagsrv.messages import EntryView
    from pagsrv.names import Scope

Answer = list[tuple[bytes, list["Fd"]]]
"""Frames, each with the descriptors it brings, now the receiver's."""

_ERRNO: dict[type[Exception], int] = {
    errors.Denied: errno.EPERM,
    errors.Exists: errno.EBUSY,
    errors.QuotaExceeded: errno.ENFILE,
}
"""Where s6-fdholderd answers otherwise than errors.py's table."""

_TRIES = 8
"""How often a dump is begun anew because the board changed meanwhile."""

_MANY_BYTES = 32 * 1024
"""Of names in one call: escaped they may become twice as long, and 64 KiB is the most."""

_SOON = 0.001
"""The ttl of what has ended already: s6-fdholderd takes it, too, and drops it at once."""


def name_of(one: bytes) -> str:
    """The name of the entry that *one* is the id of; InvalidParameter if there can be none.

    Ids are paths often (unix:/run/x), and a name holds no slash: it has a backslash there, and
    an id none, so that no two ids have one name.
    """
    if b"\\" in one:
        raise errors.InvalidParameter("name", "an id holds no backslash: it stands for a slash")
    text = one.decode("utf-8", "surrogateescape")
    return parse_name(text.replace("/", "\\"))


def id_of(name: str) -> bytes:
    """The id of the entry *name*."""
    return name.replace("\\", "/").encode()


def errno_of(error: Exception) -> int:
    """What a client is told of *error*."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    default = error.errno if isinstance(error, errors.PagsrvError) else errno.EIO
    return _ERRNO.get(type(error), default)


class Shelf:
    """The entries of *scope* as an s6-fdholderd has them; *board* is attached for changes.

    The Board stays the caller's.
    """

    def __init__(self, board: Board, scope: Scope) -> None:
        self._board = board
        self._scope = str(scope)

    def answer(self, request: wire.Request, fds: Sequence[Fd], left: int) -> tuple[Answer, int]:
        """Do *request* with *fds*, still the caller's; the answer, and what is *left* of a dump.

        A dump of which a part is refused is over. NoBroker if that is gone: then nothing can be
        answered any more.
        """
        try:
            return self._do(request, fds, left)
        except errors.NoBroker:
            raise
        except (errors.PagsrvError, OSError) as error:
            return [(wire.status(errno_of(error)), [])], 0

    def _do(self, request: wire.Request, fds: Sequence[Fd], left: int) -> tuple[Answer, int]:
        board, scope = self._board, self._scope
        match request:
            case wire.Retrieve(one, delete):
                get = board.take if delete else board.open
                return [(wire.retrieved(), [get(name_of(one), scope)])], left
            case wire.Store(item):
                board.post(name_of(item.id), fds[0], scope=scope, until=_until(item.limit))
            case wire.Delete(one):
                board.remove(name_of(one), scope)
            case wire.ListIds():
                names = [entry.name for entry in self._entries() if entry.assigned]
                return [(wire.listing([id_of(name) for name in names]), [])], left
            case wire.GetDump():
                return self._dump(), left
            case wire.SetDump(total):
                return [(wire.expecting(total), [])], total
            case wire.Part(items):
                self._keep(items, fds)
                left -= len(items)
                return [(wire.status(errno.EAGAIN if left else 0), [])], left
        return [(wire.status(0), [])], left

    # ── dumps ──

    def _entries(self) -> list[EntryView]:
        """The scope's own; what was granted to it is found by its full name only."""
        return [entry for entry in self._board.list(self._scope) if entry.granted_from is None]

    def _dump(self) -> Answer:
        """Everything, as it stood at one moment; OSError EAGAIN if the board does not rest."""
        for _ in range(_TRIES):
            entries = self._to_dump()
            with ExitStack() as stack, suppress(errors.NoEntry, errors.NotAssigned):
                fds = [stack.enter_context(fd) for fd in self._open(entries)]
                if _same(entries, self._to_dump()):
                    stack.pop_all()
                    return _dumped(entries, fds)
        raise OSError(errno.EAGAIN, "the board changes faster than it is read")

    def _to_dump(self) -> list[EntryView]:
        """What has a descriptor that a dump does not use up; Denied if one may not be read."""
        entries = [one for one in self._entries() if one.assigned and not _counts(one)]
        for entry in entries:
            if "r" not in entry.rights or "s" not in entry.rights:
                raise errors.Denied(f"{entry.scope}/{entry.name} may not be opened")
        return entries

    def _open(self, entries: Sequence[EntryView]) -> list[Fd]:
        """A descriptor for each of *entries*, the caller's; none if one is gone."""
        with ExitStack() as stack:
            fds: list[Fd] = []
            for names in _calls([f"{one.scope}/{one.name}" for one in entries]):
                came = self._board.open_many(names)
                fds += [stack.enter_context(fd) for fd in came]
            stack.pop_all()
            return fds

    def _keep(self, items: Sequence[wire.Item], fds: Sequence[Fd]) -> None:
        """Post *fds*, the caller's still, as *items*, in the place of what is there; or none."""
        names = [name_of(item.id) for item in items]
        with self._restoring(set(names)) as (done, lost):
            parts = zip(names, items, fds, strict=True)
            # Whose entry could not be put back comes when the others have.
            for name, item, fd in sorted(parts, key=lambda part: part[0] in lost):
                until = _until(item.limit)
                self._board.post(name, fd, scope=self._scope, replace=True, until=until)
                done.append(name)

    @contextmanager
    def _restoring(self, names: set[str]) -> Iterator[tuple[list[str], set[str]]]:
        """Have the names in the list that is given be again what they were, if anything fails.

        What is empty, or a look at it would use up, cannot be: those names are the set.
        """
        there = [one for one in self._entries() if one.name in names]
        before = [one for one in there if one.assigned and not _counts(one)]
        lost = {one.name for one in there} - {one.name for one in before}
        done: list[str] = []
        with ExitStack() as stack:
            fds = [stack.enter_context(fd) for fd in self._open(before)]
            were = {one.name: (one, fd) for one, fd in zip(before, fds, strict=True)}
            try:
                yield done, lost
            except errors.NoBroker:
                raise
            except (errors.PagsrvError, OSError):
                for name in done:
                    with suppress(errors.Refused, OSError):
                        self._undo(name, were.get(name))
                raise

    def _undo(self, name: str, was: tuple[EntryView, Fd] | None) -> None:
        if was is None:
            self._board.remove(name, self._scope)
            return
        entry, fd = was
        self._board.post(
            name, fd, scope=self._scope, replace=True, until=_until(entry.deadline),
            labels=entry.labels,
        )  # fmt: skip


def _until(limit: float | None) -> list[str]:
    """The end condition for a time in seconds since 1970; none for None."""
    if limit is None:
        return []
    return [f"ttl={min(max(limit - time.time(), _SOON), TTL_SECONDS):.3f}"]


def _counts(entry: EntryView) -> bool:
    """Whether opening it would use it up."""
    return any(word.startswith("opens=") for word in entry.until)


def _same(before: list[EntryView], after: list[EntryView]) -> bool:
    return [(one.name, one.generation) for one in before] == [
        (one.name, one.generation) for one in after
    ]


def _dumped(entries: Sequence[EntryView], fds: list[Fd]) -> Answer:
    answer: Answer = []
    items = [wire.Item(id_of(one.name), one.deadline) for one in entries]
    for frame, count in wire.dump(items, time.time()):
        answer.append((frame, fds[:count]))
        fds = fds[count:]
    return answer


def _calls(names: Sequence[str]) -> Iterator[list[str]]:
    """*names* in lists that one call takes each."""
    some: list[str] = []
    size = 0
    for name in names:
        size += len(name.encode())
        if some and (size > _MANY_BYTES or len(some) == MESSAGE_FDS):
            yield some
            some, size = [], len(name.encode())
        some.append(name)
    if some:
        yield some
