# SPDX-License-Identifier: MIT
"""Proofs of possession at the real broker: honest ones and forged ones.

The law: honest members are proved however many come at once; nothing else is, and what
was refused says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import keyutils
import pytest

import pagsrv
from pagsrv.kernel import keys
from tests.actors import Actor, held, turn_into
from tests.daemon import members
from tests.daemon.members import mine
from tests.daemon.wire import PROOF_MASK, Client, Said, own_inode, proof, write_proof
from tests.running import Running

pytestmark = pytest.mark.kernel


# ---- proofs --------------------------------------------------------------------------------------


def test_fifty_members_prove_at_once(broker: Running) -> None:
    """One nonce is out per ring at a time: every one of them is proved."""
    with Actor() as member:
        scope = member(members.join, broker.dir)[0]
        assert member(members.crowd, 50, _prove, broker.dir) == [scope] * 50


def _prove(dir: str) -> str:  # noqa: A002
    with Client(dir) as client:
        return client.attach()[0]


def test_nonce_that_is_never_answered(broker: Running) -> None:
    """It blocks the next for its quarter of a second, hung up or not, and then it is dead."""
    with Actor() as member, Actor() as silent:
        ring = member(keys.session_ring)
        silent(_attach_and_wait, broker.dir, ring, 3)
        assert member(members.join, broker.dir)[0] == f"session:{ring}"
        # The oldest of them had its nonce displaced.
        assert silent(_prove_first, ring)


def _attach_and_wait(dir: str, ring: int, number: int) -> None:  # noqa: A002
    """Ask for nonces, all for one ring and answer none; the last one hangs up."""
    held["silent"] = [Client(dir) for _ in range(number)]
    for client in held["silent"]:
        client.ask("Attach", {"scopes": [f"session:{ring}"]})
    held["silent"].pop().close()


def _prove_first(ring: int) -> bool:
    client: Client = held["silent"][0]
    return bool(client.hear().fine()["nonce"]) and (
        "too old" in client.talk("Prove", {"ring": ring}).parameters["message"]
    )


def test_word_session_proves_as_well(broker: Running) -> None:
    """Said by the word or by its exact name, by members and by outsiders at once."""
    with Actor() as one, Actor() as two:
        ring = one(keys.session_ring)
        assert one(members.join, broker.dir, f"session:{ring}") == [f"session:{ring}"]
        assert one(members.join, broker.dir, "session") == [f"session:{ring}"]
        with pytest.raises(Said) as said:
            two(members.join, broker.dir, f"session:{ring}")
        assert said.value.error == "NoSession"
        assert two(members.join, broker.dir)[0] != f"session:{ring}"


def test_attach_again_keeps_what_was_proved(broker: Running) -> None:
    """No second proof is asked for; scopes not named again are left."""
    with Actor() as member:
        scopes = member(members.join, broker.dir)
        told = member(members.do, "Attach", changes=True)
        assert [one["scope"] for one in told["scopes"]] == scopes
        assert told["nonce"] is None
        told = member(members.do, "Attach", scopes=["user"])
        assert [one["scope"] for one in told["scopes"]] == scopes[1:]
        assert member(members.refusal, "Post", name="x", scope="session") == "NoSession"


def test_many_proofs_leave_one_key(broker: Running) -> None:
    """H8: the key is updated and not made anew: three hundred proofs cost no quota."""
    with Actor() as member:
        for _ in range(300):
            member(members.join, broker.dir, "session")
        assert len(member(keys.read_ring, member(keys.session_ring))) == 1


# ---- forged --------------------------------------------------------------------------------------


def begin(dir: str, ring: int = 0) -> None:  # noqa: A002
    """Connect and Attach for *ring* (0: our own); the nonce is kept."""
    members.leave()
    held["client"] = client = Client(dir)
    held["told"] = client.do("Attach", scopes=[f"session:{ring or keys.session_ring()}"])


def _told() -> dict[str, str]:
    told: dict[str, str] = held["told"]
    return told


def _plant(ring: int, mask: int = PROOF_MASK, kind: bytes = b"user") -> int:
    """A key with the right name in *ring*, and the right proof for our own; its serial."""
    payload = proof(_told(), keys.session_ring(), own_inode())
    name = f"pagsrv:proof:{_told()['broker']}".encode()
    serial = int(keyutils.add_key(name, None if kind == b"keyring" else payload, ring, kind))
    keyutils.set_perm(serial, mask)
    return serial


def _in_user_ring() -> None:
    ring = keys.session_ring()
    keys.link(keys.USER, ring)
    held["planted"] = _plant(keys.USER)


def _wrong_field(field: str, value: object) -> None:
    write_proof({**_told(), field: value}, keys.session_ring())


def _prove_and_revoke() -> None:
    write_proof(_told(), keys.session_ring())
    keys.revoke(keys.session_ring())


FORGERIES: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "a key in @u, searched through": _in_user_ring,
    "a key of another type": lambda: _plant(keys.session_ring(), kind=b"keyring"),
    "a key that others may link": lambda: _plant(keys.session_ring(), 0x1F030000),
    "a key that others may write": lambda: _plant(keys.session_ring(), 0x0F070000),
    "a key nobody can read": lambda: _plant(keys.session_ring(), 0x3F010000),
    "another nonce": lambda: _wrong_field("nonce", "0" * 32),
    "another broker": lambda: _wrong_field("broker", "0" * 32),
    "another uid": lambda: _wrong_field("uid", os.geteuid() + 1),
    "a ring that is revoked by now": _prove_and_revoke,
}  # fmt: skip


def _forge(case: str) -> str:
    """Prove in that wrong way; the refusal's name."""
    ring = keys.session_ring()
    FORGERIES[case]()
    error = mine().refusal("Prove", ring=ring)
    if "planted" in held:
        keys.unlink(held.pop("planted"), keys.USER)
    assert mine().do("WhoAmI")["scopes"] == []
    return error


@pytest.mark.parametrize("case", FORGERIES)
def test_forged_proof(broker: Running, case: str) -> None:
    """H4 and the rest: refused, the connection lives, and an honest proof goes through after."""
    with Actor() as forger, Actor() as honest:
        forger(begin, broker.dir)
        assert forger(_forge, case) == "NoSession"
        assert honest(members.join, broker.dir)[0] == f"session:{honest(keys.session_ring)}"
        if "revoked" not in case:
            # Whatever lies there as the proof key, the library replaces it.
            assert forger(_by_library, broker.dir) == f"session:{forger(keys.session_ring)}"


def _by_library(dir: str) -> str:  # noqa: A002
    with pagsrv.connect(dir) as board:
        return board.whoami().scopes[0].scope


def _prove_twice() -> list[str]:
    ring = keys.session_ring()
    write_proof(_told(), ring)
    return [mine().refusal("Prove", ring=number) for number in (ring, ring)]


def test_nonce_serves_once(broker: Running) -> None:
    """The second use of it is refused; what the first proved stays."""
    with Actor() as member:
        member(begin, broker.dir)
        assert member(_prove_twice) == ["", "NoSession"]
        assert len(member(members.do, "WhoAmI")["scopes"]) == 1


def test_ring_of_somebody_else(broker: Running) -> None:
    """Named at Attach, named at Prove, or with the other's own proof lying there: refused."""
    with Actor() as victim, Actor() as outsider:
        ring = victim(keys.session_ring)
        victim(members.join, broker.dir)
        outsider(begin, broker.dir, ring)
        assert outsider(members.refusal, "Prove", ring=ring) == "NoSession"
        outsider(begin, broker.dir)
        assert outsider(members.refusal, "Prove", ring=ring) == "NoSession"
        assert victim(members.refusal, "Stat", name="x") == "NoEntry"
        assert len(victim(members.do, "WhoAmI")["scopes"]) > 1


@pytest.mark.parametrize("name", ["_uid_ses.{uid}", "_uid.{uid}", "_persistent.{uid}"])
def test_the_uids_own_rings_are_no_session(broker: Running, name: str) -> None:
    """Every process of the uid has them; the refusal says what to do."""
    with Actor(ring=name.format(uid=os.getuid())) as member:
        # Nothing is written: it may be the very ring of ours.
        member(begin, broker.dir)
        with pytest.raises(Said, match=r"not a login session.*pagsrv session"):
            member(members.do, "Prove", ring=member(keys.session_ring))
        assert "pagsrv session" in str(member(members.do, "WhoAmI")["refused"])


@pytest.mark.root
def test_process_that_sued_away(user_broker: Running, other_uid: int) -> None:
    """H3: of another uid in the ring, which it can write: no member, at either uid's broker."""
    for prove in (_honest, _plant_and_prove):
        with Actor(other_uid + 1, may_return=True) as sued:
            sued(turn_into, other_uid)
            sued(begin, user_broker.dir)
            assert sued(prove) == "NoSession"


def _plant_and_prove() -> str:
    _plant(keys.session_ring(), 0x0F030003)
    return mine().refusal("Prove", ring=keys.session_ring())


def _honest() -> str:
    ring = keys.session_ring()
    write_proof(_told(), ring)
    return mine().refusal("Prove", ring=ring)


@pytest.mark.root
def test_process_that_sued_at_roots_broker(broker: Running, other_uid: int) -> None:
    """H3: root's own process in a user's ring, and a user's process in root's."""
    with Actor(other_uid, may_return=True) as to_root, Actor(0, may_return=True) as from_root:
        to_root(turn_into, 0)
        to_root(begin, broker.dir)
        assert to_root(_honest) == "NoSession"
        from_root(turn_into, other_uid)
        from_root(begin, broker.dir)
        assert from_root(_told)["nonce"] is None
        assert "SO_PEERKEYRING" in str(from_root(members.do, "WhoAmI")["refused"])
