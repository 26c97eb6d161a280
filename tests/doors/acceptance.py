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
from tests.actors import Actor, held
from tests.cli.command import COMMAND, Login, environment
from tests.conftest import make_short_directory
from tests.documents import ROOT
from tests.doors.rows import ROWS, Row
from tests.running import running_broker

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


def _doors() -> Iterator[Door]:
    yield Door("cli", "`pagsrv`")
    if "exec" in BY_NAME:
        yield Door("seccomp", "`pagsrv exec`", (*COMMAND, "exec", "--"))
        yield Door("preload", "`pagsrv exec --preload`", (*COMMAND, "exec", "--preload", "--"))
    if "mount" in BY_NAME:
        yield Door("fuse", "`pagsrv mount`", mounts=True)


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


def _mount(argv: list[str], env: dict[str, str], at: str) -> None:
    """Run in an actor: mount at *at*, and return when it is so."""
    held["mount"] = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL)
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        changed = select.poll()
        changed.register(mounts, select.POLLPRI | select.POLLERR)
        while f" {at} " not in mounts.read():
            if not changed.poll(_SECONDS * 1000):
                raise TimeoutError(f"{at} is not mounted")
            mounts.seek(0)


def _unmount(at: str) -> None:
    """Run in an actor: unmount *at*, and return when the door has ended."""
    subprocess.run(["fusermount3", "-u", at], check=True)
    held.pop("mount").wait(_SECONDS)


def _try(door: Door, where: Path, login: Login, other: Login) -> dict[str, str]:
    """What each row prints through *door*."""
    env = _programs(where) | {"S": "/srv"}
    if door.mounts:
        env["S"] = str(where / "mounted")
        Path(env["S"]).mkdir()
        argv = [*COMMAND, "mount", env["S"]]
        login.actor(_mount, argv, environment(login.directory, env), env["S"])
    try:
        mine = login.execute([*door.way, "sh", _driver(where, door, other=False)], env=env)
        theirs = other.execute([*door.way, "sh", _driver(where, door, other=True)], env=env)
    finally:
        if door.mounts:
            login.actor(_unmount, env["S"])
    return _heard(mine.out) | _heard(theirs.out)


@contextmanager
def _two(directory: str) -> Iterator[tuple[Login, Login]]:
    with Actor() as first, Actor() as second:
        yield Login(first, directory), Login(second, directory)


def attempt(door: Door) -> dict[str, str]:
    """What each row's script printed, by its key, at a broker of its own."""
    path = make_short_directory()
    try:
        with running_broker(path) as broker, _two(broker.dir) as (login, other):
            where = Path(tempfile.mkdtemp(dir=path))
            return _try(door, where, login, other)
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

    lines = [
        f"| rule | {' | '.join(door.title for door in DOORS)} |",
        f"| --- |{' --- |' * len(DOORS)}",
    ]
    lines += [f"| {row.rule} | {' | '.join(cell(row, door) for door in DOORS)} |" for row in ROWS]
    lines += ["", *(f"{number}. {why}" for number, why in enumerate(notes, 1))]
    return "\n".join(lines).rstrip() + "\n"


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
