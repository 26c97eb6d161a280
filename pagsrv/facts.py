# SPDX-License-Identifier: MIT
"""What the kernel says, as values: of a process, a descriptor, a keyring.

The law: plain tuples, and nothing else is loaded for them: the command proves its session
with these, and is over sooner than dataclasses are imported. It refuses to know how a fact
was learned and what follows from it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Isolation = Literal["isolated", "linkable", "none"]
FdKind = Literal["file", "dir", "fifo", "socket", "char", "block", "memfd", "pidfd", "anon"]
Access = Literal["r", "w", "rw"]
RingState = Literal["live", "revoked", "expired", "gone", "unverifiable"]


class ProcessFacts(NamedTuple):
    """A process as the kernel named it: its pidfs inode is unique for one boot (0: unknown)."""

    pid: int
    uid: int
    gid: int
    inode: int
    comm: str


class FdFacts(NamedTuple):
    """What a posted descriptor is."""

    kind: FdKind
    access: Access | None
    device: int = 0
    inode: int = 0
    path: str = ""
    pollable: bool = False
    ours: bool = False
    """It is the broker's own socket, or a connection to it."""

    @property
    def is_socket(self) -> bool:
        """Whether it is one, and no mere name of one (O_PATH)."""
        return self.kind == "socket" and self.access is not None


class RingFacts(NamedTuple):
    """A session keyring as the kernel describes it at this moment."""

    serial: int
    state: RingState
    uid: int = 0
    mask: int = 0
    name: str = ""
    is_keyring: bool = True
    in_user_rings: bool = False
    """It was found in @u or @us, where every process of the uid reaches it."""
