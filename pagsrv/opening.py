# SPDX-License-Identifier: MIT
"""Opening and taking: the very same open file for whoever holds the rights.

The law: what is opened is lent and stays the board's, what is taken is given and
leaves it in the same moment; of several names it is all or none. It refuses to
know how a handle travels.
"""

from __future__ import annotations

from collections import Counter

from pagsrv.board import Board, assigned
from pagsrv.effects import Answer, Drop, Effect
from pagsrv.errors import InvalidParameter, NoEntry
from pagsrv.limits import MESSAGE_FDS
from pagsrv.masks import READ, SEARCH, SETATTR
from pagsrv.messages import Opened, OpenedMany
from pagsrv.model import Entry, H, Moment, Peer
from pagsrv.names import Reference, parse_reference

OPENED = Opened(0)
_OPEN = SEARCH | READ
_TAKE = SEARCH | READ | SETATTR


def open_one(board: Board[H], peer: Peer, reference: Reference, when: Moment) -> list[Effect[H]]:
    """Lend the entry's handle."""
    entry = board.find(peer, reference, _OPEN)
    answer: Answer[H] = Answer(peer.id, OPENED, lend=(assigned(entry),))
    if peer.asker is None:
        answer.standing = _lasting(entry)
    return [answer, *opened(board, entry, peer, when)]


def take_one(board: Board[H], peer: Peer, reference: Reference, when: Moment) -> list[Effect[H]]:
    """Give the entry's handle away and remove the entry."""
    entry = board.find(peer, reference, _TAKE)
    answer: Answer[H] = Answer(peer.id, OPENED, give=(assigned(entry),))
    return [answer, *_taken(board, entry, peer, when)]


def open_many(board: Board[H], peer: Peer, names: list[str], when: Moment) -> list[Effect[H]]:
    """Lend several handles in one reply: all or none."""
    found = _find_many(board, peer, names, _OPEN)
    lend = tuple(assigned(entry) for entry in found)
    check_turns(found)
    answer: Answer[H] = Answer(peer.id, OpenedMany(list(range(len(lend)))), lend=lend)
    answer.standing = _lasting(*found)
    effects: list[Effect[H]] = [answer]
    for entry in found:
        effects += opened(board, entry, peer, when)
    return effects


def check_turns(found: list[Entry[H]]) -> None:
    """NoEntry if one of *found* may not be opened as often as it is in there."""
    for entry, times in Counter(found).items():
        if entry.turns is not None and times > entry.turns:
            raise NoEntry(f"{entry.scope}/{entry.name} may be opened {entry.turns} times more")


def check_many(names: list[str]) -> None:
    """InvalidParameter for no names, or more than one message carries descriptors."""
    if not 0 < len(names) <= MESSAGE_FDS:
        raise InvalidParameter(
            "names", f"give 1 to {MESSAGE_FDS} names: one message carries no more descriptors"
        )


def _lasting(*entries: Entry[H]) -> tuple[Entry[H], ...]:
    """*entries* if nothing but a change of the board ends their being open to the asker."""
    if any(entry.deadline is not None or entry.turns is not None for entry in entries):
        return ()
    return entries


def take_many(board: Board[H], peer: Peer, names: list[str], when: Moment) -> list[Effect[H]]:
    """Give several handles away in one reply: all or none."""
    found = _find_many(board, peer, names, _TAKE)
    if len(set(found)) != len(found):
        raise InvalidParameter("names", "one entry is named twice, and it can be taken once")
    give = tuple(assigned(entry) for entry in found)
    effects: list[Effect[H]] = [Answer(peer.id, OpenedMany(list(range(len(give)))), give=give)]
    for entry in found:
        effects += _taken(board, entry, peer, when)
    return effects


def _find_many(board: Board[H], peer: Peer, names: list[str], need: int) -> list[Entry[H]]:
    check_many(names)
    return [board.find(peer, parse_reference(name, "names"), need) for name in names]


def opened(
    board: Board[H], entry: Entry[H], peer: Peer, when: Moment, why: str = ""
) -> list[Effect[H]]:
    """Account for one open of *entry*; it may have been the last it was good for."""
    entry.opens += 1
    if entry.opener is not peer.id or peer.asker is not None:
        entry.opened_by(peer)
    entry.last_opened = when.wall
    board.opens += 1
    board.note("opened", entry, peer, why)
    if entry.turns is None:
        return []
    entry.turns -= 1
    return board.end(entry, "opens", peer) if entry.turns == 0 else []


def _taken(board: Board[H], entry: Entry[H], peer: Peer, when: Moment) -> list[Effect[H]]:
    handle = entry.handle
    entry.opens += 1
    entry.last_opened = when.wall
    board.opens += 1
    board.note("taken", entry, peer)
    return [Drop(one) for one in board.store.remove(entry) if one is not handle]
