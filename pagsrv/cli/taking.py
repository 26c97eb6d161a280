# SPDX-License-Identifier: MIT
"""take: what can be known before an entry leaves the board, and the way back for one that has.

The law: nothing is taken for what the kernel would not run, or without room for it; what
was taken and the command could not be run is posted again, and the sentence says as what,
or that it is lost. It refuses to know what becomes of a descriptor that a command got.
"""

from __future__ import annotations

import os
from errno import ENOEXEC
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.client.blocking import connect
from pagsrv.errors import PagsrvError

if TYPE_CHECKING:
    from pagsrv.client.blocking import Board
    from pagsrv.messages import EntryView

_HEAD_BYTES = 256  # BINPRM_BUF_SIZE of linux/binfmts.h: what the kernel looks at
_FORMATS = "/proc/sys/fs/binfmt_misc"
_NO_FORMATS = {"register", "status"}
_ALWAYS = "revoked"


def fault(path: str) -> OSError | None:
    """Why the kernel would not run the file at *path*, as far as its first bytes tell (execve(2)).

    None for what cannot be read here, or where other formats than the kernel's own are run.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        if words and os.path.isfile(words[0]):
            return None
        return OSError(ENOEXEC, "the interpreter that it names is not there")
    if head.startswith(b"\x7fELF") or _other_formats():
        return None
    return OSError(ENOEXEC, os.strerror(ENOEXEC))


def _other_formats() -> bool:
    try:
        return not set(os.listdir(_FORMATS)) <= _NO_FORMATS
    except OSError:
        return True


class Taken(NamedTuple):
    """What is taken: the entries as they were before, None where that could not be seen."""

    directory: str | None
    names: list[str]
    before: list[EntryView | None]

    @classmethod
    def look(
        cls, board: Board, directory: str | None, names: list[str], scope: str | None
    ) -> Taken:
        """Look at the entries to be taken, and for room for them; OSError if there is none."""
        before: list[EntryView | None] = []
        for name in names:
            try:
                before.append(board.stat(name, scope))
            except PagsrvError:
                before.append(None)
        _make_room(2 * len(names))  # each is received, and may have to make way once
        return cls(directory, names, before)

    def given_back(self, fds: list[int]) -> str:
        """Post *fds* again, which stay the caller's; what came of it."""
        try:
            with connect(self.directory, changes=True) as board:
                told = [
                    _post(board, name, was, fd)
                    for name, was, fd in zip(self.names, self.before, fds, strict=True)
                ]
        except PagsrvError as error:
            told = [f"{', '.join(self.names)} was taken and is lost: {error}"]
        return "; ".join(told)


def _make_room(count: int) -> None:
    made: list[int] = []
    try:
        for _ in range(count):
            made.append(os.open("/", os.O_PATH | os.O_CLOEXEC))  # noqa: PERF401 -- closed if it fails
    finally:
        for number in made:
            os.close(number)


def _post(board: Board, name: str, was: EntryView | None, fd: int) -> str:
    if was is None:
        return f"{name} was taken and is lost: you may not view it"
    full = f"{was.scope}/{was.name}"
    if was.owner.uid != os.geteuid():
        return f"{full} was taken and is lost: it was uid {was.owner.uid}'s to post"
    try:
        made = board.post(was.name, fd, scope=was.scope, mask=was.mask, labels=was.labels)
    except PagsrvError as error:
        return f"{full} was taken and is lost: {error}"
    ends = " ".join(one for one in was.until if one != _ALWAYS)
    without = f" without its end conditions ({ends})" if ends else ""
    return f"{full} is posted again{without}, generation {made.generation}"
