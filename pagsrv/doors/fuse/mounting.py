# SPDX-License-Identifier: MIT
"""The mount: made by mount(2) or by fusermount3, and taken down again.

The law: what we take down is the mount that we made, by its device number, and nothing that lies
over it; one whose server is gone is taken down before another is made. Without root it is
fusermount3 that may mount, and it decides where. It refuses to know what is served.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from errno import ENOTCONN
from typing import TYPE_CHECKING, NamedTuple, Self

from pagsrv.errors import PagsrvError
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.fuse import MOST_IO
from pagsrv.kernel.libc import libc
from pagsrv.kernel.scm import receive_blocking

if TYPE_CHECKING:
    from types import TracebackType

DEVICE = "/dev/fuse"
KIND = "fuse.pagsrv"
_FLAGS = 2 | 4 | 8  # MS_NOSUID, MS_NODEV, MS_NOEXEC (sys/mount.h)
_DETACH, _NO_FOLLOW = 2, 8  # MNT_DETACH, UMOUNT_NOFOLLOW (sys/mount.h)
_SECONDS = 30  # for fusermount3, which waits for nobody


class CannotMount(PagsrvError):
    """It cannot be mounted there."""

    status = 1


class Place(NamedTuple):
    """One line of /proc/self/mountinfo: what is mounted where, by its device number."""

    path: str
    device: int
    kind: str


class Mount:
    """A mounted file system; owns /dev/fuse. `device` is its number, as stat(2) shows it."""

    def __init__(self, path: str) -> None:
        """Mount at the directory *path*; CannotMount. With root's rights, everybody's to use."""
        self.path = _checked(path)
        self.everybody = os.geteuid() == 0
        self.fd = _by_root(self.path) if self.everybody else _by_helper(self.path)
        try:
            self.device = _on_top(self.path)
        except BaseException:
            self.fd.close()
            raise

    def unmount(self) -> None:
        """Take it down, whatever is open in it; nothing if it is down."""
        if (self.path, self.device) in {(one.path, one.device) for one in _mounts()}:
            _take_down(self.path)

    def close(self) -> None:
        """Take it down and end the connection: what is open in it answers ENOTCONN."""
        try:
            self.unmount()
        finally:
            self.fd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _checked(path: str) -> str:
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode
    except OSError as error:
        if error.errno != ENOTCONN or _kind_at(real) != KIND:
            raise CannotMount(f"{path} cannot be mounted at: {error.strerror}") from None
        # Whoever served it was killed; nobody can use it any more.
        _take_down(real)
        return _checked(path)
    if not stat.S_ISDIR(mode):
        raise CannotMount(f"{path} is no directory: name an empty one of yours")
    return real


def _by_root(path: str) -> Fd:
    device = Fd(_opened())
    options = (
        f"fd={device.fileno()},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={MOST_IO}"
    )
    if libc().mount(b"pagsrv", os.fsencode(path), KIND.encode(), _FLAGS, options.encode()):
        import ctypes  # noqa: PLC0415 -- for the errno alone

        device.close()
        why = os.strerror(ctypes.get_errno())
        raise CannotMount(f"{path} cannot be mounted at: mount(2) says {why}")
    return device


def _opened() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise CannotMount(
            f"{DEVICE} cannot be opened ({error.strerror}): this kernel, or this container, has no "
            "FUSE"
        ) from None


def _by_helper(path: str) -> Fd:
    """fusermount3 mounts, and sends the descriptor (its variable _FUSE_COMMFD names the socket)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        with theirs:
            options = f"fsname=pagsrv,subtype=pagsrv,nosuid,nodev,noexec,max_read={MOST_IO}"
            done = subprocess.run(  # noqa: S603 -- the program that is installed for this
                [_helper(), "-o", options, "--", path], check=False, timeout=_SECONDS,
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, capture_output=True,
                env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            )  # fmt: skip
        if done.returncode:
            why = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
            raise CannotMount(f"{path} cannot be mounted at: {why or 'fusermount3 does not say'}")
        with receive_blocking(ours, 16, stream=True) as packet:
            if len(packet.fds) != 1:
                raise CannotMount(f"fusermount3 mounted {path} and gave no descriptor")
            return packet.take()[0]


def _helper() -> str:
    found = shutil.which("fusermount3")
    if found is None:
        raise CannotMount(
            "without root it takes fusermount3 to mount, and there is none: install fuse3"
        )
    return found


def _take_down(path: str) -> None:
    if os.geteuid() == 0:
        libc().umount2(os.fsencode(path), _DETACH | _NO_FOLLOW)
        return
    subprocess.run(  # noqa: S603 -- as above
        [_helper(), "-u", "-q", "-z", "--", path], check=False, timeout=_SECONDS,
        stdin=subprocess.DEVNULL, capture_output=True,
    )  # fmt: skip


def _mounts() -> list[Place]:
    """What is mounted, later ones on top (proc_pid_mountinfo(5))."""
    found = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            before, _, after = line.partition(b" - ")
            words = before.split(b" ")
            path = words[4].decode("unicode_escape").encode("latin-1")
            major, _, minor = words[2].partition(b":")
            kind = os.fsdecode(after.split(b" ")[0])
            found.append(Place(os.fsdecode(path), os.makedev(int(major), int(minor)), kind))
    return found


def _kind_at(path: str) -> str:
    return next((one.kind for one in reversed(_mounts()) if one.path == path), "")


def _on_top(path: str) -> int:
    for one in reversed(_mounts()):
        if one.path == path and one.kind == KIND:
            return one.device
    raise CannotMount(f"{path} was mounted and is gone again: somebody took it down")
