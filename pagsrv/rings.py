# SPDX-License-Identifier: MIT
"""A keyring and what hangs beneath it, drawn as `keyctl show` does, and its masks in words.

The law: a key that may not be looked at stays in the picture and says why; names are others'
and are drawn without what moves a terminal. It refuses to know how a key is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from pagsrv.masks import ALL, LETTERS, READ, RIGHTS, VIEW, word

_SUBJECTS = (("possessor", 24), ("user", 16), ("group", 8), ("other", 0))
_PROOF = "pagsrv:proof:"
_BITS = tuple(1 << place for place in reversed(range(len(LETTERS))))


class RingKey(NamedTuple):
    """A key; *held* is what a keyring holds, and *fault* why it, or that, is not known.

    *uid* and *gid* as our own user namespace has them.
    """

    serial: int
    type: str = ""
    uid: int = -1
    gid: int = -1
    mask: int = 0
    name: str = ""
    held: tuple[RingKey, ...] = ()
    fault: str = ""


class RingLine(NamedTuple):
    """One line of the picture, and the key it is of."""

    text: str
    key: RingKey


def draw(
    key: RingKey, *, uid: int, groups: Collection[int] = (), depth: int = 0
) -> Iterator[RingLine]:
    """*key* and all beneath it, one line each: serial, rights, owner, type and name.

    The rights are those of a possessor that has *uid* and *groups* (the effective gid among
    them), as keyctl(1) shows them.
    """
    tree = " " * (4 * depth - 3) + r"\_ " if depth else ""
    if key.type:
        letters = _letters(rights(key, uid, groups))
        text = f"{key.serial:10} --{letters}  {key.uid:5} {key.gid:5}  {tree}{key.type}: "
        text += _plain(key.name) + (f"  ({key.fault})" if key.fault else "")
    else:
        text = f"{key.serial:10} --??????  {'?':>5} {'?':>5}  {tree}{key.fault}"
    yield RingLine(text, key)
    for one in key.held:
        yield from draw(one, uid=uid, groups=groups, depth=depth + 1)


def rights(key: RingKey, uid: int, groups: Collection[int]) -> int:
    """The bits a possessor of *key* has that is of *uid* and in *groups*."""
    held = key.mask >> 24
    if key.uid == uid:
        return (held | key.mask >> 16) & ALL
    if key.gid in groups:
        return (held | key.mask >> 8) & ALL
    return (held | key.mask) & ALL


def _letters(held: int) -> str:
    return "".join(one if one in RIGHTS[held] else "-" for one in LETTERS)


def explain(key: RingKey) -> list[tuple[str, str]]:
    """Whom each byte of the key's mask is for, and what it lets them do, in words."""
    told = []
    for subject, place in _SUBJECTS:
        held = key.mask >> place & ALL
        words = [word(bit) for bit in _BITS if held & bit]
        told.append((subject, "everything" if held == ALL else ", ".join(words) or "nothing"))
    if key.type == "user" and key.name.startswith(_PROOF):
        told.append(("what it is", "the proof key, in which this session shows a broker its nonce"))
    elif key.type == "keyring":
        told.append(("what it is", _ring(key)))
    return told


def _ring(key: RingKey) -> str:
    if key.mask & 0x3F3F or key.mask >> 16 & ALL & ~(VIEW | READ):
        return "a keyring, linkable: its mask gives others than its possessors more than a look"
    return "a keyring, isolated by its mask: others than its possessors may look at most"


def _plain(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)
