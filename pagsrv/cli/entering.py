# SPDX-License-Identifier: MIT
"""exec: a command for which the board is files under a directory.

The law: what is said is understood before anything is done, and CMD replaces this command. It
refuses to know how a door works.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pagsrv.cli.fail import Usage
from pagsrv.cli.opening import become

if TYPE_CHECKING:
    import argparse
    from typing import NoReturn


def run(given: argparse.Namespace) -> NoReturn:
    """exec, from what the parser found; returns never."""
    from pagsrv.doors import preload  # noqa: PLC0415 -- no other command needs it

    at = given.at or preload.AT
    if not given.preload:
        raise Usage("the door by seccomp is not here yet: say --preload", "exec")
    become(given.command, preload.environment(given.command, at, given.dir, os.environ))
