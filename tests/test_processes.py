# SPDX-License-Identifier: MIT
"""Processes: one handle each, owned while somebody uses it, charged to one uid.

The law: every handle handed in is owned here or still the caller's; the last use
and the exit hand it back, once.
"""

from __future__ import annotations

import pytest

from pagsrv.errors import QuotaExceeded
from pagsrv.facts import ProcessFacts
from pagsrv.model import Witness
from pagsrv.processes import Processes


def witness(pid: int, handle: int | None, inode: int | None = None) -> Witness[int]:
    """A process of uid 1000."""
    return Witness(
        ProcessFacts(pid, 1000, 1000, pid if inode is None else inode, f"p{pid}"), handle
    )


def test_one_process_has_one_handle() -> None:
    """The second witness of a process keeps its handle; the last use gives the first one back."""
    known: Processes[int] = Processes(10)
    first, new = known.adopt(1000, witness(1, 11))
    again, newer = known.adopt(1000, witness(1, 12))
    assert (first, True, False) == (again, new, newer)
    assert known.knows(witness(1, None))
    assert known.release(first) == []
    assert known.release(first) == [11]
    assert not known.knows(witness(1, None))


def test_exit_hands_the_handle_back_once() -> None:
    """After the exit there is nothing left to hand back, and nobody knows the process."""
    known: Processes[int] = Processes(10)
    process, _ = known.adopt(1000, witness(1, 11))
    assert known.exited(process) == ([], [11])
    assert not process.alive
    assert not known.knows(witness(1, None))
    assert known.release(process) == []


def test_pid_is_a_new_process_after_the_exit() -> None:
    """Without pidfs pids are all there is: the next process of that pid is not the dead one."""
    known: Processes[int] = Processes(10)
    dead, _ = known.adopt(1000, witness(1, 11, inode=0))
    known.exited(dead)
    successor, new = known.adopt(1000, witness(1, 12, inode=0))
    assert new
    assert successor is not dead
    assert known.release(dead) == []
    assert known.knows(witness(1, None, inode=0))
    assert known.release(successor) == [12]


def test_inode_tells_processes_of_one_pid_apart() -> None:
    """The kernel's name for good counts, not the pid alone."""
    known: Processes[int] = Processes(10)
    first, _ = known.adopt(1000, witness(1, 11, inode=100))
    second, _ = known.adopt(1000, witness(1, 12, inode=101))
    assert first is not second


def test_process_without_a_handle_gets_the_first_that_comes() -> None:
    """A poster that could not be followed can be as soon as somebody brings its pidfd."""
    known: Processes[int] = Processes(10)
    process, taken = known.adopt(1000, witness(1, None))
    assert not taken
    assert not process.alive
    assert not known.lives(witness(1, None))
    assert known.lives(witness(1, 11))
    same, taken = known.adopt(1000, witness(1, 11))
    assert (process, True, True) == (same, taken, process.alive)
    assert known.lives(witness(1, None))


def test_unknown_process_without_a_handle_does_not_live() -> None:
    """Its exit cannot be waited for, and waiting for it would never end."""
    known: Processes[int] = Processes(10)
    assert not known.lives(witness(1, None))
    assert known.lives(witness(1, 11))


def test_budget_counts_processes_not_uses() -> None:
    """A process counts once, to the uid that brought it, until its last use or its exit."""
    known: Processes[int] = Processes(2)
    known.admit(1000, [witness(1, 11), witness(1, 11), witness(2, 12)])
    one, _ = known.adopt(1000, witness(1, 11))
    known.adopt(1000, witness(1, 13))
    two, _ = known.adopt(1000, witness(2, 12))
    known.admit(1000, [witness(1, 14), witness(2, 15)])
    with pytest.raises(QuotaExceeded, match="2 processes"):
        known.admit(1000, [witness(3, 16)])
    known.admit(2000, [witness(3, 16)])
    known.exited(one)
    known.admit(1000, [witness(3, 16)])
    known.release(two)
    known.admit(1000, [witness(3, 16), witness(4, 17)])
