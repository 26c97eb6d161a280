# SPDX-License-Identifier: MIT
"""An iterator over who is in one's own session: made by root's rights, or fetched from its helper.

The law: it is seen to work before it is believed. It refuses to know what it is asked for.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pagsrv.errors import PagsrvError
from pagsrv.kernel.bpf import BpfFault
from pagsrv.kernel.iterlink import LINK
from pagsrv.kernel.peer import identify
from pagsrv.kernel.scm import receive_blocking

if TYPE_CHECKING:
    from pagsrv.kernel.fd import Fd

PATH = "/run/pagsrv/mates"
"""Where the giver listens, for anybody: it shows a process nothing but its own session."""

_PATIENCE = 2.0  # seconds


def fetch(path: str | None = None) -> Fd:
    """The iterator of root's helper that gives at *path*, the caller's; BpfFault."""
    place = path or PATH
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(place)
            if identify(sock, process=False).uid != 0:
                raise BpfFault(f"what answers at {place} is not root's")
            packet = receive_blocking(sock)
        except OSError as error:
            raise BpfFault(f"nobody gives an iterator at {place}: {error.strerror}") from error
        except PagsrvError as error:
            raise BpfFault(str(error)) from error
    with packet:
        if len(packet.fds) != 1 or packet.data != LINK:
            said = packet.data.decode("utf-8", "replace")
            raise BpfFault(said or f"what answers at {place} gives no iterator")
        return packet.take()[0]
