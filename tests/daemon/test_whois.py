# SPDX-License-Identifier: MIT
"""Whois at the real broker: what it knows of a peer, who may ask, and those who lie.

The law: a fact is of the process that connected, as it was then, or it is not known and says
why; no wrong scope is ever an answer. It refuses to know what an asker does with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from tests.actors import Actor, turn_into
from tests.daemon import asking, members
from tests.daemon.conftest import descriptors
from tests.daemon.waiting import until
from tests.daemon.wire import Client, Said, own_inode
from tests.installing import Installed
from tests.running import Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]

PAG = 0x41000000 + 815
_NEW_PAG = 0x41000000 + 31337
FACTS = [
    "session", "keyring", "mask", "isolation", "pag", "uid", "gid", "groups", "process", "alive",
    "pid", "audit-session", "login-uid", "cgroup", "logind-session",
]  # fmt: skip


@pytest.fixture
def door(short_tmp: Path) -> str:
    """Where an asker listens."""
    short_tmp.chmod(0o777)
    return str(short_tmp / "door")


@pytest.fixture
def asker(kernel_board: Running, door: str) -> Iterator[Actor]:
    """One of root's, which listens and is attached to the broker."""
    with Actor() as actor:
        actor(asking.listen, door)
        actor(members.join, kernel_board.dir, "user")
        yield actor


def ask(asker: Actor, peer: Actor, door: str) -> asking.Answer:
    """The peer connects and the asker asks."""
    peer(asking.connect, door)
    asker(asking.accept)
    return asker(asking.whois)


# ---- what is known -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_every_fact(asker: Actor, other_uid: int, door: str, stream: bool) -> None:  # noqa: FBT001
    """Of a peer that calls nothing, in a session and a PAG: each with its evidence."""
    asker(asking.listen, door, stream=stream)
    with Actor(other_uid, groups=(PAG, other_uid + 7)) as peer:
        ring = peer(asking.connect, door, stream=stream)
        asker(asking.accept)
        found = asker(asking.whois)
        assert list(found) == FACTS
        values = {name: fact.value for name, fact in found.items()}
        assert values["session"] == f"session:{ring}"
        assert values["keyring"] == "_ses"
        assert values["mask"] == "alswrv-----v------------".replace("-----v", "----rv", 1)
        assert values["isolation"] == "isolated"
        assert values["pag"] == f"pag:{PAG}"
        assert (values["uid"], values["gid"]) == (str(other_uid), str(other_uid))
        assert values["groups"] == f"{other_uid + 7} {PAG}"
        assert values["process"] == str(peer(own_inode))
        assert (values["alive"], values["pid"]) == ("yes", str(peer.pid))
        for fact in ("session", "keyring", "mask", "isolation"):
            assert (found[fact].evidence, found[fact].strength) == ("SO_PEERKEYRING", "kernel")
        assert found["pag"].evidence == found["groups"].evidence == "SO_PEERGROUPS"
        assert found["uid"].evidence == "SO_PEERCRED"


def test_what_proc_tells(asker: Actor, other_uid: int, door: str) -> None:
    """Audit session, login uid and logind session are /proc's, or nobody's, and say so."""
    with Actor(other_uid) as peer:
        found = ask(asker, peer, door)
        for fact, name in (("audit-session", "sessionid"), ("login-uid", "loginuid")):
            told = peer(_read, f"/proc/self/{name}")
            known = found[fact]
            if told in ("", "4294967295"):
                assert (known.value, known.strength, bool(known.why)) == (None, "none", True)
            else:
                assert (known.value, known.strength) == (told, "procfs-racy")
            assert known.evidence == f"/proc/PID/{name}"
        cgroup = found["cgroup"]
        place = peer(_read, "/proc/self/cgroup").rpartition("::")[2]
        assert cgroup.value is not None
        assert os.stat(f"/sys/fs/cgroup{place}").st_ino in (int(cgroup.value), *_hidden(place))
        assert (found["logind-session"].value is None) == ("/session-" not in place)


def _hidden(place: str) -> tuple[int, ...]:
    """In a cgroup namespace the path begins elsewhere than where the file system does."""
    return (os.stat("/sys/fs/cgroup").st_ino,) if place == "/" else ()


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def test_peer_without_session_or_pag(asker: Actor, other_uid: int, door: str) -> None:
    """What it has not is not known, with the sentence that says why, and no more lines of it."""
    with Actor(other_uid, may_return=True) as sued:
        sued(turn_into, other_uid + 1)
        found = ask(asker, sued, door)
    assert (found["session"].value, found["session"].strength) == (None, "none")
    assert "su and sudo keep" in found["session"].why
    assert not found.keys() & {"keyring", "mask", "isolation"}
    assert "in no PAG" in found["pag"].why
    assert found["groups"].value == ""
    assert found["uid"].value == str(other_uid + 1)


@pytest.mark.parametrize("groups", [(PAG, PAG + 1), ()])
def test_no_pag(asker: Actor, other_uid: int, door: str, groups: tuple[int, ...]) -> None:
    """Two groups that look like one are none."""
    with Actor(other_uid, groups=groups) as peer:
        found = ask(asker, peer, door)
    assert found["pag"].value is None
    assert found["pag"].why


# ---- who may ask ---------------------------------------------------------------------------------


def test_anybody_about_a_socket_it_holds(kernel_board: Running, other_uid: int, door: str) -> None:
    """Also of another uid, and of root."""
    with Actor(other_uid) as asker, Actor(other_uid + 1) as other, Actor() as root:
        asker(asking.listen, door)
        asker(members.join, kernel_board.dir)
        for peer in (other, root):
            found = ask(asker, peer, door)
            assert found["session"].value == f"session:{peer(keys.session_ring)}"
            assert found["pid"].value == str(peer.pid)


def test_bare_process(kernel_board: Running, other_uid: int) -> None:
    """Its own uid, and uid 0; of its session and its groups nobody can tell."""
    with Actor(other_uid) as peer, Actor(other_uid) as same, Actor(other_uid + 1) as other:
        for asker in (same, other):
            asker(members.join, kernel_board.dir, "user")
        with pytest.raises(Said) as said:
            other(asking.whois_process, peer.pid)
        assert said.value.error == "Denied"
        assert f"is uid {other_uid}'s" in said.value.message
        with Actor() as root:
            root(members.join, kernel_board.dir, "user")
            for asker in (root, same):
                found = asker(asking.whois_process, peer.pid)
                assert found["uid"].value == str(other_uid)
                assert found["pid"].value == str(peer.pid)
                assert found["process"].value == str(peer(own_inode))
                for fact in ("session", "pag", "groups"):
                    assert found[fact].value is None
                    assert "peer of a socket only" in found[fact].why
            assert root(asking.whois_child_that_exited) == "InvalidParameter"


def test_trusted_group(short_tmp: Path, other_uid: int) -> None:
    """Named in the configuration, by name or number, its members may ask of any process."""
    config = f"[whois]\ntrusted_group = {other_uid + 9}\n"
    with (
        running_broker(short_tmp, config=config) as broker,
        Actor(other_uid, groups=(other_uid + 9,)) as trusted,
        Actor(other_uid, groups=(other_uid + 8,)) as other,
        Actor() as root,
    ):
        trusted(members.join, broker.dir, "user")
        other(members.join, broker.dir, "user")
        assert trusted(asking.whois_process, root.pid)["uid"].value == "0"
        with pytest.raises(Said, match="only its own uid"):
            other(asking.whois_process, root.pid)


def test_pag_that_was_not_looked_up_yet(kernel_board: Running, other_uid: int, door: str) -> None:
    """Whether its group has a name is found out for askers that are not trusted, too."""
    with Actor(other_uid) as asker, Actor(other_uid, groups=(_NEW_PAG,)) as shown:
        asker(members.join, kernel_board.dir, "user")
        asker(asking.listen, door)
        assert ask(asker, shown, door)["pag"].value == f"pag:{_NEW_PAG}"


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("kind", asking.ODD)
def test_what_has_no_peer(
    kernel_board: Running, other_uid: int, kind: str, *, trusted: bool
) -> None:
    """Datagram, TCP, unconnected and listening sockets, and what is none, are refused."""
    with Actor(0 if trusted else other_uid) as asker:
        asker(members.join, kernel_board.dir, "user")
        assert asker(asking.refused_odd, kind, "Whois", "fd") == "fd"


def test_malformed_question(kernel_board: Running) -> None:
    """Both descriptors, none, or one that is no pidfd: refused, and the connection lives."""
    with Client(kernel_board.dir) as client:
        client.attach("user")
        fds = [client.sock.fileno(), client.sock.fileno()]
        assert client.refusal("Whois") == "InvalidParameter"
        assert client.refusal("Whois", fds, fd=0, pidfd=1) == "InvalidParameter"
        assert client.refusal("Whois", fds[:1], pidfd=0) == "InvalidParameter"
        assert client.refusal("WhoAmI") == ""


def test_connection_that_takes_no_descriptors(kernel_board: Running) -> None:
    """It has not announced changes: the refusal says so, and the connection lives."""
    with Client(kernel_board.dir) as client:
        with pytest.raises(Said, match="Attach with changes true"):
            client.do("Whois", fd=0)
        assert client.refusal("WhoAmI") == ""


def test_flood(kernel_board: Running, asker: Actor, other_uid: int, door: str) -> None:
    """Thousands of questions: each is answered, and nothing of them stays in the broker."""
    with Client(kernel_board.dir) as neighbour, Actor(other_uid) as peer:
        ask(asker, peer, door)
        before = descriptors(kernel_board.pid)
        assert asker(asking.flood, 2000) == 2000
        assert neighbour.refusal("WhoAmI") == ""
        until(
            lambda: descriptors(kernel_board.pid) <= before,
            lambda: neighbour.do("Health"),
            "what was shown is let go",
        )


def test_question_without_answer(asker: Actor, other_uid: int, door: str) -> None:
    """Oneway, about a PAG not looked up before, and wrong: the connection goes on."""
    with Actor(other_uid, groups=(PAG + 77,)) as peer:
        peer(asking.connect, door)
        asker(asking.accept)
        asker(_oneway)
        assert asker(asking.whois)["pag"].value == f"pag:{PAG + 77}"


def _oneway() -> None:
    shown = asking.number_of(-1)
    members.mine().ask("Whois", {"fd": 0}, [shown], oneway=True)
    members.mine().ask("Whois", {"fd": 0, "pidfd": 1}, [shown, shown], oneway=True)


# ---- lies and races ------------------------------------------------------------------------------


def test_keyring_changed_after_connect(asker: Actor, other_uid: int, door: str) -> None:
    """The answer is as at connect."""
    with Actor(other_uid) as peer:
        before = f"session:{peer(asking.connect, door)}"
        asker(asking.accept)
        after = f"session:{peer(asking.new_session)}"
        assert asker(asking.whois)["session"].value == before
        assert ask(asker, peer, door)["session"].value == after


def test_socket_handed_on(asker: Actor, other_uid: int, door: str) -> None:
    """Whoever writes on it: the peer is who connected, though it has closed its end."""
    with Actor(other_uid) as peer:
        ring = peer(asking.connect, door)
        asker(asking.accept)
        holder = peer(asking.hand_on)
        found = asker(asking.whois)
        assert found["session"].value == f"session:{ring}"
        assert found["pid"].value == str(peer.pid) != str(holder)
        peer(asking.put_down, holder)


def test_exited_before_the_question(asker: Actor, other_uid: int, door: str) -> None:
    """What the socket keeps is known; what only the living tell is not, and says why."""
    with Actor(other_uid, groups=(PAG,)) as peer:
        _, ring = peer(asking.connect_and_exit, door)
        asker(asking.accept)
        found = asker(asking.whois)
    assert found["session"].value == f"session:{ring}"
    assert found["uid"].value == str(other_uid)
    assert found["groups"].value == str(PAG)
    assert "pid" not in found
    assert found["alive"].value in ("no", None)
    # Its user namespace can no more be looked at: so its group is no proof.
    for fact in ("pag", "audit-session", "login-uid", "logind-session"):
        assert found[fact].value is None, fact
        assert found[fact].why, fact


def test_its_pid_is_anothers_now(asker: Actor, other_uid: int, door: str) -> None:
    """The kernel names processes by pidfd: of the new owner of the number nothing is told."""
    with Actor(other_uid) as victim, Actor() as other:
        pid, ring = victim(asking.connect_and_exit, door)
        asker(asking.accept)
        if not other(asking.child_with_pid, pid):
            pytest.skip("the number could not be had again in 200 tries")
        try:
            found = asker(asking.whois)
        finally:
            other(asking.end_stay)
    assert found["session"].value == f"session:{ring}"
    assert found["uid"].value == str(other_uid)
    assert "pid" not in found
    for fact in ("audit-session", "login-uid", "logind-session"):
        assert found[fact].value is None


def test_peer_in_a_user_namespace(asker: Actor, other_uid: int, door: str) -> None:
    """Its session is its session; its groups prove no PAG."""
    with Actor(other_uid, groups=(PAG,)) as peer:
        ring = peer(keys.session_ring)
        if not peer(asking.in_user_namespace, door):
            pytest.skip("this kernel gives that uid no user namespace")
        asker(asking.accept)
        found = asker(asking.whois)
    assert found["session"].value == f"session:{ring}"
    assert found["uid"].value == str(other_uid)
    assert found["pag"].value is None
    assert "user namespace" in found["pag"].why


def test_peer_in_a_pid_namespace(asker: Actor, door: str) -> None:
    """It is told by the number it has for the broker, and not by the one it calls its own."""
    with Actor(may_return=False) as peer:
        pid = peer(asking.child_in_pid_namespace, door)
        if not pid:
            pytest.skip("we may make no pid namespace here")
        asker(asking.accept)
        found = asker(asking.whois)
        assert found["session"].value == f"session:{peer(keys.session_ring)}"
        assert found["pid"].value == str(pid)
        peer(asking.put_down, pid)


def test_named_ring(asker: Actor, other_uid: int, door: str) -> None:
    """It is a session, and linkable, with the reason."""
    with Actor(other_uid, ring=f"named-{os.getpid()}") as peer:
        found = ask(asker, peer, door)
    assert found["session"].strength == "kernel"
    assert found["keyring"].value == f"named-{os.getpid()}"
    assert found["isolation"].value == "linkable"
    assert "link" in found["isolation"].why


def test_ring_of_the_uid(asker: Actor, other_uid: int, door: str) -> None:
    """Every process of the uid has it: no session."""
    with Actor(other_uid) as peer:
        peer(asking.connect_from_the_uids_ring, door)
        asker(asking.accept)
        found = asker(asking.whois)
    assert found["session"].value is None
    assert "not a login session" in found["session"].why
    assert found["keyring"].value == f"_uid_ses.{other_uid}"
    assert found["mask"].value
    assert (found["isolation"].value, found["isolation"].strength) == ("uid-wide", "kernel")


def test_revoked_ring(asker: Actor, other_uid: int, door: str) -> None:
    """Revoked after it connected, before the question: no session any more."""
    with Actor(other_uid) as peer:
        peer(asking.connect, door)
        asker(asking.accept)
        peer(asking.revoke)
        found = asker(asking.whois)
    assert found["session"].value is None
    assert "revoked" in found["session"].why


def test_removed_meanwhile(answered: Installed, asker: Actor, other_uid: int, door: str) -> None:
    """SO_PEERKEYRING is taken down between two questions: no session, and why; the rest stays."""
    with Actor(other_uid) as peer:
        assert ask(asker, peer, door)["session"].value is not None
        answered.remove()
        try:
            found = asker(asking.whois)
        finally:
            answered.install()
        assert found["session"].value is None
        assert "SO_PEERKEYRING" in found["session"].why
        assert found["uid"].value == str(other_uid)
        assert asker(asking.whois)["session"].value is not None
