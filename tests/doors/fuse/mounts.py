# SPDX-License-Identifier: MIT
"""A mount for tests: its door is a process of its own, and it is gone afterwards, whatever failed.

The law: it is ready when it says so, and nobody waits by the clock; programs run in it are stock
ones. It refuses to know what a test expects.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from pagsrv.doors.fuse.mounting import CannotMount, Mount
from pagsrv.kernel import bpf
from pagsrv.kernel.libc import libc
from pagsrv.kernel.tasks import Tasks
from tests.anybody import bare_environment
from tests.running import SECONDS

_DETACH = 2  # MNT_DETACH of sys/mount.h
DOOR = ("-m", "pagsrv.doors.fuse")


@lru_cache(maxsize=1)
def _why_not() -> str:
    """Why nobody can mount here; '' if root can, or that is not known."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse for us"
    if os.geteuid() == 0:
        place = tempfile.mkdtemp(prefix="pagsrv-", dir="/tmp")
        try:
            Mount(place).close()
        except CannotMount as error:
            return f"cannot be tried here: {error}"
        finally:
            os.rmdir(place)
    return ""


@lru_cache(maxsize=1)
def _why_no_proof() -> str:
    """Why no caller can be proved here; '' if one can."""
    if os.geteuid() != 0:
        return "only root can have the kernel run a program"
    why = bpf.missing()
    if why:
        return why
    try:
        Tasks().close()
    except bpf.BpfFault as fault:
        return f"cannot be tried here: {fault}"
    return ""


def check_fuse() -> None:
    """Skip where there is no FUSE, or nobody may mount."""
    if _why_not():
        pytest.skip(_why_not())


def check_proof() -> None:
    """Skip where a caller cannot be proved."""
    if _why_no_proof():
        pytest.skip(_why_no_proof())


class Mounted:
    """A mount at *path*; *pid* is its door's."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.path = str(path)
        self.process = process
        self.pid = process.pid
        self._log = log

    def __truediv__(self, name: str) -> str:
        return f"{self.path}/{name}"

    @property
    def log(self) -> str:
        """What the door has written to stderr so far."""
        return self._log.read_text(errors="replace")

    def descriptors(self) -> int:
        """How many descriptors the door holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def end(self) -> int:
        """End the door as a service manager would; its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def mounted(
    tmp: Path, directory: str, *options: str, argv: Sequence[str] = (sys.executable,),
    env: dict[str, str] | None = None, **popen: Any,  # noqa: ANN401 -- Popen's own
) -> Iterator[Mounted]:  # fmt: skip
    """A mount in *tmp* that asks the broker at *directory*; *popen* goes to Popen."""
    place, log = tmp / "mnt", tmp / "door"
    with suppress(FileExistsError):
        place.mkdir()
    if "user" in popen:
        os.chown(place, popen["user"], popen["group"])
    told = bare_environment() if env is None else env
    words = [*argv, *DOOR, f"--dir={directory}", *options, "--", str(place)]
    try:
        with log.open("wb") as errors:
            process = subprocess.Popen(
                words, env=told, cwd=popen.pop("cwd", Path(__file__).parents[3]),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, **popen,
            )  # fmt: skip
        made = Mounted(place, process, log)
        try:
            _wait_ready(process, made)
            yield made
            if process.poll() is None:
                assert made.end() == 0, made.log
            assert "Traceback" not in made.log, made.log
        finally:
            process.kill()
            process.wait(SECONDS)
            process.stdout.close()  # type: ignore[union-attr]
    finally:
        take_down(tmp)


def _wait_ready(process: subprocess.Popen[bytes], made: Mounted) -> None:
    ready, _, _ = select.select([process.stdout], [], [], SECONDS)
    assert ready, f"the door was not ready in {SECONDS} s:\n{made.log}"
    line = process.stdout.readline()  # type: ignore[union-attr]
    assert line.startswith(b"serves at "), f"{line!r}\n{made.log}"


def take_down(directory: Path) -> None:
    """Unmount whatever is mounted beneath *directory*, dead or alive."""
    with open("/proc/self/mountinfo") as file:
        places = [line.split()[4] for line in file]
    for place in reversed(places):
        if not place.startswith(f"{directory}/"):
            continue
        if os.geteuid() == 0:
            libc().umount2(os.fsencode(place), _DETACH)
        else:
            subprocess.run(["fusermount3", "-uzq", place], check=False)


def is_mounted(path: str) -> bool:
    """Whether anything is mounted at *path*."""
    with open("/proc/self/mountinfo") as file:
        return any(line.split()[4] == path for line in file)
