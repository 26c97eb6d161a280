# SPDX-License-Identifier: MIT
"""Nodes: the kernel's numbers for entries, each of one scope and name.

The law: two sessions' entries of one name are two nodes, so that what the kernel remembers of one
is never the other's; a number is used once. A node lives while the kernel remembers it.
For any thread. It refuses to know who may see what.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import count

from pagsrv.errors import NoEntry
from pagsrv.kernel.fuse import ROOT
from pagsrv.messages import EntryView


@dataclass(slots=True)
class Node:
    """An entry as the kernel knows it; *view* is what was last seen of it."""

    number: int
    view: EntryView
    name: str
    known: int = 0
    """How many times the kernel was told of it."""
    handles: int = 0
    """How many open handles there are."""

    @property
    def scope(self) -> str:
        """Its scope, in full."""
        return self.view.scope


class Nodes:
    """Every node that the kernel remembers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count(ROOT + 1)
        self._by_number: dict[int, Node] = {}
        self._by_key: dict[tuple[str, str], Node] = {}

    def tell(self, view: EntryView) -> Node:
        """The node of the entry *view*, of which the kernel is told once more."""
        with self._lock:
            key = (view.scope, view.name)
            node = self._by_key.get(key)
            if node is None:
                node = Node(next(self._numbers), view, view.name)
                self._by_key[key] = self._by_number[node.number] = node
            node.view = view
            node.known += 1
            return node

    def of(self, number: int) -> Node:
        """The node of that number; NoEntry."""
        node = self._by_number.get(number)
        if node is None:
            raise NoEntry(f"there is no node {number}")
        return node

    def forget(self, number: int, times: int) -> None:
        """The kernel has forgotten it so many times."""
        with self._lock:
            node = self._by_number.get(number)
            if node is None:
                return
            node.known -= times
            if node.known <= 0:
                del self._by_number[number]
                self._let_go(node)

    def _let_go(self, node: Node) -> None:
        key = (node.scope, node.name)
        if self._by_key.get(key) is node:
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
