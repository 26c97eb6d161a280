# SPDX-License-Identifier: MIT
"""Running pagsrv as some other uid, wherever the checkout lies.

The law: what is handed out here can be run by every uid of the machine. It
refuses to know what is run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = ("pagsrv", "msgspec", "keyutils", "_keyutils", "pyroute2")

# Ids that no account has by default: above useradd's range, below systemd's dynamic users.
OTHER_UID = 60701
NOBODY = 65534

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class Anybody(NamedTuple):
    """How to start Python with pagsrv as any uid: `[*argv, "-m", "pagsrv", …]` with env *env*."""

    argv: tuple[str, ...]
    env: dict[str, str]


def bare_environment() -> dict[str, str]:
    """Give an environment with nothing of ours in it: no home, no runtime directory, no board."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


def in_place(python: str = sys.executable) -> Anybody:
    """Name *python*, the interpreter of the virtual environment, as it lies there."""
    return Anybody((python,), bare_environment())


def reachable(way: Anybody, uid: int = NOBODY) -> bool:
    """Tell whether *uid* can import pagsrv and what it needs by *way*; root only."""
    try:
        done = subprocess.run(
            [*way.argv, "-c", "import pagsrv, msgspec, keyutils"],
            env=way.env,
            cwd="/",
            user=uid,
            group=uid,
            extra_groups=[],
            capture_output=True,
            timeout=30,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def carried(into: Path) -> Anybody:
    """Copy pagsrv and what it imports beneath *into*, for the system's own Python to run."""
    library = into / "library"
    library.mkdir(mode=0o755)
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        if spec.submodule_search_locations is None:
            shutil.copy(origin, library)
        else:
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin.parent, library / name, ignore=skip)
    open_to_all(into)
    return Anybody((SYSTEM_PYTHON,), bare_environment() | {"PYTHONPATH": str(library)})


def open_to_all(top: Path) -> None:
    """Let every uid read what is beneath *top* and *top* itself, whatever the umask was."""
    top.chmod(0o755)
    for folder, folders, files in os.walk(top):
        for name in folders:
            Path(folder, name).chmod(0o755)
        for name in files:
            Path(folder, name).chmod(0o644)
