# SPDX-License-Identifier: MIT
"""Fixtures of the mount's tests: a broker and its mount for a module, and sessions to use it from.

The law: after each module the broker and the door hold as many descriptors as before it. It
refuses to know what a test does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.conftest import make_short_directory
from tests.daemon.waiting import until
from tests.daemon.wire import Client
from tests.doors.fuse.mounts import Mounted, check_fuse, check_proof, mounted
from tests.running import Running, running_broker

_numbers = count()
USE = ("iterator", "possession")


@pytest.fixture(scope="module")
def board() -> Iterator[Running]:
    """A broker of root's that can tell a thread's session."""
    check_fuse()
    check_proof()
    path = make_short_directory()
    with running_broker(path, use=USE) as running:
        yield running
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def mount(board: Running) -> Iterator[Mounted]:
    """Root's mount, which shows every session its own."""
    path = make_short_directory()
    with mounted(path, board.dir) as made, Client(board.dir) as client:
        client.do("Health")
        before = board.descriptors()
        yield made
        # What the door's threads keep for the next call is a connection each.
        until(
            lambda: board.descriptors() <= before + 20,
            lambda: client.do("Health"),
            "the broker lets go of everything",
        )
    shutil.rmtree(path)


@pytest.fixture
def here(mount: Mounted) -> Iterator[Actor]:  # noqa: ARG001 -- before any actor
    """A session."""
    with Actor() as actor:
        yield actor


@pytest.fixture
def there(mount: Mounted) -> Iterator[Actor]:  # noqa: ARG001 -- before any actor
    """Another session of the same uid."""
    with Actor() as actor:
        yield actor


@pytest.fixture
def path(mount: Mounted) -> str:
    """A file of the mount that no other test uses."""
    return mount / f"x{next(_numbers)}"


@pytest.fixture
def scratch(short_tmp: Path) -> str:
    """A file outside of the mount."""
    return str(short_tmp / "file")
