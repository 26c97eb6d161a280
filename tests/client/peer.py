# SPDX-License-Identifier: MIT
"""A peer that plays a broker by a script, to answer as no broker of ours would.

The law: it says exactly what the script holds, packet by packet, one for each call it
hears; what it was sent is kept. It refuses to know what any of it means.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pagsrv.kernel import scm

ATTACHED = (
    b'{"parameters":{"broker":"00112233445566778899aabbccddeeff","uid":0,"limits":'
    b'{"message_bytes":65536,"message_fds":253,"name_bytes":255,"labels":16},"methods":[],'
    b'"scopes":[{"scope":"user:0","proof":"user","isolation":"none"}],"nonce":null}}'
)


class Say(NamedTuple):
    """One packet, with that many descriptors (of /dev/null) beside it."""

    data: bytes
    fds: int = 0


HANG_UP = Say(b"")
"""Instead of a packet: close the connection."""

Step = Sequence[Say | Callable[[], object]]
"""The packets that answer one call, none for silence; or what to do in the peer's thread."""

HELLO: Step = [Say(ATTACHED)]

SECONDS = 20


class Scripted:
    """What the peer heard, in order; *dir* is where it answers."""

    def __init__(self, dir: Path) -> None:  # noqa: A002 -- as Board.dir
        self.dir = str(dir)
        self.heard: list[bytes] = []


@contextmanager
def scripted(dir: Path, *connections: Sequence[Step], unasked: Step = ()) -> Iterator[Scripted]:  # noqa: A002
    """A peer in *dir* that plays one script for each connection; *unasked* is said before it."""
    peer = Scripted(dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(dir / "board"))
        listener.listen()
        listener.settimeout(SECONDS)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        thread = threading.Thread(target=_serve, args=(listener, connections, unasked, peer, null))
        thread.start()
        try:
            yield peer
        finally:
            thread.join(SECONDS)
            os.close(null)
    (dir / "board").unlink()


def _serve(
    listener: socket.socket,
    scripts: Sequence[Sequence[Step]],
    unasked: Step,
    peer: Scripted,
    null: int,
) -> None:
    playing = []
    for script in scripts:
        sock, _ = listener.accept()
        playing.append(threading.Thread(target=_play, args=(sock, script, unasked, peer, null)))
        playing[-1].start()
    for thread in playing:
        thread.join(SECONDS)


def _play(
    sock: socket.socket, script: Sequence[Step], unasked: Step, peer: Scripted, null: int
) -> None:
    with sock:
        sock.settimeout(SECONDS)
        if _say(sock, unasked, null) and all(
            _hear(sock, peer) and _say(sock, step, null) for step in script
        ):
            while _hear(sock, peer):
                pass


def _say(sock: socket.socket, step: Step, null: int) -> bool:
    """Whether the conversation goes on."""
    for say in step:
        if say is HANG_UP:
            return False
        if isinstance(say, Say):
            _send(sock, say, null)
        else:
            say()
    return True


def _hear(sock: socket.socket, peer: Scripted) -> bool:
    with scm.receive_blocking(sock) as packet:
        peer.heard += [packet.data] if packet.data else []
        return bool(packet.data)


def _send(sock: socket.socket, say: Say, null: int) -> None:
    sock.sendmsg([say.data], scm.ancillary([null] * say.fds))
