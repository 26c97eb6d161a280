# SPDX-License-Identifier: MIT
"""What has to be there before anything is measured: packages, programs, an environment.

The law: as root a missing Debian package is installed after one sentence, as
anybody else it is named; what cannot be had turns into Unmeasured, which
costs the rows that need it and nothing else.  It refuses to know the rows.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
PYTHON = CHECKOUT / ".venv" / "bin" / "python"
"""The interpreter that has pagsrv, made by contrib/setup.sh."""

FAST_VENV = CHECKOUT / ".venv-bench"
FAST_REQUIREMENT = "dbus-fast==5.2.0"
INSTALL_SECONDS = 180

COMPILE = ["cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-function"]
LIBRARIES = {
    "floor": [],
    "client": [],
    "files": [],
    "s6": ["-ls6", "-lskarnet"],
    "bus": ["-lsystemd"],
    "peer": ["-lsystemd"],
}
PACKAGES = {
    "floor": ["gcc", "libc6-dev"],
    "client": ["gcc", "libc6-dev"],
    "files": ["gcc", "libc6-dev"],
    "s6": ["s6", "libs6-dev", "skalibs-dev"],
    "bus": ["dbus-daemon", "libsystemd-dev"],
    "peer": ["gcc", "libc6-dev", "libsystemd-dev"],
}
COMMANDS = {
    "floor": "cc",
    "client": "cc",
    "files": "cc",
    "s6": "s6-fdholder-daemon",
    "bus": "dbus-daemon",
    "peer": "cc",
}


class UnmeasuredError(Exception):
    """Why a figure could not be had, in words for the table."""


S = TypeVar("S")
A = TypeVar("A")
R = TypeVar("R")


def once(method: Callable[[S, A], R]) -> Callable[[S, A], R]:
    """*method*, run once per object and argument; a failure is remembered as well."""
    answers: dict[tuple[int, A], R | UnmeasuredError] = {}

    @functools.wraps(method)
    def answer(self: S, argument: A) -> R:
        key = (id(self), argument)
        if key not in answers:
            try:
                answers[key] = method(self, argument)
            except UnmeasuredError as error:
                answers[key] = error
        found = answers[key]
        if isinstance(found, UnmeasuredError):
            raise found
        return found

    return answer


def say(sentence: str) -> None:
    """One sentence of progress on stderr."""
    sys.stderr.write(f"bench: {sentence}\n")


class Tools:
    """The compiled programs, each made on first use in *directory*."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @once
    def program(self, name: str) -> Path:
        """The path of *name*.c compiled; UnmeasuredError names the packages it lacks."""
        made = self._compile(name)
        if made is None and install(PACKAGES[name]):
            made = self._compile(name)
        if made is None:
            msg = f"needs the Debian packages {' '.join(PACKAGES[name])}"
            raise UnmeasuredError(msg)
        return made

    def _compile(self, name: str) -> Path | None:
        if shutil.which("cc") is None or shutil.which(COMMANDS[name]) is None:
            return None
        target = self._directory / name
        source = str(HERE / f"{name}.c")
        done = subprocess.run(
            [*COMPILE, "-o", str(target), source, *LIBRARIES[name]],
            capture_output=True,
            text=True,
            check=False,
        )
        return target if done.returncode == 0 else None

    @once
    def environment(self, requirement: str) -> Path:
        """The interpreter that has *requirement*; its environment is made where it is missing."""
        python = FAST_VENV / "bin" / "python"
        stamp = FAST_VENV / "requirement"
        if stamp.is_file() and stamp.read_text() == requirement:
            return python
        say(f"making {FAST_VENV.name} with {requirement}.")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(FAST_VENV)],
            [*pip, requirement],
        ):
            if not succeeds(command):
                msg = f"{requirement} could not be installed into {FAST_VENV.name}"
                raise UnmeasuredError(msg)
        (FAST_VENV / ".gitignore").write_text("*\n")
        stamp.write_text(requirement)
        return python


def install(packages: list[str]) -> bool:
    """Let apt install *packages*, if we are root; whether it did."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    say(f"installing {' '.join(packages)} with apt.")
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    return succeeds(command) or (succeeds(["apt-get", "update", "--quiet"]) and succeeds(command))


def succeeds(command: list[str]) -> bool:
    """Run *command* quietly, with no questions asked; whether it exited 0 in time."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
