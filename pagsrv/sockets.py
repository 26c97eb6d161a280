# SPDX-License-Identifier: MIT
"""What a posted socket is at this moment, as the wire shows it.

The law: fields and nothing else, as in messages.py; null is not known or has none, and
what should be known and is not says why in `unknown`. It refuses to know how a fact was
learned.
"""

from __future__ import annotations

from msgspec import Struct, field


class PeerProcess(Struct):
    """Who connected or listened at the other end, as of then; *alive* and *comm* as of now.

    What it calls itself is decoration, '' once it has exited. Somebody else may hold the other
    end by now.
    """

    pid: int
    uid: int
    comm: str
    alive: bool | None


class TcpView(Struct):
    """How a TCP connection goes (tcp(7), TCP_INFO): times in microseconds, counters in bytes.

    *unacked* counts segments on their way, *retransmits* those sent again since the beginning.
    """

    rtt: int
    rttvar: int
    unacked: int
    retransmits: int
    bytes_sent: int
    bytes_acked: int
    bytes_received: int


class SocketView(Struct):
    """A socket; the queues in bytes. Where it listens, *waiting* of *backlog* connections wait.

    *unknown* says for each field that should be known why it is not.
    """

    family: str | None
    type: str | None = None
    protocol: str | None = None
    state: str | None = None
    local: str | None = None
    peer: str | None = None
    inode: int | None = None
    peer_inode: int | None = None
    peer_process: PeerProcess | None = None
    other_netns: bool | None = None
    receive_queue: int | None = None
    send_queue: int | None = None
    waiting: int | None = None
    backlog: int | None = None
    tcp: TcpView | None = None
    unknown: dict[str, str] = field(default_factory=dict)
