# SPDX-License-Identifier: MIT
"""The acceptance table: every rule of rows.py through every door, with stock programs.

    python -m tests.doors.acceptance      prints it, and writes it into docs/reference/doors.md

The law: what is printed is what was seen just now; what a door is said to lack must be lacking.
A door that this checkout has not is no column. It refuses to know what the rules are.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pagsrv.cli.grammar import BY_NAME
from pagsrv.kernel import bpf
from tests.actors import Actor
from tests.cli.command import COMMAND, Login, environment
from tests.conftest import make_short_directory
from tests.documents import ROOT
from tests.doors.rows import ROWS, Row
from tests.running import ITERATOR, POSSESSION, running_broker

PAGE = ROOT / "docs" / "reference" / "doors.md"
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"

_SECONDS = 20
_MUSL = """
#include <fcntl.h>
#include <unistd.h>
int main(int count, char **words)
{
    char text[100];
    int fd = count > 1 ? open(words[1], O_RDONLY) : -1, size = fd < 0 ? -1 : read(fd, text, 100);
    return size < 0 || write(1, text, size) != size;
}
"""


class Door(NamedTuple):
    """A column; *way* stands before a command that is to go through it."""

    key: str
    title: str
    way: tuple[str, ...] = ()
    mounts: bool = False
    """Whether it is mounted, and open to every program."""
    use: tuple[str, ...] = POSSESSION
    """The ways in which its broker tells sessions."""
    facts: tuple[str, ...] = ()
    """What is said of it beside _FACTS."""


_FACTS = ("whose namespace is seen", "what stands in the way", "whom it does not reach")


def _doors() -> Iterator[Door]:
    yield Door("cli", "`pagsrv`", facts=("the caller's", "nothing", "who does not call it"))
    if "exec" in BY_NAME:
        yield Door(
            "seccomp", "`pagsrv exec`", (*COMMAND, "exec", "--at=$S", "--"),
            facts=("that of who ran it", "a process that answers the kernel", "what is not CMD's"),
        )  # fmt: skip
        yield Door(
            "preload", "`pagsrv exec --preload`",
            (*COMMAND, "exec", "--preload", "--at=$S", "--"),
            facts=(
                "each process's own", "a library in the program",
                "static programs, other C libraries, setuid programs, and what is not CMD's",
            ),
        )  # fmt: skip
    if "mount" in BY_NAME:
        yield Door(
            "fuse", "`pagsrv mount`", mounts=True, use=(*ITERATOR, *POSSESSION),
            facts=("each caller's own", "a process, for every read and write", "nobody"),
        )  # fmt: skip


DOORS: tuple[Door, ...] = tuple(_doors())


# ---- trying --------------------------------------------------------------------------------------


def _programs(where: Path) -> dict[str, str]:
    """What the scripts find in their environment beside their door."""
    (where / "F").write_text("one\ntwo\n")
    (where / "G").write_text("other\n")
    (where / "musl.c").write_text(_MUSL)
    subprocess.run(["musl-gcc", "-o", str(where / "musl"), str(where / "musl.c")], check=True)
    return {
        "F": str(where / "F"), "G": str(where / "G"), "MUSL": str(where / "musl"),
        "PYTHON": sys.executable, "BUSYBOX": shutil.which("busybox") or "/bin/busybox",
        "PATH": f"{Path(sys.executable).parent}:{environment('')['PATH']}",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip


def _directory(where: Path) -> str:
    """A directory with one file somewhere in it."""
    (where / "D" / "a").mkdir(parents=True)
    (where / "D" / "a" / "b.txt").write_text("one\ntwo\n")
    return str(where / "D")


def _driver(where: Path, door: Door, *, other: bool) -> str:
    """A script that runs each row's own, and says where the next one begins."""
    lines = []
    for row in ROWS:
        if row.other is other and tried(row, door):
            path = where / f"{door.key}-{row.key}"
            path.write_text(row.cli if door.key == "cli" else row.files)
            lines.append(
                f"printf '== {row.key}\\n'; NAME={row.key} timeout {_SECONDS} sh {path} </dev/null"
            )
    path = where / f"{door.key}-{'other' if other else 'mine'}"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def _heard(out: str) -> dict[str, str]:
    """What each row printed."""
    parts = re.split(r"^== ([a-z-]+)\n", out, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@contextmanager
def _mounted(at: Path, directory: str) -> Iterator[str]:
    """A mount at *at* that every session sees its own in; its path."""
    at.mkdir()
    process = subprocess.Popen(
        [*COMMAND, "mount", str(at)], env=environment(directory), cwd="/", text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], _SECONDS)
        assert ready, f"nothing is mounted after {_SECONDS} s"
        assert process.stdout.readline().startswith("serves at ")
        yield str(at)
    finally:
        process.terminate()
        process.wait(_SECONDS)
        process.stdout.close()


def _try(door: Door, where: Path, logins: tuple[Login, Login], at: str) -> dict[str, str]:
    """What each row prints through *door*, in two sessions."""
    env = _programs(where) | {"S": at}
    # From outside: behind a door of seccomp's a poster lends nobody its rights.
    logins[0].must("post", "docs", "--open", _directory(where))
    heard: dict[str, str] = {}
    for login, other in zip(logins, (False, True), strict=True):
        way = [one.replace("$S", at) for one in door.way]
        said = login.execute([*way, "sh", _driver(where, door, other=other)], env=env)
        heard |= _heard(said.out)
    return heard


@contextmanager
def _two(directory: str) -> Iterator[tuple[Login, Login]]:
    with Actor() as first, Actor() as second:
        yield Login(first, directory), Login(second, directory)


def why_not(door: Door) -> str:
    """Why *door* cannot be tried on this machine; "" if it can."""
    if not door.mounts:
        return ""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if os.geteuid() != 0:
        return "only root can have the kernel tell a thread's session"
    return bpf.missing() or ""


def attempt(door: Door) -> dict[str, str]:
    """What each row's script printed, by its key, at a broker of its own."""
    path = make_short_directory()
    try:
        with running_broker(path, use=door.use) as broker, _two(broker.dir) as logins:
            where = Path(tempfile.mkdtemp(dir=path))
            if not door.mounts:
                # Whom a door does not reach writes into a directory that goes with us.
                (path / "srv").mkdir()
                return _try(door, where, logins, str(path / "srv"))
            with _mounted(path / "mounted", broker.dir) as at:
                return _try(door, where, logins, at)
    finally:
        shutil.rmtree(path)


# ---- telling -------------------------------------------------------------------------------------


def tried(row: Row, door: Door) -> bool:
    """Whether *row* is for *door*: a command writes no number into a file."""
    return door.key != "cli" or bool(row.cli)


def holds(row: Row, printed: dict[str, str]) -> bool:
    """Whether *row*'s rule held."""
    return printed.get(row.key) == row.says


def table(held_: dict[str, dict[str, bool]]) -> str:
    """The table, from whether each row held (by its key) for each door (by its)."""
    notes: list[str] = []

    def cell(row: Row, door: Door) -> str:
        if not tried(row, door):
            return "-"
        if held_[door.key][row.key]:
            return "yes"
        why = row.lacks.get(door.key, "it should")
        if why not in notes:
            notes.append(why)
        return f"no ({notes.index(why) + 1})"

    lines = _head("rule")
    lines += [f"| {row.rule} | {' | '.join(cell(row, door) for door in DOORS)} |" for row in ROWS]
    lines += ["", *(f"{number}. {why}" for number, why in enumerate(notes, 1))]
    facts = zip(_FACTS, *(door.facts for door in DOORS), strict=True)
    lines += ["", *_head(""), *(f"| {' | '.join(fact)} |" for fact in facts)]
    return "\n".join(lines) + "\n"


def _head(first: str) -> list[str]:
    titles = " | ".join(door.title for door in DOORS)
    return [f"| {first} | {titles} |", f"| --- |{' --- |' * len(DOORS)}"]


def promised() -> str:
    """The table as rows.py has it, which the reference shows."""
    return table({door.key: {row.key: door.key not in row.lacks for row in ROWS} for door in DOORS})


def write(text: str) -> None:
    """Put *text* into the reference, between its marks."""
    page = PAGE.read_text()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def shown() -> str:
    """The table of the reference."""
    return PAGE.read_text().split(BEGIN)[1].split(END)[0].strip() + "\n"


def main() -> int:
    """Try everything, print and write the table; 1 if anything is not as rows.py has it."""
    for door in DOORS:
        if why_not(door):
            raise SystemExit(f"{door.key} cannot be tried: {why_not(door)}")
    seen = {door.key: attempt(door) for door in DOORS}
    text = table({key: {row.key: holds(row, one) for row in ROWS} for key, one in seen.items()})
    sys.stdout.write(text)
    write(promised())
    for door in DOORS:
        for row in ROWS:
            if tried(row, door) and holds(row, seen[door.key]) is (door.key in row.lacks):
                sys.stderr.write(f"{door.key}, {row.key}: {seen[door.key].get(row.key)!r}\n")
    return os.EX_OK if text == promised() else 1


if __name__ == "__main__":
    sys.exit(main())
