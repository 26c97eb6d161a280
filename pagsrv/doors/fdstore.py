# SPDX-License-Identifier: MIT
"""A service manager's store of descriptors: entries go there, and come back as entries.

The law: what lies open to more processes in the store than on the board goes there only if
that is said; a name that the other side could not hold is refused before anything is
sent or posted; what was half imported is taken back. It refuses to know who the manager is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from pagsrv.errors import Denied, InvalidParameter, PagsrvError
from pagsrv.kernel import manager
from pagsrv.kernel.manager import NAME_BYTES, ManagerFault
from pagsrv.names import parse_name

if TYPE_CHECKING:
    from pagsrv.client.blocking import Board
    from pagsrv.kernel.manager import Passed
    from pagsrv.messages import EntryView

_PATIENCE = 10.0
"""Seconds for the manager to read what was sent to it."""


# ---- export --------------------------------------------------------------------------------------


def export(
    board: Board, names: Sequence[str], scope: str | None, *, replace: bool, exposed: bool
) -> None:
    """Send what *names* are on the *board* to the store of this service's manager.

    *replace*: what the store has under a name goes first. *exposed*: also where every process of
    our uid could take it from the store. What the manager keeps it does not say: it has read all
    when this returns. ManagerFault, InvalidParameter, Denied, and what the board refuses.
    """
    if not manager.is_there():
        raise ManagerFault(
            "no service manager listens: NOTIFY_SOCKET is not set; run this in a service that has "
            "FileDescriptorStoreMax= and NotifyAccess=all"
        )
    entries = [board.stat(name, scope) for name in names]
    for entry in entries:
        _check_name(entry.name)
    _check_room(len(entries))
    if not exposed:
        _check_keeper(entries)
    with ExitStack() as stack:
        fds = [
            stack.enter_context(board.open(entry.name, entry.scope)).fileno() for entry in entries
        ]
        try:
            for entry, fd in zip(entries, fds, strict=True):
                _send(entry, fd, replace=replace)
            read = manager.barrier(_PATIENCE)
        except OSError as error:
            raise ManagerFault(
                f"the service manager cannot be told: {error.strerror or 'it does not read'}"
            ) from None
    if not read:
        raise ManagerFault(
            f"the service manager has not read in {_PATIENCE:.0f} s what was sent; whether it "
            "keeps it is not known"
        )


def _send(entry: EntryView, fd: int, *, replace: bool) -> None:
    name = f"FDNAME={entry.name}"
    if replace:
        manager.send(f"FDSTOREREMOVE=1\n{name}", seconds=_PATIENCE)
    # By itself the manager drops what hangs up: an entry stays then, unless it was asked not to.
    poll = "" if "hup" in entry.until else "\nFDPOLL=0"
    manager.send(f"FDSTORE=1\n{name}{poll}", [fd], seconds=_PATIENCE)


def _check_name(name: str) -> None:
    if not (name.isascii() and name.isprintable()) or ":" in name or len(name) > NAME_BYTES:
        raise InvalidParameter(
            "name", f"{name!r} cannot be FDNAME=, which is ASCII without a colon; rename it first"
        )


def _check_room(count: int) -> None:
    """What systemd 254 and newer says of the store's size; older ones do not."""
    told = os.environ.get("FDSTORE", "")
    if told.isascii() and told.isdigit() and int(told) < count:
        raise ManagerFault(
            f"the store takes {told} descriptors, and these are {count}: raise "
            "FileDescriptorStoreMax= of the service"
        )


def _check_keeper(entries: Sequence[EntryView]) -> None:
    """Denied if an entry of less than the uid would lie in a process of the uid's."""
    closer = [entry for entry in entries if not entry.scope.startswith("user:")]
    if not closer or manager.is_roots():
        return
    raise Denied(
        f"{closer[0].scope}/{closer[0].name} would lie open to every process of your uid: this "
        "service manager is not shown to be root's, and what it holds can be taken from it by any "
        "of them; say "
        "--user-manager if that is meant"
    )


# ---- import --------------------------------------------------------------------------------------


def passed() -> list[Passed]:
    """The descriptors this process was started with, the caller's, each with a name of its own.

    The second that is called web becomes web.2. ManagerFault if they are another process's.
    """
    used: set[str] = set()
    named = []
    for name, fd in manager.listen_fds(strict=True):
        own, number = name, 1
        while own in used:
            number += 1
            own = f"{name}.{number}"
        used.add(own)
        named.append(manager.Passed(own, fd))
    return named


def post(
    board: Board, given: Sequence[Passed], scope: str | None, *, replace: bool
) -> list[EntryView]:
    """Post what was *given*, the caller's still, under its names; what is refused is all refused.

    Then entries that were there before stay, with the descriptor they have got by *replace*.
    """
    for name, _ in given:
        parse_name(name)
    # Where a post without a scope goes; that it goes nowhere the first post says best.
    where = scope or board.whoami().default
    before = {entry.name for entry in board.list(where)} if where else set()
    posted: list[EntryView] = []
    try:
        for name, fd in given:
            posted.append(board.post(name, fd, scope=scope, replace=replace))
    except PagsrvError:
        for entry in posted:
            if entry.name not in before:
                with suppress(PagsrvError):
                    board.remove(entry.name, entry.scope, expect=entry.generation)
        raise
    return posted
