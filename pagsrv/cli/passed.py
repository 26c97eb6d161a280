# SPDX-License-Identifier: MIT
"""What a service manager has passed to this command: LISTEN_FDS, under LISTEN_FDNAMES.

The law: only what is meant for this very process is taken (sd_listen_fds(3)), all of it or
nothing, and each descriptor has a name of its own. It refuses to know who passed it.
"""

from __future__ import annotations

import os

from pagsrv.cli.fail import Usage
from pagsrv.kernel.process import open_pidfd
from pagsrv.names import parse_name

_FIRST = 3
_DIGITS = 10


def names() -> dict[str, int]:
    """The names of what was passed, each with the number of its descriptor; Usage if unusable."""
    count = _count()
    found = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if len(found) != count:
        raise _unusable(
            f"LISTEN_FDNAMES does not name each of the {count} descriptors that LISTEN_FDS counts"
        )
    twice = {name for name in found if found.count(name) > 1}
    if twice:
        raise _unusable(f"several descriptors are called {min(twice)} in LISTEN_FDNAMES")
    for number in range(_FIRST, _FIRST + count):
        # All of them before the first is duplicated, whose duplicate might get the number.
        _check_open(number, count)
    return {parse_name(name, "LISTEN_FDNAMES"): _FIRST + place for place, name in enumerate(found)}


def _count() -> int:
    text = os.environ.get("LISTEN_FDS", "")
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text)):
        raise Usage(
            "no descriptors were passed: LISTEN_FDS is not set to a number of them, as a service "
            "manager and `pagsrv open NAME -- CMD` do",
            "post",
        )
    pid, inode = os.environ.get("LISTEN_PID", ""), os.environ.get("LISTEN_PIDFDID", "")
    if pid != str(os.getpid()) or inode not in ("", _inode()):
        raise Usage(
            f"what LISTEN_FDS counts is for process {pid or 'none'}, and this is {os.getpid()}: "
            "let the command take that one's place (`exec pagsrv post --listen-fds`)",
            "post",
        )
    return int(text)


def _check_open(number: int, count: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        raise Usage(
            f"LISTEN_FDS counts {count} descriptors, and {number} is not open: whoever started "
            "this command has closed it",
            "post",
        ) from None


def _inode() -> str:
    """What tells this process from any other (pidfd_open(2), pidfs)."""
    with open_pidfd(os.getpid()) as pidfd:
        return str(os.fstat(pidfd.fileno()).st_ino)


def _unusable(why: str) -> Usage:
    return Usage(f"{why}: post them one by one, as in `pagsrv post NAME --fd {_FIRST}`", "post")
