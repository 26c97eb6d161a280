# SPDX-License-Identifier: MIT
"""Questions that may wait for whoever has what they ask about: asked outside the loop.

The law: a question has a thread to itself and the loop goes on; one that has no answer in
time is given up and its thread left to wait, and nobody's waiting threads keep others from
asking: each uid has a few, and there is an end to them all. A question owns what it needs
and lets go of it, asked or not. It refuses to know what is asked.
"""

from __future__ import annotations

import os
import queue
from _thread import allocate_lock
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from pagsrv.daemon.log import log

_EACH, _MOST = 4, 64
"""So many threads for questions about one uid's things, and for all of them."""


class Question(Protocol):
    """Something to be asked about a thing of *uid*'s."""

    uid: int

    def run(self) -> object:
        """Ask, in a thread, and let go of what it needed; what it raises is a bug."""

    def drop(self) -> None:
        """It will not be asked: let go, in the loop."""


class _Bug(NamedTuple):
    """What a question raised; an exception that it returned is an answer."""

    error: Exception


class _Asked:
    """A question on its way."""

    __slots__ = ("hangs", "late", "question", "running", "seen", "then")

    def __init__(
        self, question: Question, then: Callable[[object], None], hangs: Callable[[], None]
    ) -> None:
        self.question = question
        self.then = then
        self.hangs = hangs
        self.running = False
        self.seen = False
        self.late = False


class Elsewhere:
    """Threads that ask, made when they are needed; `fileno` is readable when an answer is due."""

    def __init__(self) -> None:
        self._questions: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[_Asked, object]] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = allocate_lock()  # of _wake: its number is somebody else's once it is closed
        self._open: dict[_Asked, None] = {}
        self._waiting: dict[int, deque[_Asked]] = {}
        self._running: Counter[int] = Counter()
        self._late: Counter[int] = Counter()
        self._threads = 0

    def fileno(self) -> int:
        """The eventfd that tells of answers; owned here."""
        return self._wake

    def ask(
        self, question: Question, then: Callable[[object], None], hangs: Callable[[], None]
    ) -> None:
        """Call *then* with the answer, whenever it comes, and *hangs* if that takes too long.

        Both in the loop. *then* gets None, maybe at once, if the question could not be asked,
        for one because as many of that uid's hang already as may.
        """
        uid = question.uid
        if self._late[uid] >= _EACH:
            question.drop()
            then(None)
            return
        asked = _Asked(question, then, hangs)
        self._open[asked] = None
        if self._running[uid] < _EACH:
            self._begin(asked)
        else:
            self._waiting.setdefault(uid, deque()).append(asked)

    def _begin(self, asked: _Asked) -> None:
        asked.running = True
        self._running[asked.question.uid] += 1
        self._questions.put(asked)
        self._start()

    def _start(self) -> None:
        """One thread more, if there are fewer than questions."""
        if self._running.total() > self._threads < _MOST:
            import threading  # noqa: PLC0415 -- most brokers are never asked such a thing

            # RuntimeError: no more threads for now; the next sweep tries again.
            with suppress(RuntimeError):
                threading.Thread(target=self._work, name="asking", daemon=True).start()
                self._threads += 1

    def _work(self) -> None:
        while True:
            asked = self._questions.get()
            try:
                answer = asked.question.run()
            except Exception as error:  # noqa: BLE001 -- a bug of that question's alone
                answer = _Bug(error)
            self._answers.put((asked, answer))
            with self._lock:
                if self._wake >= 0:
                    os.eventfd_write(self._wake, 1)

    def collect(self) -> None:
        """Take the answers that have come and call back who waits for them."""
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return
        while not self._answers.empty():
            asked, answer = self._answers.get()
            self._end(asked)
            if isinstance(answer, _Bug):
                log("bug", why=repr(answer.error))
                answer = None
            asked.then(answer)

    def _end(self, asked: _Asked) -> None:
        uid = asked.question.uid
        self._open.pop(asked, None)
        self._running[uid] -= 1
        self._late[uid] -= asked.late
        waiting = self._waiting.get(uid)
        if waiting:
            self._begin(waiting.popleft())
        else:
            self._waiting.pop(uid, None)
            if not self._running[uid]:
                del self._running[uid], self._late[uid]

    def sweep(self) -> None:
        """Be done with what was there at the last time already; once a second."""
        for asked in [one for one in self._open if one.seen]:
            del self._open[asked]
            if asked.running:
                asked.late = True
                self._late[asked.question.uid] += 1
                asked.hangs()
            else:
                self._waiting[asked.question.uid].remove(asked)
                asked.question.drop()
                asked.then(None)
        for asked in self._open:
            asked.seen = True
        self._start()

    def close(self) -> None:
        """Ask nothing more; a thread that still waits ends with the process."""
        for waiting in self._waiting.values():
            for asked in waiting:
                asked.question.drop()
        with self._lock:
            os.close(self._wake)
            self._wake = -1
