# SPDX-License-Identifier: MIT
"""Who may do what: a pure verdict over a peer's proofs and an entry's mask.

The law: rights are added up as the kernel does for keys (keyrings(7),
security/keys/permission.c): the first of user, group and other that matches,
plus the possessors' bits for a peer proved in the entry's scope. No proof, no
possession. Who is asked for by a trusted asker has the possessors' bits and no others.
It refuses to know how a proof came about.
"""

from __future__ import annotations

from pagsrv.errors import Denied, NoEntry
from pagsrv.masks import ALL, READ, SEARCH, VIEW, word
from pagsrv.model import Entry, H, Peer
from pagsrv.names import Reference

GRANTED = VIEW | READ | SEARCH
"""What a grant adds for the members of the scope it was made to, by full name only."""

_GROUP_BITS = ALL << 8


def rights(peer: Peer, entry: Entry[H]) -> int:
    """The six bits *peer* holds on *entry* by its mask."""
    mask = entry.mask
    if peer.asker is not None:
        return mask >> 24 & ALL if entry.scope in peer.proofs else 0
    if peer.uid == entry.uid:
        held = mask >> 16
    elif mask & _GROUP_BITS and (entry.gid == peer.gid or entry.gid in peer.groups):
        held = mask >> 8
    else:
        held = mask
    if entry.scope in peer.proofs:
        held |= mask >> 24
    return held & ALL


def granted(peer: Peer, entry: Entry[H]) -> bool:
    """Whether *peer* is proved in a scope that *entry* was granted to."""
    return peer.asker is None and any(scope in peer.proofs for scope in entry.grants)


def rights_in_full(peer: Peer, entry: Entry[H]) -> int:
    """The bits *peer* holds on *entry* when it calls it by its full name."""
    held = rights(peer, entry)
    return held | GRANTED if entry.grants and granted(peer, entry) else held


def demand(held: int, need: int, reference: Reference) -> None:
    """Pass if *held* covers *need*; NoEntry where the asker may not view, else Denied."""
    missing = need & ~held
    if not missing:
        return
    if not held & VIEW:
        raise no_entry(reference)
    lacking = " or ".join(word(bit) for bit in (1 << n for n in range(6)) if missing & bit)
    raise Denied(
        f"{reference} is there, but its mask gives you no {lacking} right; its owner may change "
        "that with `pagsrv setperm`, or grant it to your scope with `pagsrv grant`"
    )


def no_entry(reference: Reference) -> NoEntry:
    """The one answer for what is not there and for what the asker may not see."""
    where = "in the scopes you are proved in" if reference.scope is None else "that you may see"
    return NoEntry(f"there is no entry {reference} {where}; `pagsrv ls --all` shows what is")
