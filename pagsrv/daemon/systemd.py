# SPDX-License-Identifier: MIT
"""What a service manager gives and wants: sockets by LISTEN_FDS, news by NOTIFY_SOCKET.

The law: the environment is read once and cleared, so that no child takes it for
its own (sd_listen_fds(3), sd_notify(3)). It refuses to know systemd's library.
"""

from __future__ import annotations

import os
import socket

from pagsrv.daemon.config import BadConfig
from pagsrv.kernel.fd import Fd

FIRST = 3


def listen_fds() -> list[Fd]:
    """The descriptors passed by socket activation, now the caller's, CLOEXEC."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    fds = range(FIRST, FIRST + int(count))
    try:
        for fd in fds:
            os.set_inheritable(fd, False)
    except OSError:
        raise BadConfig(f"LISTEN_FDS says {count} descriptors, and {fd} is not open") from None
    return [Fd(fd) for fd in fds]


def notify(state: str) -> None:
    """Tell the service manager *state*, as in READY=1; nothing if there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), target)
        except OSError:
            # The manager is gone; the board is not less ready for that.
            return
