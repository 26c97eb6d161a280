# SPDX-License-Identifier: MIT
"""The store: a handle is in one place, a budget is given back, a change moves the epoch.

The law: what a refused call brought is still the caller's, and nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.errors import Exists, NoSession, QuotaExceeded
from pagsrv.facts import ProcessFacts
from pagsrv.limits import Limits
from pagsrv.model import Entry, PeerId, Witness
from pagsrv.names import EntryName, Scope
from pagsrv.store import Hold, Namespace, Store

SESSION, USER, PAG = Scope("session", 5), Scope("user", 1000), Scope("pag", 0x41000001)


def entry_of(scope: Scope, name: str = "db", uid: int = 1000) -> Entry[int]:
    """An entry that is on no board yet."""
    return Entry(scope, EntryName(name), uid=uid, gid=uid, mask=0, created=0)


def added(store: Store[int], scope: Scope = USER, name: str = "db", uid: int = 1000) -> Entry[int]:
    """An empty entry on the board."""
    entry = entry_of(scope, name, uid)
    store.add(store.namespace(scope, uid, "none"), entry)
    return entry


def held(handle: int | None, *waits: Witness[int], **more: object) -> Hold[int]:
    """What an entry is given."""
    return Hold(handle, None, None, waits=list(waits), **more)  # type: ignore[arg-type]


def witness(pid: int, handle: int | None) -> Witness[int]:
    """A process."""
    return Witness(ProcessFacts(pid, 1000, 1000, pid, "p"), handle)


def test_entry_is_found_where_it_was_put() -> None:
    """By its scope and its name, nowhere else."""
    store: Store[int] = Store(Limits())
    entry = added(store, SESSION)
    assert store.find(SESSION, EntryName("db")) is entry
    assert store.find(SESSION, EntryName("other")) is None
    assert store.find(USER, EntryName("db")) is None
    assert list(store.entries()) == [entry]
    assert store.count == 1


def test_name_is_taken_once() -> None:
    """Adding and renaming to a name that is there change nothing."""
    store: Store[int] = Store(Limits())
    first, second = added(store, name="a"), added(store, name="b")
    epoch = store.epoch
    with pytest.raises(Exists, match="user:1000/a"):
        added(store, name="a")
    with pytest.raises(Exists, match="user:1000/a"):
        store.rename(second, EntryName("a"))
    assert (epoch, 2) == (store.epoch, store.count)
    assert [first, second] == list(store.entries())


def test_rename_moves_the_entry() -> None:
    """The old name is free again, the generation is new."""
    store: Store[int] = Store(Limits())
    entry = added(store)
    before = entry.generation
    store.rename(entry, EntryName("other"))
    assert store.find(USER, EntryName("db")) is None
    assert store.find(USER, EntryName("other")) is entry
    assert entry.generation > before


def test_assigning_hands_back_what_was_held() -> None:
    """Handle, process and lease of before are the caller's; those of now are the store's."""
    store: Store[int] = Store(Limits())
    entry = added(store)
    first = witness(1, 11)
    fresh, released = store.assign(entry, held(10, first, lease=PeerId(3), until=("lease",)))
    assert ([entry.waits[0]], []) == (fresh, released)
    assert store.leases == {PeerId(3): {entry}}
    fresh, released = store.assign(entry, held(20, witness(2, 21)))
    assert sorted(released) == [10, 11]
    assert [process.handle for process in fresh] == [21]
    assert store.leases == {}
    assert sorted(store.remove(entry)) == [20, 21]


def test_assigning_may_keep_the_ends() -> None:
    """Then processes, lease, deadline and turns stay what they were."""
    store: Store[int] = Store(Limits())
    entry = added(store)
    ends = held(None, witness(1, 11), lease=PeerId(3), deadline=9.0, turns=2, until=("lease",))
    store.assign(entry, ends)
    _, released = store.assign(entry, held(20), keep_ends=True)
    assert released == []
    assert (entry.handle, entry.until, entry.turns, entry.deadline) == (20, ("lease",), 2, 9.0)
    assert entry.lease == PeerId(3)
    assert sorted(store.remove(entry)) == [11, 20]
    assert store.leases == {}


def test_poster_is_followed_like_any_process() -> None:
    """One handle for the process that posted and is waited for; it goes with the last entry."""
    store: Store[int] = Store(Limits())
    one, two = added(store, name="a"), added(store, name="b")
    fresh, _ = store.assign(one, Hold(10, None, witness(1, 11), waits=[witness(1, 12)]))
    assert [process.handle for process in fresh] == [12]
    fresh, _ = store.assign(two, Hold(20, None, witness(1, 13)))
    assert fresh == []
    assert one.poster is two.poster
    _, released = store.assign(one, Hold(30, None, witness(2, 21)))
    assert released == [10]
    assert sorted(store.remove(one)) == [21, 30]
    assert sorted(store.remove(two)) == [12, 20]


def test_lease_of_two_entries_is_one_connection() -> None:
    """Removing one entry leaves the other leased."""
    store: Store[int] = Store(Limits())
    one, two = added(store, name="a"), added(store, name="b")
    for entry in (one, two):
        store.assign(entry, held(entry.generation, lease=PeerId(3)))
    store.remove(one)
    assert store.leases == {PeerId(3): {two}}


def test_removing_twice_hands_nothing_back() -> None:
    """Neither a removed entry nor one whose name is another's by now is removed."""
    store: Store[int] = Store(Limits())
    entry = added(store, SESSION)
    store.assign(entry, held(10))
    assert store.remove(entry) == [10]
    assert entry.generation == 0
    successor = added(store, SESSION)
    assert store.remove(entry) == []
    assert list(store.entries()) == [successor]


# ── namespaces ──


def test_namespace_goes_with_the_last_that_holds_it() -> None:
    """User and PAG namespaces go when they are empty; a session's stays while its ring lives."""
    store: Store[int] = Store(Limits())
    store.remove(added(store, USER))
    store.remove(added(store, SESSION))
    assert list(store.spaces) == [SESSION]
    store.forget(store.spaces[SESSION])
    assert store.spaces == {}


def test_guest_holds_the_namespace_it_was_granted_to() -> None:
    """A grant keeps the namespace; ending it, or the entry, lets it go."""
    store: Store[int] = Store(Limits())
    entry = added(store)
    for _ in range(2):
        store.grant(entry, store.namespace(PAG, 1000, "none"))
        assert entry.grants == (PAG,)
        store.ungrant(entry, PAG)
        assert PAG not in store.spaces
    store.grant(entry, store.namespace(PAG, 1000, "none"))
    store.remove(entry)
    assert store.spaces == {}


def test_namespace_is_made_once() -> None:
    """Who asks again gets the same, whatever they say of it; a session only who is its uid."""
    store: Store[int] = Store(Limits())
    space = store.namespace(SESSION, 1000, "isolated")
    assert store.namespace(SESSION, 1000, "linkable") is space
    assert (space.uid, space.isolation) == (1000, "isolated")
    with pytest.raises(NoSession):
        store.namespace(SESSION, 2000, "isolated")
    pag = Scope("pag", 0x41000001)
    assert store.namespace(pag, 1000, "isolated") is store.namespace(pag, 2000, "isolated")


def test_maker_pays_for_somebody_elses_namespace() -> None:
    """A grant to user:2000 is charged to the uid that granted, and given back to it."""
    store: Store[int] = Store(Limits(namespaces_per_uid=1))
    guest = store.namespace(Scope("user", 2000), 2000, "none", 1000)
    store.namespace(Scope("session", 9), 2000, "isolated")
    with pytest.raises(QuotaExceeded):
        store.namespace(SESSION, 1000, "isolated")
    store.discard(guest)
    store.namespace(SESSION, 1000, "isolated")


# ── budgets ──


def some_entries(store: Store[int], uid: int) -> Callable[[], object]:
    """A way to use up *uid*'s entries."""
    return lambda: added(store, Scope("user", uid), f"n{store.count}", uid)


def some_scopes(store: Store[int], uid: int) -> Callable[[], object]:
    """A way to use up *uid*'s namespaces."""
    return lambda: store.namespace(Scope("session", len(store.spaces) + 1), uid, "isolated")


@pytest.mark.parametrize("way", [some_entries, some_scopes])
def test_budget_is_per_uid(way: Callable[[Store[int], int], Callable[[], object]]) -> None:
    """One uid's budget used up is nobody else's."""
    store: Store[int] = Store(Limits(entries_per_uid=2, namespaces_per_uid=2))
    act = way(store, 1000)
    act()
    act()
    with pytest.raises(QuotaExceeded, match="uid 1000"):
        act()
    way(store, 2000)()


def test_scope_has_a_budget_too() -> None:
    """However many uids post in it."""
    store: Store[int] = Store(Limits(entries_per_scope=1))
    added(store, PAG, "a", 1000)
    with pytest.raises(QuotaExceeded, match="pag:"):
        added(store, PAG, "b", 2000)


def test_grants_have_two_budgets() -> None:
    """Per entry and per uid; an ended grant is given back to both."""
    store: Store[int] = Store(Limits(grants_per_entry=2, grants_per_uid=3))
    one, two = added(store, name="a"), added(store, name="b")

    def grant(entry: Entry[int], number: int) -> None:
        store.grant(entry, store.namespace(Scope("session", number), 1000, "isolated"))

    grant(one, 1)
    grant(one, 2)
    with pytest.raises(QuotaExceeded, match="2 scopes"):
        grant(one, 3)
    grant(two, 1)
    with pytest.raises(QuotaExceeded, match="3 grants"):
        grant(two, 2)
    store.remove(one)
    grant(two, 2)
    assert two.grants == (Scope("session", 1), Scope("session", 2))


# ── deadlines ──


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.none() | st.integers(1, 9).map(float), st.booleans()
        ),
        max_size=200,
    )
)  # fmt: skip
def test_deadlines_come_due_in_order(todo: list[tuple[int, float | None, bool]]) -> None:
    """However often deadlines move, those that count come due, and the heap stays small."""
    store: Store[int] = Store(Limits())
    entries = {number: added(store, name=f"n{number}") for number in range(6)}
    for number, deadline, leaves in todo:
        if leaves and number in entries:
            store.remove(entries.pop(number))
        elif number in entries:
            store.set_deadline(entries[number], deadline)
        counting = [one.deadline for one in entries.values() if one.deadline is not None]
        assert min(counting, default=None) == store.next_deadline()
        assert len(store._deadlines) <= 2 * store.count + 65
    for now in range(10):
        expected = {one for one in entries.values() if one.deadline and one.deadline <= now}
        found = store.due(now)
        assert expected == set(found)
        for entry in expected:
            store.remove(entry)


def test_heap_forgets_deadlines_that_moved() -> None:
    """A timeout set again and again leaves no trail."""
    store: Store[int] = Store(Limits())
    entry = added(store)
    for number in range(1000):
        store.set_deadline(entry, 10.0 + number)
    assert len(store._deadlines) <= 67
    assert store.due(1008.9) == []
    assert store.due(1009.0) == [entry]


def test_every_change_moves_the_epoch() -> None:
    """An answer that stood before any of these stands no longer after it."""
    store: Store[int] = Store(Limits())
    entry = added(store)
    space: Namespace[int] = store.namespace(SESSION, 1000, "isolated")
    changes: list[Callable[[], object]] = [
        lambda: added(store, name="new"),
        lambda: store.assign(entry, held(10)),
        lambda: store.touch(entry),
        lambda: store.rename(entry, EntryName("other")),
        lambda: store.grant(entry, space),
        lambda: store.ungrant(entry, SESSION),
        lambda: store.remove(entry),
        lambda: store.forget(space),
    ]
    for change in changes:
        epoch = store.epoch
        change()
        assert store.epoch > epoch
    store.forget(space)


def test_store_without_deadlines_is_not_timed() -> None:
    """Nobody has to look at the clock for it."""
    store: Store[int] = Store(Limits())
    entry = added(store)
    timed = [store.timed]
    store.set_deadline(entry, 5.0)
    timed.append(store.timed)
    store.remove(entry)
    assert store.next_deadline() is None
    assert [*timed, store.timed] == [False, True, False]
