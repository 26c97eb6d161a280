# SPDX-License-Identifier: MIT
"""The broker: who is admitted, what ends an entry, and where every handle goes.

The law: whatever is asked and whatever happens, in any order, a handle that came in
is stored, given or dropped, exactly once, and is lent only while it is stored; every
budget is what is really used, and is zero when all is over.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from pagsrv.errors import (
    Denied,
    InvalidParameter,
    NoEntry,
    QuotaExceeded,
    Refused,
)
from pagsrv.limits import Limits
from pagsrv.messages import Health, Open, Wait, Watch
from pagsrv.names import Scope
from tests.anything_done import AnythingDone
from tests.pure import Ends, Table, peer_of

USER = Scope("user", 1000)


def test_whatever_happens_every_handle_is_accounted_for() -> None:
    """Conservation, budgets, lookup order and who is told, over any sequence of events."""
    run_state_machine_as_test(
        AnythingDone, settings=settings(max_examples=120, stateful_step_count=40)
    )


# ── who is admitted ──


def test_users_broker_serves_its_user_only() -> None:
    """Root too is refused; root's broker serves everybody."""
    table = Table(uid=1000)
    for uid in (0, 2000):
        peer = table.connect(uid)
        with pytest.raises(Denied, match="serves uid 1000 only"):
            table.answer(peer).reply_or_raise()
        assert table.hung_up() == {peer.id}
    assert table.connect(1000).scopes == (USER,)
    assert table.effects == []
    everybody = Table(uid=0)
    for uid in (0, 1000, 2000):
        everybody.connect(uid)
        assert everybody.effects == []


def test_connections_have_a_budget() -> None:
    """Per uid; one that ends makes room, one turned away does once it is gone."""
    table = Table(limits=Limits(connections_per_uid=2))
    first, _ = table.connect(), table.connect()
    third = table.connect()
    with pytest.raises(QuotaExceeded, match="has 2 connections"):
        table.answer(third).reply_or_raise()
    table.connect(2000)
    assert table.effects == []
    table.leave(third)
    table.leave(first)
    table.connect()
    assert table.effects == []


def test_crowded_process_admits_nobody() -> None:
    """Its own limit of descriptors is kept free for those who are there."""
    table = Table()
    peer = peer_of()
    table.did(table.broker.welcome(peer, crowded=True))
    with pytest.raises(QuotaExceeded, match="limit of descriptors"):
        table.answer(peer).reply_or_raise()
    assert table.hung_up() == {peer.id}
    assert table.broker.refusals == 1


def test_leaving_twice_is_leaving_once() -> None:
    """The second time nobody is there."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", until=Ends(("lease",)))
    assert len(table.leave(peer)) == 2
    assert table.leave(peer) == []


# ── what is answered ──


def test_refusal_is_an_answer() -> None:
    """Counted, and the connection lives."""
    table = Table()
    peer = table.join()
    before = table.broker.calls
    with pytest.raises(NoEntry):
        table.open(peer, "x")
    assert (before + 1, 1) == (table.broker.calls, table.broker.refusals)
    assert table.broker.reasons == {"NoEntry": 1}
    assert table.hung_up() == set()


def test_daemons_own_calls_are_not_the_boards() -> None:
    """Health and the service interface are answered by the process around it."""
    table = Table()
    with pytest.raises(InvalidParameter, match="not the board's"):
        table.ask(table.join(), Health())


def test_standing_answer_is_accounted_for() -> None:
    """An open answered without asking counts, and watchers hear of it."""
    table = Table()
    peer, watcher = table.join(), table.join()
    table.post(peer, "x")
    entry = table.entry(USER, "x")
    epoch = table.broker.epoch
    assert table.broker.lent((entry,), peer, 77.0) == []
    assert table.broker.epoch == epoch, "an open changes no answer"
    table.call(watcher, Watch())
    table.did(table.broker.lent((entry,), peer, 78.0))
    assert table.heard(watcher) == [("opened", "x", "")]
    assert [one.time for one in table.told(watcher)] == [78.0]
    assert (entry.opens, entry.last_opened, table.broker.board.opens) == (2, 78.0, 2)


# ── what ends an entry ──


def watched(until: tuple[str, ...], pid: int = 42) -> Table:
    """An entry x that ends so, and somebody who watches."""
    table = Table()
    poster, watcher = table.join(), table.join()
    processes = tuple(
        table.witness(pid=pid) if word.startswith(("exit", "leader")) else None for word in until
    )
    table.post(poster, "x", until=Ends(until, processes))
    table.call(watcher, Watch())
    return table


def ended(table: Table) -> list[str]:
    """Why entries ended, as the watcher hears it; every handle of theirs is dropped."""
    whys = [one.event.why for one in table.effects if hasattr(one, "event")]
    assert len(table.dropped()) == len(set(table.dropped()))
    return whys


@pytest.mark.parametrize(
    ("until", "why"),
    [
        (("exit",), "exit"),
        (("leader",), "leader"),
        (("ttl=42", "leader"), "leader"),
        (("opens=42", "exit"), "exit"),
    ],
)
def test_entry_ends_with_its_process(until: tuple[str, ...], why: str) -> None:
    """The event says which condition it was, and nothing waits for the process any more."""
    table = watched(until)
    (process,) = table.entry(USER, "x").waits
    table.did(table.broker.exited(process, table.now))
    assert ended(table) == [why]
    assert len(table.dropped()) == 3
    assert table.names(table.join()) == set()


def test_poster_may_exit() -> None:
    """Without the condition the entry stays, and shows that its poster is gone."""
    table = Table()
    peer = table.join()
    table.post(peer, "x")
    poster = table.entry(USER, "x").poster
    assert poster is not None
    table.did(table.broker.exited(poster, table.now))
    assert len(table.dropped()) == 1
    assert table.open(table.join(), "x") > 0
    assert not poster.alive


def test_entry_ends_at_its_deadline() -> None:
    """Ttl is looked at on every call, not only when the broker wakes up."""
    table = watched(("ttl=2.5",))
    assert table.broker.next_deadline() == table.boot + 2.5
    table.boot += 2.4
    assert table.open(table.join(), "x") > 0
    late = table.join()
    table.boot += 0.1
    with pytest.raises(NoEntry):
        table.open(late, "x")
    assert ended(table) == ["ttl"]
    assert table.broker.next_deadline() is None


def test_deadline_that_passed_is_told() -> None:
    """Why: ttl."""
    table = watched(("ttl=1",))
    table.later(1)
    assert ended(table) == ["ttl"]
    assert len(table.dropped()) == 2


def test_entry_ends_with_the_posters_connection() -> None:
    """lease: only those leased, and only with the connection that posted them."""
    table = Table()
    poster, watcher = table.join(), table.join()
    table.post(poster, "x", until=Ends(("lease",)))
    table.post(poster, "y")
    table.call(watcher, Watch())
    table.leave(table.join())
    table.leave(poster)
    assert table.heard(watcher) == [("ended", "x", "lease")]
    assert table.names(watcher) == {"user:1000/y"}


def test_entry_ends_when_its_descriptor_hangs_up() -> None:
    """Hup."""
    table = watched(("hup",))
    table.did(table.broker.hung_up(table.entry(USER, "x"), table.now))
    assert ended(table) == ["hup"]


def test_first_condition_wins() -> None:
    """What fires later finds nothing to end."""
    table = watched(("ttl=5", "exit", "hup"))
    entry = table.entry(USER, "x")
    (process,) = entry.waits
    table.did(table.broker.exited(process, table.now))
    assert ended(table) == ["exit"]
    assert table.later(10) == []
    assert table.did(table.broker.hung_up(entry, table.now)) == []


def test_one_process_ends_all_that_wait_for_it() -> None:
    """And nothing that does not."""
    table = Table()
    poster = table.join()
    witness = table.witness()
    for name in ("a", "b"):
        witness.handle = table.number()
        table.post(poster, name, until=Ends(("exit",), (witness,)))
    table.post(poster, "c")
    (process,) = table.entry(USER, "a").waits
    table.did(table.broker.exited(process, table.now))
    assert table.names(poster) == {"user:1000/c"}


def test_nothing_to_do_has_no_deadline() -> None:
    """A waiter, an entry, a nonce waited for: the earliest counts."""
    table = Table()
    peer = table.join()
    idle = (table.broker.timed, table.broker.next_deadline())
    assert idle == (False, None)
    table.call(table.join(), Wait("x", timeout=9))
    table.post(peer, "y", until=Ends(("ttl=5",)))
    assert table.broker.next_deadline() == table.boot + 5
    table.later(5)
    assert table.broker.next_deadline() == table.boot + 4


@pytest.mark.parametrize("name", ["", "a/b", "session:1", "x" * 256])
def test_bad_request_of_anybody_is_refused(name: str) -> None:
    """Never an exception out of the broker."""
    table = Table()
    with pytest.raises(Refused):
        table.ask(table.connect(), Open(name))


def test_changes_are_announced_before_they_are_made() -> None:
    """A connection that only reads may not change, and what it sent along is dropped."""
    table = Table()
    peer = table.join(changes=False)
    with pytest.raises(Denied, match="announced"):
        table.post(peer, "x")
    assert len(table.dropped()) == 2
