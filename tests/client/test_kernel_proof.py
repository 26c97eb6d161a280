# SPDX-License-Identifier: MIT
"""Sessions that the kernel tells a broker: the library shows nothing, and is proved.

The law: what a connection may look in is what was asked for, whoever proved it. It refuses
to know how the kernel tells: tests/kernel does.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

import pagsrv
from pagsrv.client import channel
from pagsrv.kernel import keys
from tests.actors import Actor
from tests.client.test_session import Who, attempt, post, who, who_awaits
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]


def proof_keys() -> int:
    """How many keys the session has: a proof by possession would leave one."""
    return len(keys.read_ring(keys.session_ring()))


@pytest.mark.parametrize("ask", [who, who_awaits])
def test_a_session_is_proved_by_the_kernel(
    kernel_broker: Running, ask: Callable[[str], Who], other_uid: int
) -> None:
    """Nothing is written into the ring; a session of another uid at root's broker as well."""
    for uid in (None, other_uid):
        with Actor(uid) as actor:
            scope = f"session:{actor(keys.session_ring)}"
            told = actor(ask, kernel_broker.dir)
            assert told.proved[0] == (scope, "kernel", "isolated")
            assert "session" not in told.refused
            assert told.default == scope
            assert actor(proof_keys) == 0


def test_a_session_is_asked_for_or_not(kernel_broker: Running) -> None:
    """The kernel's word widens nothing: scopes and prove say what is looked in."""
    with Actor() as actor:
        scope, user = f"session:{actor(keys.session_ring)}", f"user:{os.geteuid()}"
        asked: list[tuple[list[str] | None, bool, list[str]]] = [
            (None, True, [scope, user]),
            (["user"], True, [user]),
            (["session"], True, [scope]),
            ([scope, "user"], True, [scope, user]),
            (["session:1", "user"], True, [user]),
            (None, False, [user]),
            (["session", "user"], False, [user]),
        ]
        for scopes, prove, proved in asked:
            told = actor(who, kernel_broker.dir, scopes, prove=prove)
            assert proved == [one[0] for one in told.proved], (scopes, prove)


def open_by_name(dir: str, name: str) -> tuple[str, list[str]]:  # noqa: A002
    """Open in the user scope alone: what it is refused with, and what is listed there."""
    with pagsrv.connect(dir, scopes=["user"]) as board:
        try:
            board.open(name).close()
        except pagsrv.Refused as refused:
            return type(refused).__name__, board.names()
        return "", board.names()


def test_the_user_scope_alone_is_no_other(kernel_broker: Running, name: str) -> None:
    """A bare name is not found in the session, which the broker knows of all the same."""
    with Actor() as actor:
        actor(post, kernel_broker.dir, name)
        assert actor(attempt, kernel_broker.dir, name) == ""
        assert actor(open_by_name, kernel_broker.dir, name) == ("NoEntry", [])


def contents(dir: str, name: str) -> tuple[bool, bytes]:  # noqa: A002
    """Whether a connection had to say who it is, and what *name* says in the end."""
    with pagsrv.connect(dir) as board, board.open(name) as fd:
        return board._channel.attachment is not None, os.pread(fd.fileno(), 99, 0)


def place(dir: str, name: str, scope: str) -> None:  # noqa: A002
    """Post a file that says *scope*."""
    with pagsrv.connect(dir) as board, pagsrv.Fd(os.memfd_create("of")) as fd:
        os.write(fd.fileno(), scope.encode())
        board.post(name, fd, scope=scope)


def test_whom_the_kernel_shows_opens_without_a_word(kernel_broker: Running, name: str) -> None:
    """Once the broker has shown that it is told; and finds its own session's entry first."""
    with Actor() as actor, Actor() as other:
        other(place, kernel_broker.dir, name, "user")
        assert actor(contents, kernel_broker.dir, name) == (True, b"user")
        assert actor(contents, kernel_broker.dir, name) == (False, b"user")
        actor(place, kernel_broker.dir, name, "session")
        assert actor(contents, kernel_broker.dir, name) == (False, b"session")
        assert other(contents, kernel_broker.dir, name) == (False, b"user")


def count_on(dir: str, *, told: bool) -> None:  # noqa: A002
    """Believe of the broker what it would have shown, had it been another one."""
    channel._told[dir] = told


@pytest.mark.parametrize("told", [False, True])
def test_a_wrong_hint_opens_nothing_else(
    kernel_broker: Running,
    name: str,
    told: bool,  # noqa: FBT001 -- a case
) -> None:
    """Whatever was counted on: the user scope alone is that, and a session comes first."""
    with Actor() as actor:
        actor(place, kernel_broker.dir, name, "user")
        actor(place, kernel_broker.dir, name, "session")
        actor(count_on, kernel_broker.dir, told=told)
        assert actor(contents, kernel_broker.dir, name)[1] == b"session"
        actor(count_on, kernel_broker.dir, told=told)
        assert actor(contents_of_user, kernel_broker.dir, name) == b"user"


def contents_of_user(dir: str, name: str) -> bytes:  # noqa: A002
    """What *name* says in the user scope alone."""
    with pagsrv.connect(dir, scopes=["user"]) as board, board.open(name) as fd:
        return os.pread(fd.fileno(), 99, 0)


def moved(dir: str, name: str) -> tuple[str, int]:  # noqa: A002
    """Connect without a word, move to another session, post: where to; and who we were."""
    before = keys.session_ring()
    with pagsrv.connect(dir) as board, open(os.devnull, "rb") as null:
        assert board._channel.attachment is None
        keys.join_session()
        return board.post(name, null).scope, before


def test_a_connection_keeps_the_session_it_was_made_in(kernel_broker: Running, name: str) -> None:
    """Attaching late proves no other session than that of the connect."""
    with Actor() as actor:
        actor(who, kernel_broker.dir)
        scope, ring = actor(moved, kernel_broker.dir, name)
        assert scope == f"session:{ring}"


def test_a_named_ring_is_linkable(kernel_broker: Running) -> None:
    """The kernel says so; it is posted in only when asked for."""
    with Actor(ring="pagsrv-test-kernel-proof") as actor:
        scope = f"session:{actor(keys.session_ring)}"
        told = actor(who, kernel_broker.dir)
        assert told.proved[0] == (scope, "kernel", "linkable")
        assert told.default is None
