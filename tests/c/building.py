# SPDX-License-Identifier: MIT
"""libpagsrv and the programs that try it, built once a session in the ways that are tried.

The law: built by the Makefile that everybody uses; a compiler that is not there is a skip
that says so. It refuses to know what is tried.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parent.parent / "contrib" / "c"
SECONDS = 120

_STRICT = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}")
_SANE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


class Built(NamedTuple):
    """A program, and what runs it."""

    argv: tuple[str, ...]
    env: dict[str, str]


def needs(*programs: str) -> None:
    """Skip where one of *programs* is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(*argv: str | Path, **more: str | bytes) -> str:
    """Run a tool to its end, which is 0; what it said."""
    done = subprocess.run(
        argv,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        **more,  # type: ignore[call-overload]
    )
    said: str = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, said
    return said


def library(into: Path, name: str, compiler: str, *flags: str) -> Path:
    """Build libpagsrv.NAME with make; warnings are errors."""
    words = " ".join(["-O1", "-g", "-Werror", *flags])
    path = into / f"libpagsrv.{name}"
    run("make", "-s", "-C", SOURCES, f"BUILD={into}", f"CC={compiler}", f"CFLAGS={words}", path,
        env=environment())  # fmt: skip
    return path


def environment() -> dict[str, str]:
    """Without the flags of a make that runs us."""
    return {key: word for key, word in os.environ.items() if key not in ("MAKEFLAGS", "CFLAGS")}


def parts() -> list[Path]:
    """The sources of libpagsrv, as its fragment of the Makefile names them."""
    found = re.search(
        r"^libpagsrv := ([a-z0-9 ]+)$", (SOURCES / "client.mk").read_text(), re.MULTILINE
    )
    assert found is not None
    return [SOURCES / f"{part}.c" for part in found[1].split()]


def shared(into: Path) -> Built:
    """The driver with the shared library, by clang."""
    needs("clang")
    library(into, "so.0", "clang")
    (into / "libpagsrv.so").symlink_to("libpagsrv.so.0")
    driver = into / "driver"
    run("clang", *_STRICT, "-o", driver, HERE / "driver.c", f"-L{into}", "-lpagsrv")
    return Built((str(driver),), {"LD_LIBRARY_PATH": str(into)})


def sanitized(into: Path) -> Built:
    """The driver with the static library, by gcc, with its sanitizers of memory and behaviour."""
    needs("gcc")
    built = library(into, "a", "gcc", *_SANE)
    driver = into / "driver"
    run("gcc", *_STRICT, *_SANE, "-g", "-o", driver, HERE / "driver.c", built)
    return Built((str(driver),), {})


def watched(into: Path) -> Built:
    """The driver under valgrind, which says at its end what was lost and left open."""
    needs("gcc", "valgrind")
    built = library(into, "a", "gcc")
    driver = into / "driver"
    run("gcc", *_STRICT, "-g", "-o", driver, HERE / "driver.c", built)
    valgrind = ("valgrind", "-q", "--track-fds=yes", "--leak-check=full", "--show-leak-kinds=all",
                "--errors-for-leak-kinds=all", "--error-exitcode=99")  # fmt: skip
    return Built((*valgrind, str(driver)), {})


def units(into: Path) -> Path:
    """The parts that need no broker, with the sanitizers."""
    needs("gcc")
    program = into / "unit"
    run("gcc", *_STRICT, *_SANE, "-O1", "-g", "-o", program, HERE / "unit.c", *parts())
    return program


def program(into: Path, name: str, *, musl: bool = True) -> Path:
    """Build a program of contrib/c with make; without *musl* by the compiler's own C library."""
    path = into / name
    own = [] if musl else ["MUSL="]
    run("make", "-s", "-C", SOURCES, f"BUILD={into}", *own, path, env=environment())
    return path
