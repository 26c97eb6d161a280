# SPDX-License-Identifier: MIT
"""One Unix socket as the kernel's own listing shows it (sock_diag(7)): its other end, its queues.

The law: exactly one socket is asked for, by inode and cookie, so that the answer is about
no other; nothing is listed and no lock of a socket's is taken. It knows the sockets of
our own network namespace only. It refuses to know descriptors.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import ENOENT, ESTALE
from typing import NamedTuple

_NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_BY_FAMILY, _REQUEST, _ERROR = 20, 1, 2  # linux/sock_diag.h; NLM_F_REQUEST, NLMSG_ERROR
_HEADER = struct.Struct("IHHII")  # struct nlmsghdr
_ASK = struct.Struct("BBHIIIQ")  # struct unix_diag_req (linux/unix_diag.h)
_TOLD = struct.Struct("BBBBIQ")  # struct unix_diag_msg
_ATTRIBUTE = struct.Struct("HH")  # struct nlattr
_SHOW_PEER, _SHOW_RQLEN = 0x04, 0x10
_PEER, _RQLEN, _SHUTDOWN = 2, 4, 6
_U32, _QUEUES = struct.Struct("I"), struct.Struct("II")
_ROOM = 4096
_EVERY = 0xFFFFFFFF


class UnixSocket(NamedTuple):
    """What is told of it: *state* as TCP numbers them, *shut* 1 for reading, 2 for writing.

    *peer* is the inode of the other end, 0 if there is none. The queues are bytes, or, where
    it listens, connections that wait and how many may.
    """

    state: int
    peer: int
    receive: int
    send: int
    shut: int


def find(inode: int, cookie: int) -> UnixSocket | None:
    """The Unix socket of *inode* and *cookie* (SO_COOKIE); None if our namespace has none such.

    OSError if the kernel will not list sockets at all.
    """
    ask = _ASK.pack(socket.AF_UNIX, 0, 0, _EVERY, inode, _SHOW_PEER | _SHOW_RQLEN, cookie)
    packet = _HEADER.pack(_HEADER.size + len(ask), _BY_FAMILY, _REQUEST, 1, 0) + ask
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.sendto(packet, (0, 0))
        answer = netlink.recv(_ROOM)
    kind = _HEADER.unpack_from(answer)[1]
    if kind == _ERROR:
        number = -struct.unpack_from("i", answer, _HEADER.size)[0]
        if number in (ENOENT, ESTALE):
            return None
        raise OSError(number, os.strerror(number))
    return _read(answer)


def _read(answer: bytes) -> UnixSocket:
    state = _TOLD.unpack_from(answer, _HEADER.size)[2]
    found = dict(_attributes(answer, _HEADER.size + _TOLD.size))
    receive, send = _QUEUES.unpack(found[_RQLEN]) if _RQLEN in found else (0, 0)
    peer = _U32.unpack(found[_PEER])[0] if _PEER in found else 0
    shut = found[_SHUTDOWN][0] if _SHUTDOWN in found else 0
    return UnixSocket(state, peer, receive, send, shut)


def _attributes(answer: bytes, start: int) -> list[tuple[int, bytes]]:
    found = []
    while start + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, start)
        if length < _ATTRIBUTE.size:
            break
        found.append((kind, answer[start + _ATTRIBUTE.size : start + length]))
        start += (length + 3) & ~3
    return found
