# SPDX-License-Identifier: MIT
"""fdstore: entries to a service manager's store of descriptors, and back.

The law: what came by LISTEN_FDS is a command's again, with its numbers and words, after
it was posted. It refuses to know how a manager is spoken to (doors/fdstore.py).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pagsrv.cli import render
from pagsrv.cli.fail import Usage
from pagsrv.cli.opening import become
from pagsrv.client.blocking import connect
from pagsrv.doors import fdstore as door
from pagsrv.kernel.manager import WORDS
from pagsrv.kernel.process import undumpable
from pagsrv.names import parse_reference, parse_scope

if TYPE_CHECKING:
    import argparse


def fdstore(given: argparse.Namespace) -> int:
    """fdstore, from what the parser found; with CMD it returns never."""
    actions = {"import": _import, "export": _export}
    action = actions.get(given.action)
    if action is None:
        raise Usage(f"{given.action!r} is neither import nor export", "fdstore")
    if given.scope is not None:
        parse_scope(given.scope)
    return action(given)


def _export(given: argparse.Namespace) -> int:
    if not given.name or given.command:
        raise Usage("export takes the names of entries, one at least, and no command", "fdstore")
    for name in given.name:
        parse_reference(name)
    with connect(given.dir) as board:
        door.export(
            board, given.name, given.scope, replace=given.replace, exposed=given.user_manager
        )
    return 0


def _import(given: argparse.Namespace) -> int:
    if given.name:
        raise Usage("import posts what was passed, under the names it has: say none", "fdstore")
    # They lay open to every process of our uid since exec(2): no longer than needs be.
    undumpable()
    words = {word: os.environ[word] for word in WORDS if word in os.environ}
    with ExitStack() as stack:
        fds = door.passed()
        for passed in fds:
            stack.enter_context(passed.fd)
        if fds:
            with connect(given.dir, changes=True) as board:
                for entry in door.post(board, fds, given.scope, replace=given.replace):
                    if given.json:
                        render.as_json(entry)
        if given.command:
            for passed in fds:
                os.set_inheritable(passed.fd.fileno(), True)
            become(given.command, {**os.environ, **words})
    return 0
