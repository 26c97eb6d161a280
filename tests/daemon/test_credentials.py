# SPDX-License-Identifier: MIT
"""Whose rights a posted directory lends, and when it lends nobody's.

The law: what is not the same at connect and at the post, or not known, is lent to nobody. It
refuses to know what is done with them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import socket
import struct
from pathlib import Path

import msgspec
import pytest

from pagsrv.daemon import credentials, walker
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from pagsrv.kernel.scm import ancillary
from pagsrv.model import Peer
from pagsrv.nodes import Credentials
from tests.actors import Actor
from tests.anybody import OTHER_UID
from tests.daemon import asking, members
from tests.daemon.members import mine
from tests.daemon.waiting import until
from tests.daemon.wire import Parameters, Said
from tests.peers import unshare_user
from tests.pure import peer_of
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]

SHARED = 60777
_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3  # linux/landlock.h
_RULESET = struct.pack("Q", _READ_FILE | _READ_DIR)


def of(actor: Actor, peer: Peer) -> Credentials:
    """What *peer*, whose process is *actor*, lends."""
    actor(os.getpid)  # it is who it is to be by now
    with Fd(os.pidfd_open(actor.pid)) as pidfd:
        return credentials.of_poster(peer, pidfd)


def confine() -> None:
    """Give up rights for good."""
    assert libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


def test_the_same_as_at_connect(other_uid: int) -> None:
    """Lent as they are, the groups among them."""
    peer = peer_of(other_uid, groups=(SHARED, 27))
    with Actor(other_uid, groups=(27, SHARED)) as actor:
        assert of(actor, peer) == Credentials(other_uid, other_uid, (27, SHARED))


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        (peer_of(OTHER_UID + 1, gid=OTHER_UID, groups=(27,)), "other rights when it connected"),
        (peer_of(0, groups=(27,)), "other rights when it connected"),
        (peer_of(OTHER_UID, gid=27, groups=(27,)), "other rights when it connected"),
        (peer_of(OTHER_UID, groups=(27, 28)), "other rights when it connected"),
        (peer_of(OTHER_UID), "other rights when it connected"),
    ],
)
def test_others_than_at_connect(other_uid: int, peer: Peer, why: str) -> None:
    """Any id or group more or less."""
    with Actor(other_uid, groups=(27,)) as actor:
        assert why in of(actor, peer).why


def test_several_user_ids_at_once(other_uid: int) -> None:
    """What could become root again is neither."""
    with Actor(other_uid, may_return=True) as actor:
        assert "several user ids" in of(actor, peer_of(other_uid, gid=0)).why


def test_who_is_confined(other_uid: int) -> None:
    """What a sandbox keeps from its files is nowhere to be read, so it lends nothing."""
    with Actor(other_uid) as actor:
        assert of(actor, peer_of(other_uid)).why == ""
        actor(confine)
        assert "no_new_privs" in of(actor, peer_of(other_uid)).why


def lock_in(path: str) -> str:
    """Post the directory from a sandbox that may list it and read nothing there; what is read."""
    assert unshare_user()
    with Fd(os.open(path, os.O_PATH)) as top:
        made = libc().syscall(444, _RULESET, ctypes.c_size_t(8), 0)
        if made < 0:
            return "no Landlock"
        with Fd(made) as rules:
            rule = struct.pack("=Qi", _READ_DIR, top.fileno())
            assert libc().syscall(445, made, 1, rule, 0) == 0
            assert libc().syscall(446, rules.fileno(), 0) == 0  # no no_new_privs here
    with pytest.raises(PermissionError):
        Path(path, "secret").read_text()
    post_own(path)
    return ""


def read_it() -> str:
    """What is read beneath, or why not."""
    answer = mine().talk("Open", {"name": "docs/secret"})
    if answer.error:
        return str(answer.parameters["message"])
    with answer.fds[0] as fd:
        return os.read(fd.fileno(), 99).decode()


def test_a_sandbox_in_a_user_namespace(broker: Running, short_tmp: Path, other_uid: int) -> None:
    """It takes no no_new_privs, and lends itself nothing that it may not read."""
    short_tmp.chmod(0o755)
    docs = short_tmp / "docs"
    docs.mkdir()
    (docs / "secret").write_text("kept from it")
    os.chown(docs / "secret", other_uid, other_uid)
    os.chown(docs, other_uid, other_uid)
    with Actor(other_uid) as actor:
        actor(members.join, broker.dir, "user")
        why = actor(lock_in, str(docs))
        if why:
            pytest.skip(why)
        assert "another user namespace" in actor(read_it)


def test_who_has_exited_or_is_not_shown() -> None:
    """Not known is not lent."""
    with Actor() as actor, Fd(os.pidfd_open(actor.pid)) as pidfd:
        peer = peer_of(os.getuid(), gid=os.getgid(), groups=tuple(os.getgroups()))
        assert credentials.of_poster(peer, pidfd).why == ""
        actor.close()
        assert "does not show" in credentials.of_poster(peer, pidfd).why
    assert "does not show" in credentials.of_poster(peer, None).why


# ---- on behalf -----------------------------------------------------------------------------------


def post_for_it(path: str) -> Parameters:
    """Post the directory on behalf of who connected to our door."""
    with Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        entry: Parameters = mine().do(
            "Post", [fd.fileno(), asking.number_of(-1)],
            name="docs", fd=0, on_behalf_of=1, scope="user",
        )["entry"]  # fmt: skip
    return entry


def post_own(path: str) -> None:
    """Post the directory."""
    with Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        mine().do("Post", [fd.fileno()], name="docs", fd=0, scope="user", replace=True)


def read_for_it(name: str) -> str:
    """What is read beneath on its behalf, or why not."""
    answer = mine().talk("Open", {"name": name, "on_behalf_of": 0}, [asking.number_of(-1)])
    if answer.error:
        return f"{answer.error}: {answer.parameters['message']}"
    (fd,) = answer.fds
    with fd:
        return os.read(fd.fileno(), 99).decode()


def test_on_behalf_of_a_peer(broker: Running, short_tmp: Path, other_uid: int) -> None:
    """A trusted asker goes beneath what the peer posted, and lends it no rights to files."""
    short_tmp.chmod(0o777)
    docs, door = short_tmp / "docs", str(short_tmp / "door")
    docs.mkdir()
    (docs / "secret").write_text("the peer's")
    (docs / "secret").chmod(0o600)
    os.chown(docs / "secret", other_uid, other_uid)
    with Actor() as asker, Actor(other_uid) as peer:
        asker(asking.listen, door)
        asker(members.join, broker.dir, "user")
        peer(asking.connect, door)
        asker(asking.accept)
        assert asker(post_for_it, str(docs))["owner"]["uid"] == other_uid
        assert "posted on somebody's behalf" in asker(read_for_it, "docs/secret")
        peer(members.join, broker.dir, "user")
        peer(post_own, str(docs))
        assert asker(read_for_it, "docs/secret") == "the peer's"
        nodes = asker(asking.for_it, "Walk", name="docs")["nodes"]
        assert [node["name"] for node in nodes] == ["secret"]
        with pytest.raises(Said):
            peer(mine_for_it, door)


def mine_for_it(door: str) -> None:
    """Act on somebody's behalf without being trusted."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(door)
        mine().do("Walk", [sock.fileno()], name="docs", on_behalf_of=0)


# ---- the walker ----------------------------------------------------------------------------------


def crowded_turn(path: str) -> dict[str, object]:
    """A walker's turn while its uid has more descriptors on their way than it may; its answer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, one, other, Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        task = walker.Task("user:1/docs", (), "r")
        ours.sendmsg([msgspec.json.encode(task)], ancillary([fd.fileno()]))
        one.sendmsg([b"x"], ancillary([fd.fileno()] * 40))
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        assert walker._turn(theirs)
        told: dict[str, object] = msgspec.json.decode(ours.recv(1 << 16))
    return told


def test_too_many_on_their_way(other_uid: int) -> None:
    """The asker is told, and the walker goes on."""
    with Actor(other_uid) as actor:
        assert actor(crowded_turn, "/")["error"] == "org.pagsrv.Board.QuotaExceeded"


def test_nobody_stays_when_the_broker_is_killed(broker: Running, short_tmp: Path) -> None:
    """Spawner and walkers end with it."""
    with Actor() as actor:
        actor(members.join, broker.dir, "user")
        actor(post_own, str(short_tmp))
        actor(mine_walk)
        spawner = Path(f"/proc/{broker.pid}/task/{broker.pid}/children").read_text().split()
        made = Path(f"/proc/{spawner[0]}/task/{spawner[0]}/children").read_text().split()
        pidfds = [Fd(os.pidfd_open(int(pid))) for pid in (*spawner, *made)]
        assert len(pidfds) >= 2
        broker.kill()
        for pidfd in pidfds:
            with pidfd:
                until(lambda pidfd=pidfd: gone(pidfd), lambda: None, "it ends")  # type: ignore[misc]


def mine_walk() -> None:
    """Have something looked at."""
    mine().do("Walk", name="docs")


def gone(pidfd: Fd) -> bool:
    """Whether the process of *pidfd* has exited."""
    return bool(select.select([pidfd], [], [], 1)[0])
