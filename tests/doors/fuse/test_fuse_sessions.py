# SPDX-License-Identifier: MIT
"""Who is served by a mount: each session its own entries, by the kernel's word, and nobody else.

The law: the uid alone shows nobody anything, a handle is what its opener was given. It refuses to
know what is posted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from pagsrv.kernel.process import undumpable
from tests.actors import Actor, turn_into
from tests.anybody import OTHER_UID
from tests.doors.fuse import being, doing
from tests.doors.fuse.mounts import Mounted, mounted
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]

THIRD_UID = OTHER_UID + 1


@pytest.fixture
def one(mount: Mounted, other_uid: int) -> Iterator[Actor]:  # noqa: ARG001 -- before any actor
    """A session of another uid than the mount's."""
    with Actor(other_uid) as actor:
        actor(os.getuid)
        yield actor


@pytest.fixture
def two(mount: Mounted, other_uid: int) -> Iterator[Actor]:  # noqa: ARG001 -- as above
    """Another session of that uid."""
    with Actor(other_uid) as actor:
        actor(os.getuid)
        yield actor


def session(actor: Actor) -> str:
    """Its session scope."""
    return f"session:{actor(keys.session_ring)}"


def test_two_sessions_of_one_uid(one: Actor, two: Actor, mount: Mounted, path: str) -> None:
    """They have different files of the same name, and see none of each other's."""
    for actor, text in ((one, b"one"), (two, b"two")):
        reading, _ = actor(doing.a_pipe)
        assert actor(doing.assign, path, reading) == ""
        actor(doing.write, "w", text)
    one(os.mknod, path + "-more")
    name = os.path.basename(path)
    assert sorted(one(os.listdir, mount.path)) == [name, name + "-more"]
    assert two(os.listdir, mount.path) == [name]
    assert two(doing.fault, os.stat, path + "-more") == "ENOENT"
    assert one(doing.read_path, path) == b"one"
    assert two(doing.read_path, path) == b"two"
    assert one(doing.xattrs, path)["user.pagsrv.scope"] == session(one)
    one(os.unlink, path)
    assert one(doing.fault, os.stat, path) == "ENOENT"
    assert two(doing.xattrs, path)["user.pagsrv.scope"] == session(two)
    for actor in (one, two):
        actor(doing.close, "r", "w")


def test_another_uid(one: Actor, mount: Mounted, path: str) -> None:
    """Nothing is there for it, root included; what it makes is its own."""
    one(os.mknod, path)
    for uid in (THIRD_UID, 0):
        with Actor(uid) as other:
            assert other(os.listdir, mount.path) == []
            assert other(doing.fault, os.stat, path) == "ENOENT"
            assert other(doing.fault, os.unlink, path) == "ENOENT"
            other(os.mknod, path)
            assert other(os.stat, path).st_uid == uid
    assert one(os.stat, path).st_uid == OTHER_UID


def test_poster_and_owner_are_the_writer(one: Actor, path: str) -> None:
    """As if it had asked the broker itself."""
    reading, _ = one(doing.a_pipe)
    one(doing.assign, path, reading)
    assert one(doing.xattrs, path)["user.pagsrv.poster"].split()[0] == str(one.pid)
    assert (one(os.stat, path).st_uid, one(os.stat, path).st_gid) == (OTHER_UID, OTHER_UID)
    one(doing.close, "r", "w")


def test_a_handle_of_another_session(one: Actor, two: Actor, path: str) -> None:
    """What was opened can be read by whoever is given it; nothing is assigned by it there."""
    one(doing.open_at, path, os.O_RDWR | os.O_CREAT, "empty")
    reading, _ = one(doing.a_pipe)
    one(doing.write, "empty", b"%d" % reading)
    one(doing.write, "w", b"text")
    one(doing.open_at, path, os.O_RDONLY, "opened")
    for name in ("empty", "opened"):
        _lend(one, two, name)
    assert two(doing.read, "opened") == b"text"
    assert two(os.fstat, two(doing.number_of, "opened")).st_uid == OTHER_UID
    mine, _ = two(doing.a_pipe)
    assert two(doing.write_at_fault, "empty", b"%d" % mine, 0) == "ENOENT"
    assert two(doing.fault, os.stat, path) == "ENOENT"
    for actor in (one, two):
        actor(doing.close, "empty", "opened", "r", "w")


def _lend(lender: Actor, borrower: Actor, name: str) -> None:
    """Give *borrower* what *lender* holds as *name*; of one uid, and both let themselves be traced.

    A process that has changed its uid does not (PR_SET_DUMPABLE of prctl(2)).
    """
    for actor in (lender, borrower):
        actor(being.dumpable)
    borrower(being.borrow, lender.pid, lender(doing.number_of, name), name)


def test_a_session_that_has_ended(one: Actor, mount: Mounted, path: str) -> None:
    """Its entries are gone, and there is nowhere to post."""
    one(os.mknod, path)
    one(keys.revoke, one(keys.session_ring))
    assert one(doing.fault, os.stat, path) == "ENOENT"
    assert one(os.listdir, mount.path) == []
    assert one(doing.fault, os.mknod, path) == "ENOKEY"


def test_the_descriptors_are_the_threads_own(one: Actor, path: str) -> None:
    """A thread may have a table of its own (CLONE_FILES of clone(2)): it is that one's number."""
    assert one(being.assign_in_a_thread, path) == ""
    assert one(doing.read_path, path) == b"of the thread"


def test_who_cannot_be_traced(one: Actor, path: str) -> None:
    """Root's mount may look all the same."""
    one(undumpable)
    reading, _ = one(doing.a_pipe)
    assert one(doing.assign, path, reading) == ""
    one(doing.close, "r", "w")


def test_who_acts_as_another_for_files(here: Actor, mount: Mounted) -> None:
    """As a server of files does (setfsuid(2)): it is not proved to be whom it acts as."""
    here(being.set_fsuid, OTHER_UID)
    assert here(doing.fault, os.listdir, mount.path) == "EACCES"
    here(being.set_fsuid, 0)
    assert here(os.listdir, mount.path) == []


def test_a_process_namespace_within_ours(here: Actor, path: str) -> None:
    """Its numbers are other ones there; the kernel tells ours."""
    said = here(
        doing.shell, f"exec 3</dev/null; unshare --pid --fork sh -c 'echo 3 >{path}; cat {path}'"
    )
    assert said == (0, "", "")
    assert here(doing.xattrs, path)["user.pagsrv.assigned"] == "true"


def test_the_same_uid_and_no_other(board: Running, short_tmp: Path, one: Actor) -> None:
    """Told to serve its uid, a mount serves that uid's sessions, and refuses every other's."""
    with mounted(short_tmp, board.dir, "--same-uid", "--scope=user") as made:
        with Actor() as ours, Actor() as too:
            ours(os.mknod, made / "x")
            assert too(os.listdir, made.path) == ["x"]
            too(os.unlink, made / "x")
        for call, *args in ((os.listdir, made.path), (os.stat, made / "x"), (os.mknod, made / "x")):
            assert one(doing.fault, call, *args) == "EACCES"


def test_a_thread_in_another_session(one: Actor, path: str) -> None:
    """Who asks is a thread, and so is in a session of its own if it has joined one."""
    one(os.mknod, path)
    assert one(being.elsewhere_in_a_thread, os.stat, path) == "ENOENT"
    assert one(being.elsewhere_in_a_thread, os.mknod, path) == ""
    assert one(doing.fault, os.mknod, path) == "EEXIST"


def test_who_became_another_user(mount: Mounted, path: str) -> None:
    """A child of su(1) keeps the ring, which is another uid's: it is in no session of its own."""
    with Actor(OTHER_UID, may_return=True) as actor:
        actor(os.mknod, path)
        actor(turn_into, THIRD_UID)
        assert actor(doing.fault, os.stat, path) == "ENOENT"
        assert actor(os.listdir, mount.path) == []
        assert actor(doing.fault, os.mknod, path) == "ENOKEY"


def test_a_name_that_is_handed_on(one: Actor, two: Actor, path: str) -> None:
    """A descriptor that only names the file (O_PATH) opens nothing in another session."""
    reading, _ = one(doing.a_pipe)
    one(doing.assign, path, reading)
    one(doing.open_at, path, os.O_PATH, "place")
    _lend(one, two, "place")
    by_number = f"/proc/self/fd/{two(doing.number_of, 'place')}"
    assert two(doing.fault, os.open, by_number, os.O_RDONLY) == "ENOENT"
    assert two(doing.fault, os.chmod, by_number, 0o400) == "ENOENT"
    one(doing.close, "place", "r", "w")
    two(doing.close, "place")
