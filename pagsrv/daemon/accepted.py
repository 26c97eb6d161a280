# SPDX-License-Identifier: MIT
"""Accepted: the socket of one connection, without what Python lays around sockets.

The law: it is a socket.socket like any other, save that making and closing one runs nothing of
Python's own, which a connection that opens one entry and leaves would feel. It refuses
to know who is at the other end.
"""

from __future__ import annotations

import _socket
import socket


class Accepted(socket.socket):
    """A connected Unix socket; not for `with` and makefile(), which need what is left out here."""

    __slots__ = ()

    __init__ = _socket.socket.__init__
    close = _socket.socket.close


def accept(listener: socket.socket, kind: int) -> Accepted:
    """Accept the next connection of *listener*, of type *kind*; it is the caller's.

    OSError as accept(2). Half the cost of socket.accept(), which asks the new socket for what
    is known here.
    """
    fd: int = listener._accept()[0]  # type: ignore[attr-defined]  # noqa: SLF001
    made: Accepted = Accepted(socket.AF_UNIX, kind, 0, fd)
    return made
