# SPDX-License-Identifier: MIT
"""Nodes: entries as the kernel knows them, each of one scope and name, under numbers.

The law: two sessions' entries of one name are two nodes, so that what the kernel remembers of one
is never the other's. A node may have several numbers, each an inode of the kernel's: whoever waits
in a write holds that inode's lock, and rm(1) would wait for it with the directory's lock in
hand, and everybody else with it. So a name that is looked up again gets a number that nobody has
open; of a mount that serves several uids always a new one, since they may be out for it. For any
thread. It refuses to know who may see what.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count

from pagsrv.errors import NoEntry
from pagsrv.kernel.fuse import ROOT
from pagsrv.messages import EntryView

_INODE_BYTES = 6


@dataclass(slots=True)
class Node:
    """An entry as the kernel knows it; *view* is what was last seen of it."""

    inode: int
    """What stat(2) shows: the same whenever the kernel comes to know the entry."""
    view: EntryView
    name: str
    handles: int = 0
    """How many open handles there are."""
    known: dict[int, int] = field(default_factory=dict)
    """How many times the kernel was told of it, by each number."""

    @property
    def scope(self) -> str:
        """Its scope, in full."""
        return self.view.scope


class Nodes:
    """Every node that the kernel remembers; *everybody*: several uids are served."""

    def __init__(self, *, everybody: bool) -> None:
        self._everybody = everybody
        self._lock = threading.Lock()
        self._numbers = count(ROOT + 1)
        self._by_number: dict[int, Node] = {}
        self._by_key: dict[tuple[str, str], Node] = {}

    def tell(self, view: EntryView) -> tuple[int, Node]:
        """A number for the entry *view*, of which the kernel is told once more, and its node."""
        with self._lock:
            key = (view.scope, view.name)
            node = self._by_key.get(key)
            if node is None:
                node = self._by_key[key] = Node(_inode(view), view, view.name)
            node.view = view
            number = next(reversed(node.known), 0)
            if not number or node.handles or self._everybody:
                number = next(self._numbers)
                self._by_number[number] = node
            node.known[number] = node.known.get(number, 0) + 1
            return number, node

    def of(self, number: int) -> Node:
        """The node of that number; NoEntry."""
        node = self._by_number.get(number)
        if node is None:
            raise NoEntry(f"there is no node {number}")
        return node

    def forget(self, number: int, times: int) -> None:
        """The kernel has forgotten that number so many times."""
        with self._lock:
            node = self._by_number.get(number)
            if node is None:
                return
            node.known[number] -= times
            if node.known[number] > 0:
                return
            del node.known[number], self._by_number[number]
            key = (node.scope, node.name)
            if not node.known and self._by_key.get(key) is node:
                del self._by_key[key]

    def removed(self, scope: str, name: str) -> None:
        """That entry is gone: the next one of its name is another node."""
        with self._lock:
            self._by_key.pop((scope, name), None)

    def renamed(self, old: str, view: EntryView) -> None:
        """The entry that was called *old* is *view* now."""
        with self._lock:
            node = self._by_key.pop((view.scope, old), None)
            if node is not None:
                node.name, node.view = view.name, view
                self._by_key[view.scope, view.name] = node


def _inode(view: EntryView) -> int:
    """A number for the entry *view* that another entry will not have."""
    raw = f"{view.scope}/{view.name}/{view.created}".encode()
    return int.from_bytes(blake2b(raw, digest_size=_INODE_BYTES).digest(), "big") + ROOT + 1
