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
from collections.abc import Hashable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING

from pagsrv.doors.fuse import attributes
from pagsrv.errors import NoEntry
from pagsrv.kernel.fuse import ROOT
from pagsrv.messages import EntryView

if TYPE_CHECKING:
    from pagsrv.nodes import Node as Found

_INODE_BYTES = 6


@dataclass(slots=True, eq=False)
class Node:
    """An entry as the kernel knows it; *view* is what was last seen of it."""

    inode: int
    """What stat(2) shows: the same whenever the kernel comes to know the entry."""
    view: EntryView
    name: str
    directory: bool = False
    """Whether it is one to go beneath: an inode stays what it was."""
    handles: int = 0
    """How many open handles there are."""
    known: dict[int, int] = field(default_factory=dict)
    """How many times the kernel was told of it, by each number."""

    @property
    def scope(self) -> str:
        """Its scope, in full."""
        return self.view.scope

    @property
    def key(self) -> Hashable:
        """Of which there is one node at a time."""
        return self.view.scope, self.name


@dataclass(slots=True, eq=False)
class Below:
    """What lies beneath the entry *top*, at *path*, and was last seen as *found*."""

    inode: int
    top: Node
    path: tuple[str, ...]
    found: Found
    handles: int = 0
    known: dict[int, int] = field(default_factory=dict)

    @property
    def directory(self) -> bool:
        """As of any node."""
        return self.found.kind == "dir"

    @property
    def key(self) -> Hashable:
        """As of any node; *top* is kept, so that its id is nobody else's."""
        return id(self.top), self.path


class Nodes:
    """Every node that the kernel remembers; *everybody*: several uids are served."""

    def __init__(self, *, everybody: bool) -> None:
        self._everybody = everybody
        self._lock = threading.Lock()
        self._numbers = count(ROOT + 1)
        self._by_number: dict[int, Node | Below] = {}
        self._by_key: dict[Hashable, Node | Below] = {}

    def tell(self, view: EntryView) -> tuple[int, Node]:
        """A number for the entry *view*, of which the kernel is told once more, and its node."""
        with self._lock:
            directory = attributes.is_directory(view)
            node = self._by_key.get((view.scope, view.name))
            if not isinstance(node, Node) or node.directory is not directory:
                node = Node(_inode(view), view, view.name, directory)
                self._by_key[node.key] = node
            node.view = view
            return self._told(node), node

    def tell_below(self, top: Node, path: tuple[str, ...], found: Found) -> tuple[int, Below]:
        """As `tell`, of what was *found* beneath *top* at *path*."""
        with self._lock:
            node = self._by_key.get((id(top), path))
            form = attributes.form_of(found)
            if not isinstance(node, Below) or attributes.form_of(node.found) != form:
                node = Below(_inode(top.view, path), top, path, found)
                self._by_key[node.key] = node
            node.found = found
            return self._told(node), node

    def _told(self, node: Node | Below) -> int:
        """A number for *node*; a directory, which may be where somebody stands, keeps its own."""
        number = next(reversed(node.known), 0)
        if not number or (not node.directory and (node.handles or self._everybody)):
            number = next(self._numbers)
            self._by_number[number] = node
        node.known[number] = node.known.get(number, 0) + 1
        return number

    def any_of(self, number: int) -> Node | Below | None:
        """The node of that number, if there is one."""
        return self._by_number.get(number)

    def of(self, number: int) -> Node:
        """The entry of that number; NoEntry."""
        node = self._by_number.get(number)
        if not isinstance(node, Node):
            raise NoEntry(f"there is no node {number}")
        return node

    def below(self, number: int) -> Below:
        """What lies beneath an entry and has that number; NoEntry."""
        node = self._by_number.get(number)
        if not isinstance(node, Below):
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
            if not node.known and self._by_key.get(node.key) is node:
                del self._by_key[node.key]

    def removed(self, scope: str, name: str) -> None:
        """That entry is gone: the next one of its name is another node."""
        with self._lock:
            self._by_key.pop((scope, name), None)

    def renamed(self, old: str, view: EntryView) -> None:
        """The entry that was called *old* is *view* now."""
        with self._lock:
            node = self._by_key.pop((view.scope, old), None)
            if isinstance(node, Node):
                node.name, node.view = view.name, view
                self._by_key[view.scope, view.name] = node


def _inode(view: EntryView, path: tuple[str, ...] = ()) -> int:
    """A number for the entry *view*, or *path* beneath it, that no other will have."""
    raw = "/".join((view.scope, view.name, str(view.created), *path)).encode()
    return int.from_bytes(blake2b(raw, digest_size=_INODE_BYTES).digest(), "big") + ROOT + 1
