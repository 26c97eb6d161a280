# SPDX-License-Identifier: MIT
"""What peers do in the tests of who they are: connect, as themselves and as others.

The law: run in an actor; what is opened is kept in `held` until the actor ends. It
refuses to know who asks.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from pagsrv.kernel import keys
from pagsrv.kernel.libc import libc
from pagsrv.kernel.peerkeyring import PeerKeyring, ask
from tests.actors import held

NEWPID, NEWUSER = 0x20000000, 0x10000000  # linux/sched.h


class Door:
    """A socket anybody may connect to; owns its listener."""

    def __init__(self, path: Path, kind: socket.SocketKind = socket.SOCK_SEQPACKET) -> None:
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX, kind)
        self.listener.bind(self.path)
        path.chmod(0o666)
        self.listener.listen()

    def accept(self) -> socket.socket:
        """The next connection, the caller's."""
        return self.listener.accept()[0]


def known(sock: socket.socket) -> PeerKeyring:
    """The answer, which there has to be."""
    answer = ask(sock)
    assert answer is not None
    return answer


def connect(path: str, kind: socket.SocketKind = socket.SOCK_SEQPACKET) -> int:
    """Connect, and keep it; the serial of our session keyring."""
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.connect(path)
    held[f"sock{len(held)}"] = sock
    return keys.session_ring()


def connect_in_a_thread(path: str) -> tuple[int, int]:
    """Connect from a thread that has joined a session of its own; its ring, and ours."""
    rings: list[int] = []

    def run() -> None:
        keys.join_session()
        rings.append(connect(path))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return rings[0], keys.session_ring()


def connect_in_a_namespace(path: str) -> int:
    """Connect from a user namespace of our own; 0 if there are none here."""
    if libc().unshare(NEWUSER):
        return 0
    return connect(path)


def connect_from_the_uids_ring(path: str) -> int:
    """Connect with the uid's own session keyring as ours, as every process of it could."""
    keys.describe(keys.USER_SESSION)
    keys.join_session(f"_uid_ses.{os.getuid()}")
    return connect(path)


def unshare_user() -> bool:
    """Go into a user namespace of our own; whether there are any here."""
    return bool(libc().unshare(NEWUSER) == 0)
