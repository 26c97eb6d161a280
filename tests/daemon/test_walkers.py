# SPDX-License-Identifier: MIT
"""Walkers: what they hold, and what one that ends or hangs costs others.

The law: a walker holds nothing of the board's, and a file system that hangs keeps nobody else
waiting: one that is stopped does as such a one would. It refuses to know what is found.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import stat
from pathlib import Path

import msgspec
import pytest

from pagsrv.daemon import spawner
from pagsrv.daemon.spawner import NAME
from pagsrv.kernel import keys
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import comm
from pagsrv.limits import MESSAGE_FDS, WALK_SECONDS
from pagsrv.nodes import Credentials
from tests.actors import Actor
from tests.anybody import OTHER_UID
from tests.daemon import members
from tests.daemon.conftest import descriptors
from tests.daemon.directories import (
    SHARED,
    beneath,
    children,
    kind_of,
    member,
    mine_do,
    post_directory,
    read,
    refusal,
    tree,
    walkers,
)
from tests.daemon.waiting import until
from tests.daemon.wire import SECONDS, Client, Said, clients
from tests.running import Running

__all__ = ["tree"]

pytestmark = [pytest.mark.kernel, pytest.mark.root]

OPENS = 10_000
_CLONE_NEWNS = 0x20000  # linux/sched.h


# ---- walkers -------------------------------------------------------------------------------------


def stop(pids: list[int]) -> None:
    """Keep processes from going on, as a file system would that does not answer."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def fields(pid: int) -> dict[str, list[str]]:
    """What /proc/PID/status says."""
    lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return {words[0]: words[1:] for words in lines}


def test_a_walker_holds_nothing(broker: Running, tree: Path) -> None:
    """Nothing of the board's, and no capability."""
    with member(broker, OTHER_UID, groups=(SHARED,)) as poster:
        poster(post_directory, str(tree))
        poster(members.put, "secret", b"of the board", scope="user")
        assert poster(read, "docs/own") == "own it is"
        (walker,) = walkers(broker)
        # When it has answered it lets go of the directory.
        until(lambda: not beneath(walker, tree), lambda: poster(mine_do, "Health"), "it lets go")
        held = [os.readlink(f"/proc/{walker}/fd/{one}") for one in os.listdir(f"/proc/{walker}/fd")]
        (sock,) = (link for link in held if link != "/dev/null")
        assert sock.startswith("socket:")
        told = fields(walker)
        assert told["Uid:"] == told["Gid:"] == [str(OTHER_UID)] * 4
        assert told["Groups:"] == [str(SHARED)]
        assert [int(told[one][0], 16) for one in ("CapPrm:", "CapEff:", "CapInh:")] == [0, 0, 0]
        assert told["NoNewPrivs:"] == ["1"]
        assert os.stat(f"/proc/{walker}/fd").st_uid == 0  # so it is not dumpable (proc(5))
        assert os.readlink(f"/proc/{walker}/cwd") == "/"


def rings_of_walkers() -> tuple[int, list[int]]:
    """Our session keyring, and those that the first two walkers have that we make."""
    found: list[int] = []
    spawner._fork = lambda *_: found.append(keys.session_ring())  # type: ignore[assignment]
    own = keys.session_ring()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        data = msgspec.json.encode(Credentials(0, 0, ()))
        alone = spawner._make(ours, theirs, data, alone=False)
        assert spawner._make(ours, theirs, data, alone=alone)
    return own, found


def test_walkers_are_in_nobodys_session(other_uid: int) -> None:
    """What the broker's ring gives a right to is nothing to them; they share an empty one."""
    assert other_uid
    with Actor() as actor:
        own, (first, second) = actor(rings_of_walkers)
        assert first == second != own
        assert actor(keys.read_ring, first) == ()


def test_a_walker_is_nobody_elses(user_broker: Running, tree: Path) -> None:
    """Not even of its own uid: its descriptors are not to be had, and it is not traced."""
    with member(user_broker, OTHER_UID) as poster, Actor(OTHER_UID) as thief:
        poster(post_directory, str(tree))
        assert poster(read, "docs/own") == "own it is"
        for pid in (*children(user_broker.pid), *walkers(user_broker)):
            for number in range(3, 10):
                assert thief(steal, pid, number) == "Operation not permitted"


def steal(pid: int, number: int) -> str:
    """Get at a descriptor of process *pid* (pidfd_getfd(2)); what the kernel says."""
    with Fd(os.pidfd_open(pid)) as pidfd:
        if libc().syscall(438, pidfd.fileno(), number, 0) >= 0:
            return ""
        return os.strerror(ctypes.get_errno())


def test_a_walker_that_is_killed_is_followed_by_another(broker: Running, tree: Path) -> None:
    """By whom it belongs to, while it has nothing to do: nobody notices."""
    with member(broker, OTHER_UID) as poster:
        poster(post_directory, str(tree))
        for _ in range(3):
            assert poster(read, "docs/own") == "own it is"
            (walker,) = walkers(broker)
            with Fd(os.pidfd_open(walker)) as pidfd:
                poster(os.kill, walker, signal.SIGKILL)
                assert select.select([pidfd], [], [], SECONDS)[0]


def test_without_a_spawner_there_are_no_walkers(broker: Running, tree: Path) -> None:
    """It is said, and all else goes on; the directory itself is had as ever."""
    with member(broker, OTHER_UID) as poster:
        poster(post_directory, str(tree))
        (spawner,) = (pid for pid in children(broker.pid) if comm(pid) == NAME)
        with Fd(os.pidfd_open(spawner)) as pidfd:
            os.kill(spawner, signal.SIGKILL)
            assert select.select([pidfd], [], [], SECONDS)[0]
        error, message = poster(refusal, "docs/own")
        assert (error, message[-18:]) == ("Denied", "restart the broker")
        assert poster(kind_of, "docs") == stat.S_IFDIR


def test_a_file_system_that_hangs_keeps_nobody_else(broker: Running, tree: Path) -> None:
    """Its own asker is told after some seconds; others, of the same uid too, are served."""
    tree.chmod(0o755)
    with (
        member(broker, OTHER_UID) as poster, member(broker, OTHER_UID) as waiter,
        Client(broker.dir) as other,
    ):  # fmt: skip
        other.attach("user")
        with Fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            other.do("Post", [fd.fileno()], name="docs", fd=0, scope="user")
        poster(post_directory, str(tree))
        assert poster(read, "docs/own") == "own it is"
        (stopped,) = walkers(broker)
        stop([stopped])
        waiter(members.ask, "Open", name="docs/own")
        # While that one waits, the walker being stopped:
        assert read("docs/roots", other) == "roots it is"
        assert poster(read, "docs/own") == "own it is"
        assert len(walkers(broker)) == 3
        with pytest.raises(Said) as caught:
            waiter(members.hear)
        assert caught.value.error == "TimedOut"
        assert f"more than {WALK_SECONDS} seconds" in caught.value.message
        until(lambda: stopped not in walkers(broker), lambda: other.do("Health"), "it is killed")
        assert waiter(read, "docs/own") == "own it is"


def mount_silent(path: str) -> str:
    """Mount a file system whose server never answers, for us alone; why not, if that cannot be."""
    if libc().unshare(_CLONE_NEWNS):
        return "no mount namespace"
    libc().mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None)  # MS_REC | MS_PRIVATE
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % device
    failed = libc().mount(b"silent", path.encode(), b"fuse", ctypes.c_ulong(0), options)
    return "no FUSE" if failed else ""


def test_a_mount_that_hangs(broker: Running, tree: Path) -> None:
    """Mounts of the poster's own are beneath, those of a server that never answers too."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    (tree / "hangs").mkdir()
    tree.chmod(0o755)
    with member(broker, 0) as poster, member(broker, 0) as waiter, Client(broker.dir) as other:
        other.attach("user")
        why = poster(mount_silent, str(tree / "hangs"))
        if why:
            pytest.skip(f"cannot be tried here: {why}")
        poster(post_directory, str(tree))
        waiter(members.ask, "Open", name="docs/hangs/file")
        poster(members.ask, "Walk", name="docs/hangs")
        assert read("docs/roots", other) == "roots it is"
        for actor in (waiter, poster):
            with pytest.raises(Said) as caught:
                actor(members.hear)
            assert caught.value.error == "TimedOut"
        assert poster(read, "docs/roots") == "roots it is"
        until(lambda: len(walkers(broker)) == 1, lambda: other.do("Health"), "both are killed")


def test_each_uid_has_a_few_and_the_others_wait(broker: Running, tree: Path) -> None:
    """With all of its walkers stopped a uid waits, and is told; nobody else does."""
    with member(broker, OTHER_UID) as poster, clients(broker.dir, 9) as many:
        poster(post_directory, str(tree))
        for client in many:
            client.attach("user")
        name = f"user:{OTHER_UID}/docs/own"
        for client in many[:4]:
            client.open(name).close()  # by one that is idle then, and not for long
            stop(walkers(broker))
            client.ask("Open", {"name": name})
            until(lambda client=client: not client.unheard(), lambda: many[8].do("Health"), "read")
        for client in many[4:8]:
            client.ask("Open", {"name": name})
        many[8].do("Health")
        assert len(walkers(broker)) == 4
        assert [client.hear().error for client in many[:8]] == ["TimedOut"] * 8


def test_descriptors_after_many_opens(broker: Running, tree: Path) -> None:
    """None is left in the broker, the walker or the opener, whatever was refused meanwhile."""
    (tree / "out").symlink_to("/etc/passwd")
    with Client(broker.dir) as client, member(broker, OTHER_UID) as poster:
        client.attach("user")
        poster(post_directory, str(tree))
        full = f"user:{OTHER_UID}/docs"
        assert read(f"{full}/own", client) == "own it is"
        (walker,) = walkers(broker)
        for number in range(OPENS // 100):
            for _ in range(97):
                client.open(f"{full}/own").close()
            assert client.refusal("Open", name=f"{full}/out") == "Denied"
            assert client.refusal("Open", name=f"{full}/missing") == "NoEntry"
            assert len(client.do("Walk", name=full)["nodes"]) == 5, number
        assert walkers(broker) == [walker]
        until(
            lambda: beneath(broker.pid, tree) == [str(tree)], lambda: client.do("Health"),
            "what was opened is closed",
        )  # fmt: skip
        until(lambda: descriptors(walker) == 4, lambda: client.do("Health"), "a socket and nothing")
        assert beneath(os.getpid(), tree) == []


def test_hanging_up_while_it_is_looked_for(broker: Running, tree: Path) -> None:
    """What comes for nobody is closed."""
    with member(broker, OTHER_UID) as poster, Client(broker.dir) as watcher:
        poster(post_directory, str(tree))
        watcher.attach("user")
        name = f"user:{OTHER_UID}/docs/own"
        assert read(name, watcher) == "own it is"
        for _ in range(50):
            with Client(broker.dir) as client:
                client.ask("Open", {"name": name})
        until(
            lambda: beneath(broker.pid, tree) == [str(tree)], lambda: watcher.do("Health"),
            "what came for nobody is closed",
        )  # fmt: skip
        assert "Traceback" not in broker.log, broker.log


def test_as_many_as_a_message_carries(broker: Running, tree: Path) -> None:
    """In one call, by a few walkers; and a connection that reads none of them gets no more."""
    with Client(broker.dir) as client, member(broker, OTHER_UID) as poster:
        poster(post_directory, str(tree))
        client.attach("user")
        names = [
            f"user:{OTHER_UID}/docs/{'own' if n % 2 else 'sub/own'}" for n in range(MESSAGE_FDS)
        ]
        answer = client.talk("OpenMany", {"names": names})
        assert answer.parameters == {"fds": list(range(MESSAGE_FDS))}
        sizes = [os.fstat(fd.fileno()).st_size for fd in answer.fds]
        answer.fine()
        assert sizes == [len("own it is") if n % 2 else len("sub/own it is") for n in range(253)]
        assert 1 <= len(walkers(broker)) <= 4
        for _ in range(6):
            client.ask("OpenMany", {"names": names})
        errors = [told.error for told in (client.hear() for _ in range(6)) if not close(told.fds)]
        assert set(errors) <= {"", "QuotaExceeded"}
        until(
            lambda: beneath(broker.pid, tree) == [str(tree)], lambda: client.do("Health"),
            "what was opened is closed",
        )  # fmt: skip


def close(fds: list[Fd]) -> None:
    """Close them."""
    for fd in fds:
        fd.close()
