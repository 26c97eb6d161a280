# SPDX-License-Identifier: MIT
"""Where the broker is: the directories to look in, and a socket connected to it.

The law: the socket is our own uid's or root's, or nothing is said to it; OSError of
connect(2) becomes a sentence here and nowhere else. It refuses to know messages.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_UNIX, SO_PEERCRED, SOCK_SEQPACKET, SOL_SOCKET, socket
from errno import ECONNREFUSED, ENOENT, ENOTDIR
from functools import lru_cache

from pagsrv.errors import Denied, NoBroker

MACHINE = "/run/pagsrv"
"""The directory of the machine's own broker."""

SOCKET = "board"

_NOBODY_THERE = (ENOENT, ENOTDIR, ECONNREFUSED)
_UCRED = struct.Struct("iII")
_SUN_PATH = 107  # bytes of a socket's path, its NUL left out (unix(7))
_HOW = (
    "start one with `pagsrv broker`, or a session that has its own with `pagsrv session --broker`"
)


def candidates(dir: str | None = None) -> list[str]:  # noqa: A002 -- the option is called --dir
    """The directories to look in, first to last: *dir* or what the environment says, /run/pagsrv.

    The environment is PAGSRV_DIR, or for others than root XDG_RUNTIME_DIR.
    """
    first = dir or os.environ.get("PAGSRV_DIR")
    if not first and os.geteuid():
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        first = runtime and f"{runtime}/pagsrv"
    return [MACHINE] if first in (None, "", MACHINE) else [first, MACHINE]


def dial(
    dir: str | None = None,  # noqa: A002 -- as above
    *,
    blocking: bool = True,
) -> tuple[socket, str]:
    """A socket connected to the first broker found, the caller's, and that one's directory.

    NoBroker where none answers; Denied where one does that we may not connect to, or
    that is neither ours nor root's. A broker with no room in its queue is waited for, or is
    BlockingIOError where that is not to be.
    """
    looked = candidates(dir)
    for directory in looked:
        sock = _connect(directory, blocking=blocking)
        if sock is not None:
            return sock, directory
    raise NoBroker(f"no broker answers at {' or '.join(looked)}: {_HOW}")


@lru_cache(maxsize=64)
def _path(directory: str) -> bytes:
    """The path of the socket in *directory*, kept for connections to come; NoBroker if too long."""
    path = os.fsencode(f"{directory}/{SOCKET}")
    if len(path) > _SUN_PATH:
        raise NoBroker(
            f"{directory} has too long a path for a socket in it ({len(path)} bytes, the most is "
            f"{_SUN_PATH}): choose a shorter directory"
        )
    return path


def _connect(directory: str, *, blocking: bool) -> socket | None:
    path = _path(directory)
    sock = socket(AF_UNIX, SOCK_SEQPACKET)  # close-on-exec from the first (PEP 446)
    try:
        if not blocking:
            sock.setblocking(False)
        sock.connect(path)
        _check_owner(sock, directory)
    except BaseException as error:
        sock.close()
        if not isinstance(error, OSError) or isinstance(error, BlockingIOError):
            raise
        if error.errno in _NOBODY_THERE:
            return None
        raise _no(error, directory) from None
    return sock


def _check_owner(sock: socket, directory: str) -> None:
    """Denied unless whoever called listen(2) there is our own uid or root (SO_PEERCRED)."""
    owner = _UCRED.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, _UCRED.size))[1]
    if owner not in (os.geteuid(), 0):
        raise Denied(
            f"the socket in {directory} is uid {owner}'s, neither yours nor root's: what you post "
            "there would be theirs; name another directory with --dir or PAGSRV_DIR"
        )


def _no(error: OSError, directory: str) -> Denied | NoBroker:
    if isinstance(error, PermissionError):
        return Denied(
            f"you may not connect to the broker at {directory}: it is another user's; {_HOW}"
        )
    why = error.strerror or str(error)
    return NoBroker(f"no broker can be reached at {directory} ({why}): {_HOW}")
