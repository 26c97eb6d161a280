# SPDX-License-Identifier: MIT
"""Walking beneath directories, judged: who may, before and after, and what is told of it.

The law: an errand answers nothing by itself, and its outcome is dropped whatever becomes of
it. It refuses to know files: an outcome is what a test says.
"""

from __future__ import annotations

from itertools import count

import pytest

from pagsrv.effects import Answer, Drop, Errand
from pagsrv.errors import Denied, InvalidParameter, NoEntry, NotAssigned, PagsrvError, Stale
from pagsrv.facts import FdFacts
from pagsrv.messages import Grant, Open, OpenMany, Remove, Request, Take, Walk, Walked, Watch
from pagsrv.model import Peer
from pagsrv.names import Scope
from pagsrv.nodes import Credentials
from pagsrv.walking import Outcome
from tests.pure import DIRECTORY, FILE, Ends, Table, mask

USER = Scope("user", 1000)
OPENED = (900, 901, 902)


@pytest.fixture
def table() -> Table:
    """A board with a directory on it."""
    made = Table()
    made.post(made.join(session=5), "docs", facts=DIRECTORY)
    return made


def errand(table: Table, peer: Peer, request: Request) -> Errand[int]:
    """What *request* is to be looked at for; a refusal is raised."""
    table.call(peer, request)
    for effect in table.effects:
        if isinstance(effect, Answer) and isinstance(effect.reply, PagsrvError):
            raise effect.reply
    (found,) = table.of(Errand)
    assert not table.of(Answer)
    return found


def come(table: Table, sent: Errand[int], outcome: Outcome[int] | None = None) -> Answer[int]:
    """The answer to the errand *sent*, whose outcome is dropped after it."""
    number = count(OPENED[0])
    outcome = outcome or Outcome([next(number) for _ in sent.steps])
    table.did(table.broker.reached(sent, outcome, table.now))
    (answer,) = table.of(Answer)
    places = [place for place, one in enumerate(table.effects) if isinstance(one, Drop)]
    assert set(outcome.handles) <= set(table.dropped())
    assert all(place > table.effects.index(answer) for place in places)
    return answer


def refusal(table: Table, sent: Errand[int], outcome: Outcome[int] | None = None) -> PagsrvError:
    """The refusal that *sent* comes back with, and nothing is lent."""
    answer = come(table, sent, outcome)
    assert isinstance(answer.reply, PagsrvError)
    assert answer.lend == ()
    return answer.reply


def test_what_lies_beneath_is_lent_and_dropped(table: Table) -> None:
    """The steps name directory, path and access; the answer is not one that stands."""
    peer = table.join(session=6)
    sent = errand(table, peer, Open("docs/sub/a.txt"))
    (step,) = sent.steps
    assert (str(step.place), step.place.path, step.access) == (
        "user:1000/docs/sub/a.txt", ("sub", "a.txt"), "r",
    )  # fmt: skip
    assert step.handle == table.entry(USER, "docs").handle
    answer = come(table, sent)
    assert (answer.lend, answer.standing) == (OPENED[:1], ())
    assert table.entry(USER, "docs").opens == 1


def test_the_entry_itself_is_what_was_posted(table: Table) -> None:
    """Without a path nothing is asked; with an empty one the directory is opened anew."""
    peer = table.join()
    assert table.open(peer, "docs") == table.entry(USER, "docs").handle
    assert errand(table, peer, Open("docs/")).steps[0].place.path == ()
    assert errand(table, peer, Walk("docs")).steps[0].place.path == ()


def test_watchers_hear_what_was_opened(table: Table) -> None:
    """The path is the reason, and that it was for writing; a listing is no open."""
    watcher, peer = table.join(), table.join()
    table.call(watcher, Watch())
    come(table, errand(table, peer, Open("docs/a/b")))
    assert table.heard(watcher) == [("opened", "docs", "a/b")]
    come(table, errand(table, peer, Open("docs/a", access="rw")))
    assert table.heard(watcher) == [("opened", "docs", "a, for writing")]
    come(table, errand(table, peer, Open("docs/")))
    assert table.heard(watcher) == [("opened", "docs", ".")]
    walked = Walked("user:1000/docs", [], None)
    answer = come(table, errand(table, peer, Walk("docs")), Outcome([], walked))
    assert answer.reply is walked
    assert table.heard(watcher) == []


def test_who_may_only_view_hears_no_path() -> None:
    """That it was opened, and by whom; what lies beneath is shown to whoever may open it."""
    table = Table()
    owner, watcher = table.join(), table.join(1001)
    table.post(owner, "docs", facts=DIRECTORY, mask=mask("alswrv", "alswrv", "v", "v"))
    table.call(watcher, Watch())
    table.call(owner, Watch())
    come(table, errand(table, table.join(), Open("user:1000/docs/a/secret")))
    assert table.heard(watcher) == [("opened", "docs", "")]
    assert table.heard(owner) == [("opened", "docs", "a/secret")]


# ---- who may -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "access", "allowed"),
    [
        ("srv", None, True), ("srv", "w", False), ("srv", "rw", False), ("swrv", "w", True),
        ("swrv", "rw", True), ("sv", None, False), ("rv", None, False), ("swv", "w", False),
    ],
)  # fmt: skip
def test_rights(held: str, access: str | None, allowed: bool) -> None:  # noqa: FBT001 -- a table
    """Search and read; to write, write as well."""
    table = Table()
    peer = table.join()
    table.post(peer, "docs", facts=DIRECTORY, mask=mask(held))
    request = Open("user:1000/docs/a", access=access)
    if allowed:
        assert errand(table, peer, request).steps[0].access == (access or "r")
        return
    with pytest.raises(Denied):
        errand(table, peer, request)


@pytest.mark.parametrize("held", ["v", "sv", "rv"])
def test_a_listing_takes_the_rights_of_an_open(held: str) -> None:
    """Who may view an entry does not learn what lies in it."""
    table = Table()
    peer = table.join()
    table.post(peer, "docs", facts=DIRECTORY, mask=mask(held))
    with pytest.raises(Denied):
        errand(table, peer, Walk("user:1000/docs"))


def test_a_grant_lets_open_and_not_write() -> None:
    """By the full name."""
    table = Table()
    owner, guest = table.join(session=5), table.join(2000)
    table.post(owner, "docs", "session", facts=DIRECTORY, mask=mask("alswrv"))
    table.ask(owner, Grant("session:5/docs", "user:2000"))
    assert errand(table, guest, Open("session:5/docs/a")).steps
    for request in (Open("session:5/docs/a", access="w"), Open("docs/a")):
        with pytest.raises((Denied, NoEntry)):
            errand(table, guest, request)


@pytest.mark.parametrize(
    ("facts", "credentials", "refused"),
    [
        (FILE, None, NoEntry),
        (FdFacts("dir", None), Credentials(1000, 1000, ()), Denied),
        (DIRECTORY, None, Denied),
        (DIRECTORY, Credentials(1000, 1000, (), "it has given up rights"), Denied),
    ],
)
def test_what_nobody_goes_beneath(
    facts: FdFacts, credentials: Credentials | None, refused: type[PagsrvError]
) -> None:
    """No directory, a mere place, or rights not to be had: said before anything is looked at."""
    table = Table()
    peer = table.join()
    table.post(peer, "docs", facts=facts)
    table.entry(USER, "docs").credentials = credentials
    for request in (Open("docs/a"), Walk("docs"), OpenMany(["docs/a"])):
        with pytest.raises(refused):
            errand(table, peer, request)


def test_an_empty_entry_is_not_assigned(table: Table) -> None:
    """As for any open."""
    peer = table.join()
    table.post(peer, "later", empty=True)
    with pytest.raises(NotAssigned):
        errand(table, peer, Open("later/a"))


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: Take("docs/a"), lambda: Remove("docs/a"), lambda: Open("docs/../a"),
        lambda: Open("docs", access="r"), lambda: Open("docs/a", access="x"),
        lambda: OpenMany(["docs/a", "docs"], "rw"), lambda: OpenMany(["docs/.."]),
        lambda: OpenMany([], "r"), lambda: Walk("docs/.."), lambda: Open("docs/a\0b"),
    ],
)  # fmt: skip
def test_what_is_no_such_thing(table: Table, request_of: type[Request]) -> None:
    """Only these calls go beneath, only down, and only what lies there has an access."""
    peer = table.join()
    with pytest.raises(InvalidParameter):
        errand(table, peer, request_of())


# ---- after it was looked at ----------------------------------------------------------------------


def test_who_may_not_any_more_gets_nothing(table: Table) -> None:
    """The entry removed meanwhile, or its mask changed."""
    peer = table.join()
    sent = errand(table, peer, Open("docs/a"))
    table.entry(USER, "docs").mask = 0x3F000000 & ~(2 << 24)
    assert isinstance(refusal(table, sent), Denied)
    table.ask(peer, Remove("docs"))
    assert isinstance(refusal(table, sent), NoEntry)


def test_what_was_replaced_is_stale(table: Table) -> None:
    """Another directory by the same name is another."""
    peer = table.join()
    sent = errand(table, peer, Open("docs/a"))
    table.post(peer, "docs", facts=DIRECTORY, replace=True)
    assert isinstance(refusal(table, sent), Stale)


def test_opens_are_counted_when_they_succeed() -> None:
    """Of two on their way the last one that was left opens; a failed one costs none."""
    table = Table()
    peer = table.join()
    table.post(peer, "docs", facts=DIRECTORY, until=Ends(("opens=1",)))
    first, second = (errand(table, peer, Open("docs/a")) for _ in range(2))
    failed: Outcome[int] = Outcome(error=NoEntry("there is no a"))
    assert str(refusal(table, first, failed)) == "there is no a"
    assert come(table, first).lend == OPENED[:1]
    assert isinstance(refusal(table, second), NoEntry)
    table.post(peer, "docs", facts=DIRECTORY, until=Ends(("opens=1",)))
    assert isinstance(refusal(table, errand(table, peer, OpenMany(["docs/a", "docs/b"]))), NoEntry)


def test_many_are_all_or_none(table: Table) -> None:
    """Entries and what lies beneath them, in their order; one that fails and none is opened."""
    peer = table.join()
    table.post(peer, "plain")
    sent = errand(table, peer, OpenMany(["docs/a", "plain", "docs/"]))
    assert [step.place.path for step in sent.steps] == [("a",), None, ()]
    answer = come(table, sent)
    assert answer.lend == OPENED
    assert (table.entry(USER, "docs").opens, table.entry(USER, "plain").opens) == (2, 1)
    failed: Outcome[int] = Outcome([900, 901], error=Denied("no"))
    assert isinstance(refusal(table, sent, failed), Denied)
    assert (table.entry(USER, "docs").opens, table.entry(USER, "plain").opens) == (2, 1)


def test_refusals_are_counted(table: Table) -> None:
    """As any."""
    peer = table.join()
    sent = errand(table, peer, Open("docs/a"))
    refusal(table, sent, Outcome(error=Denied("no")))
    assert table.broker.reasons == {"Denied": 1}
