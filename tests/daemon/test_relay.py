# SPDX-License-Identifier: MIT
"""A false broker between a victim and the true one.

The law: whatever the victim shows it proves the victim alone, to the true broker alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from tests.actors import Actor, held
from tests.daemon import evil, members
from tests.daemon.members import mine
from tests.daemon.waiting import until
from tests.daemon.wire import Client, write_proof
from tests.running import Running

pytestmark = pytest.mark.kernel


def _attach_only(dir: str) -> None:  # noqa: A002
    """The victim's first step: connect to what it takes for the broker, and Attach."""
    members.leave()
    held["client"] = Client(dir)
    mine().ask("Attach", {"scopes": [f"session:{keys.session_ring()}"]})


def _prove_only() -> None:
    """Its second step: the answer is read, the proof written, and Prove sent."""
    ring = keys.session_ring()
    write_proof(mine().hear().fine(), ring)
    mine().ask("Prove", {"ring": ring})


def _relayed(victim: Actor, false: Actor, false_dir: str) -> str:
    """The victim proves itself to the false broker, which plays it on; what the true one said."""
    victim(_attach_only, false_dir)
    false(evil.accept)
    assert false(evil.pass_on) == ""
    victim(_prove_only)
    return false(evil.pass_on)


@pytest.mark.parametrize("way", ["itself", "with the victim's pid"])
def test_nonce_relayed_by_a_false_broker(broker: Running, way: str, short_tmp: Path) -> None:
    """H1: also from a pid namespace in which the false broker has the victim's own pid."""
    false_dir = f"{short_tmp}/false"
    os.mkdir(false_dir)
    with Actor() as victim, Actor() as false:
        false(evil.listen, false_dir)
        if way == "itself":
            false(evil.connect, broker.dir)
        else:
            told = false(evil.impersonate, broker.dir, victim.pid)
            if told.startswith("no "):
                pytest.skip(f"this kernel does not let us try it: {told}")
            assert told == str(victim.pid)
        assert _relayed(victim, false, false_dir) == "NoSession"
        # The false broker has nothing; the victim, at the true one, all that is its.
        assert false(evil.scopes) == []
        assert len(victim(members.join, broker.dir)) > 1


def test_socket_replaced_by_anothers(broker: Running) -> None:
    """H2: DIR/board is a false broker's: the true one says so in its log, and nothing is gained."""
    with Actor() as victim, Actor() as false, Actor() as before:
        before(members.join, broker.dir)
        false(evil.connect, broker.dir)
        os.rename(f"{broker.dir}/board", f"{broker.dir}/true")
        false(evil.listen, broker.dir)
        assert _relayed(victim, false, broker.dir) == "NoSession"
        assert false(evil.scopes) == []
        before(members.put, "db")
        until(
            lambda: "displaced socket=" in broker.log,
            lambda: before(members.read, "db"),
            "the true broker notices",
        )
        false(evil.close)
        os.unlink(f"{broker.dir}/board")
        os.rename(f"{broker.dir}/true", f"{broker.dir}/board")
        assert len(victim(members.join, broker.dir)) > 1
