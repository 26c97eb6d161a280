# SPDX-License-Identifier: MIT
"""What only the blocking face has: interruption, fork, the path that is written out.

The law: a call left in the middle never hands its answer to the next one.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pagsrv
from tests.client.peer import HELLO, Say, scripted
from tests.running import Running

OPENED = b'{"parameters":{"fd":0}}'


class Interrupted(Exception):
    """Raised by the signal handler, as KeyboardInterrupt is."""


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """A function for another thread that makes this one raise Interrupted."""

    def raised(*_: object) -> None:
        raise Interrupted

    mine = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, raised)
    yield lambda: signal.pthread_kill(mine, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


CALLS: dict[str, Callable[[pagsrv.Board], object]] = {
    "open": lambda board: board.open("x"),
    "stat": lambda board: board.stat("x"),
    "open_many": lambda board: board.open_many(["x"]),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupted_call_ends_the_connection(
    short_tmp: Path, call: str, interrupt: Callable[[], None]
) -> None:
    """The handler's exception comes through, and afterwards the board says what happened."""
    with scripted(short_tmp, [HELLO, [interrupt]]) as peer:
        board = pagsrv.connect(peer.dir, scopes=["user"], changes=True)
        with pytest.raises(Interrupted):
            CALLS[call](board)
        for one in CALLS.values():
            with pytest.raises(pagsrv.NoBroker, match="in the middle of a call"):
                one(board)
        board.close()


def test_an_interrupted_wait_harms_nothing(short_tmp: Path, interrupt: Callable[[], None]) -> None:
    """wait() has a connection of its own, so the board goes on."""
    with (
        scripted(short_tmp, [HELLO], [[interrupt]]) as peer,
        pagsrv.connect(peer.dir, scopes=["user"], changes=True) as board,
    ):
        with pytest.raises(Interrupted):
            board.wait("x")
        assert board.fileno() >= 0


def test_a_child_may_look_and_open_and_not_change(broker: Running, name: str) -> None:
    """The connection is its maker's: what fork() gave away is refused changes."""
    with pagsrv.connect(broker.dir, scopes=["user"], changes=True) as board:
        with open(os.devnull, "rb") as null:
            board.post(name, null, scope="user")
        child = os.fork()
        if child == 0:
            board.open(name).close()
            try:
                board.remove(name)
            except pagsrv.Denied:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        board.remove(name)


def test_names_opened_before_are_kept_to_a_bound(short_tmp: Path) -> None:
    """However many names are opened, the packets kept stay few."""
    opens = 10
    answers = [[Say(OPENED, 1)] for _ in range(opens)]
    with (
        scripted(short_tmp, [HELLO, *answers]) as peer,
        pytest.MonkeyPatch.context() as patch,
        pagsrv.connect(peer.dir, scopes=["user"], changes=True) as board,
    ):
        patch.setattr("pagsrv.client.blocking._PACKETS", 4)
        for number in range(opens):
            board.open(f"name-{number}").close()
            assert len(board._packets) <= 4
    assert peer.heard[1] == b'{"method":"org.pagsrv.Board.Open","parameters":{"name":"name-0"}}'


def test_a_watch_can_be_waited_for_with_others(own_broker: Running, name: str) -> None:
    """Events and Board have a fileno that poll(2) takes: readable events, a broker that is gone."""
    with (
        pagsrv.connect(own_broker.dir, scopes=["user"]) as board,
        board.watch("user") as events,
    ):
        poll = select.poll()
        poll.register(events, select.POLLIN)
        poll.register(board, select.POLLIN)
        assert poll.poll(0) == []
        board.create(name, scope="user")
        assert poll.poll(20_000) == [(events.fileno(), select.POLLIN)]
        assert next(events).name == name


def test_a_watch_that_is_let_go_is_closed(broker: Running) -> None:
    """`for event in board.watch()` needs no more than that."""
    with pagsrv.connect(broker.dir, scopes=["user"]) as board:
        for event in board.watch("user", initial=True):
            if event.event == "live":
                break
        iterator = iter(board.watch())
        iterator.close()
        with pytest.raises(ValueError, match="closed"):
            next(iterator)
