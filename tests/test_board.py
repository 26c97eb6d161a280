# SPDX-License-Identifier: MIT
"""The board: what a name means, what a listing shows, who hears of what, who waits.

The law: a bare name is looked up where the asker is proved and nowhere else; a full
name answers 3 or 4 by the right to view; what may not be viewed is not there.
"""

from __future__ import annotations

import pytest

from pagsrv.board import Board
from pagsrv.errors import (
    Denied,
    InvalidParameter,
    NoEntry,
    NoSession,
    NotAssigned,
    Stale,
)
from pagsrv.messages import (
    EntryReply,
    Grant,
    List,
    Open,
    Remove,
    SetMask,
    Stat,
    Take,
)
from pagsrv.names import EntryName, Reference, Scope, ScopeKind
from tests.pure import Table, mask

PAG = 0x41000001


# ── naming ──


def test_full_name_may_be_said_in_two_fields() -> None:
    """S:N/NAME, and NAME with scope S:N, are one reference; a contradiction is refused."""
    full = Reference(Scope("session", 5), EntryName("a"))
    assert full == Board.reference("session:5/a", None)
    assert full == Board.reference("a", "session:5")
    assert full == Board.reference("session:5/a", "session:5")
    for scope in ("session:6", "session"):
        with pytest.raises(InvalidParameter, match="names one scope"):
            Board.reference("session:5/a", scope)


def test_word_means_the_askers_own_scope() -> None:
    """session, pag and user stand for what the asker is proved in."""
    table = Table()
    peer = table.join(session=5, pag=PAG)
    words: tuple[ScopeKind, ...] = ("session", "pag", "user")
    assert [Board.resolve(peer, word) for word in words] == [
        Scope("session", 5), Scope("pag", PAG), Scope("user", 1000)
    ]  # fmt: skip


def test_word_without_a_proof_says_why() -> None:
    """NoSession repeats why the session was not proved, or that none was asked for."""
    table = Table()
    peer = table.join()
    with pytest.raises(NoSession, match="no session scope: in no session"):
        table.open(peer, "x", "session")
    with pytest.raises(NoSession, match="has not proved one"):
        table.open(table.connect(), "x", "pag")


def test_bare_name_is_the_innermost_match() -> None:
    """Session before PAG before user; when the inner one goes, the next is meant."""
    table = Table()
    peer = table.join(session=5, pag=PAG)
    views = [table.post(peer, "x", scope) for scope in ("user", "pag", "session")]
    for view in reversed(views):
        table.ask(peer, Stat("x"))
        reply = table.answer(peer).answer.reply
        assert isinstance(reply, EntryReply)
        assert reply.entry.scope == view.scope
        table.ask(peer, Take("x"))
    with pytest.raises(NoEntry):
        table.open(peer, "x")


def test_bare_name_skips_what_may_not_be_searched() -> None:
    """An inner entry without the search right does not stand in the way of an outer one."""
    table = Table()
    peer = table.join(session=5)
    table.post(peer, "x", "session", mask=mask("alwrv"))
    outer = table.post(peer, "x", "user")
    reply = table.ask(peer, Stat("x"))
    assert isinstance(reply, EntryReply)
    assert reply.entry == outer


def test_first_match_wins_even_if_it_may_not_be_read() -> None:
    """The first with the search right is what the name means; the outer one is not tried."""
    table = Table()
    peer = table.join(session=5)
    table.post(peer, "x", "session", mask=mask("sv"))
    table.post(peer, "x", "user")
    with pytest.raises(Denied, match="no read right"):
        table.open(peer, "x")


@pytest.mark.parametrize("request_of", [Open, Take, Stat, Remove])
def test_second_session_is_denied_and_other_uid_sees_nothing(
    request_of: type[Open | Take | Stat | Remove],
) -> None:
    """By default another session of the uid gets 3 for NAME and 4 in full; another uid 3 twice."""
    table = Table()
    table.post(table.join(session=5), "x", "session")
    second, stranger = table.join(session=6), table.join(2000)
    for peer in (second, stranger):
        with pytest.raises(NoEntry):
            table.ask(peer, request_of("x"))
    with pytest.raises(NoEntry):
        table.ask(stranger, request_of("session:5/x"))
    if request_of is Stat:
        table.ask(second, Stat("session:5/x"))
        return
    with pytest.raises(Denied):
        table.ask(second, request_of("session:5/x"))


def test_full_name_needs_the_view_right_too() -> None:
    """Without view there is no entry of that name, whatever else the mask gives."""
    table = Table()
    peer = table.join(session=5)
    table.post(peer, "x", "session", mask=mask("alswr"))
    with pytest.raises(NoEntry):
        table.open(peer, "session:5/x")
    assert table.open(peer, "x") > 0


def test_missing_and_hidden_are_answered_alike() -> None:
    """The sentence does not tell them apart."""
    table = Table()
    table.post(table.join(), "x", "user", mask=mask("alswrv"))
    stranger = table.join(2000)
    sentences = set()
    for name in ("user:1000/x", "user:1000/y"):
        with pytest.raises(NoEntry) as caught:
            table.open(stranger, name)
        sentences.add(str(caught.value).replace("/y", "/x"))
    assert len(sentences) == 1


def test_expecting_another_generation_is_stale() -> None:
    """Every change gives a new one; the right one passes."""
    table = Table()
    peer = table.join()
    first = table.post(peer, "x")
    second = table.post(peer, "x", replace=True)
    assert second.generation > first.generation
    with pytest.raises(Stale, match=f"generation {second.generation}, not {first.generation}"):
        table.ask(peer, Remove("x", expect=first.generation))
    table.ask(peer, Remove("x", expect=second.generation))


# ── listing ──


def listed(table: Table) -> tuple[str, str, str]:
    """Entries of two sessions and a user, all uid 1000's, seen by the first session."""
    first, second = table.join(session=5), table.join(session=6)
    table.post(first, "a", "session")
    table.post(second, "b", "session")
    table.post(second, "hidden", "session", mask=mask("alswrv"))
    table.post(first, "c", "user")
    return "session:5/a", "session:6/b", "user:1000/c"


def test_listing_shows_the_proved_scopes() -> None:
    """Plain: the scopes the asker is proved in; all: whatever it may view; scope: that one."""
    table = Table()
    a, b, c = listed(table)
    peer = table.join(session=5)
    assert table.names(peer) == {a, c}
    assert table.names(peer, every=True) == {a, b, c}
    assert table.names(peer, "session:6") == {b}
    assert table.names(peer, "user") == {c}
    assert table.names(peer, "session:7") == set()
    assert table.names(table.join(2000), every=True) == set()


def test_listing_of_names_is_the_listing_without_the_rest() -> None:
    """The same entries in the same order."""
    table = Table()
    listed(table)
    peer = table.join(session=5)
    for every in (False, True):
        full = {name.rpartition("/")[2] for name in table.names(peer, every=every)}
        table.call(peer, List(None, every, True))
        (listing,) = table.of(type(table.effects[0]))
        assert full == set(getattr(listing, "names", ()))


def test_listing_shows_what_is_granted_here() -> None:
    """A guest entry is listed once, by where it is from; not by members of its own scope."""
    table = Table()
    poster, guest = table.join(session=5), table.join(session=6)
    both = table.join(session=5, pag=PAG)
    table.post(poster, "x", "session", mask=mask("alswrv"))
    table.ask(poster, Grant("x", f"pag:{PAG}"))
    table.attach(guest, ["pag", "user"], pag=PAG)
    assert table.names(guest) == {"session:5/x"}
    assert table.names(both) == {"session:5/x"}
    with pytest.raises(NoEntry):
        table.open(guest, "x")
    assert table.open(guest, "session:5/x") > 0


def test_listing_is_read_as_it_is_sent() -> None:
    """What goes or is hidden while a long listing is sent is not shown any more."""
    table = Table()
    peer = table.join()
    for name in ("a", "b", "c"):
        table.post(peer, name)
    table.call(peer, List())
    (listing,) = (one for one in table.effects if hasattr(one, "entries"))
    views = iter(listing.entries)
    assert next(views).name == "a"
    table.ask(peer, Remove("b"))
    table.ask(peer, SetMask("c", mask("alsw")))
    assert [view.name for view in views] == []


def test_empty_entry_says_how_it_is_assigned() -> None:
    """The refusal is for whoever may see the entry, and names the way on."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", empty=True)
    with pytest.raises(NotAssigned, match="pagsrv post x"):
        table.open(peer, "x")
