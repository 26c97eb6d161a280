# SPDX-License-Identifier: MIT
"""What make builds and installs: a header for C and C++, a library that exports it and no more.

The law: looked at with the tools that others link with. It refuses to know what any function
does.
"""

from __future__ import annotations

import ctypes
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.c import building
from tests.c.building import SOURCES, run

HEADER = (SOURCES / "pagsrv.h").read_text()
LINES, FUNCTION = 300, 40

USE = """
#include <pagsrv.h>
#include <stdio.h>
int main(void)
{
    struct pagsrv *board = pagsrv_connect("/nonexistent", PAGSRV_CHANGES);
    printf("%d %s\\n", pagsrv_status(), pagsrv_sentence());
    pagsrv_close(board);
    return 0;
}
"""


def declared() -> set[str]:
    """The functions that the header declares."""
    code = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    return set(re.findall(r"\b(pagsrv_\w+)\(", code))


def exported(path: Path, *options: str) -> set[str]:
    """The names that a library defines for others."""
    lines = run("nm", "--defined-only", *options, path).splitlines()
    return {line.split()[2] for line in lines if len(line.split()) == 3}


def test_both_libraries_export_the_header_and_no_more(libraries: Path) -> None:
    """Nothing of ours is in the way of another's names."""
    assert len(declared()) == 20
    assert exported(libraries / "libpagsrv.so.0", "-D") == declared()
    assert exported(libraries / "libpagsrv.a", "-g") == declared()
    said = run("readelf", "-d", libraries / "libpagsrv.so.0")
    assert "soname: [libpagsrv.so.0]" in said
    needed = re.findall(r"NEEDED.*\[(.*)\]", said)
    # The sentence of a thread is in its own storage, which the linker itself hands out.
    assert [one for one in needed if not one.startswith("ld-")] == ["libc.so.6"]


def test_every_word_is_documented() -> None:
    """docs/reference/c.md has every function, struct and constant of the header."""
    page = (SOURCES.parent.parent / "docs" / "reference" / "c.md").read_text()
    code = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    words = declared() | set(re.findall(r"struct (pagsrv\w*)", code))
    words |= set(re.findall(r"#define (PAGSRV_[A-Z]+_?[A-Z]*) ", code))
    fields = {
        word
        for body in re.findall(r"\{([^{}]*)\}", code)
        for word in re.findall(r"(\w+)(?:\[[^\]]*\])?\s*[;,]", body)
    }
    assert not [word for word in sorted(words | fields) if f"{word}" not in page]


def test_what_is_installed_is_found_by_pkg_config(short_tmp: Path) -> None:
    """A program of somebody else's, built against it, static and shared."""
    building.needs("gcc", "pkg-config")
    into, prefix = short_tmp / "into", "/opt/pagsrv"
    run("make", "-s", "-C", SOURCES, f"BUILD={short_tmp}/build", f"DESTDIR={into}",
        f"PREFIX={prefix}", "install-client", env=building.environment())  # fmt: skip
    root = Path(f"{into}{prefix}")
    assert os.readlink(root / "lib" / "libpagsrv.so") == "libpagsrv.so.0"
    assert (root / "include" / "pagsrv.h").read_text() == HEADER
    assert os.access(root / "bin" / "pagsrv-open", os.X_OK)
    told = {**building.environment(), "PKG_CONFIG_PATH": str(root / "lib" / "pkgconfig"),
            "PKG_CONFIG_SYSROOT_DIR": str(into), "LD_LIBRARY_PATH": str(root / "lib")}  # fmt: skip
    flags = run("pkg-config", "--cflags", "--libs", "pagsrv", env=told).split()
    (short_tmp / "use.c").write_text(USE)
    for more in ([], ["-static"]):
        run("gcc", *more, "-o", short_tmp / "use", short_tmp / "use.c", *flags)
        assert run(short_tmp / "use", env=told).startswith("6 no broker answers at /nonexistent")


@pytest.mark.parametrize(
    ("compiler", "language"),
    [("gcc", "c11"), ("gcc", "c99"), ("clang", "c11"), ("g++", "c++11"), ("g++", "c++20"),
     ("clang++", "c++17")],
)  # fmt: skip
def test_the_header_stands_alone(short_tmp: Path, compiler: str, language: str) -> None:
    """In C and in C++, with every warning an error, before any other header."""
    building.needs(compiler)
    path = short_tmp / ("use.cc" if "++" in compiler else "use.c")
    path.write_text(USE)
    run(compiler, f"-std={language}", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only",
        f"-I{SOURCES}", path)  # fmt: skip


MINE = [*building.parts(), *(SOURCES / name for name in (
    "board.h", "fault.h", "json.h", "opening.c", "opening.h", "pagsrv-open.c", "pagsrv.h",
    "sha256.h",
))]  # fmt: skip


@pytest.mark.parametrize("path", MINE, ids=lambda path: path.name)
def test_files_and_functions_are_short(path: Path) -> None:
    """As in Python: 300 lines a file, 40 a function; the first line is the licence's."""
    lines = path.read_text().splitlines()
    assert lines[0] == "/* SPDX-License-Identifier: MIT */"
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 100
    begun = 0
    for number, line in enumerate(lines):
        begun = number if line == "{" else begun
        if line == "}" and begun:
            assert number - begun <= FUNCTION, f"{path.name}:{number + 1}"


def test_what_went_wrong_is_a_threads_own(libraries: Path) -> None:
    """A sentence and a status of one thread are no other's."""
    library = ctypes.CDLL(str(libraries / "libpagsrv.so.0"))
    library.pagsrv_connect.restype = library.pagsrv_sentence.restype = ctypes.c_char_p
    assert (library.pagsrv_sentence(), library.pagsrv_status()) == (b"", 0)

    def fail() -> tuple[bytes, int]:
        assert library.pagsrv_connect(b"/nonexistent", 0) is None
        return library.pagsrv_sentence(), library.pagsrv_status()

    with ThreadPoolExecutor(1) as pool:
        sentence, status = pool.submit(fail).result()
    assert (sentence[:17], status) == (b"no broker answers", 6)
    assert (library.pagsrv_sentence(), library.pagsrv_status()) == (b"", 0)
