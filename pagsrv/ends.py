# SPDX-License-Identifier: MIT
"""End conditions: the words after --until, parsed and written in one place.

The law: a condition is text on the command line and in entries, an `Ask` in
between; parsing says what is wrong with it in one sentence. It refuses to know
when a condition fires.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from pagsrv.errors import InvalidParameter
from pagsrv.limits import OPENS, TTL_SECONDS

Deed = Literal["exec", "setsid", "uid"]
EndKind = Literal[
    "exit", "leader", "lease", "hup", "ttl", "opens", "exec", "setsid", "uid", "orphan"
]
KINDS: tuple[EndKind, ...] = get_args(EndKind)

DEEDS: tuple[Deed, ...] = get_args(Deed)
"""What a process does, known by the kernel's process events alone: not every broker has them."""

NEED_PIDFD = ("exit", "leader", *DEEDS)
"""Conditions that speak of a process, whose pidfd travels with the post."""

WORDS = (
    "exit[=PID], leader[=PID], lease, hup, ttl=SECONDS, opens=N, exec[=PID], setsid[=PID], "
    "uid[=PID] or orphan"
)

_FIRST = (*"0123456789", ".")


class Ask(NamedTuple):
    """One end condition as asked for; *number* is a pid, seconds or a count, 0 if none."""

    kind: EndKind
    number: float = 0

    def __str__(self) -> str:
        whole = int(self.number)
        number = whole if whole == self.number else self.number
        return f"{self.kind}={number}" if number else self.kind


def _number(kind: str, text: str, parameter: str) -> float:
    try:
        plain = text.isascii() and text[:1] in _FIRST and "_" not in text and text == text.strip()
        number = (float(text) if kind == "ttl" else int(text)) if plain else -1
    except ValueError:
        number = -1
    largest = TTL_SECONDS if kind == "ttl" else OPENS if kind == "opens" else 0x7FFFFFFF
    if not 0 < number <= largest:
        unit = {"ttl": "seconds", "opens": "a count"}.get(kind, "a process id")
        raise InvalidParameter(
            parameter, f"{kind}={text[:40]} is no end condition: give {unit} above 0, "
            f"at most {largest}",
        )  # fmt: skip
    return number


def parse_end(text: str, parameter: str = "until") -> Ask:
    """One COND of the command line, one of WORDS."""
    kind, equals, value = text.partition("=")
    if kind not in KINDS:
        raise InvalidParameter(parameter, f"{text[:40]!r} is no end condition: use {WORDS}")
    if kind in ("ttl", "opens") or (kind in NEED_PIDFD and equals):
        if not equals:
            raise InvalidParameter(parameter, f"{kind} needs a number, as in {kind}=10")
        return Ask(kind, _number(kind, value, parameter))
    if equals:
        raise InvalidParameter(parameter, f"{kind} takes no number; say just {kind}")
    return Ask(kind)
