# SPDX-License-Identifier: MIT
"""The same words to Debian's clients, at the real s6-fdholderd and at our door.

The law: status, stdout and stderr are the same at both, however either works. It refuses to
know what differs on purpose (test_door.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import Said
from tests.doors.s6.conftest import Door, clients, real_daemon, stored
from tests.doors.s6.raw import Raw

pytestmark = pytest.mark.kernel

_DUMP = ["sh", "-c", "env | grep ^S6_FD | sort"]
_IDS = ["sh", "-c", "env | grep '^S6_FDID' | cut -d= -f2 | sort; env | grep '^S6_FD#'"]


def _sorted(said: Said) -> Said:
    """In which order ids are listed nobody promises."""
    return said._replace(out="".join(sorted(said.out.splitlines(keepends=True))))


def _set_dump(path: str, file: str, *names: str) -> Said:
    env = {"S6_FD#": str(len(names))}
    fds = [os.open(file, os.O_RDONLY) for _ in names]
    try:
        for number, (name, fd) in enumerate(zip(names, fds, strict=True)):
            env |= {f"S6_FD_{number}": str(fd), f"S6_FDID_{number}": name}
        return clients("s6-fdholder-setdump", path, env=env, pass_fds=fds)
    finally:
        for fd in fds:
            os.close(fd)


Step = Callable[[str, str], Said]

STEPS: dict[str, Step] = {
    "nothing is listed": lambda s, _: clients("s6-fdholder-list", s),
    "nothing is dumped": lambda s, _: clients("s6-fdholder-getdump", s, *_DUMP),
    "retrieve what is not there": lambda s, _: clients("s6-fdholder-retrieve", s, "a", "cat"),
    "take what is not there": lambda s, _: clients("s6-fdholder-retrieve", "-D", s, "a", "cat"),
    "delete what is not there": lambda s, _: clients("s6-fdholder-delete", s, "a"),
    "store": lambda s, f: stored(s, "a", f),
    "store again": lambda s, f: stored(s, "a", f),
    "store a path": lambda s, f: stored(s, "unix:/run/x/y", f),
    "store for a while": lambda s, f: stored(s, "short", f, "-T", "600000"),
    "store the longest": lambda s, f: stored(s, "x" * 255, f),
    "store one longer": lambda s, f: stored(s, "x" * 256, f),
    "store with blanks": lambda s, f: stored(s, " a 'b' \"c\" ü ", f),
    "store nothing": lambda s, f: stored(s, "", f),
    "list": lambda s, _: _sorted(clients("s6-fdholder-list", s)),
    "retrieve": lambda s, _: clients("s6-fdholder-retrieve", s, "a", "cat"),
    "the offset is shared": lambda s, _: clients("s6-fdholder-retrieve", s, "a", "cat"),
    "the command is not there": lambda s, _: clients("s6-fdholder-retrieve", s, "a", "/none"),
    "dump": lambda s, _: clients("s6-fdholder-getdump", s, *_IDS),
    "limits are dumped": lambda s, _: clients(
        "s6-fdholder-getdump", s, "sh", "-c", "env | grep -c ^S6_FDLIMIT_"
    ),
    "set a dump": lambda s, f: _set_dump(s, f, "d1", "d2", "a"),
    "what was there is replaced": lambda s, _: clients("s6-fdholder-retrieve", s, "a", "cat"),
    "set a dump of nothing": _set_dump,
    "set one id twice": lambda s, f: _set_dump(s, f, "e", "e"),
    "all of it": lambda s, _: _sorted(clients("s6-fdholder-list", s)),
    "take": lambda s, _: clients("s6-fdholder-retrieve", "-D", s, "a", "echo", "mine"),
    "take once more": lambda s, _: clients("s6-fdholder-retrieve", "-D", s, "a", "echo"),
    "delete": lambda s, _: clients("s6-fdholder-delete", s, "short"),
    "delete once more": lambda s, _: clients("s6-fdholder-delete", s, "short"),
    "to itself": lambda s, _: clients("s6-fdholder-transferdump", s, s),
    "what is left": lambda s, _: _sorted(clients("s6-fdholder-list", s)),
}


def test_every_step_is_the_same_at_both(door: Door, short_tmp: Path) -> None:
    """From an empty store, one step after the other."""
    with real_daemon(short_tmp) as real:
        for what, step in STEPS.items():
            said = []
            for path in (real, door.path):
                file = Path(f"{path}.note")
                if not file.exists():
                    file.write_text("what it says\n")
                one = step(path, str(file))
                said.append(one._replace(err=one.err.replace(path, "S")))
            assert said[0] == said[1], what


def test_limits_are_kept_alike(door: Door, note: str, short_tmp: Path) -> None:
    """What ends in ten minutes at one ends then at the other, to the second."""
    with real_daemon(short_tmp) as real:
        for path in (real, door.path):
            assert stored(path, "short", note, "-T", "600000").status == 0
        show = ["sh", "-c", "printenv S6_FDLIMIT_0"]
        labels = [clients("s6-fdholder-getdump", path, *show).out for path in (real, door.path)]
    first, second = (int(re.fullmatch(r"@([0-9a-f]{16}).*\n", one)[1], 16) for one in labels)  # type: ignore[index]
    assert abs(first - second) <= 1


@pytest.mark.parametrize("count", [1, 253])
def test_dumps_go_from_one_to_the_other_and_back(
    door: Door, note: str, short_tmp: Path, count: int
) -> None:
    """By s6-fdholder-transferdump, as many as the real one can give."""
    with real_daemon(short_tmp) as real, Raw(real) as raw, open(note, "rb") as file:
        names = sorted(b"unix:/run/%d" % number for number in range(count))
        for name in names:
            assert raw.store(name, file.fileno()) == 0
        assert clients("s6-fdholder-transferdump", real, door.path) == (0, "", "")
        with Raw(door.path) as ours:
            assert sorted(ours.ids()) == names
            assert [ours.delete(names[0]), raw.delete(names[-1])] == [0, 0]
        assert clients("s6-fdholder-transferdump", door.path, real) == (0, "", "")
        assert sorted(raw.ids()) == (names if count > 1 else [])


@pytest.mark.parametrize("count", [254, 255, 256, 509, 600])
def test_larger_dumps_are_given_by_ours_alone(
    door: Door, note: str, short_tmp: Path, count: int
) -> None:
    """The kernel sends 253 descriptors at once, and the real one tries 255: it hangs up."""
    show = ["sh", "-c", "env | grep -c ^S6_FDID_; ls /proc/self/fd | wc -l"]
    with open(note, "rb") as file, real_daemon(short_tmp) as real:
        for path in (door.path, real):
            with Raw(path) as raw:
                assert [raw.store(b"%d" % one, file.fileno()) for one in range(count)] == [
                    0
                ] * count
        ours = clients("s6-fdholder-getdump", door.path, *show)
        theirs = clients("s6-fdholder-getdump", real, *show)
    assert (ours.status, ours.err) == (0, "")
    ids, descriptors = map(int, ours.out.split())
    assert ids == count < descriptors
    assert theirs == (1, "", "s6-fdholder-getdump: fatal: unable to get dump: Broken pipe\n")


def test_larger_dumps_are_set_by_no_client_of_debians(door: Door, note: str) -> None:
    """It sends 255 at once, whoever listens; the kernel refuses, and nothing has come."""
    said = _set_dump(door.path, note, *map(str, range(254)))
    assert said == (1, "", "s6-fdholder-setdump: fatal: unable to set dump: Invalid argument\n")
    assert clients("s6-fdholder-list", door.path) == (0, "", "")
    assert _set_dump(door.path, note, *map(str, range(253))).status == 0
