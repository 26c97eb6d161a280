# SPDX-License-Identifier: MIT
"""The seccomp door: the words of the program that stands behind a command and answers its opens.

The law: the program is native, and this says only how it is called. What it is told is
understood before. It refuses to know what is opened.
"""

from __future__ import annotations

import os

from pagsrv.doors import parts

PROGRAM = "pagsrv-exec"


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
