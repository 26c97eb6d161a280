# SPDX-License-Identifier: MIT
"""What an asker gets to see: entries, proofs and events as the wire shows them.

The law: a view holds only what the asker may know; whoever builds one has
checked the view right. It refuses to change anything.
"""

from __future__ import annotations

from typing import TypeVar

from pagsrv.masks import RIGHTS, format_mask
from pagsrv.messages import EntryView, EventView, ProofView
from pagsrv.model import By, Entry, Event, H, Living, Peer, Process, Proof
from pagsrv.names import Scope
from pagsrv.people import ByView, Opener, Owner, Poster
from pagsrv.policy import granted, rights_in_full

K = TypeVar("K")
V = TypeVar("V")

_NO_LABELS: dict[str, str] = {}
_REMEMBERED = 1024

_masks: dict[int, str] = {}
_owners: dict[tuple[int, int], Owner] = {}
_scopes: dict[Scope, str] = {}


def _remember(known: dict[K, V], key: K, value: V) -> V:
    """Few values serve thousands of entries; a board with many of them starts anew."""
    if len(known) >= _REMEMBERED:
        known.clear()
    known[key] = value
    return value


def entry_view(peer: Peer, entry: Entry[H], offset: float) -> EntryView:
    """*entry* as *peer* may see it; *offset* is the store's, in seconds."""
    return view_with(rights_in_full(peer, entry), peer, entry, offset)


def view_with(held: int, peer: Peer, entry: Entry[H], offset: float) -> EntryView:
    """*entry* as *peer* may see it, whose rights on it are *held*."""
    facts = entry.facts
    poster = entry.poster
    scope = _scopes.get(entry.scope) or _remember(_scopes, entry.scope, str(entry.scope))
    owner = (entry.uid, entry.gid)
    return EntryView(
        scope,
        entry.name,
        entry.handle is not None,
        None if facts is None else facts.kind,
        None if facts is None else facts.access,
        _masks.get(entry.mask) or _remember(_masks, entry.mask, format_mask(entry.mask)),
        RIGHTS[held],
        _owners.get(owner) or _remember(_owners, owner, Owner(*owner)),
        None if poster is None else poster.view or _poster(poster),
        entry.until,
        entry.generation,
        entry.created,
        entry.last_opened,
        entry.opens,
        entry.labels or _NO_LABELS,
        scope if entry.grants and _foreign(peer, entry) else None,
        None if entry.deadline is None else round(entry.deadline + offset, 3),
        None if facts is None else facts.path or None,
    )


def openers_of(entry: Entry[H], living: Living | None) -> tuple[Opener, ...]:
    """Who opened *entry*, the latest first, each process once; *living* asks what it is now."""
    entry.date_opener()
    found: list[Opener] = []
    seen: set[tuple[int, int]] = set()
    for opening in reversed((entry.openers or {}).values()):
        comm, alive = (opening.comm, None) if living is None else living(opening)
        process = (opening.pid, opening.inode)
        if opening.inode and process in seen:
            continue
        seen.add(process)
        found.append(Opener(opening.pid, opening.uid, comm, opening.time, alive))
    return tuple(found)


def _poster(process: Process[H]) -> Poster:
    view = process.view = Poster(process.facts.pid, process.facts.comm, process.alive)
    return view


def _foreign(peer: Peer, entry: Entry[H]) -> bool:
    """Whether a grant is what shows *entry* to *peer*."""
    return entry.scope not in peer.proofs and granted(peer, entry)


def proof_view(proof: Proof) -> ProofView:
    """*proof* as whoami shows it."""
    return ProofView(str(proof.scope), proof.proof, proof.isolation)


def event_view(event: Event[H], wall: float) -> EventView:
    """*event* as a watcher sees it; *wall* is seconds since 1970."""
    by: By | None = event.by
    return EventView(
        wall,
        event.event,
        None if event.scope is None else str(event.scope),
        event.name,
        event.generation,
        None if by is None else ByView(by.uid, by.pid, by.comm),
        event.why,
    )
