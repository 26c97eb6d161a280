# SPDX-License-Identifier: MIT
"""fdpass: an entry's descriptor, given to whoever started us, over our stdout.

It is what ssh(1) asks of a ProxyCommand with ProxyUseFdpass: one byte and one descriptor
(SCM_RIGHTS, unix(7)) on a Unix socket, then the end. The law: where stdout cannot carry a
descriptor nothing is opened, since an open may be an entry's last. It refuses to know what
becomes of the descriptor.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from pagsrv.cli.fail import Usage
from pagsrv.client.blocking import connect
from pagsrv.errors import PagsrvError
from pagsrv.kernel.scm import ancillary
from pagsrv.names import parse_reference, parse_scope

if TYPE_CHECKING:
    import argparse

    from pagsrv.kernel.fd import Fd

_STDOUT = 1


class NotPassed(PagsrvError):
    """The descriptor could not be given over stdout."""


def fdpass(given: argparse.Namespace) -> int:
    """fdpass, from what the parser found."""
    parse_reference(given.name)
    if given.scope is not None:
        parse_scope(given.scope)
    with (
        _way_out(given.name) as out,
        connect(given.dir) as board,
        board.open(given.name, given.scope) as fd,
    ):
        _pass(out, fd, given.name)
    return 0


def _pass(out: socket.socket, fd: Fd, name: str) -> None:
    try:
        out.sendmsg([b"\0"], ancillary([fd.fileno()]), socket.MSG_NOSIGNAL)
    except OSError as error:
        raise NotPassed(
            f"{name} was opened and cannot be passed over stdout: {error.strerror}"
        ) from None


def _way_out(name: str) -> socket.socket:
    """Stdout as the connected Unix socket that it has to be; the caller's to close."""
    try:
        out = socket.socket(fileno=os.dup(_STDOUT))
    except OSError:
        out = None
    if out is not None:
        if out.family == socket.AF_UNIX and _connected(out):
            return out
        out.close()
    raise Usage(
        "stdout is no connected Unix socket, so no descriptor can be passed over it: in ssh's "
        "configuration say `ProxyUseFdpass yes`, or have the bytes copied by `pagsrv connect "
        f"{name}`",
        "fdpass",
    )


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
