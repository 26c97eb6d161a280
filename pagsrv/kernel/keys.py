# SPDX-License-Identifier: MIT
"""Keys and keyrings: keyctl(2), by the keyutils package and the same libkeyutils.so.1.

The law: one function, one call of the kernel's; every failure is a KeyFault whose
state says what it means. The only importer of keyutils; what that package lacks goes
through ctypes here and nowhere else. It refuses to know what a key is for.
"""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from functools import lru_cache
from os import strerror
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import keyutils

from pagsrv.errors import PagsrvError
from pagsrv.facts import RingFacts, RingState
from pagsrv.limits import RING_KEYS

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable
    from types import ModuleType

FaultState = Literal["revoked", "expired", "gone", "denied", "quota", "unsupported", "other"]

THREAD, PROCESS, SESSION, USER, USER_SESSION = -1, -2, -3, -4, -5  # linux/keyctl.h

_STATES: dict[int, FaultState] = {
    errno.EKEYREVOKED: "revoked",
    errno.EKEYEXPIRED: "expired",
    errno.ENOKEY: "gone",
    errno.EACCES: "denied",
    errno.EDQUOT: "quota",
    errno.ENOSYS: "unsupported",
    errno.EOPNOTSUPP: "unsupported",
    # A missing permission is EACCES in all calls used here; EPERM is what a seccomp filter says.
    errno.EPERM: "unsupported",
}
_SERIAL = 4  # bytes of one key_serial_t in a keyring's payload
_SMALL = 1024  # bytes: a ring of 256 keys, more than the quota of a user allows
_PAYLOAD_BYTES = 32767  # the most a user key holds, user_preparse() of the kernel


class KeyFault(PagsrvError):
    """The kernel refused a call on a key; *state* says what that shows of the key."""

    def __init__(self, call: str, number: int) -> None:
        self.state: FaultState = _STATES.get(number, "other")
        self.number = number
        hint = " (a container may forbid keyctl)" if self.state == "unsupported" else ""
        super().__init__(f"{call} failed: {strerror(number)}{hint}")


class Key(NamedTuple):
    """A key as KEYCTL_DESCRIBE shows it; *uid* and *gid* in our own user namespace."""

    serial: int
    type: str
    uid: int
    gid: int
    mask: int
    name: str


class Quota(NamedTuple):
    """What a uid's keys use, and the most they may (/proc/key-users, keyrings(7))."""

    keys: int
    most_keys: int
    bytes: int
    most_bytes: int


def _call(what: str, call: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 -- the package is not typed
    """One function of keyutils, its own Error (no OSError) turned into ours."""
    try:
        return call(*arguments)
    except keyutils.Error as error:
        raise KeyFault(what, int(error.args[0])) from None


def describe(serial: int) -> Key:
    """What key *serial* is; needs view."""
    text = _text(serial) if _library.cache_info().currsize else None
    if text is None:
        text = _call("describing a key", keyutils.describe_key, serial)
    # The name comes last and may itself hold semicolons.
    kind, uid, gid, mask, name = text.decode("utf-8", "surrogateescape").split(";", 4)
    return Key(serial, kind, int(uid), int(gid), int(mask, 16), name)


def read_ring(serial: int) -> tuple[int, ...]:
    """The serials directly in keyring *serial*; needs read. More than RING_KEYS is a KeyFault."""
    raw = _read(serial, RING_KEYS * _SERIAL)
    return struct.unpack(f"{len(raw) // _SERIAL}i", raw)


def read_payload(serial: int) -> bytes:
    """The payload of key *serial*, of a type that can be read; needs read."""
    return _read(serial, _PAYLOAD_BYTES)


def session() -> Key:
    """The session keyring of the calling thread, never making a new one.

    Without one this is the uid's own (`_uid_ses.UID`), as the kernel takes it then. The
    serial is that of keyctl_get_keyring_ID(3) with create 0, without loading ctypes: a
    search looks at the keyring it starts from first, so its own name finds it at once.
    """
    seen = describe(SESSION)
    what = "looking for the session keyring"
    raw = seen.name.encode("utf-8", "surrogateescape")
    serial = _call(what, keyutils.search, SESSION, raw, 0, b"keyring")
    if serial is None:  # what the package makes of ENOKEY
        raise KeyFault(what, errno.ENOKEY)
    return seen._replace(serial=int(serial))


def session_ring() -> int:
    """The serial of session()."""
    return session().serial


def add(name: str, payload: bytes, ring: int) -> int:
    """Put a key of type user into *ring*, or update the one of that name; its serial."""
    return int(_call("adding a key", keyutils.add_key, name.encode(), payload, ring))


def update(serial: int, payload: bytes) -> None:
    """Give key *serial* a new payload, of one page at most (the kernel's limit); needs write."""
    _call("updating a key", keyutils.update_key, serial, payload)


def set_mask(serial: int, mask: int) -> None:
    """Give key *serial* the permission mask *mask*; needs setattr, which it may take away."""
    _call("changing a key's mask", keyutils.set_perm, serial, mask)


def join_session(name: str | None = None) -> int:
    """Move the calling thread into a new session keyring (or, named, one to share); its serial.

    Only an anonymous one (no *name*) keeps other processes of the uid out.
    """
    raw = None if name is None else name.encode()
    return int(_call("joining a session keyring", keyutils.join_session_keyring, raw))


def revoke(serial: int) -> None:
    """End key *serial* for everybody who has it; needs write or setattr."""
    _call("revoking a key", keyutils.revoke, serial)


def link(key: int, ring: int) -> None:
    """Link *key* into *ring*; needs link on the key and write on the ring."""
    _call("linking a key", keyutils.link, key, ring)


def unlink(key: int, ring: int) -> None:
    """Take *key* out of *ring*; needs write on the ring."""
    _call("unlinking a key", keyutils.unlink, key, ring)


def set_timeout(serial: int, seconds: int) -> None:
    """Let key *serial* expire in *seconds*; 0 is never."""
    _call("setting a key's timeout", keyutils.set_timeout, serial, seconds)


def invalidate(serial: int) -> None:
    """Make key *serial* go at once, for everybody; needs search."""
    library = _library()
    if library.calls.keyctl_invalidate(serial) < 0:
        raise KeyFault("invalidating a key", library.ctypes.get_errno())


def quota(uid: int) -> Quota | None:
    """What the keys of *uid* use; None if it has none, or /proc does not say."""
    try:
        with open("/proc/key-users", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for line in lines:
        fields = line.replace(b"/", b" ").split()
        if fields and fields[0] == b"%d:" % uid:
            return Quota(*(int(field) for field in fields[4:8]))
    return None


def ring_facts(serial: int) -> RingFacts:
    """Keyring *serial* at this moment; a fault is a state of it, never an error."""
    try:
        ring = describe(serial)
    except KeyFault as fault:
        return RingFacts(serial, _ring_state(fault))
    return RingFacts(
        serial,
        "live",
        uid=ring.uid,
        mask=ring.mask,
        name=ring.name,
        is_keyring=ring.type == "keyring",
        in_user_rings=_in_user_rings(serial),
    )


def _ring_state(fault: KeyFault) -> RingState:
    if fault.state in ("revoked", "expired", "gone"):
        return fault.state
    return "unverifiable"


_NESTED = 64
"""Keyrings looked into beneath @u and @us: this runs at every proof."""


def _in_user_rings(serial: int) -> bool:
    """Whether @u or @us holds *serial*, directly or in a keyring directly in them.

    Every process of our uid reaches what lies there. A keyring in them that
    we may not read is passed over: many daemons keep such ones there.
    """
    direct: set[int] = set()
    for ring in (USER, USER_SESSION):
        try:
            direct.update(read_ring(ring))
        except KeyFault as fault:
            if fault.state not in ("revoked", "expired", "gone"):
                return True
    if serial in direct:
        return True
    with suppress(KeyFault):  # @u itself may have been revoked
        # @us always holds @u, which has been looked at by now.
        direct.discard(_user_ring())
    return any(serial in _held(ring) for ring in sorted(direct)[:_NESTED])


@lru_cache(maxsize=1)
def _user_ring() -> int:
    """The serial of @u: it is the uid's as long as a process of it lives."""
    return _get_id(USER)


_no_rings: set[int] = set()
"""Serials of keys seen in @u and @us that are no keyrings, which a key never becomes."""


def _held(serial: int) -> tuple[int, ...]:
    """The serials in *serial*, if it is a keyring that we may read."""
    if serial in _no_rings:
        return ()
    try:
        if describe(serial).type == "keyring":
            return read_ring(serial)
    except KeyFault:
        return ()
    if len(_no_rings) >= RING_KEYS:
        _no_rings.clear()
    _no_rings.add(serial)
    return ()


class _Library(NamedTuple):
    """libkeyutils.so.1, and the small buffer's type; ctypes is loaded by whoever needs it."""

    ctypes: ModuleType
    calls: ctypes.CDLL
    small: type[ctypes.Array[ctypes.c_char]]


@lru_cache(maxsize=1)
def _library() -> _Library:
    import ctypes  # noqa: PLC0415 -- costs milliseconds that the commands save

    calls = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
    calls.keyctl_read.restype = ctypes.c_long
    calls.keyctl_read.argtypes = (ctypes.c_int32, ctypes.c_char_p, ctypes.c_size_t)
    calls.keyctl_describe.restype = ctypes.c_long
    calls.keyctl_describe.argtypes = (ctypes.c_int32, ctypes.c_char_p, ctypes.c_size_t)
    calls.keyctl_get_keyring_ID.argtypes = (ctypes.c_int32, ctypes.c_int)
    calls.keyctl_invalidate.restype = ctypes.c_long
    calls.keyctl_invalidate.argtypes = (ctypes.c_int32,)
    return _Library(ctypes, calls, ctypes.c_char * _SMALL)


def _read(serial: int, most: int) -> bytes:
    """KEYCTL_READ into a buffer of our own size: how long a key is, its owner chooses."""
    library = _library()
    buffer = library.small()
    size = library.calls.keyctl_read(serial, buffer, _SMALL)
    if _SMALL < size <= most:
        # The kernel says how much there is, and may copy nothing into too small a buffer.
        buffer = library.ctypes.create_string_buffer(most)
        size = library.calls.keyctl_read(serial, buffer, most)
    if size < 0:
        raise KeyFault("reading a key", library.ctypes.get_errno())
    if size > most:
        raise KeyFault("reading a key", errno.EMSGSIZE)
    return bytes(memoryview(buffer)[:size])


def _text(serial: int) -> bytes | None:
    """What keyutils.describe_key() gives, in one call of the kernel's and not in two.

    For processes that have loaded ctypes anyhow, as a broker has; None where a
    description is long.
    """
    library = _library()
    buffer = library.small()
    size = library.calls.keyctl_describe(serial, buffer, _SMALL)
    if size < 0:
        raise KeyFault("describing a key", library.ctypes.get_errno())
    return buffer.raw[: size - 1] if size <= _SMALL else None


def _get_id(special: int) -> int:
    library = _library()
    serial = library.calls.keyctl_get_keyring_ID(special, 0)
    if serial < 0:
        raise KeyFault("looking for a keyring", library.ctypes.get_errno())
    return int(serial)
