# SPDX-License-Identifier: MIT
"""Changing what is there: remove, rename, mask, timeout, grants.

The law: shape, right, existence, answer, mutate; a refusal changes nothing. It
refuses to know descriptors: removing hands them back as effects.
"""

from __future__ import annotations

from pagsrv.board import Board, assigned
from pagsrv.effects import Answer, Effect
from pagsrv.ends import Ask
from pagsrv.errors import InvalidParameter, NoEntry, NoSession, QuotaExceeded
from pagsrv.limits import TTL_SECONDS
from pagsrv.masks import LINK, SETATTR, parse_mask
from pagsrv.messages import (
    Grant,
    Remove,
    Rename,
    Reply,
    SetMask,
    SetTimeout,
    Ungrant,
)
from pagsrv.model import Given, H, Moment, Peer
from pagsrv.names import Scope, parse_name, parse_scope
from pagsrv.store import Namespace

DONE = Reply()


def remove(board: Board[H], peer: Peer, request: Remove) -> list[Effect[H]]:
    """Withdraw an entry."""
    entry = board.find(peer, board.reference(request.name, request.scope), SETATTR)
    board.expect(entry, request.expect)
    return [Answer(peer.id, DONE), *board.end(entry, "removed", peer)]


def rename(board: Board[H], peer: Peer, request: Rename) -> list[Effect[H]]:
    """Give an entry another name in its scope."""
    name = parse_name(request.to, "to")
    entry = board.find(peer, board.reference(request.name, request.scope), SETATTR)
    board.expect(entry, request.expect)
    before = entry.name
    board.store.rename(entry, name)
    board.note("renamed", entry, peer, f"was {before}")
    return [board.shown(peer, entry)]


def set_mask(board: Board[H], peer: Peer, request: SetMask) -> list[Effect[H]]:
    """Change who may do what."""
    mask = parse_mask(request.mask)
    entry = board.find(peer, board.reference(request.name, request.scope), SETATTR)
    board.expect(entry, request.expect)
    before = board.watches.hearers(entry)
    entry.mask = mask
    board.store.touch(entry)
    board.note("changed", entry, peer, "mask", before)
    return [board.shown(peer, entry)]


def set_timeout(board: Board[H], peer: Peer, request: SetTimeout, when: Moment) -> list[Effect[H]]:
    """Let an entry end some seconds from now, or no longer by time."""
    seconds = request.seconds
    if not 0 <= seconds <= TTL_SECONDS:
        raise InvalidParameter("seconds", f"give 0 to {TTL_SECONDS} seconds; 0 clears the timeout")
    entry = board.find(peer, board.reference(request.name, request.scope), SETATTR)
    assigned(entry)
    words = [word for word in entry.until if not word.startswith("ttl=")]
    if seconds:
        words.insert(0, str(Ask("ttl", seconds)))
    entry.until = tuple(words)
    board.store.set_deadline(entry, when.boot + seconds if seconds else None)
    board.store.touch(entry)
    board.note("changed", entry, peer, "timeout")
    return [board.shown(peer, entry)]


def grant(board: Board[H], peer: Peer, request: Grant, given: Given[H]) -> list[Effect[H]]:
    """Let another scope's members see and open an entry by its full name."""
    scope = _exact(request.to, "to")
    entry = board.find(peer, board.reference(request.name, request.scope), LINK)
    assigned(entry)
    if scope == entry.scope:
        raise InvalidParameter("to", f"{scope} is the entry's own scope: it needs no grant")
    if scope in entry.grants:
        return [Answer(peer.id, DONE)]
    space = _guest(board, scope, given, entry.uid)
    try:
        board.store.grant(entry, space)
    except QuotaExceeded:
        board.store.discard(space)
        raise
    board.note("granted", entry, peer, f"to {scope}")
    return [Answer(peer.id, DONE)]


def _exact(text: str, parameter: str) -> Scope:
    scope = parse_scope(text, parameter)
    if not isinstance(scope, Scope):
        raise InvalidParameter(
            parameter, f"say exactly whose: {text}:N with the number `pagsrv whoami` shows there"
        )
    return scope


def _guest(board: Board[H], scope: Scope, given: Given[H], payer: int) -> Namespace[H]:
    known = board.store.spaces.get(scope)
    if known is not None:
        return known
    if scope.kind != "session":
        uid = scope.number if scope.kind == "user" else payer
        return board.store.namespace(scope, uid, "none", payer)
    ring = given.ring
    if ring is None or ring.state != "live" or not ring.is_keyring:
        state = "not there for this broker to see" if ring is None else ring.state
        raise NoSession(f"{scope} cannot be granted to: its keyring is {state}")
    return board.store.namespace(scope, ring.uid, given.isolation, payer)


def ungrant(board: Board[H], peer: Peer, request: Ungrant) -> list[Effect[H]]:
    """End a grant."""
    scope = _exact(request.from_, "from")
    entry = board.find(peer, board.reference(request.name, request.scope), LINK)
    assigned(entry)
    if scope not in entry.grants:
        raise NoEntry(f"{entry.scope}/{entry.name} is not granted to {scope}")
    before = board.watches.hearers(entry)
    board.store.ungrant(entry, scope)
    board.note("ungranted", entry, peer, f"from {scope}", before)
    return [Answer(peer.id, DONE)]
