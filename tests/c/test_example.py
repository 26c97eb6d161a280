# SPDX-License-Identifier: MIT
"""docs/howto/c-daemon.md: the program on the page is compiled, and serves each session its own.

The law: it is the very text of the page. It refuses to know how it is served.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.anybody import bare_environment
from tests.c import building
from tests.c.building import run
from tests.cli.command import Login
from tests.conftest import make_short_directory
from tests.documents import ROOT, blocks
from tests.running import Running

pytestmark = pytest.mark.kernel

PAGE = ROOT / "docs" / "howto" / "c-daemon.md"
REFERENCE = ROOT / "docs" / "reference" / "c.md"


@pytest.fixture(scope="module")
def noted(libraries: Path) -> Iterator[Path]:
    """The page's program."""
    path = make_short_directory()
    (text,) = [block.text for block in blocks(PAGE.read_text()) if block.language == "c"]
    (path / "noted.c").write_text(text)
    run("gcc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", f"-I{building.SOURCES}",
        "-o", path / "noted", path / "noted.c", libraries / "libpagsrv.a")  # fmt: skip
    yield path / "noted"
    shutil.rmtree(path)


def ask(path: str) -> str:
    """What a client in the calling process's session is told."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        return sock.makefile().readline()


def test_each_session_is_served_its_own(
    noted: Path, kernel_broker: Running, short_tmp: Path
) -> None:
    """What was posted there, to any client of that session; to another, a reason."""
    path = str(short_tmp / "noted")
    env = bare_environment() | {"PAGSRV_DIR": kernel_broker.dir}
    with subprocess.Popen([noted, path], env=env, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "listening\n"
        with Actor() as one, Actor() as other, Actor() as third:
            for number, actor in enumerate((one, other)):
                (short_tmp / f"note-{number}").write_text(f"of session {number}\n")
                login = Login(actor, kernel_broker.dir)
                login.must("post", "note", "--open", str(short_tmp / f"note-{number}"))
            assert one(ask, path) == "yes: of session 0\n"
            assert other(ask, path) == "yes: of session 1\n"
            assert third(ask, path).startswith("no: there is no entry")
        daemon.kill()


def test_a_session_that_is_not_known_is_refused(
    noted: Path, broker: Running, short_tmp: Path
) -> None:
    """At a broker that the kernel tells nothing: never by the uid."""
    path = str(short_tmp / "noted")
    env = bare_environment() | {"PAGSRV_DIR": broker.dir}
    with subprocess.Popen([noted, path], env=env, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        daemon.stdout.readline()
        assert ask(path) == "no: the kernel does not say which session is yours\n"
        daemon.kill()


def test_the_words_of_the_reference_compile(short_tmp: Path) -> None:
    """The lines at the top of docs/reference/c.md, in a function around them."""
    building.needs("gcc")
    (text,) = [block.text for block in blocks(REFERENCE.read_text()) if block.language == "c"]
    path = short_tmp / "words.c"
    path.write_text(
        "#include <err.h>\n#include <pagsrv.h>\n#include <unistd.h>\nint words(int sock);\n"
        f"int words(int sock)\n{{\n{text}\nreturn same;\n}}\n"
    )
    run("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{building.SOURCES}", "-fsyntax-only",
        path)  # fmt: skip
