# SPDX-License-Identifier: MIT
"""Whois: what the library tells of a peer, by itself and by a broker.

The law: nothing the peer does afterwards changes what it was when it connected; what is not
known is there and says why. It refuses to know what a fact is worth: proofs/ does.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import pagsrv
from pagsrv.kernel import keys, process
from pagsrv.kernel.libc import libc
from tests import peers
from tests.actors import Actor
from tests.client.faces import Face
from tests.peers import Door
from tests.running import Running

FACTS = [
    "session", "keyring", "mask", "isolation", "pag", "uid", "gid", "groups", "process", "alive",
    "pid", "audit-session", "login-uid", "cgroup", "logind-session",
]  # fmt: skip
PAG = 0x41ABCDEF


# ---- the answer ----------------------------------------------------------------------------------


def test_every_fact_is_an_attribute() -> None:
    """What was told is what is read, in its order; a Fact is a plain record."""
    facts = [pagsrv.Fact(name, f"<{name}>", "evidence", "kernel", "") for name in FACTS]
    who = pagsrv.PeerIdentity(facts)
    assert facts == list(who) == [getattr(who, name.replace("-", "_")) for name in FACTS]
    assert (len(FACTS), facts[3]) == (len(who), who["isolation"])
    assert who == pagsrv.PeerIdentity(facts) == _pickled(who)
    assert hash(who) == hash(pagsrv.PeerIdentity(facts))
    assert who != pagsrv.PeerIdentity(facts[1:])
    assert who != facts
    assert "login-uid='<login-uid>'" in repr(who)


def _pickled(who: pagsrv.PeerIdentity) -> object:
    found: object = pickle.loads(pickle.dumps(who))  # noqa: S301 -- our own
    return found


def test_every_name_is_explained() -> None:
    """The attributes are exactly the facts there are."""
    named = {
        name.replace("_", "-")
        for name in vars(pagsrv.PeerIdentity)
        if not name.startswith("_")
    }  # fmt: skip
    assert set(FACTS) == named
    assert type(pagsrv.PeerIdentity.uid).__name__ == "Named"


def test_what_was_not_told_is_not_known() -> None:
    """It is a fact all the same, and its reason is the best there is."""
    nothing = pagsrv.PeerIdentity([])
    assert list(nothing) == []
    assert (nothing.uid.value, nothing.uid.strength) == (None, "none")
    assert all(nothing[name].why for name in FACTS)
    told = [
        pagsrv.Fact("session", None, "SO_PEERKEYRING", "none", "it is revoked"),
        pagsrv.Fact("alive", "no", "SO_PEERPIDFD", "kernel", ""),
    ]
    who = pagsrv.PeerIdentity(told)
    assert {"it is revoked"} == {who.keyring.why, who.mask.why, who.isolation.why}
    assert "exited" in who.pid.why


# ---- asked of the kernel -------------------------------------------------------------------------


def test_a_socket_says_who_made_it() -> None:
    """A socketpair's ends speak of this process; as an object, as a number, as an Fd."""
    one, other = socket.socketpair()
    with one, other, pagsrv.Fd(os.dup(one.fileno())) as fd:
        for shown in (one, one.fileno(), fd):
            who = pagsrv.whois(shown)
            assert (str(os.getpid()), "yes") == (who.pid.value, who.alive.value)
            assert (str(os.geteuid()), str(os.getegid())) == (who.uid.value, who.gid.value)
            assert str(process.own_inode()) == who.process.value
            assert [fact.fact for fact in who] in (FACTS, [FACTS[0], *FACTS[4:]])
            assert all((fact.value is None) == (fact.strength == "none") for fact in who)
            assert all(fact.why for fact in who if fact.value is None)
        assert os.fstat(one.fileno())


def _none_of_these() -> list[tuple[Callable[[], socket.socket], str]]:
    def listening() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"\0pagsrv-test-whois-{os.getpid()}")
        sock.listen()
        return sock

    def datagrams() -> socket.socket:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        other.close()
        return one

    return [
        (lambda: socket.socket(socket.AF_INET), "Unix socket"),
        (lambda: socket.socket(socket.AF_UNIX), "other end"),
        (datagrams, "Unix socket"),
        (listening, "listens"),
    ]


@pytest.mark.parametrize(("make", "why"), _none_of_these())
def test_what_is_no_connection_is_refused(make: Callable[[], socket.socket], why: str) -> None:
    """The kernel would name somebody for some of them, who is at no other end."""
    with make() as sock:
        for shown in (sock, sock.fileno()):
            with pytest.raises(pagsrv.InvalidParameter, match=why):
                pagsrv.whois(shown)
        assert pagsrv.peer_keyring(sock.fileno()) is None


def test_what_is_no_socket_is_refused() -> None:
    """A file, a closed descriptor."""
    with open(os.devnull, "rb") as null:
        for ask in (pagsrv.whois, pagsrv.peer_keyring):
            with pytest.raises(pagsrv.InvalidParameter, match="no socket"):
                ask(null)
            with pytest.raises(pagsrv.InvalidParameter, match="Bad file descriptor"):
                ask(-1)


@pytest.mark.kernel
@pytest.mark.root
@pytest.mark.usefixtures("nobody_answers")
def test_without_the_kernels_answer_the_session_is_not_known() -> None:
    """It is no guess, and the reason names what is missing; all the rest is there."""
    one, other = socket.socketpair()
    with one, other:
        who = pagsrv.whois(one)
        assert pagsrv.peer_keyring(one) is None
    assert who.session.value is None
    assert "SO_PEERKEYRING" in who.session.why
    assert who.keyring == pagsrv.Fact("keyring", None, "", "none", who.session.why)


@pytest.mark.kernel
@pytest.mark.root
@pytest.mark.usefixtures("answering")
def test_a_peer_that_knows_nothing_is_known(other_uid: int, short_tmp: Path) -> None:
    """Its session as it was at connect, its PAG, its uid: also when it has exited since."""
    door = Door(short_tmp / "door")
    with door.listener, Actor(other_uid, groups=(PAG,)) as peer:
        ring = peer(peers.connect, door.path)
        with door.accept() as sock:
            peer(keys.join_session)
            before, record = pagsrv.whois(sock), pagsrv.peer_keyring(sock.fileno())
            peer.close()
            after = pagsrv.whois(sock)
    for who in (before, after):
        assert (f"session:{ring}", "_ses", "isolated") == (
            who.session.value, who.keyring.value, who.isolation.value,
        )  # fmt: skip
        assert (str(other_uid), str(PAG)) == (who.uid.value, who.groups.value)
        assert who.mask.value == "alswrv----rv------------"
        assert who.session.strength == "kernel"
    assert record is not None
    assert (ring, other_uid, "_ses") == (record.serial, record.key_uid, record.name)
    assert isinstance(record, pagsrv.PeerKeyring)
    assert (f"pag:{PAG}", "yes") == (before.pag.value, before.alive.value)
    assert (after.pag.value, after.alive.value, after.pid.value) == (None, "no", None)
    assert (before.process, str(peer.pid)) == (after.process, before.pid.value)


@pytest.mark.root
def test_a_peer_outside_our_process_namespace_lives(short_tmp: Path) -> None:
    """It has no number here, which is no sign of its having exited; and each lack says why."""
    with Actor() as actor:
        known = actor(_known_from_within, str(short_tmp / "door"))
    assert known["alive"] == ("yes", "")
    why = "it is in no process namespace that is seen from here, and has no number"
    assert known["pid"] == (None, why)
    assert known["process"][0] is not None
    for fact in ("audit-session", "login-uid", "cgroup", "logind-session"):
        value, why = known[fact]
        assert value is None
        assert why, fact


def _known_from_within(path: str) -> dict[str, tuple[str | None, str]]:
    """What a child in a process namespace of its own knows of us, whom it has let in."""
    door = Door(Path(path))
    assert libc().unshare(peers.NEWPID) == 0
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with door.accept() as sock:
                facts = pagsrv.whois(sock)
            os.write(theirs, pickle.dumps({one.fact: (one.value, one.why) for one in facts}))
        finally:
            os._exit(0)
    os.close(theirs)
    peers.connect(path)
    door.listener.close()
    told = os.read(ours, 1 << 16)
    os.close(ours)
    os.waitpid(pid, 0)
    known: dict[str, tuple[str | None, str]] = pickle.loads(told)  # noqa: S301 -- our own child's
    return known


# ---- asked of a broker ---------------------------------------------------------------------------


def test_a_broker_tells_the_same(face: Face, broker: Running) -> None:
    """Of a socket and of a pidfd; the connection announces changes by itself for that."""
    one, other = socket.socketpair()
    pidfd = os.pidfd_open(os.getpid())
    try:
        with one, other, face.connect(broker.dir, scopes=["user"]) as board:
            told, here = board.whois(one), pagsrv.whois(one)
            assert isinstance(told, pagsrv.PeerIdentity)
            for name in ("uid", "gid", "groups", "process", "alive", "pid", "cgroup"):
                assert told[name] == here[name]
            assert board.whois(pidfd=pidfd).process.value == told.process.value
            assert board.whois(other.fileno()).uid == told.uid
            assert "socket only" in board.whois(pidfd=pidfd).session.why
    finally:
        os.close(pidfd)


def test_a_broker_is_shown_one_thing(face: Face, broker: Running) -> None:
    """Neither nothing nor two, nor what it is not; the board goes on."""
    one, other = socket.socketpair()
    with one, other, face.connect(broker.dir, scopes=["user"]) as board:
        wrong: list[Callable[[], object]] = [
            board.whois,
            lambda: board.whois(one, pidfd=other),
            lambda: board.whois(pidfd=one),
            lambda: board.whois(0),
        ]
        for ask in wrong:
            with pytest.raises(pagsrv.InvalidParameter):
                ask()
        with pytest.raises(OSError, match="Bad file descriptor"):
            board.whois(2**31 - 1)
        assert board.whois(one).uid.value == str(os.geteuid())


def test_acting_on_behalf(face: Face, broker: Running, name: str, short_tmp: Path) -> None:
    """Every call that can be made for somebody is made as the peer shown; uid 0 is trusted."""
    door = Door(short_tmp / "door")
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(door.path)
    with (
        door.listener, peer, door.accept() as one, open(os.devnull, "rb") as null,
        face.connect(broker.dir, scopes=["user"]) as board,
    ):  # fmt: skip
        if os.geteuid() != 0:
            with pytest.raises(pagsrv.Denied, match="on behalf of others"):
                board.names(on_behalf_of=one)
            return
        entry = board.post(name, null, scope="user", until=["exit", "ttl=99"], on_behalf_of=one)
        assert (entry.name, entry.until) == (name, (f"exit={os.getpid()}", "ttl=99"))
        assert board.create(f"{name}-e", scope="user", on_behalf_of=one.fileno()).kind is None
        board.open(name, on_behalf_of=one).close()
        board.open(name, "user", on_behalf_of=one).close()
        assert board.stat(name, on_behalf_of=one).opens == 2
        assert {name, f"{name}-e"} <= set(board.names("user", on_behalf_of=one))
        listed = board.list(all=True, on_behalf_of=one)
        assert name in [each.name for each in listed]
        board.remove(name, expect=entry.generation, on_behalf_of=one)
        with pytest.raises(pagsrv.NoEntry):
            board.stat(name, on_behalf_of=one)
        with pytest.raises(pagsrv.InvalidParameter):
            board.open(name, on_behalf_of=null)
        board.remove(f"{name}-e")
