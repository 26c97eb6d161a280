# SPDX-License-Identifier: MIT
"""open and take: entries become descriptors of a command, which replaces us.

The law: nothing is opened before every word is understood, and all of the names are
or none; past that point the descriptors are the command's, and what was taken for one that
cannot be run goes back (taking.py). Imports are counted: see fast.py. It refuses to know
how a broker is spoken to.
"""

from __future__ import annotations

import os
import signal
from errno import EACCES, EBADF, EISDIR
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import TYPE_CHECKING

from pagsrv.cli.fail import NotRun, Usage
from pagsrv.cli.fast import Opening
from pagsrv.client.blocking import connect
from pagsrv.errors import NoSession, PagsrvError
from pagsrv.names import parse_place, parse_reference, parse_scope

if TYPE_CHECKING:
    import argparse
    from typing import NoReturn

    from pagsrv.cli.taking import Taken
    from pagsrv.client.blocking import Board
    from pagsrv.kernel.fd import Fd
    from pagsrv.names import Place

FIRST = 3
"""The first descriptor passed to a service (sd_listen_fds(3))."""

_ERR = 2
_LARGEST = 0x7FFFFFFF
_DIGITS = 10
_PASSED = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID")


class CannotPlace(PagsrvError):
    """A descriptor cannot get the number asked for."""


def run(given: argparse.Namespace) -> NoReturn:
    """Open and take, from what the parser found."""
    access = given.access if given.verb == "open" else None
    carry_out(Opening(given.verb, given.name, given.command, given.dir, given.scope, access))


def carry_out(opening: Opening) -> NoReturn:
    """Open or take, and become the command; returns never."""
    names, targets = _plan(opening)
    environment = _environment(names, targets)
    # Before an entry is taken for a command that is not there, or stderr is another's.
    taking = opening.verb == "take"
    _find(opening.command[0], taking=taking)
    errors = _own_stderr(targets)
    with connect(opening.directory, changes=taking) as board:
        taken = _look(board, opening, names) if taking else None
        fds = _fetch(board, opening, names)
    sources: list[int] = []
    try:
        _place(fds, targets, sources)
        become(opening.command, environment)
    except PagsrvError as error:
        os.dup2(errors, _ERR)
        if taken is not None:
            error.args = (f"{error}; {taken.given_back(sources)}",)
        raise


def split(word: str) -> tuple[str, int | None]:
    """NAME=FD taken apart at its last =, if only digits follow."""
    name, equals, number = word.rpartition("=")
    if equals and number.isascii() and number.isdigit():
        digits = number.lstrip("0") or "0"
        # int() takes no more than some thousands of digits.
        return name, int(digits) if len(digits) <= _DIGITS else _LARGEST + 1
    return word, None


def _plan(opening: Opening) -> tuple[list[str], list[int]]:
    """The names, and for each the number its descriptor gets."""
    wanted = [split(word) for word in opening.names]
    taken = [number for _, number in wanted if number is not None]
    if len(set(taken)) < len(taken):
        raise Usage("two names are to become the same descriptor", opening.verb)
    if max(taken, default=0) > _LARGEST:
        raise Usage(f"no descriptor has a number above {_LARGEST}", opening.verb)
    free = (number for number in range(FIRST, FIRST + 2 * len(wanted)) if number not in taken)
    targets = [next(free) if number is None else number for _, number in wanted]
    # Before anything is taken from the board: the limit is one more than the largest number.
    if 0 <= os.sysconf("SC_OPEN_MAX") <= max(targets):
        raise _cannot_place(targets, os.strerror(EBADF))
    parse = parse_place if opening.verb == "open" else parse_reference
    for name, _ in wanted:
        parse(name)
    if opening.scope is not None:
        parse_scope(opening.scope)
    return [name for name, _ in wanted], targets


def _environment(names: list[str], targets: list[int]) -> dict[str, str]:
    """The command's environment: LISTEN_… if the descriptors run from 3 without a gap."""
    environment = dict(os.environ)
    for word in _PASSED:
        environment.pop(word, None)
    order = sorted(zip(targets, names, strict=True))
    if [number for number, _ in order] != list(range(FIRST, FIRST + len(order))):
        return environment
    called = [str(_bare(name)) for _, name in order]
    for name in called:
        if ":" in name:
            raise Usage(
                f"{name!r} has a : in it, which LISTEN_FDNAMES cannot tell; say {name}=FD with "
                "a number that leaves a gap after 2, as 4"
            )
    environment["LISTEN_FDS"] = str(len(called))
    environment["LISTEN_FDNAMES"] = ":".join(called)
    environment["LISTEN_PID"] = str(os.getpid())
    return environment


def _bare(name: str) -> Place:
    """*name* without its scope."""
    place = parse_place(name)
    return place._replace(reference=place.reference._replace(scope=None))


def _look(board: Board, opening: Opening, names: list[str]) -> Taken:
    from pagsrv.cli.taking import Taken  # noqa: PLC0415 -- see the law

    return Taken.look(board, opening.directory, names, opening.scope)


def _fetch(board: Board, opening: Opening, names: list[str]) -> list[Fd]:
    taking = opening.verb == "take"
    if len(names) == 1:
        name, scope = names[0], opening.scope
        return [
            board.take(name, scope) if taking else board.open(name, scope, access=opening.access)
        ]
    if opening.scope is not None:
        names = [_in_full(board, name, opening.scope) for name in names]
    return board.take_many(names) if taking else board.open_many(names, access=opening.access)


def _in_full(board: Board, name: str, scope: str) -> str:
    """*name* with its scope before it, where *scope* may be one of the three words."""
    if parse_place(name).reference.scope is not None:
        return name
    for proof in board.attached.scopes:
        if scope in (proof.scope, proof.scope.partition(":")[0]):
            return f"{proof.scope}/{name}"
    if ":" in scope:
        return f"{scope}/{name}"
    raise NoSession(f"you are proved in no {scope} scope; `pagsrv whoami` says why")


def _place(fds: list[Fd], targets: list[int], sources: list[int]) -> None:
    """Give each descriptor its number, whatever has that number now; they stay in *sources*, too.

    Those are close-on-exec, and in the order of *targets*.
    """
    sources += [fd.fileno() for fd in fds]
    try:
        sources[:] = [_out_of_the_way(fd.detach(), targets) for fd in fds]
        for source, target in zip(sources, targets, strict=True):
            os.dup2(source, target)
    except OSError as error:
        raise _cannot_place(targets, error.strerror or str(error)) from None


def _cannot_place(targets: list[int], why: str) -> CannotPlace:
    return CannotPlace(
        f"a descriptor cannot become {max(targets)}: {why}; take a smaller number, or raise the "
        "limit (ulimit -n)"
    )


def _own_stderr(targets: list[int]) -> int:
    """Where our stderr is, whatever becomes of its number: what we say is for no entry."""
    try:
        os.fstat(_ERR)
    except OSError:
        from pagsrv.cli import render  # noqa: PLC0415 -- hardly ever

        render.guard()
    return _out_of_the_way(_ERR, targets)


def _out_of_the_way(number: int, targets: list[int]) -> int:
    """The same open file under a number that is nobody's target; close-on-exec."""
    while number in targets:
        number = fcntl(number, F_DUPFD_CLOEXEC, number + 1)
    return number


def _find(word: str, *, taking: bool) -> None:
    """NotRun if *word* is no command that can be run, as far as that can be known before."""
    places = [""] if "/" in word else [f"{path}/" for path in os.get_exec_path()]
    found: OSError = FileNotFoundError()
    if places == [""] and os.path.isdir(word):
        found = IsADirectoryError(EISDIR, os.strerror(EISDIR))
    for place in places:
        if os.path.isfile(place + word):
            if os.access(place + word, os.X_OK):
                fault = _fault(place + word) if taking else None
                if fault is None:
                    return
                found = fault
            else:
                found = PermissionError(EACCES, os.strerror(EACCES))
    raise NotRun(word, found)


def _fault(path: str) -> OSError | None:
    from pagsrv.cli.taking import fault  # noqa: PLC0415 -- see the law

    return fault(path)


def become(command: list[str], environment: dict[str, str] | None = None) -> NoReturn:
    """Replace this process by *command*; NotRun if it cannot be run."""
    # Python ignores these two, and what is ignored stays so over an exec (signal(7)).
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, os.environ if environment is None else environment)
    except OSError as error:
        raise NotRun(command[0], error) from None
