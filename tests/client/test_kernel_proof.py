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


def test_a_named_ring_is_linkable(kernel_broker: Running) -> None:
    """The kernel says so; it is posted in only when asked for."""
    with Actor(ring="pagsrv-test-kernel-proof") as actor:
        scope = f"session:{actor(keys.session_ring)}"
        told = actor(who, kernel_broker.dir)
        assert told.proved[0] == (scope, "kernel", "linkable")
        assert told.default is None
