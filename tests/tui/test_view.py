# SPDX-License-Identifier: MIT
"""After anything that may happen the dashboard shows what a listing shows.

The law: events come in their order, and answers in theirs, but the two arrive on
connections of their own and overtake each other; the broker is the real core
(tests/anything.py), and what must come out is its own listing. It refuses to know
screens.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from pagsrv.effects import Answer, Effect, Hangup, Listing, Look, Presence, Tell
from pagsrv.messages import (
    Attach,
    EntryReply,
    EntryView,
    EventView,
    List,
    Stat,
    Watch,
)
from pagsrv.model import Given, Peer
from pagsrv_tui.messages import (
    Absent,
    Connected,
    Happened,
    Key,
    Lost,
    Namespaced,
    Pulse,
    Shown,
    Silent,
)
from pagsrv_tui.view import EVENTS, PULSES, Row, View, asked, reduce, reduce_all
from tests.anything import RINGS, Anything, Seen
from tests.tui.boards import (
    event_of,
    some_entry,
    some_identity,
    some_namespace,
    some_vitals,
)

# ---- anything ------------------------------------------------------------------------------------


class Watched(Anything):
    """A board, and a dashboard that watches it over two connections, one slower or the other."""

    def __init__(self) -> None:
        super().__init__()
        self.view = View()
        self.watcher: Peer | None = None
        self.news: list[EventView] = []
        self.answers: list[Shown | Absent] = []
        self.ring: int | None = None

    def settle(self, effects: list[Effect[int]], before: Seen, asker: Peer | None = None) -> None:
        """As ever; and what the watcher is told is put down."""
        for effect in effects:
            if self.watcher is None:
                break
            if isinstance(effect, Tell) and effect.to == self.watcher.id:
                self.news.append(effect.event)
            elif isinstance(effect, Hangup) and effect.peer == self.watcher.id:
                self.watcher = None
        super().settle(effects, before, asker)

    def hang_up(self, peer: object) -> None:
        """As ever; the watcher's connection too may go."""
        if self.watcher is not None and peer == self.watcher.id:
            self.watcher = None
        super().hang_up(peer)  # type: ignore[arg-type]

    @initialize(ring=st.none() | RINGS)
    def watch_first(self, ring: int | None) -> None:
        """The dashboard is in a session, or in none."""
        self.ring = ring

    def watch(self) -> None:
        """Connect the dashboard, as feed.py does: the watch with what is there, then one list."""
        peer = self.table.connect(1000)
        effects, self.table.effects = self.table.effects, []
        if any(isinstance(one, Hangup) for one in effects):
            self.peers[peer.id] = peer
            self.settle(effects, self.seen(), peer)
            return
        self.peers[peer.id] = peer
        self.ask(peer, Attach(["user"], False), Given(no_pag="none"))
        if self.ring is not None:
            self.attach(len(self.free()) - 1, self.ring, named=True)
            if peer.id not in self.busy:
                self.prove(self.free().index(peer), self.ring, good=True, loose=False)
        if peer.id in self.busy:
            self.hang_up(peer.id)
            return
        effects = self.table.broker.handle(peer, Watch(None, True), Given(), self.table.now)
        presence = [one for one in effects if isinstance(one, Presence)]
        if not presence:  # as many watches as a uid may have
            self.hang_up(peer.id)
            return
        self.busy.add(peer.id)
        self.watcher = peer
        self.news, self.answers = list(presence[0].events), []
        self.view = reduce(self.view, Connected(some_identity()))

    def listing(self, peer: Peer) -> tuple[EntryView, ...]:
        """Every entry that *peer* may view."""
        effects = self.table.broker.handle(peer, List(None, True), Given(), self.table.now)
        (listing,) = (one for one in effects if isinstance(one, Listing))
        return tuple(listing.entries)

    # ── what arrives ──

    @rule(count=st.integers(1, 4))
    def hear(self, count: int) -> None:
        """Some events arrive."""
        self.view = self.hearing(self.view, count, self.answers)

    def hearing(self, view: View, count: int, answers: list[Shown | Absent]) -> View:
        """*view* after some events; after `live` the one listing is asked for."""
        arrived, self.news = self.news[:count], self.news[count:]
        if self.watcher is not None and any(event.event == "live" for event in arrived):
            answers.append(Shown(self.listing(self.watcher)))
        return reduce_all(view, map(Happened, arrived))

    @rule(count=st.integers(1, 4))
    def be_answered(self, count: int) -> None:
        """Some answers arrive."""
        arrived, self.answers = self.answers[:count], self.answers[count:]
        self.view = reduce_all(self.view, arrived)

    @rule()
    def inquire(self) -> None:
        """The dashboard asks about what may have changed."""
        if self.watcher is None:
            return
        self.view, wants = asked(self.view)
        for key, generation in wants.items():
            self.answers.append(self.stat(self.watcher, key, generation))

    def stat(self, peer: Peer, key: Key, generation: int) -> Shown | Absent:
        """One answer of the core's."""
        effects = self.table.broker.handle(peer, Stat(str(key)), Given(), self.table.now)
        (answer,) = (one for one in effects if isinstance(one, Answer | Look) and one.to == peer.id)
        if isinstance(answer.reply, EntryReply):
            return Shown((answer.reply.entry,))
        return Absent(key, generation)

    @invariant()
    def shows_what_a_listing_shows(self) -> None:
        """Once all of it has arrived and nothing is left to be asked; the board stands still."""
        if self.watcher is None:
            self.watch()
        if self.watcher is None:
            return
        news, answers = self.news, [*self.answers]
        view = self.hearing(self.view, len(news), answers)
        self.news = news
        view = reduce_all(view, answers)
        while view.wanted:
            view, wants = asked(view)
            answers = [self.stat(self.watcher, *one) for one in wants.items()]
            view = reduce_all(view, answers)
        there = {Key(one.scope, one.name): one for one in self.listing(self.watcher)}
        shown = {
            row.key: row.entry for space in view.spaces.values() for row in space.rows.values()
        }
        assert {key: _lasting(one) for key, one in there.items()} == {
            key: None if one is None else _lasting(one) for key, one in shown.items()
        }
        assert not view.filling


def _lasting(entry: EntryView) -> dict[str, object]:
    """What of an entry changes with an event only, and is in every answer."""
    told = {name: getattr(entry, name) for name in entry.__struct_fields__}
    told["openers"] = told["socket"] = None
    told["poster"] = None if entry.poster is None else (entry.poster.pid, entry.poster.comm)
    return told


TestWatched = Watched.TestCase
TestWatched.settings = settings(max_examples=200, stateful_step_count=60)


# ---- one by one ----------------------------------------------------------------------------------


def begun(*names: str) -> View:
    """A live view of these entries of user:1000, with their details."""
    told = [Happened(event_of("present", name, 1)) for name in names]
    shown = Shown(tuple(some_entry(name, generation=1) for name in names))
    live = Happened(event_of("live", "", 0))
    return reduce_all(View(), [Connected(some_identity()), *told, live, shown])


def names(view: View) -> set[str]:
    """What is there in user:1000."""
    space = view.spaces.get("user:1000")
    return set() if space is None else set(space.rows)


def test_a_view_is_not_changed_by_what_comes_after_it() -> None:
    """Who holds an older View sees the board of then."""
    before = begun("a")
    after = reduce(before, Happened(event_of("posted", "b", 2)))
    assert (names(before), names(after)) == ({"a"}, {"a", "b"})
    assert (before.events, before.wanted) == ((), {})


def test_an_overtaken_answer_changes_nothing() -> None:
    """What was true before the last event is not shown over what is true now."""
    view = reduce(begun("a"), Happened(event_of("changed", "a", 5)))
    stale = reduce(view, Shown((some_entry("a", generation=4, opens=9),)))
    row = stale.row(Key("user:1000", "a"))
    assert row is not None
    assert row.entry == some_entry("a", generation=1)
    assert stale.wanted == {Key("user:1000", "a"): 5}


def test_an_answer_about_what_is_gone_brings_nothing_back() -> None:
    """The listing was written before the entry ended, and is read after."""
    view = reduce(begun("a", "b"), Happened(event_of("ended", "a", 1, why="removed")))
    assert names(reduce(view, Shown((some_entry("a", generation=1),)))) == {"b"}


def test_nothing_found_under_a_name_posted_again_takes_no_row_away() -> None:
    """The stat was answered between two entries of one name."""
    view = reduce(begun("a"), Happened(event_of("posted", "a", 7)))
    assert names(reduce(view, Absent(Key("user:1000", "a"), 1))) == {"a"}
    assert names(reduce(view, Absent(Key("user:1000", "a"), 7))) == set()


@pytest.mark.parametrize("other", ["was x", "; on its behalf, asked by", "a b"])
def test_a_rename_takes_the_old_row_away_whatever_it_was_called(other: str) -> None:
    """A name may look like the sentence that tells of it."""
    event = event_of("renamed", "new", 3, why=f"was {other}")
    assert names(reduce(begun(other, "b"), Happened(event))) == {"new", "b"}


def test_what_is_wanted_is_asked_once() -> None:
    """An event between question and answer asks again."""
    key = Key("user:1000", "a")
    view, wants = asked(reduce(begun("a"), Happened(event_of("opened", "a", 1))))
    assert (wants, view.wanted) == ({key: 1}, {})
    again = reduce(view, Happened(event_of("opened", "a", 1)))
    answered = reduce(again, Shown((some_entry("a", generation=1, opens=1),)))
    assert answered.wanted == {key: 1}


def test_memory_is_bounded() -> None:
    """A week's events are not kept, and are counted."""
    many = [Happened(event_of("opened", "a", 1)) for _ in range(EVENTS + 5)]
    pulses = [Pulse(some_vitals(), float(second)) for second in range(PULSES + 5)]
    view = reduce_all(begun("a"), [*many, *pulses])
    assert (len(view.events), view.heard) == (EVENTS, EVENTS + 5)
    assert (len(view.pulses), view.pulses[-1].time) == (PULSES, PULSES + 4.0)


def test_a_lost_broker_leaves_what_was_seen_until_another_tells() -> None:
    """Rows stay to be read; the next broker's generations begin anew."""
    lost = reduce(begun("a"), Lost("it hung up", 0.5))
    assert (lost.link, lost.why, lost.retry, names(lost)) == ("lost", "it hung up", 0.5, {"a"})
    back = reduce_all(lost, [Connected(some_identity()), Happened(event_of("present", "b", 1))])
    assert (back.link, names(back)) == ("live", {"b"})


def test_a_silent_broker_is_said_and_forgiven() -> None:
    """Its next answer shows that it lives; nothing else does."""
    silent = reduce(begun("a"), Silent(5.0))
    assert (silent.link, silent.why) == ("silent", "it has not answered for 5 s")
    assert reduce(silent, Pulse(some_vitals(), 1.0)).link == "live"


def test_a_namespace_without_entries_is_shown_while_the_broker_tells_of_it() -> None:
    """Ours stays, empty; another's is gone with its last entry."""
    told = [Happened(event_of("present", "a", 1, scope="session:9"))]
    view = reduce_all(View(), [Connected(some_identity()), *told])
    assert set(view.spaces) == {"session:9"}
    view = reduce(view, Namespaced((some_namespace("user:1000"),)))
    assert set(view.spaces) == {"session:9", "user:1000"}
    gone = reduce(view, Happened(event_of("ended", "a", 1, scope="session:9", why="revoked")))
    assert set(gone.spaces) == {"user:1000"}
    assert set(reduce(gone, Namespaced(())).spaces) == set()


def test_versions_move_with_what_they_count() -> None:
    """A change of details moves the version alone; a new name both."""
    first = begun("a").spaces["user:1000"]
    changed = reduce(begun("a"), Shown((some_entry("a", generation=2),))).spaces["user:1000"]
    posted = reduce(begun("a"), Happened(event_of("posted", "b", 2))).spaces["user:1000"]
    assert (changed.version, changed.members) == (first.version + 1, first.members)
    assert (posted.version, posted.members) == (first.version + 1, first.members + 1)


def test_views_are_made_of_values() -> None:
    """Two of the same history are equal, so that a screen can see that nothing has changed."""
    assert begun("a", "b") == begun("a", "b")
    assert reduce_all(begun("a"), []) == begun("a")
    assert Row(Key("user:1000", "a"), 1) == Row(Key("user:1000", "a"), 1, None)
