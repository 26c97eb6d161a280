# SPDX-License-Identifier: MIT
"""Ends by what a process does: exec, setsid, uid; and by its session's last process.

The law: just the entries that said so end, with the word they said; an exit does not stand
for a deed, nor a deed for an exit.
"""

from __future__ import annotations

import pytest

from pagsrv.ends import DEEDS, Deed
from pagsrv.errors import Denied, InvalidParameter
from pagsrv.messages import Watch
from pagsrv.model import Peer, Process, Witness
from pagsrv.names import Scope
from tests.pure import Ends, Table

USER = Scope("user", 1000)
SESSION = Scope("session", 5)
WHO = 42


class Deeds:
    """A table with a poster, a watcher, and one process that entries name."""

    def __init__(self) -> None:
        self.table = Table()
        self.poster: Peer = self.table.join(session=5)
        self.watcher = self.table.join()
        self.table.call(self.watcher, Watch())
        self.who: Witness[int] = self.table.witness(pid=WHO)

    def post(self, name: str, *words: str) -> Process[int]:
        """An entry that ends so, of that one process."""
        self.who.handle = self.table.number()
        self.table.post(self.poster, name, until=Ends(words, (self.who,) * len(words)))
        return self.table.entry(USER, name).waits[0]

    def ended(self) -> list[tuple[str, str]]:
        """Which entries have just ended, and why."""
        return [
            (name, why) for what, name, why in self.table.heard(self.watcher) if what == "ended"
        ]

    def wanted(self) -> dict[int, set[Deed]]:
        """What is to be told of whom."""
        return self.table.broker.board.store.processes.wanted()


@pytest.mark.parametrize("deed", DEEDS)
def test_deed_ends_what_names_it(deed: Deed) -> None:
    """And no entry that waits for another deed, for the exit, or for another process."""
    deeds = Deeds()
    process = deeds.post("mine", "exit", deed)
    other = next(one for one in DEEDS if one != deed)
    deeds.post("other", other)
    deeds.post("exits", "exit")
    deeds.who = deeds.table.witness(pid=WHO + 1)
    deeds.post("neighbour", deed)
    assert deeds.wanted() == {WHO: {deed, other}, WHO + 1: {deed}}
    deeds.table.did(deeds.table.broker.did(process, deed, deeds.table.now))
    assert deeds.ended() == [("mine", deed)]
    assert deeds.wanted() == {WHO: {other}, WHO + 1: {deed}}


def test_exit_is_no_deed() -> None:
    """It ends what said exit; what said exec stays, and nobody listens for a dead process."""
    deeds = Deeds()
    process = deeds.post("stays", "exec")
    deeds.post("goes", "uid", "exit")
    deeds.table.did(deeds.table.broker.exited(process, deeds.table.now))
    assert deeds.ended() == [("goes", "exit")]
    assert deeds.wanted() == {}
    assert deeds.table.names(deeds.poster) == {"user:1000/stays"}


def test_number_given_away_is_nobodys() -> None:
    """What the next process of that number does is its own, though the exit is not heard of yet."""
    deeds = Deeds()
    first = deeds.post("x", "exec")
    processes = deeds.table.broker.board.store.processes
    processes.renumbered(first)
    assert processes.heeded == {}
    deeds.who = deeds.table.witness(pid=WHO)
    second = deeds.post("y", "exec")
    assert processes.heeded == {WHO: second}
    # The first one's exit, and its entry's end, leave the second alone.
    deeds.table.did(deeds.table.broker.exited(first, deeds.table.now))
    deeds.table.did(deeds.table.broker.board.end(deeds.table.entry(USER, "x"), "removed"))
    assert processes.heeded == {WHO: second}
    deeds.table.did(deeds.table.broker.did(second, "exec", deeds.table.now))
    assert deeds.ended() == [("x", "removed"), ("y", "exec")]


def test_what_was_overlooked_ends() -> None:
    """Not known is not allowed: each entry that a deed may have ended goes, and says why."""
    deeds = Deeds()
    deeds.post("one", "exec", "uid")
    deeds.post("other", "exit")
    deeds.table.did(deeds.table.broker.overlooked("events were dropped", deeds.table.now))
    assert deeds.ended() == [("one", "exec, uid: events were dropped")]
    assert deeds.wanted() == {}


def test_replacing_takes_new_conditions() -> None:
    """The process of the old ones is not heeded any more."""
    deeds = Deeds()
    deeds.post("x", "setsid")
    deeds.who = deeds.table.witness(pid=WHO + 1)
    deeds.table.post(deeds.poster, "x", until=Ends(("uid",), (deeds.who,)), replace=True)
    assert deeds.wanted() == {WHO + 1: {"uid"}}
    deeds.table.post(deeds.poster, "x", until=Ends(()), replace=True)
    assert deeds.wanted() == {}


@pytest.mark.parametrize("deed", DEEDS)
def test_process_is_of_ones_own(deed: Deed) -> None:
    """Another uid's is Denied; a pidfd of another process than the one named is refused."""
    table = Table()
    peer = table.join()
    with pytest.raises(Denied, match="uid 2000"):
        table.post(peer, "x", until=Ends((deed,), (table.witness(2000),)))
    with pytest.raises(InvalidParameter, match="pidfd of process 42"):
        table.post(peer, "x", until=Ends((f"{deed}=41",), (table.witness(pid=42),)))


def test_orphans_end_and_the_session_goes_on() -> None:
    """Those of that session that said so; the connections in it are left alone."""
    table = Table()
    peer, other, watcher = table.join(session=5), table.join(session=6), table.join()
    table.call(watcher, Watch())
    for who in (peer, other):
        table.post(who, "x", "session", until=Ends(("orphan",)))
    table.post(peer, "y", "session")
    assert table.entry(SESSION, "x").until == ("orphan", "revoked")
    table.did(table.broker.orphaned(SESSION, table.now))
    assert table.heard(watcher) == [("ended", "x", "orphan")]
    assert table.hung_up() == set()
    assert table.names(peer, "session") == {"session:5/y"}
    assert list(table.broker.board.store.orphans) == [Scope("session", 6)]
    assert table.did(table.broker.orphaned(SESSION, table.now)) == []
