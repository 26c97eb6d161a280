# SPDX-License-Identifier: MIT
"""Whether the kernel tells the session of a peer, for the time of one test.

The law: that is the whole machine's, so that tests take turns at it; it is installed from a
mount namespace of a process of its own, and so is gone with that process, whatever becomes
of the test. Where the machine has it anyway it is used as it is. It refuses to know what
is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH, flock

import pytest

from pagsrv.kernel import bpf, peerkeyring
from pagsrv.kernel.libc import libc
from tests.actors import Actor

BPFFS = "/sys/fs/bpf"
_NEWNS = 0x20000  # CLONE_NEWNS of linux/sched.h
_PRIVATE = 0x4000 | 1 << 18  # MS_REC and MS_PRIVATE of linux/mount.h
_TURNS = "/sys/kernel/btf"  # a directory that is there wherever programs can be loaded


@contextmanager
def _turn(how: int) -> Iterator[None]:
    """Hold the machine's turn, alone (LOCK_EX) or with whoever wants the same (LOCK_SH)."""
    try:
        handle = os.open(_TURNS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield  # nobody here can install anything
        return
    try:
        flock(handle, how)
        yield
    finally:
        os.close(handle)


def own_bpffs() -> None:
    """See a bpf file system that nobody else sees, from now on; run in an actor."""
    for source, target, kind, flags in (
        (b"none", b"/", b"", _PRIVATE), (b"bpf", BPFFS.encode(), b"bpf", 0),
    ):  # fmt: skip
        if kind == b"" and libc().unshare(_NEWNS):
            raise OSError("there is no mount namespace to be had")
        if libc().mount(source, target, kind, flags, None):
            raise OSError(f"{target!r} cannot be mounted")


@pytest.fixture
def nobody_answers() -> Iterator[None]:
    """The kernel tells nothing, nor does it begin to meanwhile; root, who could install it."""
    if os.geteuid() != 0:
        pytest.skip("only root can have the kernel run a program")
    with _turn(LOCK_EX):
        if bpf.missing():
            pytest.skip(bpf.missing())
        if peerkeyring.answers():
            pytest.skip("SO_PEERKEYRING is installed on this machine, which is its owner's affair")
        yield
        assert not peerkeyring.answers()


@pytest.fixture
def silent() -> Iterator[None]:
    """The kernel tells nothing, as on most machines."""
    with _turn(LOCK_SH):
        if peerkeyring.answers():
            pytest.skip("SO_PEERKEYRING is installed on this machine, which is its owner's affair")
        yield


@pytest.fixture
def answering() -> Iterator[None]:
    """The kernel tells; a broker has to be started after this to begin with it."""
    if os.geteuid() != 0:
        pytest.skip("only root can have the kernel run a program")
    with _turn(LOCK_EX):
        if peerkeyring.answers():
            yield
            return
        if bpf.missing():
            pytest.skip(bpf.missing())
        with Actor() as owner:
            owner(own_bpffs)
            owner(peerkeyring.install)
            yield
            owner(peerkeyring.remove)
