# SPDX-License-Identifier: MIT
"""Every linter is content, with the settings of pyproject.toml.

The law: what a linter says is shown whole, and one complaint is a failure. It
refuses to know the rules.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.lint, pytest.mark.timeout(240)]


def check(command: list[str]) -> None:
    """Run *command* of the virtual environment at the top; fail with all it says, if it does."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tui'}", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        status = f"{command[0]} ended with {done.returncode}"
        pytest.fail(f"{done.stdout}\n{status}", pytrace=False)


def packages() -> list[str]:
    """Name the import packages there are."""
    here = {"pagsrv": ROOT / "pagsrv", "pagsrv_tui": ROOT / "tui" / "pagsrv_tui"}
    return [argument for name, path in here.items() if path.is_dir() for argument in ("-p", name)]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "--output-format=concise", "."], id="ruff"),
        pytest.param(["ruff", "format", "--check", "."], id="format"),
        pytest.param(["mypy", *packages()], id="mypy"),
        pytest.param(["lint-imports", "--no-cache"], id="imports"),
        pytest.param(["codespell"], id="codespell"),
    ],
)
def test_python_and_words_are_clean(command: list[str]) -> None:
    """It has nothing to complain about."""
    check(command)


def test_shell_is_clean() -> None:
    """Neither has shellcheck, about any shell script."""
    scripts = [*ROOT.glob("contrib/**/*.sh"), ROOT / ".ci" / "run"]
    check(["shellcheck", *map(str, scripts)])
