# SPDX-License-Identifier: MIT
"""Proof by groups: one nameless PAG in our own namespace, or a reason."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.kernel import peer, process
from pagsrv.kernel.libc import libc
from pagsrv.proofs import groups
from pagsrv.proofs.groups import FIRST, LAST, judge
from tests.actors import Actor
from tests.kernel.test_peer import Door, connect, door

__all__ = ["door"]

PAGS = st.integers(FIRST, LAST)
OTHERS = st.lists(st.integers(0, 0xFFFFFFFE).filter(lambda gid: not FIRST <= gid <= LAST))


@given(pag=PAGS, others=OTHERS, place=st.integers(0))
def test_judge_finds_the_one_pag(pag: int, others: list[int], place: int) -> None:
    """Wherever it stands among the groups, and however often."""
    where = place % (len(others) + 1)
    mixed = [*others[:where], pag, *others[where:]]
    assert judge(mixed) == (pag, "")
    assert judge([*mixed, pag]) == (pag, "")


@given(one=PAGS, two=PAGS, others=OTHERS)
def test_judge_refuses_two(one: int, two: int, others: list[int]) -> None:
    """Two different ones are ambiguous; the same one is not."""
    found, why = judge([*others, one, two])
    assert (found is None) == (one != two)
    assert (why == "") == (one == two)


@pytest.mark.parametrize("gid", [FIRST - 1, LAST + 1, 0, 0x7F00, 65534])
def test_judge_takes_nothing_beside_the_range(gid: int) -> None:
    """The neighbours of the range are groups like any other."""
    found, why = judge([gid])
    assert found is None
    assert "pagsrv pagsh" in why


def test_judge_refuses_a_group_with_a_name() -> None:
    """Directory services hand out real gids in the range."""
    for named in (True, lambda gid: gid == FIRST):
        found, why = judge([FIRST], named=named)
        assert found is None
        assert "has a name" in why
    assert judge([FIRST], named=lambda gid: gid != FIRST) == (FIRST, "")
    found, why = judge([FIRST], named=lambda _: None)
    assert found is None
    assert "not known" in why


def test_judge_refuses_another_user_namespace() -> None:
    """There a gid_map makes up any number; the reason is the kernel's."""
    found, why = judge([FIRST], userns_reason="the peer has exited")
    assert found is None
    assert why.endswith("the peer has exited")


@given(PAGS)
def test_pair_round_trip(pag: int) -> None:
    """The older form says the same number, in either order of the kernel's sorting."""
    first, second = groups.to_pair(pag)
    assert groups.from_pair(first, second) == pag
    assert max(first, second) < 0xFF00
    assert judge([first, second]) == (None, judge([])[1])
    found, _ = judge(sorted([first, second, 5, 100000]), two_groups=True)
    swapped = groups.from_pair(second, first)
    assert found == (pag if swapped in (None, pag) else None)


def test_pair_known_numbers() -> None:
    """Figures of the form in use, so that encoder and decoder cannot be wrong together."""
    assert groups.to_pair(0x41000000) == (0x8300, 0x7F00)
    assert groups.to_pair(0x41FFFFFF) == (0x86FF, 0xBEFF)
    assert groups.from_pair(0x8300, 0x7F00) == 0x41000000
    assert groups.from_pair(0x3F00, 0x3F00) is None
    assert groups.from_pair(0x8300, 0x3EFF) is None
    assert groups.from_pair(0xFF00, 0x7F00) is None


def test_pairs_of_many_groups_do_not_take_long() -> None:
    """A peer may have 65536 groups, and looking at them must not stop the broker."""
    worst = [gid for gid in range(0x3F00, 0xFF00) if not 0x8300 <= gid <= 0x86FF]
    before = time.process_time()
    assert groups.pairs(worst) == []
    assert len(groups.pairs(range(0x3F00, 0xFF00))) == 2
    assert time.process_time() - before < 1


def _setgid_like() -> None:
    """What a setgid file of the PAG's group makes of a process."""
    os.setgroups([])
    os.setresgid(60701, FIRST + 5, FIRST + 5)
    os.setresuid(60701, 60701, 60701)


@pytest.mark.kernel
@pytest.mark.root
def test_effective_gid_is_never_a_pag(door: Door, other_uid: int) -> None:
    """A setgid file hands its group to anyone: it is not among the supplementary ones."""
    assert other_uid
    with Actor() as actor:
        actor(_setgid_like)
        actor(connect, door.path)
        with door.accept() as sock:
            facts = peer.identify(sock)
        assert facts.pidfd is not None
        facts.pidfd.close()
    assert facts.gid == FIRST + 5
    assert judge(facts.groups)[0] is None


def _new_namespace() -> bool:
    libc().prctl(4, 1, 0, 0, 0)
    return bool(libc().unshare(0x10000000) == 0)


def _map_gid_myself(uid: int) -> list[int]:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{FIRST + 7} {uid} 1")
    os.setgid(FIRST + 7)
    return [os.getgid()]


@pytest.mark.kernel
@pytest.mark.root
@pytest.mark.parametrize("way", ["own map", "helper's map"])
def test_user_namespace_forges_no_pag(door: Door, other_uid: int, way: str) -> None:
    """A number made up inside is not seen; one that a careless helper maps does not count."""
    with Actor(other_uid) as actor:
        if not actor(_new_namespace):
            pytest.skip("this kernel does not let us make a user namespace")
        if way == "own map":
            assert actor(_map_gid_myself, other_uid) == [FIRST + 7]
        else:
            Path(f"/proc/{actor.pid}/uid_map").write_text(f"0 {other_uid} 1")
            Path(f"/proc/{actor.pid}/gid_map").write_text(f"0 {other_uid} 1\n5 {FIRST + 7} 1")
            actor(os.setgroups, [5])
        actor(connect, door.path)
        with door.accept() as sock:
            facts = peer.identify(sock)
        assert facts.pidfd is not None
        with facts.pidfd:
            assert process.is_alive(facts.pidfd)
            reason = peer.same_user_namespace(facts.pidfd)
    expected = () if way == "own map" else (FIRST + 7,)
    assert expected == facts.groups
    assert "another user namespace" in reason
    assert judge(facts.groups, userns_reason=reason)[0] is None
