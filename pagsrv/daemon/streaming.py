# SPDX-License-Identifier: MIT
"""A peer on the STREAM socket: Varlink as everybody else speaks it.

The law: a message ends at its NUL; descriptors belong to the message that holds
the last byte of the read that brought them, since the kernel never reads past
the first piece of a message with descriptors (unix(7)). Half a message waits,
within its limit. It refuses to know anything else that Connection knows.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pagsrv.daemon.closing import PeerFd
from pagsrv.daemon.connection import Connection
from pagsrv.errors import ProtocolError, QuotaExceeded
from pagsrv.kernel import scm
from pagsrv.limits import MESSAGE_BYTES, MESSAGE_FDS

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.kernel.fd import Fd
    from pagsrv.model import Peer

_READ = MESSAGE_BYTES + 1
_SEVERAL = -1


class StreamConnection(Connection):
    """Messages cut out of a stream of bytes; see Connection."""

    stream = True
    socket_type = int(socket.SOCK_STREAM)

    def __init__(self, daemon: Daemon, sock: socket.socket, peer: Peer) -> None:
        super().__init__(daemon, sock, peer)
        self._buffer = bytearray()
        self._whole: list[scm.Packet] = []
        self._half = scm.Packet(b"")

    def frame(self, data: bytes) -> bytes:
        """Every message ends with a NUL."""
        return data + b"\0"

    def read(self) -> None:
        """Take what has come, and one message of it through."""
        packet = scm.receive(self.sock, _READ, stream=True, owner=PeerFd)
        if packet is None:
            return
        if not packet.data:
            self.close()
            return
        with packet:
            self._cut(packet)
        self.resume()

    def _cut(self, packet: scm.Packet) -> None:
        """Cut *packet* into messages; its descriptors go to the last one, whole or half."""
        *wholes, rest = packet.data.split(b"\0")
        for number, part in enumerate(wholes):
            last = number == len(wholes) - 1 and not rest
            self._append(part, packet, packet.take() if last else [])
            self._half.data = bytes(self._buffer)
            self._buffer.clear()
            self._whole.append(self._half)
            self._half = scm.Packet(b"")
        if rest:
            self._append(rest, packet, packet.take())
            held = max((fd.fileno() for fd in self._half.fds), default=0)
            if held >= self.daemon.most_fds:
                raise QuotaExceeded("the broker is near its own limit of descriptors; try again")

    def _append(self, part: bytes, packet: scm.Packet, fds: list[Fd]) -> None:
        """One more piece of the half message; pieces of several senders have none."""
        half = self._half
        if not self._buffer:
            half.sender, half.sender_pid = packet.sender, packet.sender_pid
        elif (half.sender, half.sender_pid) != (packet.sender, packet.sender_pid):
            half.sender, half.sender_pid = _SEVERAL, _SEVERAL
        self._buffer += part
        half.fds += fds
        if len(self._buffer) > MESSAGE_BYTES:
            raise ProtocolError(f"a message is at most {MESSAGE_BYTES} bytes")
        if len(half.fds) > MESSAGE_FDS:
            raise ProtocolError(f"a message brings at most {MESSAGE_FDS} descriptors")

    def resume(self) -> None:
        """Take the messages that are whole through, one after the other's answer."""
        while self._whole and not (self.awaiting or self.watching or self.outbox or self.closed):
            with self._whole.pop(0) as packet:
                self.turn(packet.data, packet)

    def close(self) -> None:
        """End the connection; descriptors of messages never taken are closed."""
        for packet in (*self._whole, self._half):
            packet.close()
        self._whole.clear()
        super().close()
