# SPDX-License-Identifier: MIT
"""Opening and taking: lent or given, of several all or none.

The law: a refused batch has opened nothing; what was opened for the last time is
dropped after it was lent.
"""

from __future__ import annotations

import pytest

from pagsrv.effects import Answer, Drop
from pagsrv.errors import Denied, InvalidParameter, NoEntry, NoSession, NotAssigned, Refused
from pagsrv.messages import Open, Opened, OpenedMany, OpenMany, Take, TakeMany, Watch
from pagsrv.names import Scope
from tests.pure import Ends, Table, mask

USER = Scope("user", 1000)


def posted(table: Table, *names: str) -> dict[str, int]:
    """Those names in the user scope, and the handle of each."""
    peer = table.join()
    for name in names:
        table.post(peer, name)
    handles = {name: table.entry(USER, name).handle for name in names}
    return {name: handle for name, handle in handles.items() if handle is not None}


def test_open_lends_what_was_posted() -> None:
    """The same handle every time; it stays the board's, and the entry counts."""
    table = Table()
    handle = posted(table, "x")["x"]
    peer = table.join()
    assert [table.open(peer, "x") for _ in range(2)] == [handle, handle]
    assert table.dropped() == []
    entry = table.entry(USER, "x")
    assert (entry.opens, entry.last_opened, table.broker.board.opens) == (2, table.wall, 2)


def test_open_that_counts_on_other_scopes_does_nothing() -> None:
    """Refused before anything is looked up: no turn is used up; in any order it is the same."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", until=Ends(("opens=1",)))
    for kinds in (["session", "user"], ["session"], [], ["user", "user"], ["x"]):
        with pytest.raises(NoSession, match="Attach"):
            table.ask(peer, Open("x", proved=kinds))
        with pytest.raises(NoSession):
            table.ask(peer, Open("not there", proved=kinds))
    assert table.entry(USER, "x").opens == 0
    assert table.ask(peer, Open("x", proved=["user"])) == Opened(0)


def test_plain_open_stands() -> None:
    """The same request may be answered again without asking, unless time or count ends it."""
    table = Table()
    peer = table.join()
    for words, stands in (
        ((), True),
        (("lease",), True),
        (("ttl=9",), False),
        (("opens=2",), False),
    ):
        table.post(peer, "x", until=Ends(words), replace=True)
        table.open(peer, "x")
        standing = table.answer(peer).answer.standing
        assert stands == (standing == (table.entry(USER, "x"),))


def test_take_gives_the_handle_away() -> None:
    """The entry is gone, the handle is the taker's and is not dropped."""
    table = Table()
    handle = posted(table, "x")["x"]
    peer = table.join()
    assert table.ask(peer, Take("x")) == Opened(0)
    answer = table.answer(peer).answer
    assert ((), (handle,)) == (answer.lend, answer.give)
    assert handle not in table.dropped()
    assert len(table.dropped()) == 1, "the poster's process is followed no more"
    with pytest.raises(NoEntry):
        table.open(peer, "x")


def test_take_needs_what_removing_needs() -> None:
    """Who may open but not remove may not take."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", mask=mask("srv"))
    with pytest.raises(Denied, match="no setattr right"):
        table.ask(peer, Take("x"))
    assert table.open(peer, "x") > 0


@pytest.mark.parametrize("request_of", [Open, Take])
def test_empty_entry_is_not_opened(request_of: type[Open | Take]) -> None:
    """NotAssigned, and the entry stays."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", empty=True)
    with pytest.raises(NotAssigned):
        table.ask(peer, request_of("x"))
    table.entry(USER, "x")


def test_last_open_ends_the_entry_after_lending() -> None:
    """opens=N: the Nth answer carries the handle, and then it is dropped."""
    table = Table()
    watcher, peer = table.join(), table.join()
    table.call(watcher, Watch())
    table.post(peer, "x", until=Ends(("opens=2",)))
    handle = table.open(peer, "x")
    assert table.dropped() == []
    assert table.open(peer, "x") == handle
    kinds = [type(effect) for effect in table.effects]
    assert kinds.index(Answer) < kinds.index(Drop)
    assert handle in table.dropped()
    assert table.heard(watcher) == [("opened", "x", ""), ("ended", "x", "opens")]


def test_many_are_lent_in_order() -> None:
    """One reply, one index for each name; a name may come twice."""
    table = Table()
    handles = posted(table, "a", "b")
    peer = table.join()
    assert table.ask(peer, OpenMany(["b", "a", "user:1000/b"])) == OpenedMany([0, 1, 2])
    assert table.answer(peer).answer.lend == (handles["b"], handles["a"], handles["b"])


def test_many_are_taken_in_one_moment() -> None:
    """All entries are gone, each handle is given once."""
    table = Table()
    handles = posted(table, "a", "b")
    peer = table.join()
    assert table.ask(peer, TakeMany(["b", "a"])) == OpenedMany([0, 1])
    assert table.answer(peer).answer.give == (handles["b"], handles["a"])
    assert set(table.dropped()).isdisjoint(handles.values())
    assert table.names(peer) == set()


@pytest.mark.parametrize("request_of", [OpenMany, TakeMany])
@pytest.mark.parametrize(
    ("names", "refusal"),
    [
        ([], InvalidParameter),
        (["a"] * 254, InvalidParameter),
        (["a", "a/.."], InvalidParameter),
        (["a", "missing"], NoEntry),
        (["a", "empty"], NotAssigned),
        (["a", "closed"], Denied),
        (["once", "once"], Refused),
    ],
)
def test_many_are_all_or_none(
    request_of: type[OpenMany | TakeMany], names: list[str], refusal: type[Refused]
) -> None:
    """One that cannot be had, and none is opened or taken."""
    table = Table()
    peer = table.join()
    table.post(peer, "a")
    table.post(peer, "empty", empty=True)
    table.post(peer, "closed", mask=mask("sv"))
    table.post(peer, "once", until=Ends(("opens=1",)))
    with pytest.raises(refusal):
        table.ask(peer, request_of(names))
    assert [table.entry(USER, name).opens for name in ("a", "once")] == [0, 0]
    assert table.dropped() == []


def test_many_may_be_the_last_ones() -> None:
    """As many opens as are left, in one call."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", until=Ends(("opens=2",)))
    table.ask(peer, OpenMany(["x", "x"]))
    with pytest.raises(NoEntry):
        table.open(peer, "x")
