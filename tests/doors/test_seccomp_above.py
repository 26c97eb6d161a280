# SPDX-License-Identifier: MIT
"""The seccomp door where its supervisor is CMD's parent, as Yama's ptrace_scope of 1 wants it.

The law: the program's own option makes it so on every machine; what CMD is for whoever started
it is as without. It refuses to know Yama.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagsrv.doors import parts, seccomp
from tests.cli.command import Login, Said, environment
from tests.doors.test_seccomp_hostile import INSIDER, posted

__all__ = ["posted"]

pytestmark = pytest.mark.kernel

ABOVE = [parts.program(seccomp.PROGRAM), "--above", "--at=/srv", "--"]
PATIENCE = 30


def above(login: Login, *command: str) -> Said:
    """Run *command* below its supervisor."""
    return login.execute([*ABOVE, *command])


@contextmanager
def running(login: Login, runtime: str = "/nonexistent") -> Iterator[subprocess.Popen[str]]:
    """A CMD that says its parent's id and `ready`, reads lines, and ends with 5 on SIGTERM."""
    lines = "trap 'echo caught; exit 5' TERM; echo $PPID ready; read x; read x; exit 4"
    process = subprocess.Popen(
        [*ABOVE, "bash", "-c", lines], text=True,
        env=environment(login.directory, {"XDG_RUNTIME_DIR": runtime}),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    """What *process* says next."""
    assert process.stdout is not None
    return process.stdout.readline()


def test_it_serves(login: Login, posted: str, raw: str) -> None:
    """Shells, and static programs."""
    lines = f"cat /srv/{posted}; ls /srv; exec 3</etc/hostname; echo 3 >/srv/{posted}-b"
    script = f"{lines}; {shlex.join([raw, 'openat', f'/srv/{posted}'])}; rm /srv/{posted}-b"
    assert above(login, "bash", "-ec", script) == (0, f"posted\n{posted}\ncloses \n", "")


@pytest.mark.parametrize(
    ("command", "status"),
    [(["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -TERM $$"], -15), (["/no/such"], 127)],
)
def test_the_status_is_cmds(login: Login, command: list[str], status: int) -> None:
    """An exit, the signal itself, and what a shell would say."""
    assert above(login, *command).status == status


def test_what_is_wrong_is_said_once(login: Login, short_tmp: Path) -> None:
    """With its status, before CMD is run."""
    said = login.execute([*ABOVE[:-1], f"--dir={short_tmp}", "--", "true"])
    assert (said.status, said.out, said.err.count("\n")) == (6, "", 1)


def test_signals_are_passed_on(login: Login) -> None:
    """CMD has them, and its end is ours."""
    with running(login) as process:
        assert next_line(process).endswith(" ready\n")
        process.send_signal(signal.SIGTERM)
        assert next_line(process) == "caught\n"
        assert process.wait(PATIENCE) == 5


def test_a_supervisor_that_dies_is_told_of(login: Login, short_tmp: Path) -> None:
    """Nobody can take over; CMD goes on, and we stay as long."""
    with running(login, str(short_tmp)) as process:
        os.kill(int(next_line(process).split()[0]), signal.SIGKILL)
        pidfd = os.pidfd_open(process.pid)
        assert select.select([pidfd], [], [], 0)[0] == []
        os.close(pidfd)
        assert process.communicate("go\ngo\n", timeout=PATIENCE)[1].startswith(
            "pagsrv: the supervisor was killed: what CMD opened after that failed (ENOSYS)"
        )
        assert process.returncode == 1


def test_children_that_outlive_the_command_are_served(login: Login, posted: str) -> None:
    """They are taken in by the supervisor, which may look at them."""
    told = login.actor(
        subprocess.check_output, [*ABOVE, sys.executable, INSIDER, "leaves", f"/srv/{posted}"],
        env=environment(login.directory), timeout=PATIENCE,
    )  # fmt: skip
    assert json.loads(told) == "posted\n"
