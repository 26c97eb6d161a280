# SPDX-License-Identifier: MIT
"""The seccomp door: the words of the program that stands behind a command and answers its opens.

The law: the program is native, and this says only how it is called. What it is told is
understood before. It refuses to know what is opened.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from pagsrv.doors import parts

PROGRAM = "pagsrv-exec"

_KERNEL = (5, 19)  # SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
_ACTIONS = "/proc/sys/kernel/seccomp/actions_avail"
_YAMA = "/proc/sys/kernel/yama/ptrace_scope"
_NOBODY = ("2", "3")  # at 1 a parent may, which the supervisor then is


def words(command: list[str], at: str, scope: str | None, directory: str | None) -> list[str]:
    """The argv by which *command* runs with the board at *at*; NotBuilt if there is no door.

    What is created there goes to *scope*, or where a post does; *directory* is the broker's, or
    None for the usual one.
    """
    made = [parts.program(PROGRAM), f"--at={at}"]
    if scope is not None:
        made.append(f"--scope={scope}")
    if directory is not None:
        made.append(f"--dir={os.path.abspath(directory)}")
    return [*made, "--", *command]


def missing() -> str:
    """Why there is no such door here, as far as that can be known before; "" if nothing is known.

    A container's own filter is met only when the door is tried.
    """
    try:
        parts.program(PROGRAM)
    except parts.NotBuilt as error:
        return str(error)
    if tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < _KERNEL:
        return f"it takes Linux {'.'.join(map(str, _KERNEL))}, and this is {platform.release()}"
    if "user_notif" not in _told(_ACTIONS).split():
        return "this kernel has no user notifications of seccomp"
    if os.geteuid() != 0 and _told(_YAMA) in _NOBODY:
        return "Yama lets nobody but root look at a process (ptrace_scope)"
    return ""


def _told(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
