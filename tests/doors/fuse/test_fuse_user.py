# SPDX-License-Identifier: MIT
"""A mount of a user's: for the processes of one session, or for the uid if that is said.

The law: who is in the session the kernel tells, through an iterator that root's helper gives;
without it nobody is served. It refuses to know what is posted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import undumpable
from tests.actors import Actor
from tests.anybody import Anybody
from tests.conftest import identity
from tests.daemon.test_iterator import helper
from tests.doors.fuse import being, doing
from tests.doors.fuse.mounts import DOOR, check_fuse, check_proof
from tests.running import POSSESSION, Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]


class User:
    """A session of a user's, in a mount namespace where /dev/fuse is for everybody, as usual."""

    def __init__(self, actor: Actor, broker: Running, way: Anybody, tmp: Path) -> None:
        self.actor = actor
        self.place = str(tmp / "mnt")
        self._words = [*way.argv, *DOOR, f"--dir={broker.dir}", f"--helper={tmp}/mates"]
        self._env = way.env

    def mount(self, *options: str) -> tuple[int | None, str, str]:
        """Start the door: its status if it ends, what it says first, and its complaint."""
        words = [*self._words, *options, "--", self.place]
        return self.actor(being.start_door, words, self._env)

    def path(self, name: str) -> str:
        """A file of the mount."""
        return f"{self.place}/{name}"


@pytest.fixture
def user(short_tmp: Path, other_uid: int, anybody_python: Anybody) -> Iterator[User]:
    """A user's session and broker."""
    check_fuse()
    check_proof()
    short_tmp.chmod(0o777)
    with running_broker(
        short_tmp, use=POSSESSION, argv=(*anybody_python.argv, "-m", "pagsrv.daemon"),
        env=anybody_python.env, cwd="/", **identity(other_uid),
    ) as broker, Actor() as actor:  # fmt: skip
        for name in ("mnt", "dev"):
            (short_tmp / name).mkdir()
        os.chown(short_tmp / "mnt", other_uid, other_uid)
        actor(being.become_user, other_uid, str(short_tmp / "dev"))
        try:
            yield User(actor, broker, anybody_python, short_tmp)
        finally:
            actor(being.end_door)


@pytest.fixture
def helped(user: User, short_tmp: Path) -> Iterator[User]:
    """With root's helper."""
    with helper(short_tmp):
        yield user


def test_the_session_is_served(helped: User, other_uid: int) -> None:
    """Its programs post and open, by a mount without any privilege."""
    status, said, _ = helped.mount()
    assert status is None
    assert said == (f"serves at {helped.place}: the processes of this session, and no other's\n")
    path, name = helped.path("x"), Path("/etc/hostname").read_text()
    done = helped.actor(
        doing.shell, f"exec 3</etc/hostname; echo 3 >{path} && cat {path} && ls -l {path}"
    )
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(name + "-rw-r--r-- 1 ")
    assert helped.actor(os.stat, path).st_uid == other_uid
    assert helped.actor(doing.xattrs, path)["user.pagsrv.scope"].startswith("session:")


def test_another_session_of_the_uid_is_refused(helped: User) -> None:
    """EACCES for whatever it asks; the directory itself may be looked at."""
    helped.mount()
    helped.actor(os.mknod, helped.path("x"))
    for call, *args in (
        (os.listdir, helped.place), (os.stat, helped.path("x")), (os.unlink, helped.path("x")),
        (os.mknod, helped.path("y")),
    ):  # fmt: skip
        assert helped.actor(being.elsewhere, call, *args) == "EACCES"
        assert helped.actor(being.elsewhere_in_a_thread, call, *args) == "EACCES"
    assert stat.S_ISDIR(helped.actor(os.stat, helped.place).st_mode)
    assert helped.actor(os.listdir, helped.place) == ["x"]


def test_another_iterator_of_roots_is_not_believed(helped: User, short_tmp: Path) -> None:
    """Its numbers are no threads': it has to show the door itself."""
    status, _, complaint = helped.mount(f"--helper={short_tmp}/peerkeyring")
    assert status == 7
    assert f"what is given at {short_tmp}/peerkeyring does not show this process" in complaint


def test_without_the_helper_nobody_is_served(user: User) -> None:
    """One sentence says what is missing, and status 7; nothing is mounted."""
    status, _, complaint = user.mount()
    assert status == 7
    assert "which processes are of this session cannot be told" in complaint
    assert "peerkeyring serve" in complaint
    assert "--same-uid" in complaint
    assert complaint.count("\n") == 1


def test_the_same_uid(user: User) -> None:
    """Every session of it is served as the one that mounted; that is said at the start."""
    status, said, _ = user.mount("--same-uid")
    assert status is None
    assert "your sessions are not kept apart here" in said
    user.actor(os.mknod, user.path("x"))
    assert user.actor(being.elsewhere, os.stat, user.path("x")) == ""
    assert user.actor(being.elsewhere, os.unlink, user.path("x")) == ""
    assert user.actor(os.listdir, user.place) == []


def test_a_writer_that_cannot_be_traced(helped: User) -> None:
    """EPERM: without root nobody may look at its descriptors (ptrace(2))."""
    helped.mount()
    helped.actor(undumpable)
    reading, _ = helped.actor(doing.a_pipe)
    assert helped.actor(doing.assign, helped.path("x"), reading) == "EPERM"
    helped.actor(being.dumpable)
    assert helped.actor(doing.assign, helped.path("x"), reading) == ""
    helped.actor(doing.close, "r", "w")


def confine() -> None:
    """Give up rights for good."""
    assert libc().prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS of linux/prctl.h


def assign_opened(path: str, file: str) -> str:
    """Open *file* and assign it; the error."""
    with Fd(os.open(file, os.O_RDONLY)) as fd:
        return doing.assign(path, fd.fileno())


def test_a_sandbox_posts_no_directory(user: User, short_tmp: Path) -> None:
    """Posted by the door it would lend the door's rights, which the writer has given up."""
    user.mount("--same-uid")
    assert user.actor(assign_opened, user.path("x"), str(short_tmp)) == ""
    user.actor(confine)
    assert user.actor(assign_opened, user.path("y"), str(short_tmp)) == "EACCES"
    assert user.actor(assign_opened, user.path("z"), "/etc/hostname") == ""


def test_where_new_entries_go(user: User) -> None:
    """--scope says it; what is there is found in every scope as always."""
    user.mount("--same-uid", "--scope=user")
    user.actor(os.mknod, user.path("x"))
    told = user.actor(doing.xattrs, user.path("x"))
    assert told["user.pagsrv.scope"].startswith("user:")


def test_fusermount_takes_it_down(user: User) -> None:
    """And the door ends with 0."""
    user.mount("--same-uid")
    assert user.actor(doing.shell, f"fusermount3 -u {user.place}") == (0, "", "")
    assert user.actor(being.end_door) == 0


def test_no_such_place(user: User) -> None:
    """A sentence, and status 1."""
    user.place = "/nonexistent"
    assert user.mount("--same-uid")[::2] == (
        1, "pagsrv: /nonexistent cannot be mounted at: No such file or directory\n",
    )  # fmt: skip
    user.place = "/etc/hostname"
    status, _, complaint = user.mount("--same-uid")
    assert (status, "is no directory" in complaint) == (1, True)
    user.place = "/etc"
    status, _, complaint = user.mount("--same-uid")
    assert (status, "fusermount3" in complaint) == (1, True)


def test_no_broker(user: User, short_tmp: Path) -> None:
    """Nothing is mounted for it: status 6."""
    assert user.mount("--same-uid", f"--dir={short_tmp}/nothing")[0] == 6
