# SPDX-License-Identifier: MIT
"""Proof by the kernel: the session keyring a peer was in when it connected.

Nothing is asked of the peer, and it cannot lie: who the kernel named at connect(2) was in
that session, whatever the ring's mask let others do to the ring. The law: the ring's
owner must be the peer, by the uids of one and the same record; a ring that is over, or
that every process of the uid has, is no session; not knowing is no proof. Pure. It refuses
to know who answered, and what became of the peer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.facts import Isolation, RingFacts, RingState
from pagsrv.proofs.possession import HOW, isolation, refusal

if TYPE_CHECKING:
    from pagsrv.kernel.peerkeyring import PeerKeyring

# linux/key.h: they are no part of the interface, and have been these since they were made.
_DEAD, _REVOKED, _INVALIDATED, _UID_KEYRING = 1 << 0, 1 << 1, 1 << 5, 1 << 9
_INSTANTIATED = 1  # KEY_IS_POSITIVE of linux/key.h
_NEVER = (0, 2**63 - 1)  # of expiry: before Linux 6.7, and since


class Verdict(NamedTuple):
    """Whether the peer is in the session of *ring*, and if not why; *loose*: why it is linkable.

    *ring*'s uid is the initial user namespace's number for it, and so may not be ours.
    """

    ok: bool
    why: str
    ring: RingFacts
    isolation: Isolation = "none"
    loose: str = ""


def judge(record: PeerKeyring | None, now: float) -> Verdict:
    """What *record* proves at *now*, seconds since 1970; None is that nobody answered."""
    if record is None:
        return _NOBODY
    return _judge(record, record.expiry <= now and record.expiry not in _NEVER)


def is_uid_wide(record: PeerKeyring | None) -> bool:
    """Whether *record* is of the keyring that every process of the uid has by itself."""
    return record is not None and bool(record.flags & _UID_KEYRING)


_NOBODY = Verdict(
    False,
    "the kernel does not say which session this peer is in (SO_PEERKEYRING)",
    RingFacts(0, "unverifiable"),
)


@lru_cache(maxsize=1024)
def _judge(record: PeerKeyring, expired: bool) -> Verdict:  # noqa: FBT001 -- part of the key
    """The same of the same: the peers of one session differ in nothing here."""
    state = _state(record, expired=expired)
    ring = RingFacts(record.serial, state, record.key_uid, record.mask, record.name)
    why = _refusal(record, ring)
    if why:
        return Verdict(False, why, ring)
    kind, loose = isolation(ring)
    return Verdict(True, "", ring, kind, loose)


def _state(record: PeerKeyring, *, expired: bool) -> RingState:
    if record.flags & _REVOKED:
        return "revoked"
    if record.flags & (_DEAD | _INVALIDATED) or record.state != _INSTANTIATED:
        return "gone"
    return "expired" if expired else "live"


def _refusal(record: PeerKeyring, ring: RingFacts) -> str:
    if not record.has_cred:
        return "the kernel keeps no credentials for this socket: it is no accepted connection"
    if not record.serial:
        return f"it had no session keyring when it connected: {HOW}"
    if record.flags & _UID_KEYRING:
        return (
            f"ring {record.serial} ({record.name}) is the uid's own keyring, not a login "
            f"session: {HOW}"
        )
    return refusal(ring, record.euid)
