# SPDX-License-Identifier: MIT
"""Proof of possession: who can write the session keyring is a possessor of it.

The broker hands out a nonce; the client writes a hash over it into the one proof key
of its session, directly in the ring; the broker reads it there. The hash names the
client by its pidfs inode, so that what a false broker is shown serves it nothing.
The law: the ring's own list counts and nothing reached from it; ring and key are
looked at after they were read; whatever is not as it must be is no proof, with the
sentence that says why. What is shown is "can write ring N", which is membership as
far as the ring's mask goes. It refuses to know the history of a mask: the board does.
"""

from __future__ import annotations

import os
from _operator import _compare_digest  # hmac's own, without loading OpenSSL
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pagsrv.errors import NoSession, QuotaExceeded
from pagsrv.facts import Isolation, RingFacts
from pagsrv.kernel import keys
from pagsrv.kernel.process import own_inode
from pagsrv.masks import READ, VIEW

if TYPE_CHECKING:
    from collections.abc import Callable

PROOF_MASK = 0x0F030000
"""Possessors view, read, write and search; the user views and reads; nobody links or sets."""

_FRESH_MASK = 0x3F010000  # what add_key(2) gives: nobody else can have linked such a key
_KEY = "pagsrv:proof:"
HOW = "start one with `pagsrv session`, `keyctl session` or pam_keyinit"

# Rings that every process of the uid reaches, or that one process alone has, by the names
# the kernel gives them (security/keys/process_keys.c, persistent.c).
_NO_SESSION = {
    "_uid_ses": "the uid's own keyring",
    "_uid": "the uid's own keyring",
    "_persistent": "the uid's persistent keyring",
    "_pid": "a process's own keyring",
    "_tid": "a thread's own keyring",
}
_MOST = 0x7FFFFFFF  # key_serial_t; below 1 stand names like -3, which mean the asker's own


class Verdict(NamedTuple):
    """Whether the peer possesses the ring, and if not why; *key* is the proof key's serial."""

    ok: bool
    why: str
    facts: RingFacts
    key: int = 0


@lru_cache(maxsize=1)
def _sha256() -> Callable[[bytes], Any]:
    """The interpreter's own SHA-256: hashlib would load OpenSSL, 5 MB and milliseconds."""
    for module in ("_sha2", "_sha256", "hashlib"):
        try:
            made: Callable[[bytes], Any] = __import__(module).sha256
        except ImportError:
            continue
        return made
    raise ImportError("this Python has no SHA-256")


def digest(nonce: str, inode: int, ring: int, uid: int, broker_id: str) -> bytes:
    """The payload that proves: lower-case hexadecimal, as ASCII.

    *inode* is the pidfs inode of the process that called connect(), *uid* the peer's as
    the broker sees it.
    """
    text = f"pagsrv-proof-1\n{nonce}\n{inode}\n{ring}\n{uid}\n{broker_id}"
    hexadecimal: str = _sha256()(text.encode("ascii")).hexdigest()
    return hexadecimal.encode("ascii")


def key_name(broker_id: str) -> str:
    """The proof key's whole description."""
    return _KEY + broker_id


def isolation(facts: RingFacts) -> tuple[Isolation, str]:
    """Whether the ring keeps out processes of its uid that are not in the session, and why not."""
    if facts.state != "live":
        return "linkable", f"the mask of ring {facts.serial} cannot be looked at"
    if facts.in_user_rings:
        return "linkable", (
            f"the ring {facts.serial} is linked into the uid's own keyring, so that every "
            "process of the uid reaches it: unlink it there (keyctl unlink), and use a new session"
        )
    if facts.mask & 0x3F3F or facts.mask >> 16 & 0x3F & ~(VIEW | READ):
        return "linkable", (
            f"the mask of ring {facts.serial} lets other processes of the uid link it in: "
            "only an anonymous session keeps them out, as `pagsrv session` makes it"
        )
    return "isolated", ""


def refusal(facts: RingFacts, uid: int) -> str:
    """Why the ring is no session scope of *uid*'s; '' if it may be one."""
    if facts.state == "unverifiable":
        return f"this broker may not look at ring {facts.serial}: it is another uid's, or closed"
    if facts.state != "live":
        return f"the session keyring {facts.serial} is {facts.state}: log in again, or {HOW}"
    if not facts.is_keyring:
        return f"key {facts.serial} is no keyring"
    what = _NO_SESSION.get(facts.name.partition(".")[0])
    if what:
        return f"ring {facts.serial} ({facts.name}) is {what}, not a login session: {HOW}"
    if facts.uid != uid:
        return (
            f"ring {facts.serial} belongs to uid {facts.uid} and not to uid {uid}: "
            f"su and sudo keep the caller's session; {HOW}"
        )
    return ""


def respond(nonce: str, uid: int, broker_id: str, ring: int = 0) -> int:
    """Prove, as the calling process, that it possesses its session *ring* (0: look); its serial.

    To be called by the thread that called connect(), in that very process. *uid* is
    that of the Attach reply. NoSession says what to do where there is no session to
    prove, QuotaExceeded that the uid may have no further key.
    """
    ring = ring or own_ring()
    payload = digest(nonce, own_inode(), ring, uid, broker_id)
    try:
        _write(key_name(broker_id), payload, ring)
    except keys.KeyFault as fault:
        if fault.state == "quota":
            raise QuotaExceeded(
                "there is no room for the proof key: this uid's key quota is used up, see "
                "/proc/key-users and `keyctl show`"
            ) from fault
        raise NoSession(f"the session keyring {ring} takes no proof ({fault}): {HOW}") from fault
    return ring


def own_ring() -> int:
    """The calling thread's session keyring; NoSession if that is no session of its uid's."""
    try:
        seen = keys.session()
    except keys.KeyFault as fault:
        if fault.state == "unsupported":
            raise NoSession(f"there are no session keyrings here: {fault}") from fault
        state = "out of reach" if fault.state == "denied" else fault.state
        raise NoSession(f"this process's session keyring is {state}: {HOW}") from fault
    facts = RingFacts(seen.serial, "live", seen.uid, seen.mask, seen.name)
    # The key's uid and ours are seen in one user namespace; the broker's number for it may differ.
    why = refusal(facts, os.geteuid())
    if why:
        raise NoSession(why)
    return seen.serial


def _write(name: str, payload: bytes, ring: int) -> None:
    """Put the proof into *ring* by its serial: by name (-3) the kernel might make a new ring."""
    uid = os.geteuid()
    try:
        serial = keys.add(name, payload, ring)
        seen = keys.describe(serial)
        if (seen.mask, seen.uid) == (PROOF_MASK, uid):
            return
        if (seen.mask, seen.uid) == (_FRESH_MASK, uid):
            keys.set_mask(serial, PROOF_MASK)
            return
    except keys.KeyFault as fault:
        if fault.state != "denied":
            raise
    # A key with any other mask may have been linked by others, who could then write it still
    # after the mask was tightened: it goes, and a new one comes.
    for held in keys.read_ring(ring):
        if _is_named(held, name):
            keys.unlink(held, ring)
    keys.set_mask(keys.add(name, payload, ring), PROOF_MASK)


def _is_named(serial: int, name: str) -> bool:
    try:
        seen = keys.describe(serial)
    except keys.KeyFault:
        return False
    return seen.type == "user" and seen.name == name


def verify(  # noqa: PLR0913 -- every one of them is part of what is proved
    nonce: str, ring: int, *, uid: int, inode: int, broker_id: str, known_key: int = 0
) -> Verdict:
    """Whether the peer of that *uid* and pidfs *inode* wrote the proof for *nonce* into *ring*.

    *known_key* is the proof key's serial as found the last time, a hint only. Asks the
    kernel, never raises: what cannot be looked at is not proved.
    """
    if not 0 < ring <= _MOST:
        return Verdict(False, f"{ring} is no serial of a keyring", RingFacts(0, "gone"))
    try:
        held = keys.read_ring(ring)
    except keys.KeyFault as fault:
        facts = keys.ring_facts(ring)
        return Verdict(False, refusal(facts, uid) or f"reading ring {ring}: {fault}", facts)
    facts = keys.ring_facts(ring)
    why = refusal(facts, uid)
    if not why and not inode:
        why = "the kernel does not name the peer's process for good (pidfs, Linux 6.9)"
    if why:
        return Verdict(False, why, facts)
    key = _find(held, key_name(broker_id), known_key)
    if key is None:
        return Verdict(False, f"there is no proof key in ring {ring}", facts)
    why = _judge(key, uid) or _compare(key.serial, digest(nonce, inode, ring, uid, broker_id))
    return Verdict(not why, why, facts, key.serial)


def _find(held: tuple[int, ...], name: str, known: int) -> keys.Key | None:
    """The key of that whole *name* directly in the ring: no search, nothing beneath."""
    found = None
    for serial in (known, *held) if known in held else held:
        try:
            seen = keys.describe(serial)
        except keys.KeyFault:
            continue
        if seen.name == name:
            # A ring holds one key of a type and a name; of another type there may be more.
            if seen.type == "user":
                return seen
            found = seen
    return found


def _judge(key: keys.Key, uid: int) -> str:
    if key.type != "user":
        return f"the proof key is of type {key.type} and not user"
    if key.uid != uid:
        return f"the proof key belongs to uid {key.uid} and not to uid {uid}"
    if key.mask != PROOF_MASK:
        return f"the proof key's mask is {key.mask:08x} and not {PROOF_MASK:08x}"
    return ""


def _compare(serial: int, expected: bytes) -> str:
    try:
        payload = keys.read_payload(serial)
    except keys.KeyFault as fault:
        return f"the proof key cannot be read: {fault}"
    if _compare_digest(payload, expected):
        return ""
    return "the proof key does not hold the proof for this connection"
