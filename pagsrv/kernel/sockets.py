# SPDX-License-Identifier: MIT
"""What a posted socket is: its family, its addresses, its other end, how its connection goes.

The law: asked anew each time, of the descriptor itself and of the kernel's listing for that
one socket, and never guessed: a fact that is not to be had says why. `look` may wait for as
long as whoever has the socket likes and is for a thread of its own; `named` never waits. It
refuses to know whose business the answer is.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_INET, AF_INET6, AF_UNIX, SO_PEERCRED, SO_TYPE, SOL_SOCKET
from collections.abc import Callable
from errno import ENODATA, ENOTCONN, ESRCH
from functools import lru_cache

from pagsrv.kernel import netlink
from pagsrv.kernel.asking import Asked
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.process import comm, is_alive
from pagsrv.kernel.scm import SO_PEERPIDFD
from pagsrv.kernel.what import printable, protocol
from pagsrv.sockets import PeerProcess, SocketView, TcpView

SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN = 30, 38, 39  # asm-generic/socket.h
SO_MEMINFO, SO_COOKIE, SO_NETNS_COOKIE = 55, 57, 71
_SIOCINQ, _SIOCOUTQ = 0x541B, 0x5411  # FIONREAD, TIOCOUTQ of asm-generic/ioctls.h; tcp(7), unix(7)
_TCP, _TCP_INFO, _MPTCP = 6, 11, 262  # netinet/in.h, linux/tcp.h
_INFO_BYTES = 256

_FAMILIES = {
    AF_UNIX: "unix", AF_INET: "inet", AF_INET6: "inet6", 16: "netlink", 17: "packet",
    31: "bluetooth", 38: "alg", 40: "vsock", 44: "xdp",
}  # fmt: skip
_TYPES = {1: "stream", 2: "dgram", 3: "raw", 5: "seqpacket"}
_PROTOCOLS = {
    1: "icmp", _TCP: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite", _MPTCP: "mptcp",
}  # fmt: skip
_NAMED = {
    "UNIX": ("unix", None, None), "UNIX-STREAM": ("unix", "stream", None),
    "TCP": ("inet", "stream", "tcp"), "TCPv6": ("inet6", "stream", "tcp"),
    "MPTCP": ("inet", "stream", "mptcp"), "MPTCPv6": ("inet6", "stream", "mptcp"),
    "UDP": ("inet", "dgram", "udp"), "UDPv6": ("inet6", "dgram", "udp"),
    "NETLINK": ("netlink", None, None), "PACKET": ("packet", None, None),
    "AF_VSOCK": ("vsock", None, None),
}  # fmt: skip
_STATES = (
    "unknown", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait",
    "closed", "close-wait", "last-ack", "listening", "closing", "syn-received",
)  # fmt: skip
"""As include/net/tcp_states.h numbers them, in the words of RFC 9293."""
_ESTABLISHED, _LISTEN = 1, 10

_INT, _LONG, _UCRED = struct.Struct("i"), struct.Struct("Q"), struct.Struct("iII")
_NOBODY = 0xFFFFFFFF
_UNACKED, _SACKED, _RTT, _RTTVAR, _RETRANS = 24, 28, 68, 72, 100  # struct tcp_info, linux/tcp.h
_ACKED, _RECEIVED, _SENT = 120, 128, 200  # the last of them since Linux 4.19

_ANOTHER = "it is of another network namespace than the broker"
_LISTED = ("peer_inode", "receive_queue", "send_queue")
_MAY_WAIT = ("type", "state", "local", "peer", "receive_queue", "send_queue")


def named(fd: Fd, why: str = "") -> SocketView:
    """The little that socket *fd*, still the caller's, tells without a lock of its own.

    *why* is told of everything else.
    """
    family, kind, spoken = _NAMED.get(protocol(fd), (None, None, None))
    view = SocketView(family, kind, spoken, inode=os.fstat(fd.fileno()).st_ino)
    if why:
        more = ("peer_process", "peer_inode") if family == "unix" else ()
        view.unknown = {
            name: why
            for name in ("family", *_MAY_WAIT, *more, *(("tcp",) if spoken == "tcp" else ()))
            if getattr(view, name) is None
        }
    return view


def look(fd: Fd) -> SocketView:
    """All that is to be known of socket *fd*, still the caller's; it may wait, see the law."""
    sock, view = Asked(fd), named(fd)
    family = sock.getsockopt(SOL_SOCKET, SO_DOMAIN)
    spoken = sock.getsockopt(SOL_SOCKET, SO_PROTOCOL)
    kind = sock.getsockopt(SOL_SOCKET, SO_TYPE)
    view.family, view.type = _FAMILIES.get(family, str(family)), _TYPES.get(kind, str(kind))
    internet = family in (AF_INET, AF_INET6)
    view.protocol = _PROTOCOLS.get(spoken, str(spoken)) if internet else None
    view.other_netns = _of_another(sock)
    connected = _addresses(sock, view)
    listens = bool(sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN))
    if family == AF_UNIX:
        _unix(sock, view, connected=connected, listens=listens)
    elif internet and spoken in (_TCP, _MPTCP):
        _tcp(sock, view, listens=listens)
    else:
        view.state = "listening" if listens else "connected" if connected else "unconnected"
        _memory(sock, view)
    return view


def _learn(view: SocketView, names: tuple[str, ...], ask: Callable[[], None]) -> None:
    """Do *ask*; where the kernel refuses, *names* are not known because of that."""
    try:
        ask()
    except OSError as error:
        view.unknown |= dict.fromkeys(names, f"the kernel does not say: {error.strerror}")


def _addresses(sock: Asked, view: SocketView) -> bool:
    """Fill in both addresses; whether there is another end at all."""
    connected = True

    def own() -> None:
        view.local = _shown(sock.name(peer=False))

    def other() -> None:
        nonlocal connected
        try:
            view.peer = _shown(sock.name(peer=True))
        except OSError as error:
            connected = False
            # EOPNOTSUPP and the like: some families have no other end.
            if error.errno != ENOTCONN and view.family in ("unix", "inet", "inet6"):
                raise

    _learn(view, ("local",), own)
    _learn(view, ("peer",), other)
    return connected


def _shown(name: str | None) -> str | None:
    return None if name is None else printable(name)


# ── Unix ──


def _unix(sock: Asked, view: SocketView, *, connected: bool, listens: bool) -> None:
    view.state = "listening" if listens else "connected" if connected else "unconnected"
    _learn(view, _LISTED, lambda: _listed(sock, view))
    if connected:
        _learn(view, ("peer_process",), lambda: _process(sock, view))


def _listed(sock: Asked, view: SocketView) -> None:
    """What the kernel's own listing shows of it."""
    (cookie,) = _LONG.unpack(sock.getsockopt(SOL_SOCKET, SO_COOKIE, _LONG.size))
    try:
        found = None if view.other_netns else netlink.unix_socket(view.inode or 0, cookie)
    except ImportError:
        view.unknown |= dict.fromkeys(_LISTED, "pyroute2 is not installed: pagsrv[netlink] has it")
        return
    if found is None:
        why = _ANOTHER if view.other_netns else f"the kernel's listing has it not: {_ANOTHER}"
        view.unknown |= dict.fromkeys(_LISTED, why)
    elif found.state == _LISTEN:
        view.state, view.waiting, view.backlog = "listening", found.receive, found.send
    else:
        view.receive_queue, view.send_queue = found.receive, found.send
        view.peer_inode = found.peer or None
        if found.state == _ESTABLISHED and found.shut:
            view.state = "closed" if found.shut == 3 else "half-closed"


def _process(sock: Asked, view: SocketView) -> None:
    """Who was at the other end when it connected."""
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, _UCRED.size))
    if uid == _NOBODY:
        view.unknown["peer_process"] = "the kernel keeps it for stream and seqpacket sockets only"
        return
    if not pid:
        view.unknown["peer_process"] = "it is outside our process namespace"
        return
    view.peer_process = PeerProcess(pid, uid, *_now(sock, pid))


def _now(sock: Asked, pid: int) -> tuple[str, bool | None]:
    """What process *pid* at the other end calls itself, and whether it lives (None: unknown)."""
    try:
        number = _INT.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERPIDFD, _INT.size))[0]
    except OSError as error:
        # ENODATA, EINVAL, ESRCH: it is gone for good; else the kernel has no such option (6.5).
        return "", False if error.errno in (ENODATA, ESRCH) else None
    with Fd(number) as pidfd:
        name = comm(pid)
        # Alive afterwards: so the number was its own while we read.
        return (name, True) if is_alive(pidfd) else ("", False)


# ── the others ──


def _tcp(sock: Asked, view: SocketView, *, listens: bool) -> None:
    def told() -> None:
        info = sock.getsockopt(_TCP, _TCP_INFO, _INFO_BYTES)
        view.state = _STATES[info[0]] if info[0] < len(_STATES) else str(info[0])
        if listens:
            view.waiting, view.backlog = _word(info, _UNACKED), _word(info, _SACKED)
            return
        view.tcp = TcpView(
            _word(info, _RTT), _word(info, _RTTVAR), _word(info, _UNACKED), _word(info, _RETRANS),
            _count(info, _SENT), _count(info, _ACKED), _count(info, _RECEIVED),
        )  # fmt: skip

    def queued() -> None:
        view.receive_queue, view.send_queue = sock.queue(_SIOCINQ), sock.queue(_SIOCOUTQ)

    _learn(view, ("state", "tcp"), told)
    if not listens:
        _learn(view, ("receive_queue", "send_queue"), queued)


def _memory(sock: Asked, view: SocketView) -> None:
    """The queues of a socket that counts no bytes: the memory that they take."""

    def told() -> None:
        raw = sock.getsockopt(SOL_SOCKET, SO_MEMINFO, 64)
        view.receive_queue, _, view.send_queue = struct.unpack_from("III", raw)

    _learn(view, ("receive_queue", "send_queue"), told)


def _word(info: bytes, at: int) -> int:
    return int(struct.unpack_from("I", info, at)[0]) if len(info) >= at + 4 else 0


def _count(info: bytes, at: int) -> int:
    return int(_LONG.unpack_from(info, at)[0]) if len(info) >= at + _LONG.size else 0


def _of_another(sock: Asked) -> bool | None:
    """Whether it is of another network namespace; None where the kernel does not tell (5.14)."""
    try:
        return sock.getsockopt(SOL_SOCKET, SO_NETNS_COOKIE, _LONG.size) != _own_namespace()
    except OSError:
        return None


@lru_cache(maxsize=1)
def _own_namespace() -> bytes:
    """The cookie of our own network namespace, which stays ours."""
    import socket  # noqa: PLC0415 -- asked once, and late

    with socket.socket(AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.getsockopt(SOL_SOCKET, SO_NETNS_COOKIE, _LONG.size)
