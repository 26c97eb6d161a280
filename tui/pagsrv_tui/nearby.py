# SPDX-License-Identifier: MIT
"""What the kernel tells the viewer's own process of its keyrings, as lines.

The law: the kernel is asked and nothing is guessed; what may not be looked at says so. It
refuses to know the broker.
"""

from __future__ import annotations

import os

from pagsrv.client import keyring
from pagsrv.kernel import keys
from pagsrv.kernel.keys import KeyFault
from pagsrv.rings import draw, explain
from pagsrv_tui.panels import Line, Part, Quota, pair
from pagsrv_tui.words import plain


def keyring_lines(scope: str | None) -> list[Line]:
    """The ring of the session *scope*, or the viewer's own, with its masks in words."""
    kind, _, number = (scope or "").partition(":")
    serial = int(number) if kind == "session" else keys.SESSION
    whose = f"the ring of {scope}" if kind == "session" else "your own session ring"
    try:
        tree = keyring.ring_tree(serial)
    except KeyFault as fault:
        return [(Part(f"{whose} cannot be looked at: ", "warn"), Part(plain(str(fault))))]
    lines: list[Line] = [(Part(f"{whose}, as keyctl show prints it", "title"),)]
    explained = explain(tree)
    drawn = draw(tree, uid=os.geteuid(), groups=os.getgroups())
    lines += [(Part(plain(line.text)),) for line in drawn]
    lines.append((Part("the ring's mask", "title"),))
    return lines + [pair(who, what) for who, what in explained]


def quota() -> Quota | None:
    """What the keys of the viewer's uid use; None if the kernel does not say."""
    found = keyring.quota()
    return None if found is None else Quota(os.geteuid(), found.keys, found.most_keys)
