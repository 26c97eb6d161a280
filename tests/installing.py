# SPDX-License-Identifier: MIT
"""SO_PEERKEYRING on this machine, for the tests of a module.

    with peerkeyring_installed(directory) as ours:
        …

The law: it is the whole machine's, so that modules take turns; where its owner has installed
it, it is used and left alone; what we installed is gone afterwards, whatever becomes of the
tests. It refuses to know what is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from pagsrv.kernel import bpf, peerkeyring
from pagsrv.kernel.libc import libc

_MNT_DETACH = 2  # linux/fs.h
_TURNS = "/sys/kernel/btf"  # a directory that is there wherever programs can be loaded


class Installed:
    """The answer of this machine; *ours* if we installed it, and so may take it down."""

    def __init__(self, directory: str, *, ours: bool) -> None:
        self.directory = directory
        self.ours = ours

    def remove(self) -> None:
        """Have the kernel answer no more; a skip where that is not ours to do."""
        if not self.ours:
            pytest.skip("SO_PEERKEYRING is installed on this machine, which is its owner's affair")
        peerkeyring.remove(self.directory)

    def install(self) -> None:
        """Have it answer again."""
        peerkeyring.install(self.directory)


@contextmanager
def our_turn() -> Iterator[None]:
    """Be the only one of this machine's tests that installs; a skip with the reason elsewhere."""
    if os.geteuid() != 0:
        pytest.skip("only root can have the kernel run a program")
    why = bpf.missing()
    if why:
        pytest.skip(why)
    handle = os.open(_TURNS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def peerkeyring_installed(top: Path) -> Iterator[Installed]:
    """The kernel answers; pinned beneath the directory *top* if nobody had it installed."""
    with our_turn():
        if peerkeyring.answers():
            yield Installed(peerkeyring.DIRECTORY, ours=False)
            return
        try:
            bpf.root_cgroup().close()
        except bpf.BpfFault as fault:
            pytest.skip(str(fault))
        mount = top / "bpf"
        mount.mkdir()
        if libc().mount(b"bpf", os.fsencode(mount), b"bpf", 0, b"mode=0755"):
            pytest.skip("we may not mount a bpf file system here")
        installed = Installed(str(mount / "pagsrv"), ours=True)
        try:
            installed.install()
            yield installed
        finally:
            try:
                peerkeyring.remove(installed.directory)
            finally:
                libc().umount2(os.fsencode(mount), _MNT_DETACH)
                mount.rmdir()
