# SPDX-License-Identifier: MIT
"""The turns of nonces: at most one is out per ring, the others wait in line.

The law: two proofs of one ring at once would overwrite each other's proof key,
so the second is asked only when the first is done, failed, gone or too old. Who
did not say which ring it will prove excludes all others of its uid. It refuses
to know what a nonce looks like and how a proof is checked.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field

from pagsrv.limits import NONCE_LIFE, NONCE_SECONDS
from pagsrv.model import PeerId


class Turn(Struct):
    """One peer's turn at one ring (None: it did not say which); *until* in boot seconds."""

    peer: PeerId
    uid: int
    ring: int | None
    until: float = 0.0


class _Line(Struct):
    out: dict[int | None, Turn] = field(default_factory=dict)
    waiting: deque[Turn] = field(default_factory=deque)


class Nonces:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._turns: dict[PeerId, Turn] = {}

    def ask(self, peer: PeerId, uid: int, ring: int | None) -> None:
        """Queue *peer* up; `ready` says when its turn has come."""
        self.done(peer)
        turn = self._turns[peer] = Turn(peer, uid, ring)
        self._lines.setdefault(uid, _Line()).waiting.append(turn)

    def out(self, peer: PeerId, now: float) -> Turn | None:
        """The turn *peer* has at *now*, if its nonce is out and not too old."""
        turn = self._turns.get(peer)
        if turn is None or not turn.until or now >= turn.until - NONCE_SECONDS + NONCE_LIFE:
            return None
        return turn

    def done(self, peer: PeerId) -> None:
        """*peer*'s turn is over, whatever came of it."""
        turn = self._turns.pop(peer, None)
        if turn is None:
            return
        line = self._lines[turn.uid]
        if line.out.get(turn.ring) is turn:
            del line.out[turn.ring]
        else:
            line.waiting.remove(turn)
        if not line.out and not line.waiting:
            del self._lines[turn.uid]

    def ready(self, now: float) -> list[PeerId]:
        """The peers whose turn comes now; each has NONCE_SECONDS from now on."""
        found: list[PeerId] = []
        for uid in list(self._lines):
            line = self._lines[uid]
            if line.waiting:
                for turn in [turn for turn in _in_the_way(line) if turn.until <= now]:
                    self.done(turn.peer)
                found += self._next(line, now)
        return found

    @staticmethod
    def _next(line: _Line, now: float) -> list[PeerId]:
        found: list[PeerId] = []
        held: set[int | None] = set()
        for turn in list(line.waiting):
            busy = line.out.keys() | held
            if None in busy or turn.ring in busy or (turn.ring is None and busy):
                held.add(turn.ring)
                if None in held:
                    break
                continue
            line.waiting.remove(turn)
            turn.until = now + NONCE_SECONDS
            line.out[turn.ring] = turn
            found.append(turn.peer)
        return found

    def next_deadline(self) -> float | None:
        """When a nonce somebody waits for gets too old, in boot seconds."""
        ages = (turn.until for line in self._lines.values() for turn in _in_the_way(line))
        return min(ages, default=None)


def _in_the_way(line: _Line) -> list[Turn]:
    """The turns that somebody waits behind; the others may last."""
    awaited = {turn.ring for turn in line.waiting}
    return [
        turn
        for turn in line.out.values()
        if awaited and (turn.ring is None or turn.ring in awaited or None in awaited)
    ]
