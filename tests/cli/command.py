# SPDX-License-Identifier: MIT
"""The pagsrv command as tests run it: in this process's session, or in an actor's.

The law: it is the real command, of this interpreter, with an environment of its own. It
refuses to know what a test expects.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.actors import Actor
from tests.anybody import bare_environment

COMMAND = (sys.executable, "-m", "pagsrv")
TYPED = shlex.join(COMMAND)
"""As a shell has it, wherever the checkout lies."""
SECONDS = 30


class Said(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    def objects(self) -> list[Any]:
        """Its lines as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(directory: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command that asks the broker at *directory*."""
    # A runtime directory that is not there: no test meets a broker of the machine's user.
    mine = {"PAGSRV_DIR": directory, "SHELL": "/bin/sh", "XDG_RUNTIME_DIR": "/nonexistent"}
    return {**bare_environment(), **mine, **(more or {})}


def execute(argv: list[str], env: dict[str, str], stdin: str | None, fds: tuple[int, ...]) -> Said:
    """Run *argv* to its end; run in an actor, it is in the actor's session."""
    done = subprocess.run(
        argv, env=env, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True, text=True, timeout=SECONDS, pass_fds=fds, cwd="/", check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


class Login:
    """A session of its own, and the command in it; an Actor that can be asked for other things."""

    def __init__(self, actor: Actor, directory: str) -> None:
        self.actor = actor
        self.directory = directory

    def __call__(
        self, *words: str, env: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> Said:
        """Run `pagsrv` with *words*."""
        return self.execute([*COMMAND, *words], env=env, stdin=stdin)

    def execute(
        self, argv: list[str], *, env: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> Said:
        """Run any command."""
        return self.actor(execute, argv, environment(self.directory, env), stdin, ())

    def must(self, *words: str, stdin: str | None = None) -> Said:
        """Run `pagsrv` with *words*, which ends with 0 and complains of nothing."""
        said = self(*words, stdin=stdin)
        assert (said.status, said.err) == (0, ""), said
        return said

    def scope(self, kind: str = "session") -> str:
        """The scope of that kind that the session is proved in."""
        told = self.must("whoami", "--json").objects()[0]
        found: str = next(
            one["scope"] for one in told["scopes"] if one["scope"].startswith(f"{kind}:")
        )
        return found


def start(
    *words: str, directory: str, env: Mapping[str, str] | None = None, **popen: Any,  # noqa: ANN401 -- Popen's own
) -> subprocess.Popen[str]:  # fmt: skip
    """Start `pagsrv` with *words* in this process's session, with pipes; the caller ends it."""
    ends = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        [*COMMAND, *words], env=environment(directory, env), cwd="/", text=True, **(ends | popen)
    )


def uid() -> int:
    """The uid that the commands run as."""
    return os.geteuid()
