# SPDX-License-Identifier: MIT
"""Everything the command says on stderr, and the exit status that goes with it.

The law: the only writer to stderr; what is refused is one sentence with what to do,
what stops us without our doing is quiet, and a bug is a traceback and status 70. The
statuses are errors.py's. It refuses to know what was tried.
"""

from __future__ import annotations

import os
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM

from pagsrv.cli import render
from pagsrv.errors import (
    BUG_STATUS,
    InterfaceNotFound,
    InvalidParameter,
    MethodNotFound,
    PagsrvError,
)

_ERR = 2
_INTERRUPTED = 128 + 2  # as if SIGINT had ended it (signal(7))
_SHORT = (EMFILE, ENFILE, ENOMEM, ENOBUFS)

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # as the shell has them (POSIX, 2.8.2)


class NotRun(PagsrvError):
    """CMD could not be run; *status* says whether it was found."""

    def __init__(self, word: str, error: OSError) -> None:
        found = not isinstance(error, FileNotFoundError)
        self.status = NOT_EXECUTABLE if found else NOT_FOUND  # type: ignore[misc]
        what = error.strerror if found else "there is no such command; give it after --"
        super().__init__(f"{word} cannot be run: {what}")


class Stopped(PagsrvError):
    """A signal ends us, and nothing is to be said of it."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number  # type: ignore[misc]
        super().__init__(f"stopped by signal {number}")


class Usage(InvalidParameter):
    """What was said on the command line is wrong; one sentence, and where to look."""

    def __init__(self, sentence: str, command: str = "") -> None:
        look = f"pagsrv {command} -h" if command else "pagsrv -h"
        super().__init__("", f"{sentence}; `{look}` shows how")


def say(sentence: str) -> None:
    """Write *sentence* to stderr, on one line."""
    _write(f"pagsrv: {render.plain(sentence)}\n")


def report(error: BaseException) -> int:
    """Say what stopped the command; its exit status."""
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    if isinstance(error, render.Closed | Stopped):
        return error.status
    if isinstance(error, InterfaceNotFound | MethodNotFound):
        say(f"the broker does not know {error}: it is of another version; see `pagsrv doctor`")
        return error.status
    if isinstance(error, PagsrvError):
        say(str(error))
        return error.status
    if isinstance(error, OSError) and error.errno in _SHORT:
        say(f"the system is short of something: {error.strerror}; see `ulimit -a`")
        return PagsrvError.status
    import traceback  # noqa: PLC0415 -- only a bug pays for it

    _write("".join(traceback.format_exception(error)))
    say("this is a bug of pagsrv's, and nothing you did; please report the lines above")
    return BUG_STATUS


def _write(text: str) -> None:
    try:
        os.write(_ERR, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return  # nobody to tell
