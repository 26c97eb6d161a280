# SPDX-License-Identifier: MIT
"""Bytes with descriptors beside them: SCM_RIGHTS, as unix(7) has it.

The law: whatever descriptor the kernel hands over is close-on-exec from its first
moment and owned by a Packet, or closed before the call returns; a truncated packet
brings nothing. socket.recv_fds is not used: it drops its flags, so its descriptors
survive an exec. It refuses to know what the bytes mean.
"""

from __future__ import annotations

import os
import struct
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_TRUNC,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SOL_SOCKET,
)
from typing import TYPE_CHECKING, Self

from pagsrv.errors import ProtocolError
from pagsrv.kernel.fd import Fd
from pagsrv.limits import MESSAGE_BYTES, MESSAGE_FDS

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from types import TracebackType

SCM_PIDFD = 4  # linux/socket.h; Linux 6.5
SO_PASSPIDFD = 76  # asm-generic/socket.h; Linux 6.5
SO_PEERPIDFD = 77  # asm-generic/socket.h; Linux 6.5
SO_PASSRIGHTS = 83  # asm-generic/socket.h; Linux 6.16

_INT = struct.Struct("i")
_UCRED = struct.Struct("iII")
_ROOM = CMSG_SPACE(MESSAGE_FDS * _INT.size) + CMSG_SPACE(_INT.size) + CMSG_SPACE(_UCRED.size)
# CMSG_SPACE rounds up to eight bytes, so that room made for an odd number of descriptors
# lets one more through: nobody counts by the room, the broker counts what came.


class Packet:
    """Bytes, and the descriptors that came with them, owned here until take()."""

    __slots__ = ("data", "fds", "sender", "sender_pid")

    def __init__(
        self, data: bytes, fds: list[Fd] | None = None, sender: int = 0, sender_pid: int = 0
    ) -> None:
        self.data = data
        self.fds = fds if fds is not None else []
        self.sender = sender
        """The pidfs inode of the process that sent it; 0 if the kernel did not say."""
        self.sender_pid = sender_pid
        """Its process id, of SCM_CREDENTIALS; 0 if the kernel did not say."""

    def take(self) -> list[Fd]:
        """Every descriptor, now the caller's."""
        fds, self.fds = self.fds, []
        return fds

    def close(self) -> None:
        """Close what was not taken."""
        for fd in self.take():
            fd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def receive(
    sock: socket.socket, size: int = MESSAGE_BYTES + 1, *, stream: bool = False,
    owner: type[Fd] = Fd,
) -> Packet | None:  # fmt: skip
    """What waits on *sock*, at most *size* bytes; None if nothing does, empty data at hang-up.

    On SEQPACKET a packet that fills *size* or more is a ProtocolError; on a *stream*
    it is just the first part. Truncated descriptors are a ProtocolError always, and
    those that came are closed; each that came is an *owner*. OSError as recvmsg(2), but
    never EAGAIN.
    """
    try:
        return receive_blocking(sock, size, MSG_DONTWAIT, stream=stream, owner=owner)
    except BlockingIOError:
        return None


def receive_blocking(
    sock: socket.socket, size: int = MESSAGE_BYTES + 1, flags: int = 0, *, stream: bool = False,
    owner: type[Fd] = Fd,
) -> Packet:  # fmt: skip
    """As receive(), but waits as *sock* and *flags* say, with the OSError of recvmsg(2)."""
    data, ancillary, got, _ = sock.recvmsg(size, _ROOM, flags | MSG_CMSG_CLOEXEC)
    packet = Packet(data)
    if ancillary:
        _sort(packet, ancillary, owner)
    if got & MSG_CTRUNC:
        packet.close()
        raise ProtocolError(
            "descriptors were lost on the way: more came than the receiver could hold"
        )
    if got & MSG_TRUNC or (len(data) >= size and not stream):
        packet.close()
        raise ProtocolError(f"a message is at most {size - 1} bytes")
    return packet


def _sort(packet: Packet, ancillary: list[tuple[int, int, bytes]], owner: type[Fd]) -> None:
    """Put what came beside the data where it belongs; every descriptor gets its owner."""
    for level, kind, payload in ancillary:
        if level != SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            whole = len(payload) - len(payload) % _INT.size
            packet.fds.extend(owner(fd) for (fd,) in _INT.iter_unpack(payload[:whole]))
        elif kind == SCM_PIDFD and len(payload) == _INT.size:
            # A negative number is the kernel's errno: the sender has been reaped.
            (pidfd,) = _INT.unpack(payload)
            if pidfd >= 0:
                try:
                    packet.sender = os.fstat(pidfd).st_ino
                finally:
                    os.close(pidfd)
        elif kind == SCM_CREDENTIALS and len(payload) == _UCRED.size:
            packet.sender_pid = _UCRED.unpack(payload)[0]


def ancillary(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """The ancillary argument of sendmsg() that sends *fds*, which stay the caller's."""
    return [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
