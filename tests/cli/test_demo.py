# SPDX-License-Identifier: MIT
"""The demo turns out as it says, and leaves nothing behind.

The law: it is run as a newcomer runs it. It refuses to know its steps one by one; it
checks them itself.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from pagsrv.doors import seccomp

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.kernel
def test_the_demo_turns_out_as_it_says() -> None:
    """Every step is ok; no directory, no process is left."""
    before = set(os.listdir("/tmp"))
    env = {name: value for name, value in os.environ.items() if name != "PAGSRV_DIR"}
    done = subprocess.run(
        ["sh", str(ROOT / "contrib" / "demo.sh")], env=env | {"PAGSRV_SETUP": "test"}, cwd="/",
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  BAD " not in done.stdout
    assert done.stdout.count("\n  ok ") >= 12
    assert ("  ok    cat, which opens a path" in done.stdout) == (seccomp.missing() == "")
    assert done.stdout.endswith("\nAll of it turned out as it should.\n")
    left = {name for name in set(os.listdir("/tmp")) - before if name.startswith("pagsrv-demo")}
    assert left == set()


@pytest.mark.kernel
def test_the_demo_says_when_a_step_turns_out_otherwise(tmp_path: Path) -> None:
    """With a command that answers differently it ends with 1; paths may have spaces."""
    checkout = tmp_path / "a checkout"
    (checkout / "contrib").mkdir(parents=True)
    (checkout / "contrib" / "demo.sh").write_text((ROOT / "contrib" / "demo.sh").read_text())
    (checkout / "contrib" / "demo").symlink_to(ROOT / "contrib" / "demo")
    (checkout / "contrib" / "setup.sh").write_text("exit 0\n")
    commands = checkout / ".venv" / "bin"
    commands.mkdir(parents=True)
    (commands / "python").symlink_to(ROOT / ".venv" / "bin" / "python")
    real = shlex.quote(str(ROOT / ".venv" / "bin" / "pagsrv"))
    # Opens what it should not: every open is done in the user's scope, which both sessions share.
    (commands / "pagsrv").write_text(
        f'#!/bin/sh\ncase $1 in post) exec {real} "$@" --scope user ;; esac\nexec {real} "$@"\n'
    )
    (commands / "pagsrv").chmod(0o755)
    done = subprocess.run(
        ["sh", str(checkout / "contrib" / "demo.sh")], cwd="/", stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "  ok    the connection is posted" in done.stdout
    assert "  BAD   it is told that there is no such entry" in done.stdout
    assert done.stdout.endswith("see BAD above.\n")
