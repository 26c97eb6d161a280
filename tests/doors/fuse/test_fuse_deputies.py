# SPDX-License-Identifier: MIT
"""Root's mount moves bytes and takes descriptors for others, with their rights and none of its own.

The law: what a posted file makes of its writer, it makes of whoever writes into the mount. It
refuses to know how that is done.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.kernel.acting import acting_as
from tests.actors import Actor, held
from tests.anybody import OTHER_UID, SYSTEM_PYTHON, bare_environment
from tests.doors.fuse import doing
from tests.doors.fuse.mounts import DOOR, Mounted, is_mounted
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]

THIRD_UID = OTHER_UID + 1


@pytest.fixture
def user(mount: Mounted, other_uid: int) -> Iterator[Actor]:  # noqa: ARG001 -- before any actor
    """A session of a uid that is not the mount's."""
    with Actor(other_uid) as actor:
        yield actor


def sender_of(path: str, kind: int, data: bytes) -> tuple[int, int, int]:
    """Who a peer is told has written *data* into the Unix socket posted at *path*."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        assert doing.assign(path, ours.fileno()) == ""
        fd = os.open(path, os.O_WRONLY)
        assert os.write(fd, data) == len(data)
        os.close(fd)
        got, told, _, _ = theirs.recvmsg(len(data) + 1, 100)
    assert got == data
    pid, uid, gid = struct.unpack("iII", told[0][2])
    return pid, uid, gid


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_who_writes_into_a_socket(user: Actor, path: str, kind: int) -> None:
    """SCM_CREDENTIALS name the writer, and not the mount, which is root."""
    assert user(sender_of, path, kind, b"text") == (user.pid, OTHER_UID, OTHER_UID)


def written(path: str, file: str) -> None:
    """Post *file*, opened for writing, and write into it through the mount."""
    number = held["f"] = os.open(file, os.O_RDWR)
    assert doing.assign(path, number) == ""
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"#!/bin/sh")
    os.ftruncate(fd, 4)
    os.close(fd)
    doing.close("f")


def test_the_set_user_id_bit_goes_with_a_write(user: Actor, path: str, short_tmp: Path) -> None:
    """As it does when a process that is not root writes into the file itself."""
    file = short_tmp / "program"
    file.write_bytes(b"")
    os.chown(file, THIRD_UID, THIRD_UID)
    file.chmod(0o4777)
    short_tmp.chmod(0o755)
    user(written, path, str(file))
    assert file.read_bytes() == b"#!/b"
    assert file.stat().st_mode & 0o7777 == 0o777


def capabilities() -> str:
    """What this thread may, and its ids."""
    with open("/proc/thread-self/status") as file:
        return "".join(line for line in file if line.startswith(("Cap", "Uid", "Gid")))


def test_a_thread_acts_as_another_and_returns() -> None:
    """With no capability meanwhile, and all of them afterwards; whoever it is already it stays."""
    before = capabilities()
    with acting_as(OTHER_UID, THIRD_UID):
        meanwhile = capabilities()
    assert capabilities() == before
    assert f"Uid:\t0\t0\t0\t{OTHER_UID}\nGid:\t0\t0\t0\t{THIRD_UID}\n" in meanwhile
    assert "CapEff:\t0000000000000000\n" in meanwhile
    with acting_as(0, 0):
        assert capabilities() == before
    with pytest.raises(ValueError, match="told"), acting_as(OTHER_UID, OTHER_UID):
        raise ValueError("told")
    assert capabilities() == before


def led(path: str, program: str) -> str:
    """What *program* says, asked to open a file and to print the number into an entry."""
    with open(path, "wb") as entry:
        script = "import os; os.write(1, b'%d' % os.open(os.devnull, 0))"
        argv = [program, "-ISc", script]
        done = subprocess.run(argv, stdout=entry, stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_program_with_rights_of_its_own_is_led_to_print_a_number(
    user: Actor, path: str, short_tmp: Path, mode: int
) -> None:
    """What it has open is not posted: whoever opened the entry could not have opened that."""
    short_tmp.chmod(0o755)
    program = short_tmp / "python"
    shutil.copy(SYSTEM_PYTHON, program)
    program.chmod(0o755)
    assert user(led, path, str(program)) == ""
    assert user(doing.xattrs, path)["user.pagsrv.assigned"] == "true"
    user(os.unlink, path)
    os.chown(program, THIRD_UID, THIRD_UID)
    program.chmod(mode)
    assert "PermissionError" in user(led, path, str(program))
    assert user(doing.xattrs, path)["user.pagsrv.assigned"] == "false"


def test_a_mount_that_can_be_nobody_else_serves_nobody(board: Running, short_tmp: Path) -> None:
    """It is said at the start, and not by each read that fails."""
    bound = ["setpriv", "--bounding-set", "-all,+sys_admin,+sys_ptrace", "--no-new-privs"]
    words = [*bound, sys.executable, *DOOR, f"--dir={board.dir}", "--", str(short_tmp)]
    done = subprocess.run(
        words, env=bare_environment(), cwd=Path(__file__).parents[3], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    assert "it takes CAP_SETUID and CAP_SETGID" in done.stderr
    assert not is_mounted(str(short_tmp))
