# SPDX-License-Identifier: MIT
"""`pagsrv open NAME -- CMD` and take, read by hand.

These two stand before other programs, often many times a second, and argparse costs
more than all the rest of them. The law: only the plainest form is understood here;
for anything else, help and mistakes included, the answer is None and the grammar has
its say. It refuses to know what is opened.
"""

from __future__ import annotations

from typing import NamedTuple

_VERBS = ("open", "take")


class Opening(NamedTuple):
    """What is to be opened or taken, and run."""

    verb: str
    names: list[str]
    """As they were written, with =FD."""
    command: list[str]
    directory: str | None
    scope: str | None
    access: str | None = None


def parse(words: list[str]) -> Opening | None:
    """The opening that *words* ask for in its plainest form, or None."""
    if "--" not in words:
        return None
    place = words.index("--")
    head, command = words[:place], words[place + 1 :]
    told: dict[str, str] = {}
    rest: list[str] = []
    while head:
        word = head.pop(0)
        if word in ("--dir", "--scope") and head and (rest or word == "--dir"):
            told[word] = head.pop(0)
        elif word.startswith("-"):
            return None
        else:
            rest.append(word)
    if len(rest) < 2 or rest[0] not in _VERBS or not command or not all(told.values()):
        return None
    return Opening(rest[0], rest[1:], command, told.get("--dir"), told.get("--scope"))
