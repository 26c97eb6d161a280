# SPDX-License-Identifier: MIT
"""Posting: where a descriptor goes, what ends it, who may replace it.

The law: a refused post has changed nothing and its handles are dropped; posting
never widens a scope by itself; the write right alone changes the descriptor alone.
"""

from __future__ import annotations

import pytest

from pagsrv.effects import Mind
from pagsrv.errors import (
    Denied,
    Exists,
    InvalidParameter,
    Loop,
    NoSession,
    QuotaExceeded,
    Refused,
    Stale,
)
from pagsrv.facts import FdFacts
from pagsrv.limits import Limits
from pagsrv.messages import Attach, Post, Rename, Until
from pagsrv.model import Given
from pagsrv.names import Scope
from tests.pure import ANY, FILE, SOCKET, Ends, Table, mask

USER = Scope("user", 1000)
PAG = 0x41000001


# ── where it goes ──


def test_default_is_the_innermost_isolated_scope() -> None:
    """An isolated session, else the PAG; a linkable session is not used unasked."""
    table = Table()
    inside = table.join(session=5, pag=PAG)
    assert table.post(inside, "a", None).scope == "session:5"
    linkable = table.join(session=6, pag=PAG, isolation="linkable")
    assert table.post(linkable, "a", None).scope == f"pag:{PAG}"
    assert table.post(linkable, "b", "session").scope == "session:6"


def test_default_never_widens_to_the_user() -> None:
    """Neither session nor PAG: NoSession says why, and names --scope user."""
    table = Table()
    alone, linkable = table.join(), table.join(session=6, isolation="linkable")
    untried = table.connect()
    table.ask(untried, Attach(["user"], True))
    for peer, why in (
        (alone, "in no session"),
        (linkable, "session:6 is linkable"),
        (untried, "no session and no PAG"),
    ):
        with pytest.raises(NoSession, match=why) as caught:
            table.post(peer, "x", None)
        assert "--scope user" in str(caught.value)
        assert table.post(peer, str(peer.id), "user").scope == "user:1000"


def test_scope_that_turned_linkable_is_no_default() -> None:
    """Connections proved before keep it, and post there when they say so."""
    table = Table()
    peer = table.join(session=5)
    table.post(peer, "a", None)
    table.seen(5, isolation="linkable")
    with pytest.raises(NoSession):
        table.post(peer, "b", None)
    assert table.post(peer, "b", "session").scope == "session:5"
    assert table.names(peer) == {"session:5/a", "session:5/b"}


@pytest.mark.parametrize("scope", ["session:6", f"pag:{PAG}", "user:2000"])
def test_posting_needs_a_proof(scope: str) -> None:
    """In a scope the poster is not proved in nothing new is posted."""
    table = Table()
    peer = table.join(session=5)
    with pytest.raises(NoSession, match="not proved in"):
        table.post(peer, "x", scope)


def test_hidden_entry_of_a_strange_scope_is_not_there() -> None:
    """Posting over it is answered as posting beside it."""
    table = Table()
    table.post(table.join(), "x", mask=ANY)
    table.post(table.join(), "y", mask=mask("alswrv"))
    stranger = table.join(2000)
    with pytest.raises(NoSession):
        table.post(stranger, "y", "user:1000")
    with pytest.raises(Exists):
        table.post(stranger, "x", "user:1000")


# ── what it is ──


def test_entry_is_what_was_posted() -> None:
    """Owner, poster, mask, labels, times: as the request and the kernel said."""
    table = Table()
    peer = table.join(gid=77)
    view = table.post(peer, "x", mask=mask("alswrv", "srv"), labels={"a": "b"}, facts=FILE)
    assert (view.kind, view.access, view.assigned) == ("file", "r", True)
    assert (view.owner.uid, view.owner.gid, view.created) == (1000, 77, table.wall)
    assert view.poster is not None
    assert (view.poster.pid, view.poster.comm, view.poster.alive) == (peer.pid, "me", True)
    assert (view.mask, view.rights, view.labels) == (mask("alswrv", "srv"), "alswrv", {"a": "b"})
    assert (view.opens, view.last_opened, view.until) == (0, None, ())


def test_one_poster_is_followed_once() -> None:
    """The second post of a process brings no further handle, and one it brings is dropped."""
    table = Table()
    peer = table.join()
    table.post(peer, "a")
    assert len(table.minded()) == 1
    table.post(peer, "b")
    assert (table.minded(), table.dropped()) == ([], [])
    witness = table.witness(pid=peer.pid)
    witness.facts = table.entry(USER, "a").poster.facts  # type: ignore[union-attr]
    table.post(peer, "c", until=Ends(("exit",), (witness,)))
    assert table.dropped() == [witness.handle]


@pytest.mark.parametrize(
    "labels",
    [
        {str(number): "" for number in range(17)},
        {"": "x"},
        {"k" * 65: "x"},
        {"k": "v" * 257},
        {"k": "\N{EURO SIGN}" * 86},
        {"k\n": "v"},
        {"k": "\x1b[0m"},
    ],
)
def test_labels_are_few_short_and_printable(labels: dict[str, str]) -> None:
    """Anything else is a bad field, and nothing is posted."""
    table = Table()
    peer = table.join()
    with pytest.raises(InvalidParameter) as caught:
        table.post(peer, "x", labels=labels)
    assert caught.value.parameter == "labels"
    assert table.names(peer) == set()


def test_labels_at_their_limits_are_kept() -> None:
    """Sixteen of them, 64 and 256 bytes."""
    table = Table()
    labels = {f"{number:064}": "v" * 256 for number in range(16)}
    assert table.post(table.join(), "x", labels=labels).labels == labels


def test_board_does_not_hold_itself() -> None:
    """Loop, and the handle is dropped."""
    table = Table()
    peer = table.join()
    with pytest.raises(Loop):
        table.post(peer, "x", facts=FdFacts("socket", "rw", ours=True))
    assert len(table.dropped()) == 2


def test_refused_post_drops_what_came() -> None:
    """The posted handle, the poster's and the pidfds: each once."""
    table = Table()
    peer = table.join()
    witness = table.witness()
    with pytest.raises(InvalidParameter):
        table.post(peer, "x", mask="rw", until=Ends(("exit",), (witness,)))
    assert len(table.dropped()) == len(set(table.dropped())) == 3
    assert witness.handle in table.dropped()


# ── until ──


def test_conditions_are_kept_as_they_work() -> None:
    """Exit and leader name their process, a session's entry always ends on revoked too."""
    table = Table()
    peer = table.join(session=5)
    one, two = table.witness(pid=41), table.witness(0, pid=42)
    words = ("exit", "leader=99", "lease", "hup", "ttl=2.50", "opens=3")
    ends = Ends(words, (one, two, None, None, None, None))
    view = table.post(peer, "x", None, until=ends)
    assert view.until == (
        "exit=41", "leader=42", "lease", "hup", "ttl=2.5", "opens=3", "revoked"
    )  # fmt: skip
    entry = table.entry(Scope("session", 5), "x")
    assert (entry.deadline, entry.turns, entry.lease) == (table.boot + 2.5, 3, peer.id)
    assert [process.facts.pid for process in entry.waits] == [41, 42]
    assert table.post(peer, "y", "session").until == ("revoked",)


def test_hang_up_is_looked_for() -> None:
    """Hup asks to mind the posted handle itself."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", until=Ends(("hup",)))
    entry = table.entry(USER, "x")
    assert [entry.handle] == [one.handle for one in table.of(Mind) if one.subject is entry]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("ttl=1", "ttl=2"), "ttl is given twice"),
        (("opens=1", "opens=1"), "opens is given twice"),
        (("lease", "lease"), "lease is given twice"),
        (("hup", "hup"), "hup is given twice"),
        (("exit",) * 17, "at most 16"),
        (("exit",), "has exited"),
        (("leader=7",), "pidfd did not come along"),
        (("exec",), "has exited"),
        (("uid=7",), "pidfd did not come along"),
        (("orphan",), "user:1000 is no session"),
        (("",), "no end condition"),
    ],
)
def test_conditions_refused(words: tuple[str, ...], why: str) -> None:
    """One sentence each, and nothing is posted."""
    table = Table()
    peer = table.join()
    with pytest.raises(InvalidParameter, match=why):
        table.post(peer, "x", until=Ends(words))
    assert table.names(peer) == set()


def test_what_never_hangs_up_cannot_end_so() -> None:
    """A regular file and an empty entry are not polled."""
    table = Table()
    peer = table.join()
    with pytest.raises(InvalidParameter, match="a file never hangs up"):
        table.post(peer, "x", until=Ends(("hup",)), facts=FILE)
    with pytest.raises(InvalidParameter, match="an empty entry never hangs up"):
        table.post(peer, "x", empty=True, until=Ends(("hup",)))


def test_exit_is_of_a_process_of_ones_own() -> None:
    """Another uid's is Denied; a pidfd of another process than the one named is refused."""
    table = Table()
    peer = table.join()
    with pytest.raises(Denied, match="uid 2000"):
        table.post(peer, "x", until=Ends(("exit",), (table.witness(2000),)))
    with pytest.raises(InvalidParameter, match="pidfd of process 42"):
        table.post(peer, "x", until=Ends(("exit=41",), (table.witness(pid=42),)))
    leader = table.witness(0)
    assert table.post(peer, "x", until=Ends(("leader",), (leader,))).until == (
        f"leader={leader.facts.pid}",
    )


def test_process_that_has_exited_ends_nothing() -> None:
    """An entry that would wait for it for ever is not posted."""
    table = Table()
    peer = table.join()
    gone = table.witness()
    gone.handle = None
    with pytest.raises(InvalidParameter, match="exited already"):
        table.post(peer, "x", until=Ends(("exit",), (gone,)))
    witness = table.witness()
    table.post(peer, "x", until=Ends(("exit",), (witness,)))
    (process,) = table.entry(USER, "x").waits
    table.did(table.broker.exited(process, table.now))
    witness.handle = None
    with pytest.raises(InvalidParameter, match="exited already"):
        table.post(peer, "y", until=Ends(("exit",), (witness,)))


def test_one_descriptor_has_one_use() -> None:
    """A pidfd that is posted cannot be the one that is waited for: it would have two owners."""
    table = Table()
    peer = table.join()
    witness = table.witness()
    assert witness.handle is not None
    given: Given[int] = Given(
        handles=[witness.handle], posted=witness.handle, facts=SOCKET, ends=[witness]
    )
    with pytest.raises(InvalidParameter, match="named twice"):
        table.ask(peer, Post("x", "user", 0, until=[Until("exit", 0)]), given)
    assert table.dropped() == [witness.handle]


# ── assign and replace ──


def test_empty_entry_is_assigned_without_replace() -> None:
    """It keeps its ends and mask unless the post says otherwise."""
    table = Table()
    peer = table.join()
    first = table.post(peer, "x", empty=True, until=Ends(("ttl=9",)), mask=ANY)
    assert (first.assigned, first.kind) == (False, None)
    with pytest.raises(Exists, match="and empty"):
        table.post(peer, "x", empty=True)
    second = table.post(peer, "x")
    assert (second.assigned, second.until, second.mask) == (True, ("ttl=9",), ANY)
    assert second.generation > first.generation


def test_posted_name_is_taken() -> None:
    """Exists, unless replace or a generation is given."""
    table = Table()
    peer = table.join()
    first = table.post(peer, "x")
    with pytest.raises(Exists, match="--replace"):
        table.post(peer, "x")
    second = table.post(peer, "x", expect=first.generation)
    with pytest.raises(Stale):
        table.post(peer, "x", expect=first.generation)
    assert table.post(peer, "x", replace=True).generation > second.generation


def test_generation_of_nothing_is_zero() -> None:
    """expect=0 posts only what is not there; any other generation is stale then."""
    table = Table()
    peer = table.join()
    with pytest.raises(Stale, match="is not there"):
        table.post(peer, "x", expect=5)
    table.post(peer, "x", expect=0)
    with pytest.raises(Stale):
        table.post(peer, "x", expect=0)


def test_replacing_drops_the_old_handle_only() -> None:
    """The new one is lent from now on; what says nothing of mask and labels keeps them."""
    table = Table()
    peer = table.join()
    table.post(peer, "x", mask=ANY, labels={"a": "b"}, until=Ends(("hup", "ttl=5")))
    old = table.entry(USER, "x").handle
    view = table.post(peer, "x", replace=True)
    assert table.dropped() == [old]
    assert (view.mask, view.labels, view.until) == (ANY, {"a": "b"}, ())
    assert table.entry(USER, "x").deadline is None
    assert table.open(peer, "x") != old


def test_replacing_by_nothing_empties_the_entry() -> None:
    """The descriptor goes, the entry stays."""
    table = Table()
    peer = table.join()
    table.post(peer, "x")
    old = table.entry(USER, "x").handle
    assert not table.post(peer, "x", empty=True, replace=True).assigned
    assert table.dropped() == [old]


def writer_and_entry(until: tuple[str, ...] = ()) -> Table:
    """An entry x of uid 1000 that everybody may view, open and write, and no more."""
    table = Table()
    table.post(
        table.join(), "x", mask=mask("alswrv", other="swrv"), until=Ends(until), labels={"a": "b"}
    )
    return table


def test_write_right_replaces_the_descriptor_alone() -> None:
    """Mask, ends and labels stay; the owner stays the owner."""
    table = writer_and_entry(("ttl=9", "hup"))
    writer = table.join(2000)
    before = table.entry(USER, "x")
    seen = (before.mask, before.until, before.labels, before.deadline, before.uid)
    table.post(writer, "x", "user:1000", replace=True)
    entry = table.entry(USER, "x")
    assert seen == (entry.mask, entry.until, entry.labels, entry.deadline, entry.uid)
    assert any(one.subject is entry for one in table.of(Mind))
    with pytest.raises(InvalidParameter, match="never hangs up"):
        table.post(writer, "x", "user:1000", replace=True, facts=FILE)
    with pytest.raises(InvalidParameter, match="never hangs up"):
        table.post(writer, "x", "user:1000", replace=True, empty=True)


@pytest.mark.parametrize(
    "more", [{"mask": ANY}, {"labels": {}}, {"until": Ends(())}, {"until": Ends(("opens=1",))}]
)
def test_write_right_changes_nothing_else(more: dict[str, object]) -> None:
    """Who lacks setattr cannot give itself more by replacing."""
    table = writer_and_entry()
    writer = table.join(2000)
    with pytest.raises(Denied, match="no setattr right"):
        table.post(writer, "x", "user:1000", replace=True, **more)  # type: ignore[arg-type]
    assert len(table.dropped()) == 2


def test_replacing_needs_the_write_right() -> None:
    """Who may view only is denied; a member whose mask lacks it too, and sees that it is there."""
    table = Table()
    peer = table.join(session=5)
    table.post(peer, "x", None)
    with pytest.raises(Denied, match="no write right"):
        table.post(table.join(session=6), "x", "session:5", replace=True)
    table.post(peer, "y", None, mask=mask("asr"))
    with pytest.raises(Denied, match="no write right"):
        table.post(peer, "y", None, replace=True)


# ── budgets ──


def test_entries_over_the_budget_leave_no_trace() -> None:
    """The namespace made for a refused entry goes again."""
    table = Table(limits=Limits(entries_per_uid=1))
    peer = table.join(pag=PAG)
    table.post(peer, "a", "user")
    with pytest.raises(QuotaExceeded):
        table.post(peer, "b", "pag")
    assert list(table.broker.board.store.spaces) == [USER]


def test_processes_are_charged_to_the_entrys_owner() -> None:
    """Whoever replaces its descriptor."""
    table = Table(limits=Limits(processes_per_uid=1))
    owner, writer = table.join(), table.join(2000)
    table.post(owner, "x", mask=mask("alswrv", other="alswrv"))
    table.post(writer, "mine", "user")
    with pytest.raises(QuotaExceeded, match="uid 1000"):
        table.post(table.join(2000), "x", "user:1000", replace=True)
    with pytest.raises(QuotaExceeded, match="uid 1000"):
        table.post(owner, "y", until=Ends(("exit",), (table.witness(),)))


@pytest.mark.parametrize(
    ("name", "more", "refusal"),
    [
        ("a/b", {}, InvalidParameter),
        ("x", {"scope": "nowhere"}, InvalidParameter),
        ("x", {"mask": "3f"}, InvalidParameter),
        ("session:9/x", {"scope": None}, NoSession),
    ],
)
def test_shape_is_looked_at_first(
    name: str, more: dict[str, object], refusal: type[Refused]
) -> None:
    """A bad field is told before anything is looked up."""
    table = Table()
    peer = table.join()
    table.post(peer, "x")
    with pytest.raises(refusal):
        table.post(peer, name, **more)  # type: ignore[arg-type]


def test_renamed_entry_leaves_its_name_free() -> None:
    """A new one may be posted there."""
    table = Table()
    peer = table.join()
    table.post(peer, "x")
    table.ask(peer, Rename("x", "y"))
    table.post(peer, "x")
    assert table.names(peer) == {"user:1000/x", "user:1000/y"}
