# SPDX-License-Identifier: MIT
"""Numbers written behind the preload door: by shells, programs, streams, and those that are none.

The law: what becomes of a number is asked of the broker, and of who wrote it. It refuses to know
what a descriptor is posted for.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.cli.command import Login
from tests.doors.preloading import shells, through, typed

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("echo", ["/bin/echo 3", "printf 3", "sh -c 'echo 3'"])
@shells
def test_other_programs_write_the_number(
    login: Login, name: str, file: str, shell: str, echo: str
) -> None:
    """A program that is handed the open entry assigns its own descriptor 3."""
    said = typed(login, shell, f"{echo} 3<{file} > /srv/{name}", f"cat /srv/{name}")
    assert said == (0, "hello\n", "")


@pytest.mark.parametrize("echo", ["busybox echo 3", "env -i /bin/echo 3", "nice busybox echo 3"])
@shells
def test_a_number_is_not_lost(login: Login, name: str, shell: str, echo: str) -> None:
    """Whoever has not the library, and would write to a handle, is told so."""
    said = typed(login, shell, f"{echo} > /srv/{name} || echo no")
    assert (said.status, said.out) == (0, "no\n")
    assert "Operation not permitted" in said.err
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is False


@pytest.mark.parametrize("number", ["77", "x", "-1", "", "00000000000000000003", "4000000000"])
@shells
def test_what_is_no_number_fails_and_changes_nothing(
    login: Login, name: str, shell: str, number: str
) -> None:
    """The shell's echo fails, with EINVAL, and the entry stays empty."""
    said = typed(login, shell, f"echo '{number}' > /srv/{name} || echo no")
    assert (said.status, said.out) == (0, "no\n")
    assert said.err
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is False


def test_a_handle_replaces(login: Login, name: str, file: str, short_tmp: Path) -> None:
    """A second number through the same handle is another post; who opened before keeps the old."""
    (short_tmp / "other").write_text("other\n")
    said = typed(
        login, "bash",
        f"exec 3<{file} 4<{short_tmp}/other 5>/srv/{name}",
        "echo 3 >&5", f"exec 6</srv/{name}", "echo 4 >&5", f"cat /srv/{name} - <&6",
    )  # fmt: skip
    assert said == (0, "other\nhello\n", "")


def test_what_is_assigned_is_opened_for_writing_too(
    login: Login, name: str, short_tmp: Path
) -> None:
    """A redirection to an assigned entry writes to what was posted, and posts nothing."""
    target = short_tmp / "target"
    target.write_text("")
    login.must("post", name, "--open", str(target))
    assert typed(login, "dash", f"echo 3 > /srv/{name}") == (0, "", "")
    assert target.read_text() == "3\n"


@pytest.mark.parametrize("command", ["print /srv/{name} 3", "reopen /srv/{name} <{file}"])
def test_numbers_by_streams(login: Login, name: str, file: str, writer: str, command: str) -> None:
    """Stdio writes within libc, and what it wrote is acted upon all the same."""
    line = f"{shlex.quote(writer)} {command.format(name=name, file=file)} 3<{file}"
    assert typed(login, "dash", line, f"cat /srv/{name}") == (0, "hello\n", "")


def test_a_stream_that_fails_says_so(login: Login, name: str, writer: str) -> None:
    """fclose(3) tells that the number was none."""
    said = through(login, writer, "print", f"/srv/{name}", "345")
    assert said == (1, "", "fclose: EINVAL\n")


def test_bytes_written_to_one_handle(login: Login, name: str, writer: str) -> None:
    """Each write is a number of its own; the handle itself and the door's own socket are ELOOP."""
    numbers = ["0", "99", "a", "-1", "0\n", "0" * 20, "3"]
    said = through(login, writer, "numbers", f"/srv/{name}", *numbers)
    assert said.out.split() == ["0", "EINVAL", "EINVAL", "EINVAL", "0", "EINVAL", "ELOOP"]
    assert through(login, writer, "offset", f"/srv/{name}-b").out.split() == ["EINVAL", "0"]
    assert through(login, writer, "own", f"/srv/{name}-c").out.split() == ["ELOOP"]
    assert login.must("stat", f"{name}-c", "--json").objects()[0]["assigned"] is False


def test_a_thread_with_descriptors_of_its_own(login: Login, name: str, file: str) -> None:
    """Numbers are its table's, not those of the process's first thread (unshare(2))."""
    code = (
        "import ctypes, os, sys, threading\n"
        "path, file = sys.argv[1:]\n"
        "def post():\n"
        "    assert ctypes.CDLL(None).unshare(0x400) == 0\n"
        "    number = os.open(file, os.O_RDONLY)\n"
        "    os.write(os.open(path, os.O_WRONLY | os.O_CREAT), str(number).encode())\n"
        "thread = threading.Thread(target=post)\n"
        "thread.start()\n"
        "thread.join()\n"
        "print(open(path).read(), end='')\n"
    )
    said = through(login, sys.executable, "-c", code, f"/srv/{name}", file)
    assert said == (0, "hello\n", "")
