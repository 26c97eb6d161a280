# SPDX-License-Identifier: MIT
"""Sessions, through the library: what is proved on connecting, and what follows from it.

The law: every actor is in a session keyring of its own, so the runner's is never
touched; what it does is done by the public names. It refuses to know how a proof is
made: tests/proofs does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

import pagsrv
from pagsrv.client import channel
from pagsrv.kernel import keys
from tests.actors import Actor, turn_into
from tests.anybody import Anybody
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel


class Who(NamedTuple):
    """An Identity, as pickle takes it."""

    proved: list[tuple[str, str, str]]
    refused: dict[str, str]
    default: str | None


def who(dir: str, scopes: list[str] | None = None, *, prove: bool = True) -> Who:  # noqa: A002
    """Who the calling process is to the broker."""
    with pagsrv.connect(dir, scopes=scopes, prove=prove) as board:
        return _told(board.whoami())


def who_awaits(dir: str) -> Who:  # noqa: A002
    """As who(), by the other face."""

    async def ask() -> pagsrv.Identity:
        async with pagsrv.aio.connect(dir) as board:
            return await board.whoami()

    return _told(asyncio.run(ask()))


def _told(identity: pagsrv.Identity) -> Who:
    return Who(
        [(one.scope, one.proof, one.isolation) for one in identity.scopes],
        {one.scope: one.why for one in identity.refused},
        identity.default,
    )


def post(dir: str, name: str, scope: str | None = None) -> str:  # noqa: A002
    """Post, and say in which scope."""
    with pagsrv.connect(dir) as board, open(os.devnull, "rb") as null:
        return board.post(name, null, scope=scope).scope


def attempt(dir: str, name: str) -> str:  # noqa: A002
    """Open: the name of what it is refused with, or ''."""
    try:
        with pagsrv.connect(dir) as board:
            board.open(name).close()
    except pagsrv.Refused as refused:
        return type(refused).__name__
    return ""


def prove_often(dir: str, times: int) -> int:  # noqa: A002
    """Connect *times* over; how often a session was proved."""
    proved = 0
    for _ in range(times):
        with pagsrv.connect(dir) as board:
            proved += any(one.proof == "possession" for one in board.attached.scopes)
    return proved


def end_session(dir: str) -> tuple[str, str]:  # noqa: A002
    """Revoke our ring while we watch: the watch's last words, and the board's."""
    with pagsrv.connect(dir) as board, board.watch() as events:
        keys.revoke(keys.session_ring())
        with pytest.raises(pagsrv.NoBroker) as watching:
            list(events)
        with pytest.raises(pagsrv.NoBroker) as asking:
            board.names()
    return str(watching.value), str(asking.value)


def fill_quota() -> str:
    """Use up this uid's keys, in a ring that goes with us; what stopped it."""
    ring = keys.session_ring()
    try:
        for number in count():
            keys.add(f"filler-{number}", b"x", ring)
    except keys.KeyFault as fault:
        return fault.state
    return ""


@pytest.mark.parametrize("ask", [who, who_awaits])
def test_a_session_is_proved_on_connecting(broker: Running, ask: Callable[[str], Who]) -> None:
    """An anonymous ring is an isolated session, and what is posted goes there by default."""
    with Actor() as actor:
        scope = f"session:{actor(keys.session_ring)}"
        told = actor(ask, broker.dir)
        assert told.proved[0] == (scope, "possession", "isolated")
        assert "session" not in told.refused
        assert told.default == scope


def test_a_named_ring_is_linkable(broker: Running) -> None:
    """It is proved and shown as such, and posted in only when asked for."""
    with Actor(ring="pagsrv-test-named") as actor:
        scope = f"session:{actor(keys.session_ring)}"
        told = actor(who, broker.dir)
        assert told.proved[0] == (scope, "possession", "linkable")
        assert told.default is None
        with pytest.raises(pagsrv.NoSession, match="linkable"):
            actor(post, broker.dir, "linkable-a")
        assert actor(post, broker.dir, "linkable-b", "session") == scope


def test_a_session_is_asked_for_or_not(broker: Running) -> None:
    """Words, the exact scope, and no proof at all."""
    with Actor() as actor:
        scope = f"session:{actor(keys.session_ring)}"
        user = f"user:{os.geteuid()}"
        for scopes in (["session"], [scope]):
            assert [one[0] for one in actor(who, broker.dir, scopes).proved] == [scope]
        for wanted in (None, ["session", "user"], [scope, "user"]):
            told = actor(who, broker.dir, wanted, prove=False)
            assert [one[0] for one in told.proved] == [user]
        told = actor(who, broker.dir, ["session:1", "user"])
        assert [one[0] for one in told.proved] == [user]
        assert "session" in told.refused


def test_another_session_does_not_find_it(broker: Running, name: str) -> None:
    """The same session opens; the other one of the uid gets NoEntry, and Denied by full name."""
    with Actor() as mine, Actor() as other:
        scope = mine(post, broker.dir, name)
        assert mine(attempt, broker.dir, name) == ""
        assert other(attempt, broker.dir, name) == "NoEntry"
        assert other(attempt, broker.dir, f"{scope}/{name}") == "Denied"


def open_counting(dir: str, name: str) -> tuple[str, tuple[str, ...]]:  # noqa: A002
    """Open, counting on what this broker is not told: the file's name, and how often by whom."""
    channel._told[dir] = True
    with pagsrv.connect(dir) as board:
        assert board._channel.counted_on == ("session", "user")
        with board.open(name) as fd:
            found = os.readlink(f"/proc/self/fd/{fd.fileno()}")
        opens = tuple(str(board.stat(name, scope).opens) for scope in ("session", "user"))
        return found, opens


def test_nobody_shadows_an_entry_of_a_session_counted_on(broker: Running, name: str) -> None:
    """The broker is told nothing: the user's entry of that name is not opened meanwhile."""
    with Actor() as mine, Actor() as other:
        for actor, scope, path in ((other, "user", "/dev/zero"), (mine, "session", os.devnull)):
            actor(post_path, broker.dir, name, scope, path)
        assert mine(open_counting, broker.dir, name) == (os.devnull, ("1", "0"))
        assert mine(counted_on, broker.dir) == ()


def post_path(dir: str, name: str, scope: str, path: str) -> None:  # noqa: A002
    """Post the file *path*."""
    with pagsrv.connect(dir) as board, open(path, "rb") as file:
        board.post(name, file, scope=scope)


def counted_on(dir: str) -> tuple[str, ...]:  # noqa: A002
    """What the next connection would count on."""
    with pagsrv.connect(dir) as board:
        return board._channel.counted_on


def test_many_processes_of_one_session_are_all_proved(broker: Running) -> None:
    """Nonces take turns: whoever connects at the same moment is proved too."""
    times, processes = 10, 12
    with Actor() as actor:
        assert actor(prove_at_once, broker.dir, processes, times) == processes * times


def prove_at_once(dir: str, processes: int, times: int) -> int:  # noqa: A002
    """prove_often() in forked *processes* at once; the sum."""
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            os._exit(prove_often(dir, times))
        children.append(child)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def test_the_end_of_a_session_ends_its_connections(broker: Running) -> None:
    """When the ring is revoked the broker hangs up, and the sentence says that it may be that."""
    with Actor() as actor:
        for sentence in actor(end_session, broker.dir):
            assert "session proved on this connection has ended" in sentence
        told = actor(who, broker.dir)
        assert [one[1] for one in told.proved] == ["user"]
        assert "revoked" in told.refused["session"]


@contextmanager
def broker_of(uid: int, tmp: Path, python: Anybody) -> Iterator[Running]:
    """A broker of *uid*'s, with its directory in *tmp*."""
    tmp.chmod(0o777)
    with running_broker(
        tmp, argv=[*python.argv, "-m", "pagsrv.daemon"], env=python.env, cwd="/", user=uid,
        group=uid, extra_groups=[],
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def theirs(other_uid: int, short_tmp: Path, anybody_python: Anybody) -> Iterator[Running]:
    """A broker of another uid's."""
    with broker_of(other_uid, short_tmp, anybody_python) as running:
        yield running


@pytest.mark.root
def test_somebody_elses_socket_is_not_spoken_to(theirs: Running) -> None:
    """Root connects to a user's broker and finds out by SO_PEERCRED that it is not its own."""
    with pytest.raises(pagsrv.Denied, match="neither yours nor root's"):
        pagsrv.connect(theirs.dir, scopes=["user"])


@pytest.mark.root
def test_su_keeps_the_ring_and_not_the_session(theirs: Running, other_uid: int) -> None:
    """A ring of another uid's is no session of ours, and it is the broker that says so."""
    with Actor(4243, may_return=True) as actor:
        actor(turn_into, other_uid)
        told = actor(who, theirs.dir)
        assert [one[0] for one in told.proved] == [f"user:{other_uid}"]
        assert "session" in told.refused
        assert told.default is None


@pytest.mark.root
def test_a_full_key_quota_is_said(other_uid: int, short_tmp: Path, anybody_python: Anybody) -> None:
    """Where there is no room for the proof key the reason is the quota, which only we can see."""
    uid = other_uid + 1  # its keys are given back seconds later, and other tests need theirs
    with broker_of(uid, short_tmp, anybody_python) as theirs, Actor(uid) as actor:
        assert actor(fill_quota) == "quota"
        told = actor(who, theirs.dir)
        assert [one[0] for one in told.proved] == [f"user:{uid}"]
        assert "quota" in told.refused["session"]
