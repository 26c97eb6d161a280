# SPDX-License-Identifier: MIT
"""A task on its way, and a walker as it is seen from the broker.

The law: a task is answered once, and what it waited with is closed once; a walker has one
at a time. It refuses to know who is next.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from pagsrv.daemon.closing import closer
from pagsrv.kernel.scm import ancillary

if TYPE_CHECKING:
    from pagsrv.daemon.walker import Task, Told
    from pagsrv.errors import Refused
    from pagsrv.kernel.fd import Fd
    from pagsrv.nodes import Credentials

Then = Callable[["Told | Refused", "Fd | None"], None]
"""Called in the loop with what came of a task; the descriptor is its own from then on."""

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Asked:
    """A task on its way, and who waits for it; owns *own*, a duplicate made to wait with."""

    __slots__ = ("age", "credentials", "directory", "own", "task", "then")

    def __init__(self, credentials: Credentials, task: Task, directory: Fd, then: Then) -> None:
        self.credentials = credentials
        self.task = task
        self.directory = directory
        self.own: Fd | None = None
        self.then = then
        self.age = 0

    def done(self) -> None:
        """Let go of what it waited with."""
        if self.own is not None:
            closer.close(self.own.detach())
            self.own = None

    def refuse(self, error: Refused) -> None:
        """Tell its asker that nothing came of it."""
        self.done()
        self.then(error, None)


class Walker:
    """One process, as seen from here; owns *sock* and *pidfd*."""

    __slots__ = ("age", "asked", "credentials", "pidfd", "sock", "why")

    def __init__(self, sock: socket.socket, credentials: Credentials) -> None:
        self.sock = sock
        self.credentials = credentials
        self.pidfd: Fd | None = None
        self.asked: Asked | None = None
        self.why = ""
        self.age = 0

    def give(self, asked: Asked) -> None:
        """Have it do *asked*; OSError as sendmsg(2)."""
        beside = ancillary([asked.directory.fileno()])
        self.sock.sendmsg([msgspec.json.encode(asked.task)], beside, _FLAGS)
        self.asked, self.age = asked, 0
        asked.age = 0
        asked.done()

    def kill(self) -> None:
        """End it, as far as it can be reached."""
        if self.pidfd is not None:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self.pidfd.fileno(), signal.SIGKILL)
