# SPDX-License-Identifier: MIT
"""Posted directories at a real broker: whose rights lead beneath, and what a walker may cost.

The law: what a poster could not open itself nobody opens by its directory, and a file system
that hangs keeps nobody else waiting. It refuses to know how a path is resolved.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from pagsrv.limits import WALK_SECONDS
from tests.actors import Actor
from tests.anybody import OTHER_UID
from tests.daemon import members
from tests.daemon.conftest import descriptors
from tests.daemon.members import mine
from tests.daemon.waiting import until
from tests.daemon.wire import SECONDS, Client, Parameters, Said, clients
from tests.running import Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]

SECOND_UID = OTHER_UID + 1
SHARED = 60777
"""A group that files are shared with."""

EVERYBODY = "alswrv" * 4
OPENS = 10_000
_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h


@pytest.fixture
def tree(short_tmp: Path, other_uid: int) -> Path:
    """A directory of *other_uid*'s, with files that it may read, and one that it may not."""
    short_tmp.chmod(0o755)
    top = short_tmp / "docs"
    (top / "sub").mkdir(parents=True)
    for name, mode in (("own", 0o600), ("sub/own", 0o600), ("shared", 0o640), ("roots", 0o600)):
        (top / name).write_text(f"{name} it is")
        (top / name).chmod(mode)
        if name != "roots":
            os.chown(top / name, other_uid, SHARED)
    os.chown(top / "shared", 0, SHARED)
    os.chown(top / "sub", other_uid, other_uid)
    (top / "sub").chmod(0o700)
    os.chown(top, other_uid, other_uid)
    top.chmod(0o700)
    return top


def post_directory(
    path: str, name: str = "docs", flags: int = os.O_RDONLY, **more: object
) -> Parameters:
    """Open the directory at *path* and post it, readable by everybody unless *more* says."""
    with Fd(os.open(path, flags | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        said = {"name": name, "fd": 0, "scope": "user", "mask": EVERYBODY, **more}
        entry: Parameters = mine().do("Post", [fd.fileno()], **said)["entry"]
    return entry


def read(name: str, client: Client | None = None, **more: object) -> str:
    """What is beneath, as text; Said for a refusal."""
    with (client or mine()).open(name, "Open", **more) as fd:
        return os.read(fd.fileno(), 100).decode()


def refusal(name: str, **more: object) -> tuple[str, str]:
    """The error of an open beneath, and its sentence."""
    try:
        return "", read(name, **more)
    except Said as said:
        return said.error, said.message


def kind_of(name: str) -> int:
    """What kind of file it is that is opened by that name."""
    with mine().open(name) as fd:
        return stat.S_IFMT(os.fstat(fd.fileno()).st_mode)


def directly(path: str) -> str:
    """What opening *path* oneself says."""
    try:
        with Fd(os.open(path, os.O_RDONLY)):
            return ""
    except OSError as error:
        return str(error.strerror)


def names(name: str) -> list[str]:
    """What lies there."""
    return [node["name"] for node in mine().do("Walk", name=name)["nodes"]]


@contextmanager
def member(broker: Running, uid: int, *, groups: tuple[int, ...] = ()) -> Iterator[Actor]:
    """A process of that uid, attached to the broker."""
    with Actor(uid, groups=groups) as actor:
        actor(members.join, broker.dir, "user")
        yield actor


# ---- whose rights --------------------------------------------------------------------------------


def test_opener_reads_with_the_posters_rights(broker: Running, tree: Path) -> None:
    """Another uid, which could not by itself; and what the poster may not, nobody may."""
    full = f"user:{OTHER_UID}/docs"
    with member(broker, OTHER_UID) as poster, member(broker, SECOND_UID) as opener:
        poster(post_directory, str(tree))
        assert opener(directly, str(tree / "own")) == "Permission denied"
        assert opener(read, f"{full}/own") == "own it is"
        assert opener(read, f"{full}/sub/own") == "sub/own it is"
        assert opener(names, f"{full}/sub") == ["own"]
        for name in ("roots", "shared"):
            error, message = opener(refusal, f"{full}/{name}")
            assert error == "Denied"
            assert "its poster's rights, and they do not suffice" in message
        # The broker is root's, and so is this process: that gives them nothing.
        with Client(broker.dir) as root:
            root.attach("user")
            assert root.refusal("Open", name=f"{full}/roots") == "Denied"
            assert read(f"{full}/own", root) == "own it is"


def test_groups_are_the_posters(broker: Running, tree: Path) -> None:
    """Of two posters of one uid each has its own, whoever asks first, and later too."""
    with (
        member(broker, OTHER_UID, groups=(SHARED,)) as one,
        member(broker, OTHER_UID) as other,
    ):
        one(post_directory, str(tree), "with")
        other(post_directory, str(tree), "without")
        for _ in range(2):
            assert other(read, "with/shared") == "shared it is"
            assert one(refusal, "without/shared")[0] == "Denied"
        # As of the post: that it has left its group since takes nothing away.
        one.close()
        assert other(read, "with/shared") == "shared it is"


def test_root_has_no_capability_beneath(broker: Running, tree: Path) -> None:
    """What root posted opens what root's ids open, and not what its capabilities would."""
    with Client(broker.dir) as root:
        root.attach("user")
        tree.chmod(0o755)
        with Fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            root.do("Post", [fd.fileno()], name="docs", fd=0, scope="user")
        assert read("docs/roots", root) == "roots it is"
        assert root.refusal("Open", name="docs/own") == "Denied"


def test_writing_takes_the_right_and_the_posters(broker: Running, tree: Path) -> None:
    """The mask lets an opener write, and the file its poster."""
    full = f"user:{OTHER_UID}/docs"
    (tree / "own").chmod(0o600)
    (tree / "kept").write_text("kept")
    (tree / "kept").chmod(0o644)
    readers = "alswrv" + "-" * 12 + "--s-rv"
    with member(broker, OTHER_UID) as poster, member(broker, SECOND_UID) as opener:
        poster(post_directory, str(tree), mask=readers)
        assert opener(read, f"{full}/own") == "own it is"
        assert opener(refusal, f"{full}/own", access="rw")[0] == "Denied"
        poster(mine_do, "SetMask", name="docs", mask=EVERYBODY)
        opener(write, f"{full}/own")
        assert (tree / "own").read_text() == "XXn it is"
        assert opener(refusal, f"{full}/kept", access="w")[0] == "Denied"
        assert opener(read, f"{full}/kept") == "kept"


def mine_do(method: str, **parameters: object) -> Parameters:
    """One call."""
    return mine().do(method, **parameters)


def write(name: str) -> None:
    """Write over the beginning of the file beneath."""
    with mine().open(name, access="rw") as fd:
        os.pwrite(fd.fileno(), b"XX", 0)


# ---- rights that are not to be had ---------------------------------------------------------------


def change_groups_and_post(path: str) -> None:
    """Post over a connection made in other groups (root's to do)."""
    os.setgroups([])
    post_directory(path)


def drop_to(uid: int, path: str) -> None:
    """Post as *uid* over a connection that was made as root."""
    os.setresuid(uid, uid, uid)
    post_directory(path)


def confine_and_post(path: str) -> None:
    """Post under no_new_privs."""
    assert libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    post_directory(path)


def test_rights_given_up_since_connect_are_not_lent(broker: Running, tree: Path) -> None:
    """What dropped its ids, its groups, or is confined: the directory itself, and no more."""
    tree.chmod(0o755)
    for post, more in (
        (drop_to, (OTHER_UID,)), (change_groups_and_post, ()), (confine_and_post, ()),
    ):  # fmt: skip
        with Actor(0, groups=(SHARED,)) as poster:
            poster(members.join, broker.dir, "user")
            poster(post, *more, str(tree))  # type: ignore[arg-type]
            error, message = poster(refusal, "docs/roots")
            assert (error, message[:29]) == ("Denied", "nobody may go beneath user:0/")
            assert poster(kind_of, "docs") == stat.S_IFDIR
            poster(mine_do, "Remove", name="docs")


def test_a_mere_place_is_not_gone_beneath(broker: Running, tree: Path) -> None:
    """An O_PATH descriptor takes no right to make."""
    with member(broker, OTHER_UID) as poster:
        poster(post_directory, str(tree), flags=os.O_PATH)
        error, message = poster(refusal, "docs/own")
        assert error == "Denied"
        assert "O_PATH" in message


def test_a_users_broker_lends_its_own_groups_alone(user_broker: Running, tree: Path) -> None:
    """It cannot change them, so who is in others is told so; its own uid it is anyhow."""
    with member(user_broker, OTHER_UID) as poster, member(user_broker, OTHER_UID) as opener:
        poster(post_directory, str(tree))
        assert opener(read, "docs/own") == "own it is"
        assert opener(refusal, "docs/shared")[0] == "Denied"
    with member(user_broker, OTHER_UID, groups=(SHARED,)) as poster:
        poster(post_directory, str(tree), "other")
        error, message = poster(refusal, "other/own")
        assert error == "Denied"
        assert "in other groups than this broker" in message


def test_a_broker_that_may_become_nobody(short_tmp: Path, tree: Path) -> None:
    """Root's without CAP_SETUID: its own it may be, and of others it says why not."""
    without = ("setpriv", "--bounding-set", "-setuid,-setgid")
    tree.chmod(0o755)
    with (
        running_broker(short_tmp, argv=(*without, sys.executable, "-m", "pagsrv.daemon")) as broker,
        member(broker, OTHER_UID) as poster, Client(broker.dir) as root,
    ):  # fmt: skip
        poster(post_directory, str(tree))
        error, message = poster(refusal, "docs/own")
        assert error == "Denied"
        assert f"the kernel did not make us uid {OTHER_UID}: Operation not permitted" in message
        root.attach("user")
        with Fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            root.do("Post", [fd.fileno()], name="docs", fd=0, scope="user")
        assert read("docs/roots", root) == "roots it is"


# ---- walkers -------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    """The processes that *pid* has made and that live."""
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in told.split()]


def walkers(broker: Running) -> list[int]:
    """The broker's walkers: children of its spawner."""
    return [walker for spawner in children(broker.pid) for walker in children(spawner)]


def beneath(pid: int, tree: Path) -> list[str]:
    """What process *pid* holds of *tree*."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return [link for link in found if link.startswith(str(tree))]


def stop(pids: list[int]) -> None:
    """Keep processes from going on, as a file system would that does not answer."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def fields(pid: int) -> dict[str, list[str]]:
    """What /proc/PID/status says."""
    lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return {words[0]: words[1:] for words in lines}


def test_a_walker_holds_nothing(broker: Running, tree: Path) -> None:
    """Nothing of the board's, no capability, and a session keyring of nobody's."""
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


# ---- the calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["seqpacket", "stream"])
def test_many_in_one_call(broker: Running, tree: Path, stream: bool) -> None:  # noqa: FBT001
    """Entries and what lies beneath, in their order; pipelined calls are answered in theirs."""
    with Client(broker.dir, stream=stream) as client, member(broker, OTHER_UID) as poster:
        client.attach("user")
        poster(post_directory, str(tree))
        full = f"user:{OTHER_UID}/docs"
        many = [f"{full}/own", full, f"{full}/sub/own", f"{full}/sub"]
        client.ask("OpenMany", {"names": many})
        client.ask("Open", {"name": f"{full}/own"})
        client.ask("Walk", {"name": f"{full}/sub/"})
        answer = client.hear()
        assert answer.parameters == {"fds": [0, 1, 2, 3]}
        kinds = [stat.S_IFMT(os.fstat(fd.fileno()).st_mode) for fd in answer.fds]
        assert kinds == [stat.S_IFREG, stat.S_IFDIR, stat.S_IFREG, stat.S_IFDIR]
        assert os.read(answer.fds[2].fileno(), 99) == b"sub/own it is"
        answer.fine()
        assert len(answer.fds) == 4
        single = client.hear()
        assert (single.parameters, len(single.fds)) == ({"fd": 0}, 1)
        single.fine()
        assert client.hear().fine()["at"] == f"{full}/sub"
        assert client.refusal("OpenMany", names=[*many, f"{full}/missing"]) == "NoEntry"
        assert client.refusal("Take", name=f"{full}/own") == "InvalidParameter"
        assert client.refusal("Stat", name=f"{full}/own") == "InvalidParameter"


def test_oneway_opens_nothing(broker: Running, tree: Path) -> None:
    """Nobody would get it."""
    with Client(broker.dir) as client, member(broker, OTHER_UID) as poster:
        client.attach("user")
        poster(post_directory, str(tree))
        client.ask("Open", {"name": f"user:{OTHER_UID}/docs/own"}, oneway=True)
        client.do("Health")
        assert walkers(broker) == []


def test_a_session_of_its_own(broker: Running, tree: Path) -> None:
    """In a session scope as in any: a guest by the full name, for reading."""
    with Actor() as poster, Actor() as guest, Actor() as stranger:
        for actor in (poster, guest, stranger):
            actor(members.join, broker.dir)
        session = f"session:{poster(keys.session_ring)}"
        tree.chmod(0o755)
        poster(post_directory, str(tree), scope="session", mask="alswrv-----v------------")
        assert poster(read, "docs/roots") == "roots it is"
        to = f"session:{guest(keys.session_ring)}"
        poster(mine_do, "Grant", name="docs", to=to)
        assert guest(read, f"{session}/docs/roots") == "roots it is"
        assert guest(refusal, f"{session}/docs/roots", access="w")[0] == "Denied"
        assert stranger(refusal, f"{session}/docs/roots")[0] == "Denied"
        assert stranger(refusal, "docs/roots")[0] == "NoEntry"
