# SPDX-License-Identifier: MIT
"""peerkeyring: have the kernel answer for every peer's session, or no more.

The law: this is root's decision for the whole machine, and one word each; where it
cannot be, the sentence says what is missing, and nothing has changed. It refuses to
know what the answer is good for.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from pagsrv.cli import render
from pagsrv.cli.fail import Usage
from pagsrv.kernel import giver, iterlink, matelink
from pagsrv.kernel import peerkeyring as kernel
from pagsrv.kernel.listening import CannotServe, listen_at

if TYPE_CHECKING:
    import argparse

_BACKLOG = 128


def peerkeyring(given: argparse.Namespace) -> int:
    """peerkeyring, from what the parser found; of `status`, 0 if the kernel answers, else 1."""
    actions = {"install": _install, "remove": _remove, "status": _status, "serve": _serve}
    action = actions.get(given.action)
    if action is None:
        raise Usage(f"{given.action!r} is neither install, remove, status nor serve", "peerkeyring")
    if given.dir is not None and action is not _serve:
        raise Usage("only serve has a directory: leave --dir out", "peerkeyring")
    return action(given.dir)


def _install(_: str | None) -> int:
    kernel.install()
    return 0


def _remove(_: str | None) -> int:
    kernel.remove()
    return 0


def _status(_: str | None) -> int:
    status = kernel.status()
    render.line(f"SO_PEERKEYRING is {status.found}" + (f"; {status.do}" if status.do else ""))
    return 0 if status.ok else 1


def _serve(directory: str | None) -> NoReturn:
    """Give iterators until a signal comes."""
    path, other = (_placed(one, directory) for one in (iterlink.PATH, matelink.PATH))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Loaded first: where that is impossible nobody shall find a socket.
    with giver.Giver() as gives, giver.MateGiver() as mates, _listener(path) as listener:
        try:
            with _listener(other) as beside:
                try:
                    threading.Thread(target=mates.serve, args=(beside,), daemon=True).start()
                    render.line(f"serves at {path}")
                    gives.serve(listener)
                finally:
                    with suppress(OSError):
                        os.unlink(other)
        finally:
            with suppress(OSError):
                os.unlink(path)


def _placed(path: str, directory: str | None) -> str:
    return path if directory is None else os.path.join(directory, os.path.basename(path))


def _listener(path: str) -> socket.socket:
    """A SEQPACKET socket at *path* for everybody, in the place of what an earlier one left.

    It shows a process nothing but its own sockets' peers.
    """
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    except OSError as error:
        raise CannotServe(f"{path} cannot be served at: {error.strerror}") from None
    return listen_at(path, socket.SOCK_SEQPACKET, 0o666, _BACKLOG)
