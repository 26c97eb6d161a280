# SPDX-License-Identifier: MIT
"""A Unix socket that listens at a path, in the place of one that nobody listens on any more.

The law: its file has its mode from its first moment; what somebody serves at, or is no socket,
stays as it is, and nothing is waited for. It refuses to know who connects.
"""

from __future__ import annotations

import os
import socket
import stat
from errno import EAGAIN, ECONNREFUSED

from pagsrv.errors import PagsrvError


class CannotServe(PagsrvError):
    """No socket can be made at the path."""


def listen_at(path: str, kind: socket.SocketKind, mode: int, backlog: int) -> socket.socket:
    """A socket of *kind* that listens at *path*, the caller's; CannotServe if there can be none.

    umask(2) is the whole process's: no other thread shall make files meanwhile.
    """
    sock = socket.socket(socket.AF_UNIX, kind)
    before = os.umask(0o777 & ~mode)
    try:
        _clear(path, kind)
        sock.bind(path)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise CannotServe(f"{path} cannot be served at: {error.strerror or error}") from None
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _clear(path: str, kind: socket.SocketKind) -> None:
    """Unlink a socket at *path* that nobody listens on any more; CannotServe if somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind(2) says that it is in use
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        told = probe.connect_ex(path)
    if told == ECONNREFUSED:
        os.unlink(path)
    elif told in (0, EAGAIN):  # EAGAIN: its queue is full
        raise CannotServe(f"somebody serves at {path} already")
    else:
        raise OSError(told, os.strerror(told))
