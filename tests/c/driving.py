# SPDX-License-Identifier: MIT
"""The driver of libpagsrv as tests use it: a line in, a line out, in a session or in none.

The law: it is a process of its own, and ends with the test, of itself and with 0. It refuses
to know what is expected.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.actors import Actor, held
from tests.anybody import bare_environment
from tests.c.building import Built

SECONDS = 30
NULL = "~"


class Said(NamedTuple):
    """What came of one command."""

    result: int
    error: str
    """errno's name; empty where it did not fail."""
    status: int
    sentence: str
    more: list[str]

    @property
    def entry(self) -> dict[str, Any]:
        """The first entry told."""
        return entry(self.more[0])


_FIELDS = ("full", "kind", "access", "mask", "rights", "assigned", "uid", "gid", "pid", "comm",
           "generation", "opens", "created", "last_opened")  # fmt: skip


def entry(told: str) -> dict[str, Any]:
    """An entry as the driver tells it."""
    return dict(zip(_FIELDS, told.split("|"), strict=True))


class Driver:
    """A running driver; *process* has pipes."""

    def __init__(self, built: Built, **popen: Any) -> None:  # noqa: ANN401 -- Popen's own
        self.process = subprocess.Popen(
            built.argv, env=bare_environment() | built.env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
            encoding="utf-8", errors="surrogateescape", **popen,
        )  # fmt: skip

    def __call__(self, *words: str | int | None) -> Said:
        """One command, and what came of it."""
        self.send(*words)
        return self.read()

    def send(self, *words: str | int | None) -> None:
        """One command, whose answer may take its time."""
        assert self.process.stdin is not None
        line = "\t".join(NULL if word is None else str(word) for word in words)
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def read(self) -> Said:
        """The answer to the command sent first."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline().rstrip("\n").split("\t")
        assert len(said) >= 4, self.end()
        number = int(said[1])
        return Said(int(said[0]), errno.errorcode[number] if number else "", int(said[2]), said[3],
                    said[4:])  # fmt: skip

    def end(self) -> tuple[int, str]:
        """Let it come to its end: its status, and what it said on stderr."""
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors


@contextmanager
def driver(built: Built, **popen: Any) -> Iterator[Driver]:  # noqa: ANN401 -- Popen's own
    """A driver in this process's session, which must end well."""
    one = Driver(built, **popen)
    try:
        yield one
        assert one.end() == (0, "")
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


# ── in an actor, by name ──


def _start(built: Built) -> None:
    held["driver"] = Driver(built)


def _ask(words: tuple[str | int | None, ...]) -> Said:
    said: Said = held["driver"](*words)
    return said


def _end() -> tuple[int, str]:
    ended: tuple[int, str] = held.pop("driver").end()
    return ended


class Member:
    """A driver in a session of its own."""

    def __init__(
        self, built: Built, uid: int | None, ring: str | None, groups: tuple[int, ...]
    ) -> None:
        self.actor = Actor(uid, ring=ring, groups=groups)
        self.actor(_start, built)

    def __call__(self, *words: str | int | None) -> Said:
        """One command, and what came of it."""
        return self.actor(_ask, words)

    def must(self, *words: str | int | None) -> Said:
        """One command, which does not fail."""
        said = self(*words)
        assert said.result >= 0, said
        return said

    def attached(self, directory: str, *, changes: bool = True) -> Member:
        """Connected to the broker in *directory*, and attached for all scopes."""
        self.must("connect", directory, int(changes))
        self.must("attach")
        return self

    def session(self) -> str:
        """The session that it is proved in."""
        scope = self.must("scopes").more[0].split("|")[0]
        assert scope.startswith("session:")
        return scope


@contextmanager
def member(
    built: Built,
    uid: int | None = None,
    *,
    ring: str | None = None,
    groups: tuple[int, ...] = (),
) -> Iterator[Member]:
    """A driver in a session of its own (or in the one named *ring*), which must end well."""
    one = Member(built, uid, ring, groups)
    with one.actor:
        yield one
        status, told = one.actor(_end)
        # An old valgrind says between dashes which system calls it does not know.
        faults = [line for line in told.splitlines() if not line.startswith("--")]
        assert (status, faults) == (0, [])


def dial(path: str) -> int:
    """Connect to *path* for as long as the actor lives; its process."""
    held["dialled"] = socket.socket(socket.AF_UNIX)
    held["dialled"].connect(path)
    return os.getpid()
