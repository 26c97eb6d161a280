# SPDX-License-Identifier: MIT
"""What the doors' tests share: a broker, two sessions at it, and a program of no kind.

The law: as in the command line's tests, whose broker and sessions these are. It refuses to
know which door is tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import broker, login, name, other
from tests.conftest import make_short_directory

__all__ = ["broker", "login", "name", "other"]

SUBJECT = Path(__file__).with_name("subject.c")


@pytest.fixture(scope="session")
def built() -> Iterator[Path]:
    """A directory for programs, which every uid may run."""
    path = make_short_directory()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def subject(built: Path) -> str:
    """The path of subject.c's program."""
    return _compiled(built, "subject")


@pytest.fixture(scope="session")
def writer(built: Path) -> str:
    """The path of writer.c's program."""
    return _compiled(built, "writer")


@pytest.fixture(scope="session")
def lister(built: Path) -> str:
    """The path of lister.c's program."""
    return _compiled(built, "lister")


def _compiled(built: Path, name: str) -> str:
    source = str(SUBJECT.with_name(f"{name}.c"))
    words = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-pthread"]
    subprocess.run([*words, "-o", str(built / name), source], check=True)
    return str(built / name)


@pytest.fixture(scope="session")
def raw(built: Path) -> str:
    """The path of raw.c's program: linked statically, with another libc than ours."""
    made = built / "raw"
    # musl-gcc looks into musl's directory only; the kernel's headers lie in the system's.
    system = ["/usr/include", f"/usr/include/{os.uname().machine}-linux-gnu"]
    headers = [word for directory in system for word in ("-idirafter", directory)]
    source = str(SUBJECT.with_name("raw.c"))
    subprocess.run(["musl-gcc", "-static", "-O1", *headers, "-o", str(made), source], check=True)
    return str(made)


@pytest.fixture
def file(short_tmp: Path) -> str:
    """A file that says hello."""
    path = short_tmp / "hello"
    path.write_text("hello\n")
    return str(path)
