# SPDX-License-Identifier: MIT
"""The board: finding entries, opening, listing and ending them.

The law: shape, right, existence, answer, mutate, in that order; batches are
checked whole before the first change. What is refused is raised, what has
happened is noted and told by `drain`. It refuses to know descriptors and clocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Generic

from pagsrv.effects import Answer, Drop, Effect, Listing, Look, Presence
from pagsrv.errors import (
    Denied,
    InvalidParameter,
    NoSession,
    NotAssigned,
    Stale,
    TimedOut,
)
from pagsrv.limits import TTL_SECONDS, Limits
from pagsrv.masks import SEARCH, VIEW
from pagsrv.messages import (
    EntryReply,
    EntryView,
    List,
    Wait,
    Watch,
)
from pagsrv.model import By, Entry, Event, EventKind, H, Living, Moment, Peer, PeerId
from pagsrv.names import (
    EntryName,
    Place,
    Reference,
    Scope,
    ScopeWord,
    parse_place,
    parse_reference,
    parse_scope,
)
from pagsrv.policy import demand, no_entry, rights, rights_in_full
from pagsrv.store import Store
from pagsrv.views import entry_view, event_view, openers_of, view_with
from pagsrv.watching import Waiter, Watcher, Watches


def assigned(entry: Entry[H]) -> H:
    """The entry's handle; NotAssigned if it is empty."""
    if entry.handle is None:
        raise NotAssigned(
            f"{entry.scope}/{entry.name} is empty: nobody has given it a descriptor yet; "
            f"`pagsrv post {entry.name}` assigns one"
        )
    return entry.handle


class Board(Generic[H]):
    """Every namespace of one broker."""

    def __init__(self, limits: Limits) -> None:
        self.store: Store[H] = Store(limits)
        self.watches: Watches[H] = Watches(limits.watches_per_uid)
        self.opens = 0
        self._news: list[Event[H]] = []

    # ── naming ──

    @staticmethod
    def reference(name: str, scope: str | None) -> Reference:
        """The entry that a call names, from its two fields."""
        return Board._within(parse_reference(name), name, scope)

    @staticmethod
    def place(name: str, scope: str | None) -> Place:
        """The same, with what may lie beneath it."""
        place = parse_place(name)
        return place._replace(reference=Board._within(place.reference, name, scope))

    @staticmethod
    def _within(reference: Reference, name: str, scope: str | None) -> Reference:
        if scope is None:
            return reference
        word = parse_scope(scope)
        if reference.scope is not None and reference.scope != word:
            raise InvalidParameter("scope", f"{name!r} names one scope and the call another")
        return Reference(word, reference.name)

    @staticmethod
    def resolve(peer: Peer, word: ScopeWord) -> Scope:
        """The scope that *word* means for *peer*; NoSession if it has none of that kind."""
        if isinstance(word, Scope):
            return word
        for scope in peer.scopes:
            if scope.kind == word:
                return scope
        why = peer.refused.get(word, "the connection has not proved one (Attach)")
        raise NoSession(f"you are proved in no {word} scope: {why}")

    def find(self, peer: Peer, reference: Reference, need: int) -> Entry[H]:
        """The entry *reference* means for *peer*, if it holds *need* on it; else Refused."""
        if reference.scope is None:
            entry = self._first(peer, reference.name)
            if entry is None:
                raise no_entry(reference)
            return self._demand(peer, entry, rights(peer, entry), need, reference)
        entry = self.store.find(self.resolve(peer, reference.scope), reference.name)
        if entry is None:
            raise no_entry(reference)
        held = rights_in_full(peer, entry)
        return self._demand(peer, entry, held, need | VIEW, reference)

    def _first(self, peer: Peer, name: EntryName) -> Entry[H] | None:
        """What a bare name means: the first match with the search right, innermost first."""
        for scope in peer.scopes:
            entry = self.store.find(scope, name)
            if entry is not None and rights(peer, entry) & SEARCH:
                return entry
        return None

    def _demand(
        self, peer: Peer, entry: Entry[H], held: int, need: int, reference: Reference
    ) -> Entry[H]:
        try:
            demand(held, need, reference)
        except Denied as error:
            self.note("refused", entry, peer, str(error))
            raise
        return entry

    @staticmethod
    def expect(entry: Entry[H], generation: int | None) -> None:
        """Stale if *entry* is not the generation the caller has seen."""
        if generation is not None and generation != entry.generation:
            raise Stale(
                f"{entry.scope}/{entry.name} is at generation {entry.generation}, "
                f"not {generation}: somebody changed it; look again with `pagsrv stat`"
            )

    # ── what has happened ──

    def note(
        self, event: EventKind, entry: Entry[H], peer: Peer | None, why: str = "",
        before: tuple[PeerId, ...] = (),
    ) -> None:  # fmt: skip
        """Remember an event for whoever waits, and for those that view the entry now.

        *before* are the watchers that could view it until this happened: they hear of it, too.
        """
        if self.watches.watchers or self.watches.waiters:
            inside = event == "opened" and bool(why)
            by = By(peer.uid, peer.pid, peer.comm) if peer is not None else None
            if peer is not None and peer.asker is not None:
                asker = peer.asker
                behalf = f"on its behalf, asked by process {asker.pid} of uid {asker.uid}"
                why = f"{why}; {behalf}" if why else behalf
            told = tuple(dict.fromkeys(before + self.watches.hearers(entry)))
            self._news.append(
                Event(
                    event, entry.scope, entry.name, entry.generation, by, why, entry, told, inside
                )
            )

    def note_scope(self, event: EventKind, scope: Scope, why: str) -> None:
        """Remember an event of a whole scope."""
        if self.watches.watchers:
            space = self.store.spaces.get(scope)
            told = self.watches.knowing(scope, None if space is None else space.uid)
            self._news.append(Event(event, scope, "", why=why, hearers=told))

    def drain(self, when: Moment) -> list[Effect[H]]:
        """Tell watchers and waiters what has happened since the last time."""
        effects: list[Effect[H]] = []
        while self._news:
            news, self._news = self._news, []
            for event in news:
                effects += self.watches.tell(event, when.wall)
                if event.entry is not None and event.event not in ("ended", "refused"):
                    effects += self._serve_waiters(event.entry)
        return effects

    def _serve_waiters(self, entry: Entry[H]) -> list[Effect[H]]:
        effects: list[Effect[H]] = []
        for waiter in list(self.watches.waiters.values()):
            if waiter.reference.name == entry.name:
                answer = self._awaited(waiter.peer, waiter.reference)
                if answer is not None:
                    self.watches.forget(waiter.peer.id)
                    effects.append(answer)
        return effects

    def _awaited(self, peer: Peer, reference: Reference) -> Answer[H] | None:
        if reference.scope is None:
            entry = self._first(peer, reference.name)
            held = 0 if entry is None else rights(peer, entry)
        else:
            entry = self.store.find(self.resolve(peer, reference.scope), reference.name)
            held = 0 if entry is None else rights_in_full(peer, entry)
        if entry is None or not held & VIEW:
            return None
        return self.shown(peer, entry)

    # ── look ──

    def shown(self, peer: Peer, entry: Entry[H]) -> Answer[H]:
        """The answer that shows *entry* to *peer*."""
        return Answer(peer.id, EntryReply(entry_view(peer, entry, self.store.offset)))

    def stat(
        self, peer: Peer, reference: Reference, living: Living | None, *, brief: bool = False
    ) -> list[Effect[H]]:
        """Show one entry and, unless *brief*, who opened it; *living* asks whether one still is."""
        entry = self.find(peer, reference, VIEW)
        view = entry_view(peer, entry, self.store.offset)
        if brief:
            return [Answer(peer.id, EntryReply(view))]
        view.openers = openers_of(entry, living) or None
        reply = EntryReply(view)
        if entry.handle is None or entry.facts is None or not entry.facts.is_socket:
            return [Answer(peer.id, reply)]
        return [Look(peer.id, reply, entry.handle)]

    def listing(self, peer: Peer, request: List) -> list[Effect[H]]:
        """Show the entries of a scope, of the proved scopes, or all that may be viewed."""
        found = self._listed(peer, request.scope, every=bool(request.all))
        if request.names:
            names = [entry.name for entry in found if rights_in_full(peer, entry) & VIEW]
            return [Listing(peer.id, iter(()), names)]
        return [Listing(peer.id, self._views(peer, list(found)))]

    def _views(self, peer: Peer, entries: list[Entry[H]]) -> Iterator[EntryView]:
        offset = self.store.offset
        for entry in entries:
            held = rights_in_full(peer, entry)
            if held & VIEW and entry.generation:
                yield view_with(held, peer, entry, offset)

    def _listed(self, peer: Peer, scope: str | None, *, every: bool) -> Iterator[Entry[H]]:
        spaces = self.store.spaces
        if scope is not None:
            only = self.resolve(peer, parse_scope(scope))
            return iter(spaces[only].entries.values()) if only in spaces else iter(())
        return self.store.entries() if every else self._mine(peer)

    def _mine(self, peer: Peer) -> Iterator[Entry[H]]:
        mine = [self.store.spaces[scope] for scope in peer.scopes if scope in self.store.spaces]
        guests: set[Entry[H]] = set()
        for space in mine:
            yield from space.entries.values()
            guests |= space.guests
        for guest in sorted(guests, key=lambda guest: guest.generation):
            if guest.scope not in peer.proofs:
                yield guest

    # ── wait and watch ──

    def wait(self, peer: Peer, request: Wait, when: Moment) -> list[Effect[H]]:
        """Answer when the name is there, or TimedOut."""
        reference = self.reference(request.name, request.scope)
        if reference.scope is not None:
            reference = Reference(self.resolve(peer, reference.scope), reference.name)
        seconds = request.timeout
        if seconds is not None and not 0 <= seconds <= TTL_SECONDS:
            raise InvalidParameter("timeout", f"give 0 to {TTL_SECONDS} seconds")
        answer = self._awaited(peer, reference)
        if answer is not None:
            return [answer]
        if seconds == 0:
            raise self._timed_out(reference)
        self.watches.admit(peer)
        deadline = None if seconds is None else when.boot + seconds
        self.watches.waiters[peer.id] = Waiter(peer, reference, deadline)
        return []

    @staticmethod
    def _timed_out(reference: Reference) -> TimedOut:
        return TimedOut(f"{reference} was not posted in time")

    def give_up(self, when: Moment) -> list[Effect[H]]:
        """Answer the waiters whose time is up."""
        effects: list[Effect[H]] = []
        for waiter in self.watches.late(when.boot):
            self.watches.forget(waiter.peer.id)
            effects.append(Answer(waiter.peer.id, self._timed_out(waiter.reference)))
        return effects

    def watch(self, peer: Peer, request: Watch, when: Moment) -> list[Effect[H]]:
        """Stream events from now on; with initial, what is there comes first; then live."""
        scope = None
        if request.scope is not None:
            scope = self.resolve(peer, parse_scope(request.scope))
        self.watches.admit(peer)
        self.watches.watchers[peer.id] = Watcher(peer, scope)
        if not (request.initial or request.live):
            return []
        word = None if scope is None else str(scope)
        there = [
            (entry.scope, entry.name, entry.generation)
            for entry in (self._listed(peer, word, every=True) if request.initial else ())
            if rights_in_full(peer, entry) & VIEW
        ]
        events: Iterator[Event[H]] = (Event("present", *one) for one in there)
        live: Event[H] = Event("live", scope, "")
        views = (event_view(event, when.wall) for event in chain(events, (live,)))
        return [Presence(peer.id, views)]

    # ── end ──

    def end(self, entry: Entry[H], why: str, peer: Peer | None = None) -> list[Effect[H]]:
        """Take *entry* down because of *why*; what was handed out stays handed out."""
        if not entry.generation:
            return []
        self.note("ended", entry, peer, why)
        return [Drop(handle) for handle in self.store.remove(entry)]
