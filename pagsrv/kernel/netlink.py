# SPDX-License-Identifier: MIT
"""One Unix socket as the kernel's own listing shows it (sock_diag(7)): its other end, its queues.

The law: exactly one socket is asked for, by inode and cookie, so that the answer is about
no other; nothing is listed and no lock of a socket's is taken. It knows the sockets of
our own network namespace only. The only importer of pyroute2, whose messages these are;
that takes two tenths of a second and twenty megabytes, and so waits for the first question.
It refuses to know descriptors.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import ENOENT, ESTALE
from typing import Any, NamedTuple

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG of linux/netlink.h
_REQUEST, _ERROR = 1, 2  # NLM_F_REQUEST, NLMSG_ERROR
_EVERY = 0xFFFFFFFF
_ROOM = 4096
_TYPE = struct.Struct("4xH")  # nlmsg_type of struct nlmsghdr


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


def unix_socket(inode: int, cookie: int) -> UnixSocket | None:
    """The Unix socket of *inode* and *cookie* (SO_COOKIE); None if our namespace has none such.

    OSError if the kernel will not list sockets at all, ImportError without pyroute2.
    """
    from pyroute2.netlink import diag, nlmsgerr  # noqa: PLC0415 -- see above

    ask = diag.unix_diag_req()
    ask["sdiag_family"], ask["udiag_states"] = socket.AF_UNIX, _EVERY
    ask["udiag_ino"], ask["udiag_cookie"] = inode, cookie
    ask["udiag_show"] = diag.UDIAG_SHOW_PEER | diag.UDIAG_SHOW_RQLEN
    ask["header"].update({"type": diag.SOCK_DIAG_BY_FAMILY, "flags": _REQUEST, "pid": 0})
    ask["header"]["sequence_number"] = 1
    ask.encode()
    # A plain socket: pyroute2's own one brings an event loop along for one packet each way.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        netlink.sendto(ask.data, (0, 0))
        raw = netlink.recv(_ROOM)
    failed = _TYPE.unpack_from(raw)[0] == _ERROR
    answer = (nlmsgerr if failed else diag.unix_diag_msg)(raw)
    answer.decode()
    if not failed:
        return _read(answer)
    number = abs(answer["error"])
    if number in (ENOENT, ESTALE):
        return None
    raise OSError(number, os.strerror(number))


def _read(answer: Any) -> UnixSocket:  # noqa: ANN401 -- the package is not typed
    queues = answer.get_attr("UNIX_DIAG_RQLEN") or {"udiag_rqueue": 0, "udiag_wqueue": 0}
    return UnixSocket(
        answer["udiag_state"],
        answer.get_attr("UNIX_DIAG_PEER") or 0,
        queues["udiag_rqueue"],
        queues["udiag_wqueue"],
        answer.get_attr("UNIX_DIAG_SHUTDOWN") or 0,
    )
