# SPDX-License-Identifier: MIT
"""What lies beneath a posted directory, as the wire shows it, and whose rights lead there.

The law: fields and nothing else, as in messages.py; null is not known, or has none. It
refuses to know how anything was looked at.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

Asked = Literal["r", "w", "rw"]
ASKED: tuple[Asked, ...] = ("r", "w", "rw")
"""What a file beneath may be opened for."""


class Node(Struct):
    """One name in a directory: *size* in bytes, of files; *modified* in seconds since 1970.

    *kind* is file, dir, link, fifo, socket, char or block; *target* what a symbolic link says. A
    name that is no UTF-8 has backslashes for the rest, and cannot be opened by it.
    """

    name: str
    kind: str | None
    size: int | None
    modified: float | None
    target: str | None


class Credentials(NamedTuple):
    """Whose rights a posted directory is walked with: its poster's, as of the post.

    *why*, if there is one, says why nobody may; then the rest means nothing.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    why: str = ""
