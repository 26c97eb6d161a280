# SPDX-License-Identifier: MIT
"""Proof by groups: a PAG is a supplementary group that only CAP_SETGID can give.

The law: exactly one group of the range 0x41000000 to 0x41ffffff, without a name, of a
process in our own user namespace, is a PAG; anything else is none, with the reason.
The effective gid never counts: a setgid file hands it to anyone, and the kernel's list
of supplementary groups does not hold it. Pure; who looked at names and namespaces says
what was found. It refuses to know AFS tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST, LAST = 0x41000000, 0x41FFFFFF

# The older form spreads a PAG over two groups below 64 Ki (sixteen-bit gids): fourteen low
# bits each, and the upper four bits of the PAG as two digits to the base three.
_OFFSET, _DIGIT, _LOW, _SPAN = 0x3F00, 14, 0x3FFF, 0xC000


def pag_candidates(groups: Sequence[int]) -> list[int]:
    """Those of the supplementary *groups* that have the form of a PAG, each once."""
    return sorted({gid for gid in groups if FIRST <= gid <= LAST})


def from_pair(first: int, second: int) -> int | None:
    """The PAG that two groups of the older form stand for; None if they stand for none."""
    first -= _OFFSET
    second -= _OFFSET
    if not (0 <= first < _SPAN and 0 <= second < _SPAN):
        return None
    top = 3 * (first >> _DIGIT) + (second >> _DIGIT)
    pag = top << 2 * _DIGIT | (first & _LOW) << _DIGIT | second & _LOW
    return pag if FIRST <= pag <= LAST else None


def to_pair(pag: int) -> tuple[int, int]:
    """The two groups of the older form for *pag*, one of the range."""
    top, high, low = pag >> 2 * _DIGIT, pag >> _DIGIT & _LOW, pag & _LOW
    return (top // 3 << _DIGIT | high) + _OFFSET, (top % 3 << _DIGIT | low) + _OFFSET


_UPPER = to_pair(FIRST)[0], to_pair(LAST)[0]
_LOWER = _OFFSET + (1 << _DIGIT), _OFFSET + (1 << _DIGIT) + _LOW


def pairs(groups: Sequence[int]) -> list[int]:
    """The PAGs that two of *groups* stand for, two at most: more make no difference.

    Every pair in any order counts, since the kernel sorts groups.
    """
    uppers = [(place, gid) for place, gid in enumerate(groups) if _UPPER[0] <= gid <= _UPPER[1]]
    lowers = [(place, gid) for place, gid in enumerate(groups) if _LOWER[0] <= gid <= _LOWER[1]]
    found: set[int] = set()
    for place, upper in uppers:
        for other, lower in lowers:
            pag = from_pair(upper, lower) if place != other else None
            if pag is not None:
                found.add(pag)
                if len(found) > 1:
                    return sorted(found)
    return sorted(found)


def judge(
    groups: Sequence[int],
    *,
    named: Callable[[int], bool | None] | bool = False,
    userns_reason: str = "",
    two_groups: bool = False,
) -> tuple[int | None, str]:
    """The PAG of a peer with these supplementary *groups*, or None and why.

    *named*: whether the gid has a name (an account's groups may lie in the range); None is that
    nobody knows.
    *userns_reason*: '' if the peer is in our user namespace before and after the groups
    were read, else why that is not known. *two_groups*: the older form counts too.
    """
    found = pag_candidates(groups)
    if not found and two_groups:
        found = pairs(groups)
    if not found:
        return None, "it is in no PAG: start one with `pagsrv pagsh`"
    if len(found) > 1:
        shown = ", ".join(str(pag) for pag in found[:3])
        return None, f"it has more than one group that looks like a PAG ({shown}), so none counts"
    pag = found[0]
    known = named(pag) if callable(named) else named
    if known is None:
        return None, (
            f"whether the group {pag} is a PAG is not known: the name service does not say whether "
            "it has a name; try again later"
        )
    if known:
        return None, f"the group {pag} has a name, so it is a real group and no PAG"
    if userns_reason:
        return None, f"its group {pag} does not count as a PAG: {userns_reason}"
    return pag, ""
