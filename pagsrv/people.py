# SPDX-License-Identifier: MIT
"""Whose an entry is, who posted it, who opened it, who did something: as the wire shows it.

The law: fields and nothing else, as in messages.py; what a process calls itself is
decoration. It refuses to know how anybody was learned of.
"""

from __future__ import annotations

from msgspec import Struct


class Owner(Struct):
    """The uid and gid an entry belongs to."""

    uid: int
    gid: int


class Poster(Struct):
    """The process that gave the descriptor; *comm* is what it calls itself, *alive* of now."""

    pid: int
    comm: str
    alive: bool


class Opener(Struct):
    """A process that opened an entry, and when it last did, in seconds since 1970.

    *comm* is what it calls itself now, '' once it has exited; *alive* is null if not known.
    """

    pid: int
    uid: int
    comm: str
    time: float
    alive: bool | None


class ByView(Struct):
    """Who did what an event tells of; *comm* is decoration."""

    uid: int
    pid: int
    comm: str
