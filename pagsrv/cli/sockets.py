# SPDX-License-Identifier: MIT
"""What a posted socket is, in words.

The law: a line for what is known, and for what is not the broker's reason; null is left
out. It refuses to know how anything was learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pagsrv.sockets import PeerProcess, SocketView, TcpView

_MILLI = 1000  # microseconds


def lines(socket: SocketView) -> list[tuple[str, str]]:
    """What `pagsrv stat` says of a socket: names and values, in the order of the lines."""
    waiting = None if socket.waiting is None else f"{socket.waiting} of at most {socket.backlog}"
    told = (
        ("socket", _kind(socket)),
        ("network", "another namespace than the broker's" if socket.other_netns else None),
        ("address", socket.local),
        ("other end", socket.peer),
        ("other socket", _counted("inode {}", socket.peer_inode)),
        ("connected to", _process(socket.peer_process)),
        ("to be read", _counted("{} bytes", socket.receive_queue)),
        ("on its way", _counted("{} bytes", socket.send_queue)),
        ("to be accepted", waiting),
    )
    found = [(name, value) for name, value in told if value is not None]
    return found + _tcp(socket.tcp) + _unknown(socket.unknown)


def _counted(text: str, number: int | None) -> str | None:
    return None if number is None else text.format(number)


def _kind(socket: SocketView) -> str:
    kind = " ".join(
        word for word in (socket.protocol, socket.type, socket.family) if word is not None
    )
    return f"{kind or 'of an unknown family'}, {socket.state or 'state not known'}"


def _process(process: PeerProcess | None) -> str | None:
    if process is None:
        return None
    who = f"process {process.pid} of uid {process.uid}"
    if process.alive is None:
        return f"{who}, when it was connected"
    return f"{who} ({process.comm})" if process.alive else f"{who}, which has exited"


def _tcp(tcp: TcpView | None) -> list[tuple[str, str]]:
    if tcp is None:
        return []
    again = f", {tcp.retransmits} sent again" if tcp.retransmits else ""
    return [
        ("round trip", f"{tcp.rtt / _MILLI:.3f} ms, give or take {tcp.rttvar / _MILLI:.3f}"),
        ("sent", f"{tcp.bytes_sent} bytes, {tcp.unacked} segments unacknowledged{again}"),
        ("received", f"{tcp.bytes_received} bytes"),
    ]


def _unknown(unknown: dict[str, str]) -> list[tuple[str, str]]:
    """Several facts are often not known for the same reason."""
    reasons: dict[str, list[str]] = {}
    for name, why in unknown.items():
        reasons.setdefault(why, []).append(name.replace("_", " "))
    return [("not known", f"{', '.join(names)}: {why}") for why, names in reasons.items()]
