# SPDX-License-Identifier: MIT
"""The walker: a process with the rights of one poster, which looks beneath directories.

The law: it holds its socket to the broker and, for one task, the directory that came with
it; it has no capability, and none of its uid may trace it. It may hang, and is ended for
that by others. It refuses to know who asks, and may: that is judged.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from errno import ETOOMANYREFS
from typing import NoReturn

import msgspec
from msgspec import Struct

from pagsrv.errors import PagsrvError, ProtocolError, QuotaExceeded, Refused
from pagsrv.kernel import beneath
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.process import call_oneself
from pagsrv.kernel.rights import become
from pagsrv.kernel.scm import ancillary, receive_blocking
from pagsrv.messages import Walked
from pagsrv.nodes import Asked, Credentials

PIDFD = b"pidfd"
"""What comes beside the walker's pidfd; everything else on its socket is JSON, or a WHY."""

WHY = b"!"
"""What a sentence begins with that says why there is no walker."""


class Task(Struct):
    """What to look at: *path* beneath the directory beside it, whose name is *at*.

    With an *access* it is opened, else listed, from *after* on; with *only* it is looked at alone.
    """

    at: str
    path: tuple[str, ...]
    access: Asked | None = None
    after: str | None = None
    only: bool = False


class Told(Struct, omit_defaults=True):
    """What came of it: the descriptor beside this, a listing, or a refusal as on the wire."""

    walked: Walked | None = None
    error: str = ""
    parameters: dict[str, str] = {}


_tasks = msgspec.json.Decoder(Task)


def serve(sock: socket.socket, credentials: Credentials) -> NoReturn:
    """Be the walker for *credentials* until the other end of *sock* is closed."""
    try:
        call_oneself("pagsrv-walker")
        os.chdir("/")
        become(credentials.uid, credentials.gid, credentials.groups)
        while _turn(sock):
            pass
    except PagsrvError as error:
        with suppress(OSError):
            sock.send(WHY + str(error).encode())
    finally:
        # Nothing of the broker's is to be run here on the way out: no handlers, no destructors.
        os._exit(0)


def _turn(sock: socket.socket) -> bool:
    """One task; False when there will be no more."""
    with receive_blocking(sock) as packet, ExitStack() as made:
        if not packet.data:
            return False
        if len(packet.fds) != 1:
            raise ProtocolError("a task comes with one directory")
        told, opened = carry_out(_tasks.decode(packet.data), packet.fds[0])
        if opened is not None:
            made.enter_context(opened)
        beside = ancillary([] if opened is None else [opened.fileno()])
        try:
            sock.sendmsg([msgspec.json.encode(told)], beside)
        except OSError as error:
            if error.errno != ETOOMANYREFS:
                raise
            # Those of its uid are counted together, against our limit (unix(7)).
            refused = QuotaExceeded("the poster's uid has too many descriptors on their way unread")
            sock.send(msgspec.json.encode(_refused(refused)))
    return True


def carry_out(task: Task, directory: Fd) -> tuple[Told, Fd | None]:
    """Do *task*; what was opened is the caller's, *directory* stays its owner's."""
    try:
        if task.access is not None:
            return Told(), beneath.open_beneath(directory, task.at, task.path, task.access)
        if task.only:
            return Told(Walked(*beneath.look(directory, task.at, task.path), None)), None
        return Told(Walked(*beneath.walk(directory, task.at, task.path, task.after))), None
    except Refused as error:
        return _refused(error), None


def _refused(error: Refused) -> Told:
    return Told(error=error.wire, parameters=error.parameters())
