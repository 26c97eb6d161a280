# SPDX-License-Identifier: MIT
"""Sessions that are apart, and what joins them: proofs, grants, rings that turn linkable.

The law: what is in a session is there for its members; what an outsider is told does not
depend on what it may not know.
"""

from __future__ import annotations

import os

import keyutils
import pytest

from pagsrv.kernel import keys
from tests.actors import Actor, held
from tests.daemon import members
from tests.daemon.test_ends import Watcher
from tests.daemon.wire import Client, Said, write_proof
from tests.running import Running

pytestmark = pytest.mark.kernel

PAG = 0x41000000 + 4711


# ---- apart ---------------------------------------------------------------------------------------


def test_two_sessions_of_a_uid(broker: Running) -> None:
    """NoEntry for the bare name, Denied for the full one; it is seen to exist, and no more."""
    with Actor() as one, Actor() as two:
        scope = one(members.join, broker.dir)[0]
        theirs = two(members.join, broker.dir)[0]
        assert one(members.put, "db", b"one")["scope"] == scope
        assert two(members.refusal, "Open", name="db") == "NoEntry"
        for method in ("Open", "Take", "Remove"):
            assert two(members.refusal, method, name=f"{scope}/db") == "Denied"
            assert two(members.refusal, method, name="db", scope=scope) == "Denied"
        assert two(members.do, "Stat", name=f"{scope}/db")["entry"]["rights"] == "v"
        assert two(members.refusal, "Post", name="x", scope=scope) == "NoSession"
        assert two(members.seen) == []
        assert two(members.seen, all=True) == [f"{scope}/db"]
        # The same name in both: each finds its own.
        two(members.put, "db", b"two")
        assert one(members.read, "db") == b"one"
        assert two(members.read, "db") == b"two"
        assert two(members.refusal, "Open", name=f"{theirs}/nothing") == "NoEntry"


@pytest.mark.root
def test_another_uid_is_told_nothing(broker: Running, other_uid: int) -> None:
    """NoEntry for whatever it names, whether it exists or not."""
    with Actor() as one, Actor(other_uid) as other:
        scope = one(members.join, broker.dir)[0]
        one(members.put, "db")
        one(members.put, "db", scope="user")
        assert other(members.join, broker.dir) == [f"user:{other_uid}"]
        for method in ("Open", "Take", "Stat", "Remove"):
            for name in ("db", f"{scope}/db", "user:0/db", "user:0/no"):
                assert other(members.refusal, method, name=name) == "NoEntry"
        assert other(members.seen, all=True) == []
        (why,) = [
            one["why"]
            for one in other(members.do, "WhoAmI")["refused"]
            if one["scope"] == "session"
        ]
        assert "SO_PEERKEYRING" in why


@pytest.mark.root
def test_user_broker_serves_its_uid_only(user_broker: Running, other_uid: int) -> None:
    """Another uid, root included, is Denied with a sentence, and hung up."""
    # Its directory keeps them out already; it is the broker's own answer that counts here.
    os.chmod(user_broker.dir, 0o755)  # noqa: S103
    for name in ("board", "varlink"):
        os.chmod(f"{user_broker.dir}/{name}", 0o666)  # noqa: S103
    with Actor() as root, Actor(other_uid + 1) as stranger, Actor(other_uid) as owner:
        for peer in (root, stranger):
            for stream in (False, True):
                with pytest.raises(Said) as said:
                    peer(members.join, user_broker.dir, stream=stream)
                assert said.value.error == "Denied"
                assert f"serves uid {other_uid} only" in said.value.message
                assert peer(members.gone)
        assert owner(members.join, user_broker.dir)[1:] == [f"user:{other_uid}"]


def test_pag_keeps_others_out(broker: Running) -> None:
    """A PAG's entries are for whoever has its group, whatever the session."""
    if os.geteuid() != 0:
        pytest.skip("only root may put a process into a PAG")
    with Actor(0, groups=(PAG,)) as one, Actor(0, groups=(PAG,)) as two, Actor() as none:
        assert f"pag:{PAG}" in one(members.join, broker.dir, "pag", "user")
        assert one(members.put, "ticket", b"afs")["scope"] == f"pag:{PAG}"
        two(members.join, broker.dir)
        assert two(members.read, "ticket") == b"afs"
        none(members.join, broker.dir)
        assert none(members.refusal, "Open", name="ticket") == "NoEntry"
        assert none(members.refusal, "Open", name=f"pag:{PAG}/ticket") == "Denied"
        two(members.do, "Remove", name="ticket")


# ---- grants --------------------------------------------------------------------------------------


def test_grant_is_by_full_name_only(broker: Running) -> None:
    """View, search and read for the members of one other scope, until it is taken back."""
    with Actor() as one, Actor() as two, Actor() as three:
        scope = one(members.join, broker.dir)[0]
        guest = two(members.join, broker.dir)[0]
        three(members.join, broker.dir)
        one(members.put, "db", b"granted")
        one(members.do, "Grant", name="db", to=guest)
        full = f"{scope}/db"
        assert two(members.read, full) == b"granted"
        assert two(members.refusal, "Open", name="db") == "NoEntry"
        assert two(members.refusal, "Take", name=full) == "Denied"
        assert two(members.refusal, "Post", name="db", scope=scope, replace=True) == "Denied"
        (entry,) = two(members.listed)
        assert (entry["granted_from"], entry["rights"]) == (scope, "srv")
        assert three(members.refusal, "Open", name=full) == "Denied"
        one(members.do, "Ungrant", name="db", **{"from": guest})
        assert two(members.refusal, "Open", name=full) == "Denied"


def test_grant_ends_with_either_scope(broker: Running) -> None:
    """The guest's session ends: told. The entry's ends: nothing is left to open."""
    with Client(broker.dir) as client, Actor() as one, Actor() as two, Actor() as three:
        watcher = Watcher(client)
        scope = one(members.join, broker.dir)[0]
        guests = [two(members.join, broker.dir)[0], three(members.join, broker.dir)[0]]
        one(members.put, "db")
        for guest in guests:
            one(members.do, "Grant", name="db", to=guest)
        # A member that waits for that name in its own session, when it ends.
        two(members.ask, "Wait", name="db", scope="session")
        two(_revoke)
        assert watcher.event("ungranted", "db")["why"] == f"from {guests[0]}: revoked"
        assert two(members.gone)
        assert three(members.read, f"{scope}/db") == b"text"
        one(_revoke)
        assert watcher.ended("db") == "revoked"
        assert three(members.refusal, "Open", name=f"{scope}/db") == "NoEntry"


def _revoke() -> None:
    keys.revoke(keys.session_ring())


def test_grant_to_what_is_not_there(broker: Running) -> None:
    """A session that is gone, never was, or is no ring takes no grant."""
    with Actor() as one, Actor() as two:
        one(members.join, broker.dir)
        one(members.put, "db")
        ring = two(keys.session_ring)
        key = two(keys.add, "key", b"x", ring)
        two(_revoke)
        for number in (ring, key, 0x7FFFFFFF, 1):
            assert one(members.refusal, "Grant", name="db", to=f"session:{number}") == "NoSession"
        assert one(members.refusal, "Grant", name="db", to="session") == "InvalidParameter"


# ---- linkable ------------------------------------------------------------------------------------


def test_named_ring_is_linkable(broker: Running) -> None:
    """H6: what `keyctl session NAME` makes is used when asked for by word, and shown as such."""
    with Actor(ring="work") as one, Actor() as outsider:
        scope = one(members.join, broker.dir)[0]
        identity = one(members.do, "WhoAmI")
        assert identity["default"] is None
        assert identity["scopes"][0] == {
            "scope": scope, "proof": "possession", "isolation": "linkable",
        }  # fmt: skip
        assert one(members.refusal, "Post", name="db") == "NoSession"
        one(members.put, "db", scope="session")
        # And so it is: an outsider links the ring and is as good a member.
        ring = int(scope.partition(":")[2])
        outsider(keys.link, ring, outsider(keys.session_ring))
        assert outsider(_prove_ring, broker.dir, ring) == ""


def _prove_ring(dir: str, ring: int) -> str:  # noqa: A002
    with Client(dir) as client:
        told = client.do("Attach", scopes=[f"session:{ring}"])
        write_proof(told, ring)
        return client.refusal("Prove", ring=ring)


def _loosen(how: str) -> None:
    ring = keys.session_ring()
    if how == "mask":
        keys.set_mask(ring, 0x3F130000)
        return
    # Not into @us itself: a ring of the same name (_ses), another's, would take its place there.
    shared = int(keyutils.add_key(f"shared {os.getpid()}".encode(), None, ring, b"keyring"))
    keys.set_mask(shared, 0x3F3F0000)
    keys.link(shared, keys.USER_SESSION)
    keys.unlink(shared, ring)
    keys.link(ring, shared)
    held["shared"] = shared


def _tighten(how: str) -> None:
    if how == "mask":
        keys.set_mask(keys.session_ring(), 0x3F030000)
        return
    keys.unlink(keys.session_ring(), held["shared"])
    keys.unlink(held["shared"], keys.USER_SESSION)


@pytest.mark.parametrize("how", ["mask", "link"])
def test_ring_loosened_after_the_proof(broker: Running, how: str) -> None:
    """H6, H7: it turned linkable, for good: an event, no new proof; old connections keep it."""
    with Client(broker.dir) as client, Actor() as member:
        watcher = Watcher(client)
        scope = member(members.join, broker.dir)[0]
        ring = int(scope.partition(":")[2])
        member(members.put, "db")
        member(_loosen, how)
        try:
            assert watcher.event("linkable")["scope"] == scope
            assert member(_prove_ring, broker.dir, ring) == "NoSession"
            # The old connection keeps what it had, and is told what that is now.
            assert member(members.read, "db") == b"text"
            assert member(members.do, "WhoAmI")["scopes"][0]["isolation"] == "linkable"
            assert member(members.refusal, "Post", name="another") == "NoSession"
        finally:
            member(_tighten, how)
        # Tight again, and remembered all the same.
        assert member(_prove_ring, broker.dir, ring) == "NoSession"
        assert member(members.do, "Stat", name="db")["entry"]["assigned"]


def test_violation_seen_at_the_next_proof(broker: Running) -> None:
    """H6: loosened and proved anew before the broker's own look: caught all the same."""
    with Actor() as member:
        scope = member(members.join, broker.dir)[0]
        member(_loosen, "mask")
        assert member(_prove_ring, broker.dir, int(scope.partition(":")[2])) == "NoSession"
