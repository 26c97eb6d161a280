# SPDX-License-Identifier: MIT
"""Programs beside a broker: run to their end, or started and ended with the test.

The law: they are the real ones, found on PATH as a person's shell would find them; what is
posted is in the user scope, so that no session is needed. What a page of docs/howto/ tells is
taken from there. It refuses to know what a program does.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.cli.command import SECONDS, Said, environment
from tests.documents import ROOT, blocks, steps

HOWTO = ROOT / "docs" / "howto"


def page(name: str, language: str = "text") -> list[str]:
    """The blocks of *language* in the page *name* of docs/howto/."""
    return [one.text for one in blocks((HOWTO / name).read_text()) if one.language == language]


def files(name: str) -> dict[str, str]:
    """The files that the page *name* has its reader write by `cat >FILE <<'E'`."""
    commands = (
        step.command
        for one in blocks((HOWTO / name).read_text())
        if one.language == "console"
        for step in steps(one)
    )
    found = (re.fullmatch(r"cat >(\S+) <<'E'\n(.*)\nE", one, re.DOTALL) for one in commands)
    return {one[1]: f"{one[2]}\n" for one in found if one is not None}


def write(name: str, into: Path) -> None:
    """Write those files."""
    for file, text in files(name).items():
        (into / file).write_text(text)


class Beside:
    """Programs with the broker at *directory* in their environment."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._started: list[subprocess.Popen[bytes]] = []

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Their environment: `pagsrv` is the command of this checkout."""
        found = environment(self.directory, more)
        return found | {"PATH": f"{Path(sys.executable).parent}:{found['PATH']}"}

    def run(self, *argv: str, env: Mapping[str, str] | None = None, cwd: str = "/") -> Said:
        """Run *argv* to its end, with no stdin."""
        done = subprocess.run(
            argv, env=self.env(env), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def must(self, *argv: str, **more: Any) -> str:  # noqa: ANN401 -- run()'s own
        """What *argv* says, which ends with 0."""
        said = self.run(*argv, **more)
        assert said.status == 0, said
        return said.out

    def post(self, name: str, *words: str) -> None:
        """Post *name* in the user scope."""
        assert self.must("pagsrv", "post", name, *words, "--scope", "user") == ""

    def start(
        self, *argv: str, env: Mapping[str, str] | None = None, **popen: Any,  # noqa: ANN401 -- Popen's own
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Start *argv*, killed at the end of the test with its children if it still runs."""
        process = subprocess.Popen(
            argv, env=self.env(env), stdin=subprocess.DEVNULL, process_group=0,
            **({"cwd": "/"} | popen),
        )  # fmt: skip
        self._started.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._started:
            process.wait(SECONDS)
            for end in (process.stdout, process.stderr):
                if end is not None:
                    end.close()
