# SPDX-License-Identifier: MIT
"""What every test stands on: the descriptor guard, short directories, other uids.

The law: after each test the process holds exactly the descriptors it held
before. It refuses to know what any test is about.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.anybody import OTHER_UID, Anybody, bare_environment, carried, in_place, reachable

# The same examples in every run: a failure seen once is seen again, and its blob is printed.
settings.register_profile("gate", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("search", print_blob=True, deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


# ---- skips ---------------------------------------------------------------------------------------

GATE = "PAGSRV_GATE"
"""Set where everything is to be there that a test can need, the kernel's newest parts left out."""

_OF_THE_KERNEL = ("this kernel ", "there is no /dev/", "cannot be tried here: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001 -- the hook's own
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """At the gate a test is skipped for what its kernel lacks, and for nothing else."""
    report = yield
    if report.skipped and os.environ.get(GATE) and isinstance(report.longrepr, tuple):
        why = report.longrepr[2].removeprefix("Skipped: ")
        if not why.startswith(_OF_THE_KERNEL):
            report.outcome = "failed"
            report.longrepr = f"not to be skipped at the gate: {why}"
    return report


# ---- descriptors ---------------------------------------------------------------------------------


def held_descriptors() -> dict[int, str]:
    """Each descriptor this process holds, with what it is, the one that looks left out."""
    held = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            held[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the listing's own
    return held


@pytest.fixture(scope="session", autouse=True)
def heap_at_rest() -> None:
    """Leave what is loaded out of every later collection: the guard asks for two per test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def descriptor_guard() -> Iterator[None]:
    """Fail the test that leaves a descriptor behind, or closes one that is not its own."""
    gc.collect()
    before = held_descriptors()
    yield
    gc.collect()
    after = held_descriptors()
    left = {fd: what for fd, what in after.items() if before.get(fd) != what}
    gone = {fd: what for fd, what in before.items() if fd not in after}
    if left or gone:
        pytest.fail(f"descriptors left open: {left or 'none'}; closed: {gone or 'none'}")


# ---- directories ---------------------------------------------------------------------------------


def make_short_directory() -> Path:
    """Make a directory whose path leaves room in sun_path (108 bytes, unix(7)), open to look at."""
    path = Path(tempfile.mkdtemp(prefix="pagsrv-", dir="/tmp"))
    path.chmod(0o755)
    return path


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A short path to an empty directory of mode 0755, removed with what is in it."""
    path = make_short_directory()
    yield path
    shutil.rmtree(path)


# ---- other uids ----------------------------------------------------------------------------------


@pytest.fixture
def other_uid() -> int:
    """A uid that is not ours and that nobody has; only root can become it."""
    if os.geteuid() != 0:
        pytest.skip("only root can run something as another uid")
    return OTHER_UID


@pytest.fixture(scope="session")
def anybody_python() -> Iterator[Anybody]:
    """Python with pagsrv, as argv and environment that work for every uid."""
    way = in_place()
    if os.geteuid() != 0 or reachable(way):
        yield way
        return
    path = make_short_directory()
    yield carried(path)
    shutil.rmtree(path)


RunAs = Callable[..., "subprocess.CompletedProcess[str]"]
StartAs = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run_as() -> RunAs:
    """`run_as(uid, argv, env=…, cwd="/", stdin="", timeout=30)`: run to the end, and tell."""

    def run(
        uid: int,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: str = "",
        timeout: float = 30,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            env=bare_environment() if env is None else env,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **identity(uid),
        )

    return run


@pytest.fixture
def start_as() -> Iterator[StartAs]:
    """`start_as(uid, argv, env=…, cwd="/", **Popen's)`: started, and killed when the test ends.

    Where nothing else is asked for its three ends are pipes of text.
    """
    started: list[subprocess.Popen[str]] = []

    def start(
        uid: int,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        **more: object,
    ) -> subprocess.Popen[str]:
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        given: dict[str, Any] = {
            "env": bare_environment() if env is None else env,
            "cwd": cwd,
            "text": True,
            **ends,
            **identity(uid),
            **more,
        }
        process: subprocess.Popen[str] = subprocess.Popen(argv, **given)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def identity(uid: int) -> dict[str, Any]:
    """Popen's arguments that make a process *uid*'s, of the group of that number and no other."""
    if uid == os.geteuid():
        return {}
    return {"user": uid, "group": uid, "extra_groups": []}
