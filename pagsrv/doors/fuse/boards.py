# SPDX-License-Identifier: MIT
"""Connections to the broker, one for each call that is under way.

The law: one that the broker has hung up on is never used again, so that a broker that was
started anew is found at the next call; nothing is said twice. It refuses to know the calls.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from select import POLLIN, poll
from typing import TYPE_CHECKING

from pagsrv.client import blocking
from pagsrv.errors import Refused

if TYPE_CHECKING:
    from pagsrv.client.blocking import Board


class Boards:
    """Owns the connections that are not lent. For any thread."""

    def __init__(self, directory: str | None, words: Sequence[str] | None) -> None:
        self._directory, self._words = directory, words
        self._lock = threading.Lock()
        self._idle: list[Board] = []

    @contextmanager
    def lend(self) -> Iterator[Board]:
        """A connection that lives, as far as is known. NoBroker, Denied."""
        board = self._taken() or blocking.connect(self._directory, scopes=self._words, changes=True)
        try:
            yield board
        except Refused:
            self._back(board)
            raise
        except BaseException:
            board.close()
            raise
        else:
            self._back(board)

    def _taken(self) -> Board | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                board = self._idle.pop()
            try:
                look = poll()
                look.register(board.fileno(), POLLIN)
                # Nothing is due on it, but a hang-up.
                if not look.poll(0):
                    return board
            except ValueError:
                pass  # it was closed in the middle of a call
            board.close()

    def _back(self, board: Board) -> None:
        with self._lock:
            self._idle.append(board)

    def close(self) -> None:
        """Hang up on all that are not lent."""
        with self._lock:
            idle, self._idle = self._idle, []
        for board in idle:
            board.close()
