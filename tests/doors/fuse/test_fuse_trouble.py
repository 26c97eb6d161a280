# SPDX-License-Identifier: MIT
"""What may go wrong with a mount: askers killed, a broker or a door gone, nothing to mount at.

The law: nobody else notices, nothing is lost, and nothing is left open. It refuses to know who is
served.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.anybody import OTHER_UID
from tests.cli.command import start
from tests.daemon.conftest import descriptors
from tests.daemon.waiting import until
from tests.doors.fuse import doing
from tests.doors.fuse.conftest import USE
from tests.doors.fuse.mounts import Mounted, check_fuse, check_proof, is_mounted, mounted, take_down
from tests.running import POSSESSION, Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]


@pytest.fixture
def own_board(short_tmp: Path) -> Iterator[Running]:
    """A broker of the test's own, which may be stopped."""
    check_fuse()
    check_proof()
    with running_broker(short_tmp, use=USE) as running:
        yield running


@pytest.fixture
def own_mount(own_board: Running, short_tmp: Path) -> Iterator[Mounted]:
    """And its mount."""
    with mounted(short_tmp, own_board.dir) as made:
        yield made


@pytest.fixture
def user(own_mount: Mounted) -> Iterator[Actor]:  # noqa: ARG001 -- before any actor
    """A session."""
    with Actor() as actor:
        yield actor


def frozen(pid: int) -> None:
    """Stop process *pid*, and return when it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)


def test_ten_thousand_opens_leave_nothing(here: Actor, board: Running, mount: Mounted, path: str
) -> None:  # fmt: skip
    """Neither in the broker, nor in the door, nor in who opened."""
    reading, _ = here(doing.a_socketpair)
    here(doing.assign, path, reading)
    here(doing.write, "w", b"x" * 100_000)
    here(doing.cycle, path, 100)
    pids = (board.pid, mount.pid, here.pid)
    before = [descriptors(pid) for pid in pids]
    here(doing.cycle, path, 9_900)
    assert here(doing.xattrs, path)["user.pagsrv.opens"] == "10000"

    def settled() -> bool:
        return all(descriptors(pid) <= was + 4 for pid, was in zip(pids, before, strict=True))

    until(settled, lambda: here(os.stat, path), "what was opened is closed")
    here(doing.close, "r", "w")


def test_a_writer_killed_before_it_is_heard(
    own_mount: Mounted, own_board: Running, user: Actor
) -> None:
    """It ends at once, and nothing is posted."""
    user(os.mknod, own_mount / "x")
    user(doing.open_at, own_mount / "x", os.O_WRONLY)
    frozen(own_mount.pid)
    pid = user(doing.start_writer, "file")
    user(doing.wait_until_writing, pid)
    os.kill(pid, signal.SIGKILL)
    assert user(doing.status_of, pid) == -signal.SIGKILL
    os.kill(own_mount.pid, signal.SIGCONT)
    assert user(doing.xattrs, own_mount / "x")["user.pagsrv.assigned"] == "false"
    user(doing.close, "file")
    assert own_board.process.poll() is None


def test_a_writer_killed_while_it_is_served(
    own_mount: Mounted, own_board: Running, user: Actor
) -> None:
    """It cannot end before it is answered, so that its number is nobody else's meanwhile."""
    user(os.mknod, own_mount / "x")
    user(doing.open_at, own_mount / "x", os.O_WRONLY)
    user(doing.xattrs, own_mount / "x")
    before = own_mount.descriptors()
    frozen(own_board.pid)
    pid = user(doing.start_writer, "file")
    user(doing.wait_until_writing, pid)
    until(
        lambda: own_mount.descriptors() > before,
        os.sched_yield,
        "the door has the descriptor in hand",
    )
    os.kill(pid, signal.SIGKILL)
    assert os.path.exists(f"/proc/{pid}/fd")
    os.kill(own_board.pid, signal.SIGCONT)
    assert user(doing.status_of, pid) == -signal.SIGKILL
    told = user(doing.xattrs, own_mount / "x")
    assert told["user.pagsrv.assigned"] == "true"
    assert told["user.pagsrv.kind"] == "fifo"
    until(lambda: own_mount.descriptors() <= before, os.sched_yield, "it is closed again")
    user(doing.close, "file")


def test_unmounted_with_open_files(own_mount: Mounted, user: Actor) -> None:
    """Lazily, as `fusermount3 -uz` does: the door ends, and who has files open is told."""
    reading, _ = user(doing.a_pipe)
    user(doing.assign, own_mount / "x", reading)
    user(doing.open_at, own_mount / "x", os.O_RDONLY)
    busy = subprocess.run(["fusermount3", "-u", own_mount.path], capture_output=True, check=False)
    assert busy.returncode != 0
    assert own_mount.end() == 0
    assert not is_mounted(own_mount.path)
    assert user(doing.read_fault, "file") == "ENOTCONN"
    user(doing.close, "file", "r", "w")


def test_fusermount_ends_the_door(own_mount: Mounted) -> None:
    """With nothing open it goes, and the command with it."""
    subprocess.run(["fusermount3", "-u", own_mount.path], check=True)
    assert own_mount.process.wait(20) == 0


def test_interrupted_from_the_terminal(own_mount: Mounted) -> None:
    """^C ends it as SIGTERM does."""
    own_mount.process.send_signal(signal.SIGINT)
    assert own_mount.process.wait(20) == 0
    assert not is_mounted(own_mount.path)


def test_the_broker_is_started_anew(short_tmp: Path) -> None:
    """Meanwhile ECONNREFUSED; what was opened goes on; afterwards all is well."""
    check_fuse()
    check_proof()
    with (
        running_broker(short_tmp, use=USE) as first,
        mounted(short_tmp, first.dir) as mount,
        Actor() as user,
    ):
        reading, _ = user(doing.a_pipe)
        user(doing.assign, mount / "x", reading)
        user(doing.open_at, mount / "x", os.O_RDONLY)
        first.kill()
        assert user(doing.fault, os.stat, mount / "x") == "ECONNREFUSED"
        user(doing.write, "w", b"text")
        assert user(doing.read, "file") == b"text"
        (short_tmp / "notify").unlink()
        with running_broker(short_tmp, use=USE):
            assert user(doing.fault, os.stat, mount / "x") == "ENOENT"
            assert user(doing.assign, mount / "x", reading) == ""
            user(doing.close, "file", "r", "w")
        (short_tmp / "notify").touch()


def test_the_door_is_killed_and_started_anew(own_board: Running, short_tmp: Path) -> None:
    """What was mounted is dead; the next mount at the same place takes it down first."""
    with mounted(short_tmp, own_board.dir) as dead:
        dead.process.kill()
        dead.process.wait()
        with Actor() as user:
            assert user(doing.fault, os.stat, dead.path) == "ENOTCONN"
            with mounted(short_tmp, own_board.dir) as again:
                user(os.mknod, again / "x")
                assert user(os.listdir, again.path) == ["x"]


def test_a_process_that_exits_with_files_open(own_mount: Mounted, user: Actor) -> None:
    """What it had open is closed."""
    path = own_mount / "x"
    assert user(doing.shell, f"exec 3</dev/null; echo 3 >{path}").status == 0
    user(os.stat, path)
    before = own_mount.descriptors()
    opened = " ".join(f"{number}<{path}" for number in range(4, 10))
    assert user(doing.shell, f"exec {opened}; kill -9 $$").status == -signal.SIGKILL
    until(
        lambda: own_mount.descriptors() <= before,
        lambda: user(os.stat, path),
        "what was opened is closed",
    )


# ---- the command ---------------------------------------------------------------------------------


def test_the_command(own_board: Running, short_tmp: Path) -> None:
    """It says when it serves and whom, and ends with the mount."""
    place = short_tmp / "mnt"
    place.mkdir()
    door = start("mount", str(place), directory=own_board.dir)
    try:
        assert door.stdout is not None
        said = door.stdout.readline()
        assert said == f"serves at {place}: every session its own entries\n"
        assert is_mounted(str(place))
        door.send_signal(signal.SIGTERM)
        assert door.communicate(timeout=20) == ("", "")
        assert door.returncode == 0
        assert not is_mounted(str(place))
    finally:
        door.kill()
        door.communicate()
        take_down(short_tmp)


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ((), 2, "required: PATH"),
        (("x", "y"), 2, "unrecognized"),
        (("x", "--scope", "all"), 2, "is no scope"),
        (("x", "--same-uid", "--dir", "/nonexistent/board"), 6, "no broker"),
    ],
    ids=["no path", "two paths", "no scope", "no broker"],
)
def test_what_is_wrong_with_the_words(words: tuple[str, ...], status: int, why: str) -> None:
    """One sentence, and the status of the table."""
    door = start("mount", *words, directory="/nonexistent/board")
    out, err = door.communicate(timeout=20)
    assert (door.returncode, out, err.count("\n")) == (status, "", 1)
    assert why in err


def test_nobody_can_be_proved(short_tmp: Path) -> None:
    """By a broker that may not ask the kernel: it says so, and what else there is; status 7."""
    check_fuse()
    check_proof()
    with running_broker(short_tmp, use=POSSESSION) as board:
        door = start("mount", str(short_tmp), directory=board.dir)
        out, err = door.communicate(timeout=20)
        assert (door.returncode, out, err.count("\n")) == (7, "", 1)
        assert "no caller can be proved" in err
        assert "--same-uid" in err


def test_a_uid_that_opens_too_much(own_board: Running, short_tmp: Path, other_uid: int) -> None:
    """ENFILE for it; others go on, and it does, too, when it closes something."""
    few = ("prlimit", "--nofile=600", sys.executable)
    with mounted(short_tmp, own_board.dir, argv=few) as made, Actor(other_uid) as greedy:
        greedy(os.mknod, made / "x")
        assert greedy(doing.open_many, made / "x", 200) == (86, "ENFILE")
        with Actor() as other:
            other(os.mknod, made / "x")
            assert other(os.listdir, made.path) == ["x"]
        greedy(doing.close_many)
        until(
            lambda: not greedy(doing.fault, doing.open_at, made / "x", os.O_WRONLY),
            os.sched_yield,
            "it may open again",
        )
        greedy(doing.close, "file")


def test_too_many_wait(own_mount: Mounted, user: Actor) -> None:
    """What waits to be written is bounded for each uid; others, and it itself, go on."""
    _, pipe = user(doing.a_pipe)
    user(doing.assign, own_mount / "x", pipe)
    pids = [user(doing.start_shell, f"exec dd if=/dev/zero of={own_mount / 'x'} bs=1M count=1")
            for _ in range(70)]  # fmt: skip
    ended = user(doing.first_to_end, pids)
    assert ended in pids
    user(os.mknod, own_mount / "y")
    assert sorted(user(os.listdir, own_mount.path)) == ["x", "y"]
    for pid in pids:
        if pid != ended:
            os.kill(pid, signal.SIGKILL)
    user(doing.reap)
    user(doing.close, "r", "w")


def test_the_units_capabilities_are_enough(own_board: Running, short_tmp: Path) -> None:
    """A mount with those alone serves another uid, and takes its descriptors."""
    unit = Path(__file__).parents[3] / "contrib/systemd/system/pagsrv-mount.service"
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit.read_text(), re.MULTILINE)
    names = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in line.split())
    bound = ("setpriv", "--bounding-set", f"-all,{names}", "--no-new-privs", sys.executable)
    with mounted(short_tmp, own_board.dir, argv=bound) as made, Actor(OTHER_UID) as user:
        reading, _ = user(doing.a_pipe)
        assert user(doing.assign, made / "x", reading) == ""
        user(doing.write, "w", b"text")
        assert user(doing.read_path, made / "x") == b"text"
        user(doing.close, "r", "w")
