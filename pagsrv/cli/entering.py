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
from pagsrv.names import parse_scope

if TYPE_CHECKING:
    import argparse
    from typing import NoReturn


def run(given: argparse.Namespace) -> NoReturn:
    """exec, from what the parser found; returns never."""
    from pagsrv.doors import preload, seccomp  # noqa: PLC0415 -- no other command needs them

    at = given.at or preload.AT
    if given.scope is not None:
        parse_scope(given.scope)
    if given.preload:
        if given.scope is not None:
            raise Usage("--scope is not for --preload, where a post goes where it does", "exec")
        become(given.command, preload.environment(given.command, at, given.dir, os.environ))
    if given.dir is not None:
        os.environ["PAGSRV_DIR"] = os.path.abspath(given.dir)
    become(seccomp.words(given.command, preload.place(at), given.scope, given.dir))
