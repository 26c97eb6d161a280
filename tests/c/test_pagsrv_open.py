# SPDX-License-Identifier: MIT
"""pagsrv-open: what `pagsrv open` does, says and ends with, without Python.

The law: whatever is tried is tried with both, and both do the same. It refuses to know what
that is, where tests/cli knows it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.anybody import bare_environment
from tests.c import building
from tests.cli.command import Login, Said
from tests.conftest import make_short_directory
from tests.documents import ROOT
from tests.installing import Installed
from tests.running import KERNEL, Running, running_broker

pytestmark = pytest.mark.kernel

COMPLETION = ROOT / "contrib" / "completions" / "pagsrv.bash"
MANUAL = ROOT / "docs" / "man" / "pagsrv-open.1.rst"

SHOW = "for n in 3 4 5 6; do if [ -e /proc/self/fd/$n ]; then readlink /proc/self/fd/$n; fi; done"
LISTEN = 'echo "$LISTEN_FDS|$LISTEN_FDNAMES|$([ "$LISTEN_PID" = $$ ] && echo mine)"'
LOOK = f"{LISTEN}; {SHOW}"


@pytest.fixture(scope="session")
def native() -> Iterator[str]:
    """The program, as the Makefile builds it here."""
    path = make_short_directory()
    yield str(building.program(path, "pagsrv-open"))
    shutil.rmtree(path)


@pytest.fixture
def login(broker: Running) -> Iterator[Login]:
    """A session, and commands in it."""
    with Actor() as actor:
        yield Login(actor, broker.dir)


@pytest.fixture
def files(login: Login, short_tmp: Path, name: str) -> list[str]:
    """Three entries, of files that say which they are."""
    names = [f"{name}-{letter}" for letter in "abc"]
    for one in names:
        (short_tmp / one).write_text(f"this is {one}\n")
        login.must("post", one, "--open", str(short_tmp / one))
    return names


def both(login: Login, native: str, *words: str, env: dict[str, str] | None = None) -> Said:
    """What came of *words* with `pagsrv open`, which was the same with pagsrv-open."""
    mine = login.execute([native, *words], env=env)
    theirs = login("open", *words, env=env)
    told = theirs.err.replace("pagsrv: ", "pagsrv-open: ", 1)
    for look in ("`pagsrv open -h`", "`pagsrv -h`"):
        told = told.replace(look, "`pagsrv-open --help`")
    assert mine == theirs._replace(err=told)
    return theirs


def test_descriptors_come_where_they_are_told(login: Login, native: str, files: list[str]) -> None:
    """From 3, by number, in the way of others, with a gap; LISTEN_… accordingly."""
    one, two, three = files
    old = {"LISTEN_FDS": "7", "LISTEN_PID": "1", "LISTEN_FDNAMES": "old", "LISTEN_PIDFDID": "1"}
    for words in (
        files, [one], [f"{one}=5", two, f"{three}=3"], [f"{one}=4"], [f"{one}=4", f"{two}=6"],
        [f"{one}=3", f"{two}=5", f"{three}=4"], [one, one], [f"{one}=0", two], [f"{one}=7", two],
        [f"{one}=0003"],
    ):  # fmt: skip
        said = both(login, native, *words, "--", "sh", "-c", LOOK, env=old)
        assert said.status == 0
    # There is one offset for all who hold a file: this is read once.
    assert login.execute([native, f"{one}=0", "--", "cat"]).out == f"this is {one}\n"


def test_scopes_and_full_names(login: Login, native: str, files: list[str]) -> None:
    """--scope goes for every bare name; a full name says its own."""
    scope = login.scope()
    for words, status in (
        ([files[0], "--scope", "session"], 0), ([*files, "--scope", "session"], 0),
        ([*files, f"--scope={scope}"], 0), ([f"{scope}/{files[0]}", files[1]], 0),
        ([*files, "--scope", "user"], 3), ([*files, "--scope", "pag"], 7),
        ([files[0], "--scope", "pag"], 7), ([*files, "--scope", "session:1"], 3),
        ([files[0], "--scope", "nonsense"], 2), ([*files, "--scope", "nonsense"], 2),
        ([files[0], "not-there"], 3), (["not-there"], 3), ([".."], 2), (["x" * 300], 2),
    ):  # fmt: skip
        said = both(login, native, *words, "--", "sh", "-c", LISTEN)
        assert said.status == status


def test_what_lies_beneath_a_directory(
    login: Login, native: str, short_tmp: Path, name: str
) -> None:
    """For reading, or what --access says; by one name or several."""
    (short_tmp / "docs").mkdir()
    for one in ("a", "b"):
        (short_tmp / "docs" / one).write_text(f"this is {one}\n")
    login.must("post", name, "--open", str(short_tmp / "docs"))
    a, b = f"{name}/a", f"{name}/b"
    for words, status in (
        ([a], 0), ([a, b], 0), ([a, "--access", "rw"], 0), ([a, b, "--access=w"], 0),
        ([a, "--scope", "session"], 0), ([a, b, "--scope", "session", "--access", "r"], 0),
        ([f"{name}/c"], 3), ([a, f"{name}/c"], 3), ([f"{name}/../c"], 2),
        ([a, "--access", "x"], 2), ([name, "--access", "r"], 2),
    ):  # fmt: skip
        said = both(login, native, *words, "--", "sh", "-c", "grep flags /proc/self/fdinfo/3")
        assert said.status == status, words


def test_commands_that_cannot_be_run(login: Login, native: str, files: list[str],
                                     short_tmp: Path) -> None:  # fmt: skip
    """126 and 127, before anything is opened where that can be known."""
    garbled, locked = short_tmp / "garbled", short_tmp / "locked"
    garbled.write_text("no program")
    locked.write_text("no program")
    garbled.chmod(0o755)
    for command, status in (
        ("no-such-command", 127), ("/no/such", 127), (str(short_tmp), 126), (str(garbled), 126),
        (str(locked), 126), (f"{locked}/x", 127), ("true", 0), ("false", 1),
    ):  # fmt: skip
        assert both(login, native, files[0], "--", command).status == status
    assert both(login, native, f"{files[0]}=2", "--", str(garbled)).status == 126
    assert (short_tmp / files[0]).read_text() == f"this is {files[0]}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["a=3", "b=3", "--", "true"], ["a=99999999999", "--", "true"], ["a", "--"], ["a"], [],
        ["--bogus", "a", "--", "true"], ["a:b", "--", "true"], ["a=100000000", "--", "true"],
        ["a", "--dir", "/nonexistent", "--", "true"], ["a", "--", "no-such-command"],
        ["a", "--dir=", "--", "no-such-command"], ["a", "--scope", "", "--", "true"],
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_alike(login: Login, native: str, words: list[str]) -> None:
    """One sentence, and the status of the table."""
    assert both(login, native, *words).status in (1, 2, 6, 127)


@pytest.mark.parametrize("words", [["--", "true"], ["a", "--scope"], ["a", "--scope", "--", "x"]])
def test_what_is_missing_is_usage(login: Login, native: str, words: list[str]) -> None:
    """Status 2, and where to look."""
    said = login.execute([native, *words])
    assert (said.status, said.out) == (2, "")
    assert said.err.endswith("; `pagsrv-open --help` shows how\n")


@pytest.mark.parametrize("closed", [">&- 2>&-", "<&- >&- 2>&-"])
def test_what_is_said_goes_into_no_entry(
    login: Login, native: str, files: list[str], short_tmp: Path, closed: str
) -> None:
    """Be stderr closed, so that an entry could get its number; CMD finds it closed, too."""
    garbled = short_tmp / "garbled"
    garbled.write_text("no program")
    garbled.chmod(0o755)
    words = shlex.join([native, *files])
    done = f"{words} -- {garbled} {closed}; echo $?"
    assert login.execute(["sh", "-c", done]).out == "126\n"
    for one in files:
        assert (short_tmp / one).read_text() == f"this is {one}\n"
    shown = login.execute(["sh", "-c", f"{words} -- sh -c 'ls /proc/self/fd >&5' {closed}"])
    assert shown.status == 0 or "Bad file descriptor" not in shown.err


def test_help_teaches(login: Login, native: str) -> None:
    """On stdout, with every word it takes."""
    for word in ("-h", "--help"):
        said = login.execute([native, word])
        assert (said.status, said.err) == (0, "")
        for told in (
            "NAME[=FD]",
            "--scope S",
            "--access A",
            "--dir DIR",
            "LISTEN_FDS",
            "pagsrv open",
        ):
            assert told in said.out
        assert max(map(len, said.out.splitlines())) <= 80
    full = login.execute(["sh", "-c", f"{native} --help >/dev/full"])
    assert (full.status, full.err) == (
        1, "pagsrv-open: stdout cannot be written to: No space left on device\n"
    )  # fmt: skip


def test_at_a_broker_that_the_kernel_tells(
    native: str,
    answering: Installed,  # noqa: ARG001
    short_tmp: Path,
) -> None:
    """It opens at once, in the session; where it is told otherwise it attaches."""
    with running_broker(short_tmp, use=KERNEL) as running, Actor() as actor, Actor() as other:
        mine, stranger = Login(actor, running.dir), Login(other, running.dir)
        mine.must("post", "x", "--open", "/etc/passwd")
        mine.must("post", "x", "--open", "/etc/group", "--scope", "user")
        for login, path in ((mine, "/etc/passwd"), (stranger, "/etc/group")):
            said = login.execute([native, "x", "--", "readlink", "/proc/self/fd/3"])
            assert (said.status, said.out) == (0, f"{path}\n")


def test_the_user_scope_is_everybodys(native: str, broker: Running, name: str) -> None:
    """In whatever session the tests run, or in none, the user's entry is found, and no other's."""
    env = {**os.environ, "PAGSRV_DIR": broker.dir}
    with Actor() as actor:
        login = Login(actor, broker.dir)
        login.must("post", name, "--open", "/etc/passwd", "--scope", "user")
        login.must("post", name, "--open", "/etc/group")
    done = subprocess.run([native, name, "--", "readlink", "/proc/self/fd/3"], env=env,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "/etc/passwd\n"


def test_it_needs_nothing_at_run_time(native: str) -> None:
    """A static program: no interpreter, no library."""
    said = building.run("readelf", "-ld", native)
    assert "INTERP" not in said
    assert "NEEDED" not in said


def test_glibc_serves_where_there_is_no_musl(login: Login, files: list[str],
                                             short_tmp: Path) -> None:  # fmt: skip
    """The same program, that only starts later."""
    into = make_short_directory()
    slow = str(building.program(into, "pagsrv-open", musl=False))
    assert both(login, slow, *files, "--", "sh", "-c", LOOK).status == 0
    assert both(login, slow, "not-there", "--", "true").status == 3
    shutil.rmtree(into)
    assert short_tmp.exists()


# ── what teaches ──


def test_its_words_are_completed(short_tmp: Path) -> None:
    """As those of `pagsrv open`."""
    (short_tmp / "pagsrv").write_text("#!/bin/sh\necho session:1/database\necho user:0/web\n")
    (short_tmp / "pagsrv").chmod(0o755)
    env = bare_environment() | {"PATH": f"{short_tmp}:{os.environ['PATH']}"}
    for words, offered in (
        (["d"], ["database"]), (["--s"], ["--scope"]), (["--a"], ["--access"]),
        (["--scope", ""], ["session", "pag", "user"]),
    ):  # fmt: skip
        script = (
            f'source "{COMPLETION}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pagsrv_open; '
            'for word in "${COMPREPLY[@]}"; do echo "$word"; done'
        )
        argv = ["bash", "--norc", "-c", script, "bash", "pagsrv-open", *words]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
        assert (done.stdout.splitlines(), done.stderr) == (offered, "")


def test_the_manual_is_one() -> None:
    """docs/man/pagsrv-open.1.rst, as a manual page; it knows every option of the help."""
    argv = [sys.executable, "-m", "docutils", "--writer=manpage", "--halt=2", str(MANUAL)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert '.TH "PAGSRV-OPEN"' in done.stdout.upper()
    for word in ("--scope S", "--access A", "--dir DIR", "-h, --help"):
        assert f"``{word}``" in MANUAL.read_text()
