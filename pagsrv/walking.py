# SPDX-License-Identifier: MIT
"""Walking: what lies beneath a posted directory, opened and listed for whoever may open that.

The law: who may is judged before anything is looked at, and once more when it has been, so
that what ended meanwhile is not opened; of several names it is all or none. It refuses to
know files, and how anybody comes to have its poster's rights.
"""

from __future__ import annotations

from typing import Generic, cast

from msgspec import Struct, field

from pagsrv.board import Board, assigned
from pagsrv.effects import Answer, Effect, Errand, Step
from pagsrv.errors import Denied, InvalidParameter, NoEntry, Refused, Stale
from pagsrv.masks import READ, SEARCH, WRITE
from pagsrv.messages import Open, Opened, OpenedMany, OpenMany, Walk, Walked
from pagsrv.model import Entry, H, Moment, Peer
from pagsrv.names import Place, Reference, parse_place
from pagsrv.nodes import ASKED, Asked
from pagsrv.opening import check_many, check_turns, opened

_OPEN = SEARCH | READ


class Outcome(Struct, Generic[H]):
    """What came of an errand: a handle for each step, or what a listing shows, or why nothing."""

    handles: list[H] = field(default_factory=list)
    walked: Walked | None = None
    error: Refused | None = None


def is_walked(request: Open | OpenMany) -> bool:
    """Whether *request* may have to go beneath an entry: mostly it is seen to do no such thing."""
    if request.access is not None:
        return True
    names = [request.name] if isinstance(request, Open) else request.names
    return any("/" in name and parse_place(name).path is not None for name in names)


def walk(board: Board[H], peer: Peer, request: Open | OpenMany | Walk) -> list[Effect[H]]:
    """Have it looked at, if *peer* may; `reached` has the rest."""
    return [Errand(peer.id, peer, request, _steps(board, peer, request))]


def reached(
    board: Board[H], errand: Errand[H], outcome: Outcome[H], when: Moment
) -> list[Effect[H]]:
    """Answer, if the asker still may; the handles of *outcome* stay the caller's to drop."""
    peer, request = errand.peer, errand.request
    steps = _steps(board, peer, request)
    for now, then in zip(steps, errand.steps, strict=True):
        if now.entry is not then.entry or now.handle is not then.handle:
            raise Stale(f"{then.place} was replaced while it was looked at; try again")
    if outcome.error is not None:
        raise outcome.error
    if isinstance(request, Walk):
        return [Answer(peer.id, cast("Walked", outcome.walked))]
    check_turns([step.entry for step in steps])
    several = OpenedMany(list(range(len(steps))))
    reply = Opened(0) if isinstance(request, Open) else several
    effects: list[Effect[H]] = [Answer(peer.id, reply, lend=tuple(outcome.handles))]
    for step in steps:
        effects += opened(board, step.entry, peer, when, _why(step))
    return effects


def _why(step: Step[H]) -> str:
    """What was opened, for whoever watches; '' if it was the entry itself."""
    if step.place.path is None:
        return ""
    path = "/".join(step.place.path) or "."
    return path if step.access == "r" else f"{path}, for writing"


def _steps(board: Board[H], peer: Peer, request: Open | OpenMany | Walk) -> tuple[Step[H], ...]:
    """What *request* names, if *peer* may have it."""
    if isinstance(request, Walk):
        place = board.place(request.name, request.scope)
        return (_beneath(board, peer, place._replace(path=place.path or ()), "r"),)
    access = _access(request.access)
    if isinstance(request, Open):
        places = [board.place(request.name, request.scope)]
    else:
        check_many(request.names)
        places = [parse_place(name, "names") for name in request.names]
    return tuple(_step(board, peer, place, access) for place in places)


def _access(text: str | None) -> Asked | None:
    if text is None:
        return None
    for access in ASKED:
        if access == text:
            return access
    raise InvalidParameter("access", f"{text[:40]!r} is no access: say r, w or rw")


def _step(board: Board[H], peer: Peer, place: Place, access: Asked | None) -> Step[H]:
    if place.path is not None:
        return _beneath(board, peer, place, access or "r")
    if access is not None:
        raise InvalidParameter(
            "access",
            f"{place} is handed out as it was posted; access is for what lies beneath a directory",
        )
    entry = board.find(peer, place.reference, _OPEN)
    return Step(place, entry, assigned(entry))


def _beneath(board: Board[H], peer: Peer, place: Place, access: Asked) -> Step[H]:
    need = _OPEN | WRITE if "w" in access else _OPEN
    entry = board.find(peer, place.reference, need)
    handle = assigned(entry)
    full = Place(Reference(entry.scope, entry.name), place.path)
    _check_directory(entry, str(full.reference))
    return Step(full, entry, handle, access)


def _check_directory(entry: Entry[H], name: str) -> None:
    """Pass if one may go beneath *entry*."""
    facts, credentials = entry.facts, entry.credentials
    if facts is None or facts.kind != "dir":
        kind = "no directory" if facts is None else f"a {facts.kind} and no directory"
        raise NoEntry(f"{name} is {kind}, so nothing lies beneath it; `pagsrv stat` shows it")
    if facts.access is None:
        raise Denied(
            f"{name} was posted as a mere place (O_PATH), which shows no right to look inside; "
            "post the directory opened for reading"
        )
    why = "it is not known whose rights that takes" if credentials is None else credentials.why
    if why:
        raise Denied(f"nobody may go beneath {name}: {why}")
