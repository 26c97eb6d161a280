# SPDX-License-Identifier: MIT
"""The ground the other tests stand on holds.

The law: each fixture does what it promises, in both of its cases. It refuses to
know who uses them.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.anybody import Anybody, bare_environment, carried, in_place, reachable
from tests.conftest import GATE

WHO_AND_WHENCE = "import os, pagsrv, keyutils; print(os.getuid(), os.getgroups(), pagsrv.__file__)"

LEAKS = """
import os

HELD = os.open("/dev/null", os.O_RDONLY)
OTHER = os.open("/dev/null", os.O_RDONLY)


def test_leaves_one():
    os.open("/dev/zero", os.O_RDONLY)


def test_closes_one():
    os.close(HELD)


def test_swaps_one():
    fd = os.open("/", os.O_RDONLY)
    os.dup2(fd, OTHER)
    os.close(fd)
"""


SKIPS = """
import pytest


def test_of_the_kernel():
    pytest.skip("this kernel has no such thing")


def test_of_another_kind():
    pytest.skip("only root may")


@pytest.mark.skipif(True, reason="nobody knows")
def test_by_a_mark():
    pass
"""


@pytest.mark.parametrize(
    ("gate", "said"), [("", "3 skipped"), ("1", "1 failed, 1 skipped, 1 error")]
)
def test_the_gate_takes_no_other_skips(short_tmp: Path, gate: str, said: str) -> None:
    """What the kernel lacks may be skipped there, and nothing else."""
    shutil.copy(Path(__file__).with_name("conftest.py"), short_tmp)
    (short_tmp / "test_skips.py").write_text(SKIPS)
    options = ["-q", "-rN", "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={short_tmp}", str(short_tmp)],
        cwd=short_tmp,
        env=bare_environment() | {"PYTHONPATH": str(Path(__file__).parent.parent), GATE: gate},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert said in done.stdout.splitlines()[-1]


def test_guard_fails_the_test_that_changes_the_descriptors(short_tmp: Path) -> None:
    """A descriptor left, one closed and one replaced are each an error, and each is named."""
    shutil.copy(Path(__file__).with_name("conftest.py"), short_tmp)
    (short_tmp / "test_leaks.py").write_text(LEAKS)
    root = Path(__file__).parent.parent
    options = ["-q", "-rN", "-p", "no:cacheprovider", "--import-mode=importlib", "--capture=no"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={short_tmp}", str(short_tmp)],
        cwd=short_tmp,
        env=bare_environment() | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "3 passed, 3 errors" in done.stdout
    assert re.search(r"left open: \{\d+: '/dev/zero'\}; closed: none", done.stdout)
    assert re.search(r"left open: none; closed: \{\d+: '/dev/null'\}", done.stdout)
    assert re.search(r"left open: \{\d+: '/'\}; closed: none", done.stdout)


def test_short_directory_holds_a_socket_others_can_reach(short_tmp: Path) -> None:
    """A socket in it can be bound by its full path, and any uid may look inside."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_tmp / "board"))
    assert stat.S_IMODE(short_tmp.stat().st_mode) == 0o755


@pytest.mark.root
def test_run_as_is_that_uid_and_no_group_of_ours(
    other_uid: int,
    run_as: Callable[..., subprocess.CompletedProcess[str]],
    anybody_python: Anybody,
) -> None:
    """The command runs with that uid and without our groups, and finds pagsrv."""
    argv = [*anybody_python.argv, "-c", WHO_AND_WHENCE]
    done = run_as(other_uid, argv, env=anybody_python.env)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{other_uid} [] /")


@pytest.mark.root
def test_start_as_gives_a_process_to_talk_with(
    other_uid: int, start_as: Callable[..., subprocess.Popen[str]]
) -> None:
    """It runs while the test does, as that uid."""
    process = start_as(other_uid, ["cat"])
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("still here\n")
    process.stdin.flush()
    assert process.stdout.readline() == "still here\n"
    assert Path(f"/proc/{process.pid}").stat().st_uid == other_uid


@pytest.mark.root
def test_carried_library_works_where_the_checkout_cannot_be_reached(
    other_uid: int,
    run_as: Callable[..., subprocess.CompletedProcess[str]],
    short_tmp: Path,
) -> None:
    """Behind a directory of mode 0700 the first way fails and is seen to; the copy works."""
    closed = short_tmp / "closed"
    closed.mkdir(mode=0o700)
    (closed / "python").symlink_to(sys.executable)
    assert not reachable(in_place(str(closed / "python")))
    copy = short_tmp / "copy"
    copy.mkdir()
    before = os.umask(0o077)
    try:
        way = carried(copy)
    finally:
        os.umask(before)
    assert reachable(way)
    done = run_as(other_uid, [*way.argv, "-c", WHO_AND_WHENCE], env=way.env)
    assert done.stdout == f"{other_uid} [] {copy}/library/pagsrv/__init__.py\n"
