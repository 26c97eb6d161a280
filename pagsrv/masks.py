# SPDX-License-Identifier: MIT
"""Permission masks, exactly a key's: possessor, user, group, other, each of alswrv.

The law: bits and letters only (keyctl_setperm(3), linux/key.h). It refuses to
know who is asking; policy.py does.
"""

from __future__ import annotations

from pagsrv.errors import InvalidParameter

VIEW, READ, WRITE, SEARCH, LINK, SETATTR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
ALL = 0x3F

DEFAULT = 0x3F010000
"""Everything for possessors, view for the same user: seen as in /proc/keys, not opened."""

LETTERS = "alswrv"
_BITS = (SETATTR, LINK, SEARCH, WRITE, READ, VIEW)
_BYTES = (24, 16, 8, 0)
_HEX_DIGITS = 8
_WORDS = dict(zip(_BITS, ("setattr", "link", "search", "write", "read", "view"), strict=True))


def parse_mask(text: str, parameter: str = "mask") -> int:
    """24 letters in `keyctl describe` order, or 8 hexadecimal digits."""
    if len(text) == len(LETTERS) * len(_BYTES):
        mask = 0
        for place, letter in enumerate(text):
            byte, bit = divmod(place, len(LETTERS))
            if letter == LETTERS[bit]:
                mask |= _BITS[bit] << _BYTES[byte]
            elif letter != "-":
                break
        else:
            return mask
    elif len(text) == _HEX_DIGITS and all(ch in "0123456789abcdefABCDEF" for ch in text):
        mask = int(text, 16)
        if not mask & ~0x3F3F3F3F:
            return mask
    raise InvalidParameter(
        parameter,
        f"{text[:40]!r} is no mask: give 24 letters, alswrv or - for each of possessor, user, "
        "group and other (as alswrv-----v------------), or 8 hex digits (as 3f010000)",
    )


def format_mask(mask: int) -> str:
    """The 24 letters of *mask*."""
    return "".join([_SHOWN[mask >> byte & ALL] for byte in _BYTES])


_SHOWN: tuple[str, ...] = tuple(
    "".join(letter if rights & bit else "-" for bit, letter in zip(_BITS, LETTERS, strict=True))
    for rights in range(ALL + 1)
)
"""Each set of six rights in six letters, by its bits."""

RIGHTS: tuple[str, ...] = tuple(
    "".join(letter for bit, letter in zip(_BITS, LETTERS, strict=True) if rights & bit)
    for rights in range(ALL + 1)
)
"""The letters of each set of six rights, by its bits."""


def word(right: int) -> str:
    """The name of one right, for sentences."""
    return _WORDS[right]
