# SPDX-License-Identifier: MIT
"""Where the doors' programs and libraries in C are: beside the command itself.

The law: what `make -C contrib/c install PREFIX=…` puts under one prefix is found from that
prefix, and nowhere by guess. It refuses to know what a part does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pagsrv.errors import PagsrvError


class NotBuilt(PagsrvError):
    """A part in C is not installed."""


def library(name: str) -> str:
    """The path of the library *name*, absolute; NotBuilt if it is not installed."""
    return _part("lib", name)


def program(name: str) -> str:
    """The path of the program *name*, absolute; NotBuilt if it is not installed."""
    return _part("bin", name)


def _part(folder: str, name: str) -> str:
    for prefix in _prefixes():
        place = prefix / folder / name
        if place.is_file() and os.access(place, os.R_OK):
            return str(place)
    raise NotBuilt(
        f"{name} is not installed in {_prefixes()[0] / folder}: "
        f"`make -C contrib/c install PREFIX={_prefixes()[0]}`, where pagsrv's sources are, builds "
        "it and puts it there"
    )


def _prefixes() -> list[Path]:
    """Where this interpreter lives, and where the command was started from."""
    return [Path(sys.prefix), Path(os.path.realpath(sys.argv[0])).parent.parent]
