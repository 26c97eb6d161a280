# SPDX-License-Identifier: MIT
"""SO_PEERKEYRING: the getsockopt(2) that Linux lacks, asked, installed and taken down again.

The law: whoever asks needs no right, and gets the kernel's record or nothing at all;
an answer that is not wholly ours is nothing. What root installs is one link, pinned in
a directory of its own, and taken down it answers nobody from that moment. It refuses to
know what a record proves.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOPROTOOPT, EOPNOTSUPP, EPERM
from fcntl import LOCK_EX, flock
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.errors import PagsrvError
from pagsrv.kernel import bpf
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc

if TYPE_CHECKING:
    from pagsrv.kernel.asking import Askable

DIRECTORY = "/sys/fs/bpf/pagsrv"
"""Where the link is pinned: mode 0700, so that nobody else gets hold of it."""

_LEVEL, _OPTION, _MAGIC, _VERSION = 0x50414753, 1, 0x6B676170, 1  # contrib/c/peerkeyring.h
_RECORD = struct.Struct("=IHHqiIIIiIII32s")  # struct peerkeyring; records grow at the end
_MOST = 256  # bytes: room for what later ones may add
_PIN = "getsockopt"
_BPFFS = "/sys/fs/bpf"
_MOUNT_FLAGS = 2 | 4 | 8  # MS_NOSUID, MS_NODEV, MS_NOEXEC (sys/mount.h)


class PeerKeyring(NamedTuple):
    """The session keyring of a peer as of connect(2); ids as the initial user namespace has them.

    What is said of the ring is of the moment of the question: only which ring it is, and
    *euid* and *userns_level*, are of the moment of connect.
    """

    serial: int
    """0 if the peer had no session keyring."""
    mask: int
    key_uid: int
    flags: int
    """KEY_FLAG_… as bits (linux/key.h)."""
    expiry: int
    """Seconds since 1970; 0 or 2**63-1 is never. Of a revoked ring, when it was revoked."""
    state: int
    """1 once the key is instantiated."""
    euid: int
    userns_level: int
    """How deep the peer's user namespace lay; 0 is the initial one."""
    has_cred: bool
    name: str
    """What the ring is called, at most 31 bytes of it."""


def ask(sock: Askable) -> PeerKeyring | None:
    """The session keyring of the peer of *sock*, a connected socket of our own accept().

    None where nobody answers: it is not installed, or *sock* is no connected stream or
    seqpacket socket of AF_UNIX. One call of the kernel's; no right is needed.
    """
    try:
        raw = sock.getsockopt(_LEVEL, _OPTION, _MOST)
    except OSError as error:
        # EPERM: somebody else's program gave an answer of its own, and ours withdrew it.
        if error.errno in (EOPNOTSUPP, ENOPROTOOPT, EPERM):
            return None
        raise PagsrvError(f"the kernel cannot be asked about this socket: {error}") from error
    return parse(raw)


@lru_cache(maxsize=256)
def parse(raw: bytes) -> PeerKeyring | None:
    """What a record says; None if it is none, or of a version we do not know.

    The peers of one session have the same, so that most were read before.
    """
    if len(raw) < _RECORD.size:
        return None
    (magic, version, size, expiry, serial, mask, key_uid, flags, state, euid, level, has_cred,
     name) = _RECORD.unpack_from(raw)  # fmt: skip
    if magic != _MAGIC or version != _VERSION or size != len(raw):
        return None
    text = name.rstrip(b"\0").decode("utf-8", "replace")
    # Past the class's own, slower way to make one: a broker asks at every connection.
    return tuple.__new__(
        PeerKeyring,
        (serial, mask, key_uid, flags, expiry, state, euid, level, has_cred != 0, text),
    )


def answers() -> bool:
    """Whether the kernel answers the question at this moment."""
    from socket import AF_UNIX, socketpair  # noqa: PLC0415 -- for those who do not ask a peer

    one, other = socketpair(AF_UNIX)
    with one, other:
        return ask(one) is not None


# ---- root's part ---------------------------------------------------------------------------------


class Status(NamedTuple):
    """Whether the question is answered, what was found, and what there is to do; '' is nothing."""

    ok: bool
    found: str
    do: str


def status(directory: str = DIRECTORY) -> Status:
    """How it stands here, as far as the asker may know."""
    pin = os.path.join(directory, _PIN)
    if answers():
        if os.access(directory, os.X_OK) and not os.path.lexists(pin):
            found = f"answered, but not by what is pinned in {directory}: it may end at any time"
            return Status(True, found, "pagsrv peerkeyring install")
        return Status(True, "answered by the kernel", "")
    why = bpf.missing()
    if not why:
        try:
            bpf.root_cgroup().close()
        except bpf.BpfFault as fault:
            why = str(fault)
    if why:
        return Status(False, f"not answered, and not to be installed here: {why}", "")
    return Status(False, "not answered", "have root run: pagsrv peerkeyring install")


def install(directory: str = DIRECTORY) -> None:
    """Have the kernel answer from now on, also after we are gone; again, it is brought up to date.

    BpfFault says what is missing here; then nothing has changed.
    """
    pin = os.path.join(directory, _PIN)
    with (
        bpf.Program("peerkeyring") as program,
        bpf.root_cgroup() as cgroup,
        _locked(directory, make=True),
    ):
        if not _renew(program, pin):
            with program.attach_cgroup(cgroup.fileno()) as link:
                bpf.pin(link, pin)
    if not answers():
        remove(directory)
        raise bpf.BpfFault("it was installed, and yet the kernel does not answer: taken down again")


def _renew(program: bpf.Program, pin: str) -> bool:
    """Put *program* in the place of what is pinned already; False if nothing usable is."""
    link = bpf.pinned(pin)
    if link is None:
        return False
    with link:
        try:
            program.replace_in(link)
        except bpf.BpfFault:
            # It was detached by force, or is something else: it is of no use any more.
            os.unlink(pin)
            return False
    return True


def remove(directory: str = DIRECTORY) -> bool:
    """Have the kernel answer no more, from the moment this returns; whether there was anything.

    BpfFault if somebody else's copy answers still.
    """
    pin = os.path.join(directory, _PIN)
    if not os.path.lexists(directory):
        found = False
    else:
        with _locked(directory):
            found = _take_down(pin)
            os.rmdir(directory)
    if answers():
        raise bpf.BpfFault(
            "the kernel answers still: the same program is attached once more, by somebody else "
            "(`bpftool cgroup tree` shows it)"
        )
    return found


def _take_down(pin: str) -> bool:
    link = bpf.pinned(pin)
    if link is None:
        return False
    with link:
        # Unlinking alone lets the kernel detach when it comes to it, and never while anybody
        # holds the link, a child forked meanwhile for one.
        bpf.detach(link)
    os.unlink(pin)
    return True


@contextmanager
def _locked(directory: str, *, make: bool = False) -> Iterator[None]:
    """Work in *directory* alone; *make* it, mode 0700, if it is not there."""
    try:
        if make:
            _make(directory)
        why = _not_private(directory)
        if why:
            raise bpf.BpfFault(why)
        handle = Fd(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise bpf.BpfFault(f"{directory} cannot be used: {error.strerror}") from error
    with handle:
        flock(handle.fileno(), LOCK_EX)
        yield


def _make(directory: str) -> None:
    """Make *directory* in a bpf file system, mounting the usual one if nobody has."""
    parent = os.path.dirname(directory)
    kind = _file_system(parent)
    if parent == _BPFFS and kind == "sysfs":
        _mount_bpffs()
    elif kind != "bpf":
        raise bpf.BpfFault(f"{parent} is in no bpf file system, where a link could be pinned")
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        return


def _file_system(path: str) -> str:
    """The kind of file system *path* is in."""
    found, length = "", -1
    for place, kind in bpf.mounts():
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= length:
            found, length = kind, len(place)
    return found


def _mount_bpffs() -> None:
    if libc().mount(b"bpf", _BPFFS.encode(), b"bpf", _MOUNT_FLAGS, b"mode=0700"):
        raise bpf.BpfFault(
            f"no bpf file system is mounted at {_BPFFS}, and we may not mount it: "
            f"mount -t bpf bpf {_BPFFS}"
        )


def _not_private(directory: str) -> str:
    """'' if *directory* is root's and nobody else may enter it, else what is wrong with it."""
    seen = os.lstat(directory)
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != 0:
        return f"{directory} is no directory of root's: somebody else has put it there"
    if stat.S_IMODE(seen.st_mode) & 0o077:
        return f"others may enter {directory}: its mode has to be 0700"
    return ""
