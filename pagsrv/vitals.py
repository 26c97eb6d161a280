# SPDX-License-Identifier: MIT
"""How a broker is and what its namespaces hold, as the wire shows it.

The law: fields and nothing else, as in messages.py; null is not known, or not the
asker's to know. It refuses to know how anything was counted.
"""

from __future__ import annotations

from msgspec import Struct


class Use(Struct):
    """What is used of something, and the most that may be."""

    used: int
    most: int


class Budget(Struct):
    """What one uid uses of what each uid may; watches are those that wait, too."""

    uid: int
    connections: Use
    entries: Use
    namespaces: Use
    watches: Use
    processes: Use
    grants: Use


class Latency(Struct):
    """How long the loop was busy with a call, in microseconds: the last *samples* measured."""

    p50: float
    p90: float
    p99: float
    samples: int


class Activity(Struct):
    """What everybody's calls add up to: for root and the broker's own uid only.

    *proofs* and *refusals* count since the start, by kind and by the error's name;
    *unattended* are the sessions with entries and no member.
    """

    descriptors: Use
    latency: Latency | None
    proofs: dict[str, int]
    refusals: dict[str, int]
    unattended: int


class Leader(Struct):
    """The process that leads a session (getsid(2)); what it calls itself is decoration."""

    pid: int
    comm: str


class NamespaceView(Struct):
    """One namespace as the asker may see it; *since* is seconds since 1970.

    *entries* are those that the asker may view. *proof* is how it is proved in the scope, null
    if it is not; who is not, and whose scope it is not, is told of no *members* and no *leader*.
    """

    scope: str
    isolation: str
    proof: str | None
    uid: int
    entries: int
    members: int | None
    leader: Leader | None
    since: float


class Way(Struct):
    """A way to learn a peer's session: whether it is taken, and by what, or why not."""

    way: str
    taken: bool
    why: str
