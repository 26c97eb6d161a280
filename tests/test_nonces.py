# SPDX-License-Identifier: MIT
"""Nonces: one out per ring, the others wait their turn, and nobody waits for ever.

The law: whatever is asked and done, two turns that are out never speak of one ring,
turns come in the order they were asked for, and a deadline is never in the past.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pagsrv.limits import NONCE_LIFE, NONCE_SECONDS
from pagsrv.model import PeerId
from pagsrv.nonces import Nonces

A, B, C, D = (PeerId(number) for number in range(1, 5))


def test_one_is_out_per_ring() -> None:
    """The second for a ring comes when the first is done, in the order of asking."""
    nonces = Nonces()
    for peer in (A, B, C):
        nonces.ask(peer, 1000, 5)
    assert nonces.ready(0) == [A]
    assert nonces.ready(0) == []
    nonces.done(A)
    assert nonces.ready(0) == [B]
    nonces.done(C)
    nonces.done(B)
    assert nonces.ready(0) == []


def test_rings_do_not_wait_for_each_other() -> None:
    """Different rings, and different uids, have turns at the same time."""
    nonces = Nonces()
    nonces.ask(A, 1000, 5)
    nonces.ask(B, 1000, 6)
    nonces.ask(C, 2000, 5)
    assert nonces.ready(0) == [A, B, C]


def test_unnamed_ring_excludes_the_uids_others() -> None:
    """Who did not say which ring might prove any of them; those behind keep their order."""
    nonces = Nonces()
    nonces.ask(A, 1000, 5)
    assert nonces.ready(0) == [A]
    nonces.ask(B, 1000, None)
    nonces.ask(C, 1000, 6)
    nonces.ask(D, 2000, None)
    assert nonces.ready(0) == [D]
    nonces.done(A)
    assert nonces.ready(0) == [B]
    assert nonces.ready(0) == []
    nonces.done(B)
    assert nonces.ready(0) == [C]


def test_old_nonce_dies_only_if_somebody_waits_behind_it() -> None:
    """At 250 ms it is displaced by who waits for the same ring; others last their five seconds."""
    nonces = Nonces()
    nonces.ask(A, 1000, 5)
    nonces.ask(B, 1000, 6)
    assert nonces.ready(0) == [A, B]
    assert nonces.next_deadline() is None
    nonces.ask(C, 1000, 5)
    assert nonces.ready(NONCE_SECONDS - 0.01) == []
    assert nonces.next_deadline() == NONCE_SECONDS
    assert nonces.ready(NONCE_SECONDS) == [C]
    assert nonces.out(A, NONCE_SECONDS) is None
    assert nonces.out(B, NONCE_LIFE - 0.01) is not None
    assert nonces.out(B, NONCE_LIFE) is None


def test_unnamed_ring_displaces_every_old_nonce() -> None:
    """Who waits for any ring waits behind all of them, each for its own 250 ms."""
    nonces = Nonces()
    nonces.ask(A, 1000, 5)
    nonces.ready(0)
    nonces.ask(B, 1000, 6)
    nonces.ready(0.2)
    nonces.ask(C, 1000, None)
    assert nonces.ready(NONCE_SECONDS) == []
    assert nonces.out(A, NONCE_SECONDS) is None
    assert nonces.next_deadline() == 0.2 + NONCE_SECONDS
    assert nonces.ready(0.2 + NONCE_SECONDS) == [C]


def test_turn_is_what_it_was_asked_for() -> None:
    """A turn that is out names its ring; who waits, and who never asked, has none."""
    nonces = Nonces()
    nonces.ask(A, 1000, 5)
    nonces.ask(B, 1000, 5)
    nonces.ready(0)
    turn = nonces.out(A, 0)
    assert turn is not None
    assert turn.ring == 5
    assert nonces.out(B, 0) is None
    assert nonces.out(C, 0) is None
    nonces.done(C)


def test_asking_again_gives_the_turn_up() -> None:
    """Who asks anew stands at the end of the line."""
    nonces = Nonces()
    nonces.ask(A, 1000, 5)
    nonces.ask(B, 1000, 5)
    nonces.ready(0)
    nonces.ask(A, 1000, 6)
    assert nonces.ready(0) == [B, A]


class Model:
    """What the law allows, step by step."""

    def __init__(self) -> None:
        self.nonces = Nonces()
        self.now = 0.0
        self.asked: list[tuple[PeerId, int, int | None]] = []
        self.out: dict[PeerId, tuple[int, int | None]] = {}

    def ask(self, peer: PeerId, ring: int | None) -> None:
        """*peer* asks; its uid is its number's parity."""
        self.done(peer)
        self.nonces.ask(peer, peer % 2, ring)
        self.asked.append((peer, peer % 2, ring))

    def done(self, peer: PeerId) -> None:
        """*peer* is through."""
        self.nonces.done(peer)
        self.out.pop(peer, None)
        self.asked = [one for one in self.asked if one[0] != peer]

    def step(self) -> None:
        """Let turns come, and hold them against the law."""
        for peer in self.nonces.ready(self.now):
            (turn,) = (one for one in self.asked if one[0] == peer)
            ahead = self.asked[: self.asked.index(turn)]
            assert all(one[2] is not None for one in ahead if one[1] == turn[1])
            assert turn[1:] not in [one[1:] for one in ahead]
            self.asked.remove(turn)
            self.out[peer] = turn[1:]
        for peer in [one for one in self.out if self.nonces.out(one, self.now) is None]:
            del self.out[peer]
        for uid in (0, 1):
            rings = [ring for owner, ring in self.out.values() if owner == uid]
            assert len(rings) == len(set(rings))
            assert None not in rings or len(rings) == 1
        deadline = self.nonces.next_deadline()
        assert deadline is None or deadline > self.now
        assert not self.asked or deadline is not None


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 6), st.sampled_from((5, 6, 7, None))),
        st.tuples(st.just("done"), st.integers(1, 6), st.none()),
        st.tuples(st.just("later"), st.sampled_from((1, 12, 25)), st.none()),
    ),
    max_size=40,
)


@given(steps)
def test_turns_keep_the_law(todo: list[tuple[str, int, int | None]]) -> None:
    """Any sequence: exclusive, in order, and whoever waits waits for something that ends."""
    model = Model()
    for what, number, ring in todo:
        if what == "later":
            model.now += number / 100
        elif what == "ask":
            model.ask(PeerId(number), ring)
        else:
            model.done(PeerId(number))
        model.step()
    for _ in range(10):
        model.now += NONCE_SECONDS
        model.step()
    assert model.asked == []
