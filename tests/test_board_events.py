# SPDX-License-Identifier: MIT
"""The board, while time goes by: who waits for a name, who hears of what.

The law: a waiter is answered once, by whatever makes the entry visible to it; a
watcher hears of what it may view or could until then, and of nothing else.
"""

from __future__ import annotations

import pytest

from pagsrv.errors import (
    InvalidParameter,
    NoEntry,
    NoSession,
    QuotaExceeded,
    Refused,
    TimedOut,
)
from pagsrv.limits import TTL_SECONDS, Limits
from pagsrv.messages import (
    EntryReply,
    Grant,
    Remove,
    Rename,
    SetMask,
    Stat,
    Take,
    Ungrant,
    Wait,
    Watch,
)
from pagsrv.names import Scope
from tests.pure import ANY, Ends, Table, mask

# ── waiting ──


def test_wait_is_answered_by_the_post() -> None:
    """Once, with the entry as it is; an empty one counts."""
    table = Table()
    waiter, poster = table.join(), table.join()
    assert table.call(waiter, Wait("x", "user")) == []
    table.post(poster, "other")
    view = table.post(poster, "x", empty=True)
    assert table.answer(waiter).reply_or_raise() == EntryReply(view)
    table.post(poster, "x", "user")
    assert table.broker.board.watches.waiters == {}


def test_wait_for_what_is_there_is_answered_at_once() -> None:
    """By its bare name too."""
    table = Table()
    peer = table.join()
    view = table.post(peer, "x")
    assert table.ask(peer, Wait("x", timeout=0)) == EntryReply(view)


def test_wait_sees_no_more_than_stat() -> None:
    """Who may not view the entry waits on, until the mask lets it."""
    table = Table()
    poster, stranger = table.join(), table.join(2000)
    table.call(stranger, Wait("user:1000/x"))
    bare = table.join(2000)
    table.call(bare, Wait("x"))
    table.post(poster, "x", mask=mask("alswrv"))
    assert set(table.broker.board.watches.waiters) == {stranger.id, bare.id}
    table.ask(poster, SetMask("x", mask("alswrv", other="v")))
    assert isinstance(table.answer(stranger).reply_or_raise(), EntryReply)
    assert set(table.broker.board.watches.waiters) == {bare.id}


def test_bare_wait_means_what_a_bare_name_means() -> None:
    """The first match by search counts: one that may not be viewed is waited for."""
    table = Table()
    peer = table.join(session=5)
    table.post(peer, "x", "session", mask=mask("asr"))
    table.post(peer, "x", "user")
    with pytest.raises(NoEntry):
        table.ask(peer, Stat("x"))
    with pytest.raises(TimedOut):
        table.ask(peer, Wait("x", timeout=0))


@pytest.mark.parametrize("change", ["rename", "grant"])
def test_wait_is_answered_by_whatever_makes_it_visible(change: str) -> None:
    """A rename to the name, a grant to the waiter's scope."""
    table = Table()
    poster, waiter = table.join(session=5), table.join(2000)
    table.post(poster, "x" if change == "grant" else "y", "session", mask=ANY)
    if change == "grant":
        table.ask(poster, SetMask("x", mask("alswrv")))
    table.call(waiter, Wait("session:5/x"))
    table.ask(poster, Rename("y", "x") if change == "rename" else Grant("x", "user:2000"))
    assert isinstance(table.answer(waiter).reply_or_raise(), EntryReply)


def test_wait_times_out_once() -> None:
    """At its deadline, not before; who waits for ever is not timed out."""
    table = Table()
    hurried, patient = table.join(), table.join()
    table.call(hurried, Wait("x", timeout=2.5))
    table.call(patient, Wait("x"))
    assert table.broker.next_deadline() == table.boot + 2.5
    assert table.later(2.4) == []
    table.later(0.1)
    with pytest.raises(TimedOut):
        table.answer(hurried).reply_or_raise()
    assert set(table.broker.board.watches.waiters) == {patient.id}
    assert table.later(TTL_SECONDS) == []


@pytest.mark.parametrize("timeout", [-0.1, TTL_SECONDS + 1.0, float("nan"), float("inf")])
def test_wait_refuses_no_time_at_all(timeout: float) -> None:
    """The timeout is within what the clock can add up."""
    table = Table()
    with pytest.raises(InvalidParameter) as caught:
        table.ask(table.join(), Wait("x", timeout=timeout))
    assert caught.value.parameter == "timeout"


def test_wait_for_a_word_is_for_the_scope_it_meant() -> None:
    """A session that has ended meanwhile is no trouble to whoever waits in it."""
    table = Table()
    waiter, poster = table.join(session=5), table.join(2000)
    table.call(waiter, Wait("x", "session"))
    table.post(poster, "x", "user")
    table.ask(poster, Grant("x", "session:5"), None)
    table.seen(5, state="revoked")
    assert table.hung_up() == {waiter.id}
    with pytest.raises(NoSession):
        table.ask(table.join(), Wait("x", "session"))


# ── watching ──


def test_watcher_hears_what_happens() -> None:
    """Every event of the contract that a request brings about, with who did it and why."""
    table = Table()
    watcher, peer = table.join(), table.join()
    table.call(watcher, Watch())
    heard = []
    steps = (
        lambda: table.post(peer, "x", empty=True),
        lambda: table.post(peer, "x"),
        lambda: table.post(peer, "x", replace=True),
        lambda: table.open(peer, "x"),
        lambda: table.ask(peer, Rename("x", "y")),
        lambda: table.ask(peer, SetMask("y", ANY)),
        lambda: table.ask(peer, Grant("y", "user:7")),
        lambda: table.ask(peer, Ungrant("y", "user:7")),
        lambda: table.ask(peer, Remove("y")),
    )
    for step in steps:
        step()
        heard += table.heard(watcher)
        (told,) = table.told(watcher)
        assert told.by is not None
        assert (told.by.uid, told.by.pid, told.scope) == (1000, peer.pid, "user:1000")
    assert heard == [
        ("posted", "x", ""), ("assigned", "x", ""), ("assigned", "x", "replaced"),
        ("opened", "x", ""), ("renamed", "y", "was x"), ("changed", "y", "mask"),
        ("granted", "y", "to user:7"), ("ungranted", "y", "from user:7"),
        ("ended", "y", "removed"),
    ]  # fmt: skip


def test_watcher_hears_of_refusals() -> None:
    """Who may view an entry hears that somebody was denied it; for a hidden one nobody does."""
    table = Table()
    watcher, thief = table.join(session=5), table.join(session=6)
    table.post(watcher, "x", "session")
    table.call(watcher, Watch())
    for name, events in (("session:5/x", ["refused"]), ("session:5/y", [])):
        with pytest.raises(Refused):
            table.open(thief, name)
        assert events == [event for event, _, _ in table.heard(watcher)]


def test_guest_hears_of_the_end_of_what_was_granted() -> None:
    """The grant ends with the entry, and its guests are told; of an ended grant too."""
    table = Table()
    poster, guest = table.join(session=5), table.join(2000)
    table.call(guest, Watch())
    for name in ("x", "y", "z"):
        table.post(poster, name, "session")
        assert table.heard(guest) == []
        table.ask(poster, Grant(name, "user:2000"))
        assert table.heard(guest) == [("granted", name, "to user:2000")]
    table.ask(poster, Remove("x"))
    assert table.heard(guest) == [("ended", "x", "removed")]
    table.ask(poster, Take("y"))
    assert table.heard(guest) == [("taken", "y", "")]
    table.ask(poster, Ungrant("z", "user:2000"))
    assert table.heard(guest) == [("ungranted", "z", "from user:2000")]
    table.ask(poster, Remove("z"))
    assert table.heard(guest) == []


def test_watcher_hears_that_it_may_view_no_more() -> None:
    """The change that hides an entry is the last it hears of it."""
    table = Table()
    poster, watcher = table.join(session=5), table.join(session=6)
    table.post(poster, "x", "session")
    table.call(watcher, Watch())
    table.ask(poster, SetMask("x", mask("alswrv")))
    assert table.heard(watcher) == [("changed", "x", "mask")]
    table.open(poster, "x")
    assert table.heard(watcher) == []
    table.post(poster, "x", "session", replace=True, mask=mask("alswrv", "v"))
    assert table.heard(watcher) == [("assigned", "x", "replaced")]


def test_watch_of_one_scope_hears_that_scope() -> None:
    """By word or by name; a scope without a proof is refused by word only."""
    table = Table()
    watcher, peer = table.join(session=5), table.join(session=6)
    table.call(watcher, Watch("session:6"))
    table.post(peer, "a", "session")
    assert table.heard(watcher) == [("posted", "a", "")]
    table.post(peer, "b", "user")
    assert table.heard(watcher) == []
    with pytest.raises(NoSession):
        table.ask(table.join(), Watch("pag"))


def test_initial_watch_begins_with_what_is_there() -> None:
    """Present for each entry that may be viewed, then live, then what happens."""
    table = Table()
    peer = table.join()
    table.post(peer, "a")
    table.post(table.join(2000), "b")
    for scope in (None, "user"):
        watcher = table.join()
        table.call(watcher, Watch(scope, initial=True))
        shown = [(event.event, event.name, event.scope) for event in table.present()]
        last = None if scope is None else "user:1000"
        assert shown == [("present", "a", "user:1000"), ("live", "", last)]
    table.post(peer, "c")
    assert table.heard(watcher) == [("posted", "c", "")]


def test_watch_says_when_it_stands() -> None:
    """With live alone that comes first, and nothing of what is there; without it nothing does."""
    table = Table()
    peer, asked, plain = table.join(), table.join(), table.join()
    table.post(peer, "a")
    table.call(asked, Watch(live=True))
    assert [(event.event, event.name) for event in table.present()] == [("live", "")]
    assert table.call(plain, Watch()) == []
    table.post(peer, "b")
    for watcher in (asked, plain):
        assert table.heard(watcher) == [("posted", "b", "")]


def test_watches_have_a_budget() -> None:
    """Per uid, waits included; a connection that ends gives its watch back."""
    table = Table(limits=Limits(watches_per_uid=2))
    one, two, three = table.join(), table.join(), table.join()
    table.call(one, Watch())
    table.call(two, Wait("x"))
    for request in (Watch(), Wait("x")):
        with pytest.raises(QuotaExceeded):
            table.ask(three, request)
    table.leave(one)
    assert table.call(three, Watch()) == []


def test_ended_twice_is_ended_once() -> None:
    """Two conditions may fire in one moment; the entry goes by the first."""
    table = Table()
    watcher, peer = table.join(), table.join()
    table.post(peer, "x", until=Ends(("hup",)))
    entry = table.entry(Scope("user", 1000), "x")
    table.call(watcher, Watch())
    table.did(table.broker.hung_up(entry, table.now))
    assert len(table.dropped()) == 2
    assert table.heard(watcher) == [("ended", "x", "hup")]
    assert table.did(table.broker.hung_up(entry, table.now)) == []


def test_scope_has_events_of_its_own() -> None:
    """Its members and its owner hear that it turned linkable; a stranger does not."""
    table = Table()
    member, owner, stranger = table.join(session=5), table.join(), table.join(2000)
    for peer in (member, owner, stranger):
        table.call(peer, Watch())
    table.seen(5, isolation="linkable", loose="it was linked into @u")
    assert table.heard(member) == [("linkable", "", "it was linked into @u")]
    assert table.heard(owner) == table.heard(member)
    assert table.heard(stranger) == []


def test_what_nobody_watched_is_told_to_nobody() -> None:
    """Who comes later hears of what happens later."""
    table = Table()
    peer = table.join(session=5)
    table.seen(5, isolation="linkable")
    table.post(peer, "x", "session")
    assert table.call(peer, Watch()) == []
    table.post(table.join(), "y")
    assert table.heard(peer) == [("posted", "y", "")]
