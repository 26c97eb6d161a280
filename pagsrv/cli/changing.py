# SPDX-License-Identifier: MIT
"""rm, mv, setperm, timeout, grant and ungrant: one call each, and nothing said.

The law: what cannot be right is refused before a broker is asked. It refuses to know
what the broker allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagsrv.client.blocking import connect
from pagsrv.masks import parse_mask
from pagsrv.names import parse_name, parse_reference, parse_scope

if TYPE_CHECKING:
    import argparse

    from pagsrv.client.blocking import Board


def _board(given: argparse.Namespace, name: str) -> Board:
    parse_reference(name)
    if given.scope is not None:
        parse_scope(given.scope)
    return connect(given.dir, changes=True)


def rm(given: argparse.Namespace) -> int:
    """rm, from what the parser found."""
    with _board(given, given.name) as board:
        board.remove(given.name, given.scope, expect=given.expect)
    return 0


def mv(given: argparse.Namespace) -> int:
    """mv, from what the parser found."""
    parse_name(given.new, "to")
    with _board(given, given.old) as board:
        board.rename(given.old, given.new, given.scope, expect=given.expect)
    return 0


def setperm(given: argparse.Namespace) -> int:
    """setperm, from what the parser found."""
    parse_mask(given.mask)
    with _board(given, given.name) as board:
        board.set_mask(given.name, given.mask, given.scope, expect=given.expect)
    return 0


def timeout(given: argparse.Namespace) -> int:
    """timeout, from what the parser found."""
    with _board(given, given.name) as board:
        board.set_timeout(given.name, given.seconds, given.scope)
    return 0


def grant(given: argparse.Namespace) -> int:
    """grant, from what the parser found."""
    parse_scope(given.to, "to")
    with _board(given, given.name) as board:
        board.grant(given.name, given.to, given.scope)
    return 0


def ungrant(given: argparse.Namespace) -> int:
    """ungrant, from what the parser found."""
    parse_scope(given.__dict__["from"], "from")
    with _board(given, given.name) as board:
        board.ungrant(given.name, given.__dict__["from"], given.scope)
    return 0
