# SPDX-License-Identifier: MIT
"""The socket to a broker: packets out, packets in, and what it means when that fails.

The law: a descriptor that comes is close-on-exec and in a Packet, or closed; OSError of
a socket that is gone becomes NoBroker with a sentence, any other stays what it is.
It refuses to know what the packets say.
"""

from __future__ import annotations

import os
import struct
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    SCM_RIGHTS,
    SOL_SOCKET,
    socket,
)
from collections.abc import Sequence
from errno import EMFILE, ENFILE

from pagsrv.errors import InvalidParameter, PagsrvError, ProtocolError
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.scm import Packet, ancillary
from pagsrv.limits import MESSAGE_BYTES, MESSAGE_FDS

Beside = list[tuple[int, int, bytes]]

SIZE = MESSAGE_BYTES + 1
ROOM = CMSG_SPACE(4 * MESSAGE_FDS)
SEND = MSG_NOSIGNAL
RECEIVE = MSG_CMSG_CLOEXEC
CUT = MSG_CTRUNC | MSG_TRUNC
"""Flags of a packet that lost something on its way to us."""

unpack_fd = struct.Struct("i").unpack


class Lost(PagsrvError):
    """Descriptors of an answer got lost; the answer has been read all the same."""


def check(packet: bytes, fds: Sequence[int] = ()) -> None:
    """InvalidParameter if one message cannot carry this."""
    if len(packet) > MESSAGE_BYTES:
        raise InvalidParameter(
            "", f"the call has {len(packet)} bytes, the most is {MESSAGE_BYTES}: ask for less"
        )
    if len(fds) > MESSAGE_FDS:
        raise InvalidParameter("", f"one call takes at most {MESSAGE_FDS} descriptors along")


def check_room(count: int) -> None:
    """PagsrvError unless *count* more descriptors can be held: what is taken is nowhere else.

    More than one message carries are not looked for: the broker refuses them.
    """
    held: list[int] = []
    try:
        held.extend(os.eventfd(0) for _ in range(count if count <= MESSAGE_FDS else 0))
    except OSError as error:
        if error.errno not in (EMFILE, ENFILE):
            raise
        raise PagsrvError(
            "nothing was taken, since this process may hold no more descriptors: close some, or "
            "raise the limit (ulimit -n)"
        ) from None
    finally:
        for fd in held:
            os.close(fd)


def send(sock: socket, packet: bytes, fds: Sequence[int]) -> None:
    """Send *packet* with *fds*, the caller's still; OSError as sendmsg(2), and nothing was sent."""
    if fds:
        sock.sendmsg((packet,), ancillary(fds), SEND)
    else:
        sock.send(packet, SEND)


def receive(sock: socket) -> Packet:
    """The next packet; OSError as recvmsg(2), see `packet` for the rest.

    ECONNRESET says that the broker hung up without having read all we sent; what it
    said before that lies behind the reset, and is a refusal as a rule.
    """
    try:
        data, beside, flags, _ = sock.recvmsg(SIZE, ROOM, RECEIVE)
    except ConnectionResetError:
        data, beside, flags, _ = sock.recvmsg(SIZE, ROOM, RECEIVE)
    return packet(data, beside, flags)


def packet(data: bytes, beside: Beside, flags: int) -> Packet:
    """What recvmsg(2) gave, owned; EOFError at the end, Lost if descriptors were."""
    came = Packet(data)
    for level, kind, payload in beside:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            came.fds += map(Fd, struct.unpack_from(f"{len(payload) // 4}i", payload))
    if flags & MSG_CTRUNC:
        came.close()
        raise Lost(
            "descriptors that the broker sent were lost: this process may hold no more of them; "
            "close some, or raise the limit (ulimit -n)"
        )
    if flags & MSG_TRUNC or len(data) >= SIZE:
        came.close()
        raise ProtocolError(f"the broker sent more than {MESSAGE_BYTES} bytes at once")
    if not data:
        came.close()
        raise EOFError
    return came


def hung_up(directory: str) -> str:
    """What it means that a connection ended by itself."""
    return (
        f"the broker at {directory} hung up: it was stopped, or the session proved on this "
        "connection has ended; connect again"
    )


def given_up(directory: str) -> str:
    """What it means that a connection was left in the middle of a call."""
    return (
        f"this connection to the broker at {directory} was given up in the middle of a call, and "
        "is closed for that; connect again"
    )
