# SPDX-License-Identifier: MIT
"""The kernel's own answer, for the time of one test.

The law: what is attached here is the whole machine's, so that tests take turns and
leave nothing attached, whatever becomes of them. It refuses to know what is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.kernel import bpf, peerkeyring
from pagsrv.kernel.libc import libc
from tests.actors import Actor
from tests.installing import nobody_answering
from tests.peers import Door

_MNT_DETACH = 2  # linux/fs.h


@pytest.fixture
def turn() -> Iterator[None]:
    """Be the only test of this machine that installs, while nothing is installed; root only."""
    with nobody_answering():
        yield


@pytest.fixture
def place(turn: None, short_tmp: Path) -> Iterator[str]:  # noqa: ARG001 -- it is our turn
    """Where to install: a directory to be made, in a bpf file system of the test's own."""
    try:
        bpf.root_cgroup().close()
    except bpf.BpfFault as fault:
        pytest.skip(str(fault))
    mount = short_tmp / "bpf"
    mount.mkdir()
    if libc().mount(b"bpf", os.fsencode(mount), b"bpf", 0, b"mode=0755"):
        pytest.skip("we may not mount a bpf file system here")
    directory = str(mount / "pagsrv")
    try:
        yield directory
    finally:
        try:
            peerkeyring.remove(directory)
        finally:
            libc().umount2(os.fsencode(mount), _MNT_DETACH)
    assert not peerkeyring.answers()


@pytest.fixture
def installed(place: str) -> str:
    """SO_PEERKEYRING is answered; where it is pinned."""
    peerkeyring.install(place)
    return place


@pytest.fixture
def door(short_tmp: Path) -> Iterator[Door]:
    """A SEQPACKET socket anybody may connect to."""
    door = Door(short_tmp / "door")
    with door.listener:
        yield door


@pytest.fixture
def peer(installed: str, other_uid: int) -> Iterator[Actor]:  # noqa: ARG001
    """A process of another uid with a session of its own, while the kernel answers."""
    with Actor(other_uid) as actor:
        yield actor
