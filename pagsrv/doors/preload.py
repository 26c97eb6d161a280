# SPDX-License-Identifier: MIT
"""The preload door: the environment in which a command sees the board at a path.

The law: nothing is done to the command but three words of its environment, and what it has
there of others stays. A command that the door cannot reach is refused before it runs.
It refuses to know what is opened.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pagsrv.doors import parts
from pagsrv.doors.programs import unreachable
from pagsrv.errors import PagsrvError

if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARY = "libpagsrv-preload.so"
AT = "/srv"

_SEPARATORS = ": "
"""Of LD_PRELOAD (ld.so(8)), which knows no quotes."""


class Unreachable(PagsrvError):
    """The command would load no library of ours."""

    status = 126


class NoPlace(PagsrvError):
    """--at is no place for the board."""

    status = 2


class NotPreloadable(PagsrvError):
    """The library lies where LD_PRELOAD cannot name it."""


def missing() -> str:
    """Why there is no such door here; "" if there is one."""
    try:
        parts.library(LIBRARY)
    except parts.NotBuilt as error:
        return str(error)
    return ""


def place(at: str) -> str:
    """*at* as the doors take it: absolute, plain, and not the root; NoPlace otherwise."""
    if not at.startswith("/") or os.path.normpath(at).lstrip("/") != at.strip("/") or "\0" in at:
        raise NoPlace(
            f"{at!r} is no place for the board; --at takes an absolute path without . and .., as "
            f"{AT}"
        )
    if not at.strip("/"):
        raise NoPlace(f"the board cannot be at /, which is everything; say --at {AT}")
    return f"/{at.strip('/')}"


def environment(
    command: list[str], at: str, directory: str | None, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The environment for *command*, made from *inherited*; Unreachable if that is of no use.

    *directory* is the broker's, or None for the usual one.
    """
    library = parts.library(LIBRARY)
    if any(separator in library for separator in _SEPARATORS):
        raise NotPreloadable(
            f"{library} has a blank or a colon in its path, which LD_PRELOAD cannot tell; install "
            "it elsewhere"
        )
    why = unreachable(command[0], library)
    if why is not None:
        raise Unreachable(
            f"--preload does not reach {command[0]}: {why}; leave --preload out, and it is "
            "reached by seccomp"
        )
    made = {**inherited, "PAGSRV_AT": place(at)}
    others = [one for one in made.get("LD_PRELOAD", "").replace(" ", ":").split(":") if one]
    made["LD_PRELOAD"] = ":".join([library, *(one for one in others if one != library)])
    if directory is not None:
        made["PAGSRV_DIR"] = os.path.abspath(directory)
    return made
