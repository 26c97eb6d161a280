# SPDX-License-Identifier: MIT
"""The caller's own rings, read from the kernel: bounded, whole, and never changed by a look.

The law: real rings in actors of their own.
"""

from __future__ import annotations

import os

import keyutils
import pytest

from pagsrv.client import keyring
from pagsrv.kernel import keys
from pagsrv.rings import RingKey, draw
from tests.actors import Actor

pytestmark = pytest.mark.kernel


def fill() -> dict[str, int]:
    """Make one of each in our session ring; their serials."""
    ring = keys.session_ring()
    made = {"ring": ring, "plain": keys.add("plain", b"x", ring)}
    made["sub"] = new_ring("sub", ring)
    made["inner"] = keys.add("inner; of both", b"x", made["sub"])
    made["again"] = new_ring("again", ring)
    keys.link(made["sub"], made["again"])
    made["hidden"] = keys.add("hidden", b"x", ring)
    keys.set_mask(made["hidden"], 0)
    made["shut"] = new_ring("shut", ring)
    keys.add("in there", b"x", made["shut"])
    keys.set_mask(made["shut"], 0x01010000)
    made["over"] = keys.add("over", b"x", ring)
    keys.revoke(made["over"])
    return made


def new_ring(name: str, ring: int) -> int:
    """A keyring of that *name* in *ring*: what keyctl(1) calls newring."""
    return int(keyutils.add_key(name.encode(), b"", ring, b"keyring"))


def walked(key: RingKey) -> list[RingKey]:
    """Every key of the tree."""
    return [key, *(one for held in key.held for one in walked(held))]


def test_tree_is_what_the_ring_holds() -> None:
    """What may be looked at, once; and of the rest why it may not."""
    with Actor() as actor:
        made = actor(fill)
        tree = actor(keyring.ring_tree)
        again = actor(keyring.ring_tree, made["ring"])
    assert tree == again
    assert (tree.serial, tree.type, tree.name) == (made["ring"], "keyring", "_ses")
    found: dict[int, list[RingKey]] = {}
    for key in walked(tree):
        found.setdefault(key.serial, []).append(key)
    assert set(found) == set(made.values())
    assert [key.name for key in found[made["inner"]]] == ["inner; of both"]
    assert sorted(key.fault for key in found[made["sub"]]) == ["", "shown above"]
    assert "Permission denied" in found[made["hidden"]][0].fault
    assert "Permission denied" in found[made["shut"]][0].fault
    assert not found[made["shut"]][0].held
    assert "revoked" in found[made["over"]][0].fault
    lines = [line.text for line in draw(tree, uid=os.geteuid())]
    assert lines[0].startswith(f"{made['ring']:10} --alswrv")
    assert any(line.endswith(r"\_ user: plain") for line in lines)


def deep() -> None:
    """A chain of more rings than are looked into.

    The kernel finds no way down to the lowest, so each is made at the top and moved.
    """
    top = keys.session_ring()
    above = top
    for number in range(keyring.DEEPEST + 2):
        ring = new_ring(f"below {number}", top)
        keys.set_mask(ring, 0x3F030000)
        if number:
            keys.link(ring, above)
        if number > 1:
            keys.unlink(above, top)
        above = ring
    keys.unlink(above, top)


def test_tree_has_an_end() -> None:
    """Rings in rings are looked into so far and no further."""
    with Actor() as actor:
        actor(deep)
        tree = actor(keyring.ring_tree)
    found = walked(tree)
    assert found[-1].fault == "too deep to be shown"
    assert len(found) == keyring.DEEPEST + 1


def many(monkeypatched: int) -> int:
    """More keys than are shown; how many there are."""
    keyring.MOST = monkeypatched
    ring = keys.session_ring()
    for number in range(2 * monkeypatched):
        keys.add(f"key {number}", b"x", ring)
    return len(keys.read_ring(ring))


def test_tree_is_bounded() -> None:
    """A ring of root's may hold a million keys: some are shown, the others counted."""
    with Actor() as actor:
        there = actor(many, 10)
        tree = actor(keyring.ring_tree)
    assert len(walked(tree)) == 10
    assert tree.fault == f"{there - 9} more are not shown"


def leave() -> int:
    """Revoke our own session ring; its serial."""
    ring = keys.session_ring()
    keys.revoke(ring)
    return ring


def test_ring_that_is_over_is_a_fault() -> None:
    """It is said, and no tree made up."""
    with Actor() as actor:
        ring = actor(leave)
        assert actor.fault(keyring.ring_tree, ring) == "revoked"


def test_quota_is_the_uids(other_uid: int) -> None:
    """What a uid's keys use, as the kernel counts it; the ring of the actor among them."""
    with Actor(other_uid) as actor:
        before = actor(keyring.quota)
        actor(fill)
        after = actor(keyring.quota)
    assert before is not None
    assert after is not None
    assert 0 < before.keys < after.keys <= after.most_keys
