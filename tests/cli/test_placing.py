# SPDX-License-Identifier: MIT
"""open and take: descriptors get their numbers, whatever has them, and nothing else is lost.

The law: what is in the way is replaced, what cannot be is said before anything is taken,
and what is said goes to stderr alone. It refuses to know how a message carries them.
"""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, TYPED, Login

pytestmark = pytest.mark.kernel


def test_descriptors_in_the_way_are_replaced(login: Login, files: list[str]) -> None:
    """Stdout and stdin too; every order of the lowest numbers comes out right."""
    for order in itertools.permutations((3, 4, 5)):
        wanted = [f"{one}={number}" for one, number in zip(files, order, strict=True)]
        reads = "; ".join(f"cat <&{number}" for number in order)
        said = login.must("open", *wanted, "--", "sh", "-c", f"{reads}; {REWIND}")
        assert said.out.splitlines() == [f"this is {one}" for one in files]
    said = login.must("open", f"{files[0]}=0", "--", "cat")
    assert said.out == f"this is {files[0]}\n"


# There is one offset for all who hold a file.
REWIND = f"{shlex.quote(COMMAND[0])} -c 'import os; [os.lseek(n, 0, 0) for n in (3, 4, 5)]'"


@pytest.mark.parametrize("verb", ["open", "take"])
def test_a_number_beyond_the_limit_is_a_sentence(login: Login, files: list[str], verb: str) -> None:
    """Ulimit -n bounds the numbers; nothing is run, and nothing is taken."""
    said = login(verb, f"{files[0]}=100000000", "--", "echo", "ran")
    assert (said.status, said.out) == (1, "")
    assert "ulimit -n" in said.err
    login.must("stat", files[0])


@pytest.mark.parametrize("closed", [">&- 2>&-", "<&- >&- 2>&-"])
def test_what_we_say_goes_into_no_entry(
    login: Login, files: list[str], short_tmp: Path, closed: str
) -> None:
    """Be stderr closed, so that an entry could get its number."""
    garbled = short_tmp / "garbled"
    garbled.write_text("no program")
    garbled.chmod(0o755)
    words = " ".join([TYPED, "open", *files])
    done = f"{words} -- {garbled} {closed}; echo $?; exec 2>&1; {words} -- {garbled}"
    said = login.execute(["sh", "-c", done])
    assert said.out.partition("\n")[0] == "126"
    assert "Exec format error" in said.out
    for one in files:
        assert (short_tmp / one).read_text() == f"this is {one}\n"


def test_what_we_say_goes_to_our_stderr(login: Login, files: list[str], short_tmp: Path) -> None:
    """And not into the entry that was to be CMD's."""
    garbled = short_tmp / "garbled"
    garbled.write_text("no program")
    garbled.chmod(0o755)
    said = login("open", f"{files[0]}=2", "--", str(garbled))
    assert (said.status, said.out) == (126, "")
    assert "Exec format error" in said.err
    assert (short_tmp / files[0]).read_text() == f"this is {files[0]}\n"
