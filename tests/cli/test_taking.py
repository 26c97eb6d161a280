# SPDX-License-Identifier: MIT
"""take for a command that is not run after all.

The law: what can be known is known before the entry leaves the board, and else it is posted
again, or said to be lost. It refuses to know where descriptors are placed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pagsrv
from pagsrv.cli.taking import Taken
from tests.cli.command import TYPED, Login

pytestmark = pytest.mark.kernel

NO_PROGRAMS = {
    "text": (b"I run, believe me\n", "Exec format error"),
    "empty": (b"", "Exec format error"),
    "no interpreter": (b"#!/no/such/interpreter\n", "the interpreter that it names is not there"),
    "nothing after #!": (b"#! \n", "the interpreter that it names is not there"),
}


@pytest.mark.parametrize("case", NO_PROGRAMS)
def test_what_is_no_program_takes_nothing(
    login: Login, name: str, short_tmp: Path, case: str
) -> None:
    """The kernel would not run it: that is known before the entry leaves the board."""
    content, why = NO_PROGRAMS[case]
    program = short_tmp / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    before = login.must("post", name, "--open", "/etc/passwd", "--json").objects()
    said = login("take", name, "--", str(program))
    assert (said.status, said.out) == (126, "")
    assert said.err == f"pagsrv: {program} cannot be run: {why}\n"
    assert [one["generation"] for one in before] == [
        one["generation"] for one in login.must("stat", name, "--json").objects()
    ]


def test_what_is_taken_and_not_run_is_posted_again(
    login: Login, files: list[str], short_tmp: Path
) -> None:
    """What only execve(2) finds out: the entries are back, and the sentence says as what."""
    program = short_tmp / "program"
    program.write_bytes(b"\x7fELF" + bytes(100))
    program.chmod(0o755)
    one, two, _ = files
    mask = "alswrv------------------"
    words = ("--replace", "--mask", mask, "--label", "k=v", "--until", "ttl=1000")
    login.must("post", one, "--open", str(short_tmp / one), *words)
    before = {name: login.must("stat", name, "--json").objects()[0] for name in (one, two)}
    said = login("take", f"{one}=4", f"{two}=3", "--", str(program))
    after = {name: login.must("stat", name, "--json").objects()[0] for name in (one, two)}
    generations = [after[name]["generation"] for name in (one, two)]
    assert (said.status, said.out) == (126, "")
    assert said.err == (
        f"pagsrv: {program} cannot be run: Exec format error; {login.scope()}/{one} is posted "
        f"again without its end conditions (ttl=1000), generation {generations[0]}; "
        f"{login.scope()}/{two} is posted again, generation {generations[1]}\n"
    )
    for name in (one, two):
        assert after[name]["generation"] > before[name]["generation"]
        assert after[name]["until"] == ["revoked"]
        for word in ("scope", "mask", "labels", "kind", "access"):
            assert after[name][word] == before[name][word], word
        assert login.must("open", name, "--", "cat", "/dev/fd/3").out == f"this is {name}\n"


def test_a_name_given_away_meanwhile_is_said_to_be_lost(login: Login, name: str) -> None:
    """Somebody posts under the name that was taken: theirs stays, and ours is lost, as is said."""
    told = login.actor(_lose_the_name, login.directory, name)
    assert told.startswith(f"{login.scope()}/{name} was taken and is lost: ")
    assert "is already there" in told


def _lose_the_name(directory: str, name: str) -> str:
    with pagsrv.connect(directory, changes=True) as board, open("/etc/passwd", "rb") as file:
        board.post(name, file)
        taken = Taken.look(board, directory, [name], None)
        with board.take(name) as fd:
            board.post(name, file)
            return taken.given_back([fd.fileno()])


def test_without_room_nothing_is_taken(login: Login, name: str) -> None:
    """Descriptors that this process could not receive stay on the board."""
    names = [f"{name}-{number}" for number in range(5)]
    for one in names:
        login.must("post", one, "--open", "/etc/passwd")
    placed = " ".join(f"{one}={number}" for number, one in enumerate(names, 3))
    said = login.execute(["sh", "-c", f"ulimit -n 10; exec {TYPED} take {placed} -- true"])
    assert said.status == 1
    assert said.err.startswith("pagsrv: the system is short of something: Too many open files")
    login.must("open", *names, "--", "true")
