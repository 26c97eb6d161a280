# SPDX-License-Identifier: MIT
"""post: a descriptor of ours, or all that we were passed, left on the board.

The law: every word is understood, and the broker found, before anything is opened or
dialled; a socket file made for an entry that did not come to be is removed again. It
refuses to know how places are opened (places.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from select import POLLIN, poll
from typing import TYPE_CHECKING

from pagsrv.cli import passed, places, render
from pagsrv.cli.fail import Usage
from pagsrv.client.blocking import connect
from pagsrv.ends import NEED_PIDFD, parse_end
from pagsrv.errors import InvalidParameter, NoBroker, PagsrvError
from pagsrv.kernel.process import NoProcess, open_pidfd
from pagsrv.masks import parse_mask
from pagsrv.messages import Until
from pagsrv.names import parse_reference, parse_scope

if TYPE_CHECKING:
    import argparse

    from pagsrv.client.blocking import Board
    from pagsrv.kernel.fd import Fd
    from pagsrv.messages import EntryView


def post(given: argparse.Namespace) -> int:
    """post, from what the parser found."""
    _check(given)
    with ExitStack() as stack:
        # Before any descriptor of our own could have its number.
        held = _held(given, stack)
        until = [_until(word, stack) for word in given.until]
        board = stack.enter_context(connect(given.dir, changes=True))
        done: list[str] = []
        for name, inherited in held.items():
            try:
                with _made(given, inherited) as fd:
                    entry = _post(board, name, given, fd, until)
            except PagsrvError as error:
                _name_what_stays(error, done)
                raise
            done.append(name)
            _tell(given, entry)
        if "lease" in given.until:
            _hold(board)
    return 0


def _name_what_stays(error: PagsrvError, done: list[str]) -> None:
    """Have *error* say what was posted before it, since that is on the board."""
    if done:
        error.args = (f"{error}; posted before it: {', '.join(done)}",)


def _tell(given: argparse.Namespace, entry: EntryView) -> None:
    if given.json:
        render.as_json(entry)
    elif given.verbose:
        render.line(_posted(entry))


def _held(given: argparse.Namespace, stack: ExitStack) -> dict[str, Fd | None]:
    """What is to be posted: each name, with what we were started with for it, the *stack*'s."""
    if given.listen_fds:
        return {**passed.names(stack)}
    return {
        given.name: None if given.fd is None else stack.enter_context(places.inherited(given.fd))
    }


def _check(given: argparse.Namespace) -> None:
    """Raise what is wrong with the words: nothing has happened yet."""
    _check_name(given)
    if given.scope is not None:
        parse_scope(given.scope)
    if given.mask is not None:
        parse_mask(given.mask)
    for word in given.until:
        parse_end(word)
    for address in (given.dial, given.listen):
        if address is not None:
            places.parse_place(address)
    _labels(given.label)


def _check_name(given: argparse.Namespace) -> None:
    if given.name is not None:
        if given.listen_fds:
            raise Usage("--listen-fds has the names of LISTEN_FDNAMES: leave NAME out", "post")
        parse_reference(given.name)
    elif not given.listen_fds:
        raise Usage("the following arguments are required: NAME", "post")


def _labels(words: list[str]) -> dict[str, str] | None:
    labels: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise Usage(f"{word!r} is no label: say K=V", "post")
        if key in labels:
            raise Usage(f"the label {key} is given twice", "post")
        labels[key] = value
    return labels or None


def _until(word: str, stack: ExitStack) -> str | Until:
    """A condition; one about a process is about our parent, if no other is named."""
    if word not in NEED_PIDFD:
        return word
    parent = os.getppid()
    try:
        pidfd = stack.enter_context(open_pidfd(parent))
    except NoProcess as error:
        raise InvalidParameter("until", f"{word}: {error}") from None
    if os.getppid() != parent:
        raise InvalidParameter("until", f"{word}: the parent of this command has just exited")
    return Until(word, pidfd.fileno())


@contextmanager
def _made(given: argparse.Namespace, held: Fd | None) -> Iterator[Fd | None]:
    """What is to be posted, ours; None for an empty entry."""
    if held is not None or given.empty:
        yield held
    elif given.listen is None:
        made = places.opened(given.open) if given.dial is None else places.dialled(
            places.parse_place(given.dial)
        )  # fmt: skip
        with made as fd:
            yield fd
    else:
        place = places.parse_place(given.listen)
        with places.listening(place) as fd:
            try:
                yield fd
            except BaseException:
                if place.path and not place.path.startswith("\0"):
                    with suppress(OSError):
                        os.unlink(place.path)
                raise


def _post(
    board: Board, name: str, given: argparse.Namespace, fd: Fd | None, until: list[str | Until]
) -> EntryView:
    labels = _labels(given.label)
    if fd is None:
        return board.create(
            name, scope=given.scope, replace=given.replace, expect=given.expect,
            mask=given.mask, until=until, labels=labels,
        )  # fmt: skip
    return board.post(
        name, fd, scope=given.scope, replace=given.replace, expect=given.expect,
        mask=given.mask, until=until, labels=labels,
    )  # fmt: skip


def _posted(entry: EntryView) -> str:
    what = render.plain(f"{entry.kind} ({entry.access})") if entry.assigned else "nothing yet"
    ends = f", until {' or '.join(entry.until)}" if entry.until else ""
    name = render.plain(f"{entry.scope}/{entry.name}")
    return f"posted {what} as {name}, generation {entry.generation}{render.plain(ends)}"


def _hold(board: Board) -> None:
    """Keep the connection, and so the entry, until a signal ends us; NoBroker if it goes."""
    watch = poll()
    watch.register(board.fileno(), POLLIN)
    watch.poll()
    raise NoBroker(
        "the broker hung up, so the entry is gone: it was stopped, or the session has ended"
    )
