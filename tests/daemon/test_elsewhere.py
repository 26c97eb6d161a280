# SPDX-License-Identifier: MIT
"""Questions that hang, and the loop that goes on: who is answered, when, and what is let go.

The law: each question is answered or given up exactly once, and lets go of what it needed
exactly once, whatever order things come in. It refuses to know the clock: a sweep is called
when a test wants one.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from pagsrv.daemon.elsewhere import Elsewhere
from pagsrv.daemon.gids import GidNames

_SECONDS = 10


class Gate:
    """A question that hangs until it is opened."""

    def __init__(self, uid: int = 1000, *, is_open: bool = False) -> None:
        self.uid = uid
        self.dropped = 0
        self.told: list[object] = []
        self.hung = 0
        self._open = threading.Event()
        if is_open:
            self._open.set()

    def run(self) -> object:
        """Its answer, once it is open."""
        assert self._open.wait(_SECONDS)
        return self

    def drop(self) -> None:
        """Count it."""
        self.dropped += 1

    def open(self) -> None:
        """Let it be answered."""
        self._open.set()


class Broken(Gate):
    """A question with a bug in it."""

    def run(self) -> object:
        """Fail."""
        raise RuntimeError("a bug")


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """One of the test's own."""
    with closing(Elsewhere()) as one:
        yield one


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As with RLIMIT_NPROC or TasksMax used up, until it is undone."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return monkeypatch


def ask(elsewhere: Elsewhere, *gates: Gate) -> None:
    """Ask them, and note what is told of each."""

    def hang(gate: Gate) -> None:
        gate.hung += 1

    for gate in gates:
        elsewhere.ask(gate, gate.told.append, lambda gate=gate: hang(gate))  # type: ignore[misc]


def collect(elsewhere: Elsewhere, *gates: Gate) -> None:
    """Collect answers until each of *gates* has its own."""
    while not all(gate.told for gate in gates):
        assert select.select([elsewhere.fileno()], [], [], _SECONDS)[0]
        elsewhere.collect()


def test_many_are_answered_however_few_threads(elsewhere: Elsewhere) -> None:
    """More than may run at once wait their turn, and nobody hears twice."""
    gates = [Gate(number % 3, is_open=True) for number in range(100)]
    ask(elsewhere, *gates)
    collect(elsewhere, *gates)
    assert all(gate.told == [gate] for gate in gates)
    assert not any(gate.dropped or gate.hung for gate in gates)


def test_one_that_hangs_is_told_late_and_answered_in_the_end(elsewhere: Elsewhere) -> None:
    """The first sweep may come right after it was asked; the second finds it late."""
    gate = Gate()
    ask(elsewhere, gate)
    elsewhere.sweep()
    assert (gate.hung, gate.told) == (0, [])
    elsewhere.sweep()
    elsewhere.sweep()
    assert (gate.hung, gate.told) == (1, [])
    gate.open()
    collect(elsewhere, gate)
    assert (gate.hung, gate.told, gate.dropped) == (1, [gate], 0)


def test_who_waits_behind_those_that_hang_is_given_up(elsewhere: Elsewhere) -> None:
    """It was never asked, and lets go; the next is refused at once; other uids are served."""
    hanging, behind, later = [Gate() for _ in range(4)], Gate(), Gate()
    ask(elsewhere, *hanging, behind)
    other = Gate(2000, is_open=True)
    ask(elsewhere, other)
    collect(elsewhere, other)
    elsewhere.sweep()
    elsewhere.sweep()
    assert (behind.told, behind.dropped, behind.hung) == ([None], 1, 0)
    ask(elsewhere, later)
    assert (later.told, later.dropped) == ([None], 1)
    for gate in hanging:
        gate.open()
    collect(elsewhere, *hanging)
    again = Gate(is_open=True)
    ask(elsewhere, again)
    collect(elsewhere, again)
    assert again.told == [again]


def test_no_thread_is_to_be_had_for_a_while(
    elsewhere: Elsewhere, no_threads: pytest.MonkeyPatch
) -> None:
    """As many as may hang at once: they are asked once there is one, and so is what comes later."""
    gates = [Gate(is_open=True) for _ in range(4)]
    ask(elsewhere, *gates)
    elsewhere.sweep()
    elsewhere.sweep()
    assert [gate.hung for gate in gates] == [1] * 4
    no_threads.undo()
    elsewhere.sweep()
    collect(elsewhere, *gates)
    again = Gate(is_open=True)
    ask(elsewhere, again)
    collect(elsewhere, again)


def test_no_thread_is_to_be_had_for_a_gid(no_threads: pytest.MonkeyPatch) -> None:
    """Nobody's connection ends by that, and it is asked once there is one."""
    told: list[bool] = []
    with closing(GidNames()) as gids:
        gids.ask(0, lambda: told.append(True))
        no_threads.undo()
        gids.give_up()
        assert select.select([gids.fileno()], [], [], _SECONDS)[0]
        gids.collect()
        assert told
        assert gids.named(0)


def test_a_bug_in_a_question_is_not_the_threads_end(
    elsewhere: Elsewhere, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is told as no answer, and the next is asked."""
    broken, gate = Broken(), Gate(is_open=True)
    ask(elsewhere, broken, gate)
    collect(elsewhere, broken, gate)
    assert (broken.told, gate.told) == ([None], [gate])
    assert "a bug" in capfd.readouterr().err


def test_closing_lets_go_of_who_waits() -> None:
    """Nothing that was not asked keeps what it needed."""
    elsewhere = Elsewhere()
    hanging, behind = [Gate() for _ in range(4)], Gate()
    ask(elsewhere, *hanging, behind)
    for gate in (*hanging, behind):
        gate.open()
    collect(elsewhere, *hanging, behind)
    more = [Gate() for _ in range(5)]
    ask(elsewhere, *more)
    elsewhere.close()
    assert sum(gate.dropped for gate in more) == 1
    for gate in more:
        gate.open()
