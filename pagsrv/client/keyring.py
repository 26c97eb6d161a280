# SPDX-License-Identifier: MIT
"""The caller's own keyrings: what is in its session ring, and how much room its uid has.

The law: the kernel is asked, as the calling thread, and no broker; nothing is made or changed.
What is read is bounded, and a ring is looked into once. It refuses to know how it is shown.
"""

from __future__ import annotations

import os

from pagsrv.kernel import keys
from pagsrv.kernel.keys import KeyFault, Quota
from pagsrv.rings import RingKey

DEEPEST = 8
"""Keyrings looked into beneath one another: deeper than the kernel itself searches (6)."""

MOST = 512
"""Keys shown: more than the quota of a user allows."""


def ring_tree(serial: int = keys.SESSION) -> RingKey:
    """Keyring *serial* with all that hangs beneath it; by default the session ring.

    As seen by the calling thread. Without a session that is the uid's own (`_uid_ses.UID`).
    KeyFault if the ring itself cannot be looked at; what else cannot says so in its place.
    """
    root = keys.session() if serial == keys.SESSION else keys.describe(serial)
    return _Walk().tree(root)


def quota() -> Quota | None:
    """What the keys of our effective uid use; None if it has none, or /proc does not say."""
    return keys.quota(os.geteuid())


class _Walk:
    """One look at a tree: how many keys are left to be shown, which rings were looked into."""

    def __init__(self) -> None:
        self._left = MOST
        self._seen: set[int] = set()

    def tree(self, key: keys.Key, depth: int = 0) -> RingKey:
        self._left -= 1
        shown = RingKey(key.serial, key.type, key.uid, key.gid, key.mask, key.name)
        if key.type != "keyring":
            return shown
        if key.serial in self._seen:
            return shown._replace(fault="shown above")
        self._seen.add(key.serial)
        if depth >= DEEPEST:
            return shown._replace(fault="too deep to be shown")
        try:
            held = keys.read_ring(key.serial)
        except KeyFault as fault:
            return shown._replace(fault=_told("what it holds is not known", fault))
        found: list[RingKey] = []
        for serial in held:
            if self._left <= 0:
                return shown._replace(
                    held=tuple(found), fault=f"{len(held) - len(found)} more are not shown"
                )
            found.append(self._one(serial, depth + 1))
        return shown._replace(held=tuple(found))

    def _one(self, serial: int, depth: int) -> RingKey:
        try:
            key = keys.describe(serial)
        except KeyFault as fault:
            self._left -= 1
            return RingKey(serial, fault=_told("a key that cannot be looked at", fault))
        return self.tree(key, depth)


def _told(what: str, fault: KeyFault) -> str:
    return f"{what}: {os.strerror(fault.number)}"
