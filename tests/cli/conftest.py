# SPDX-License-Identifier: MIT
"""Fixtures of the command line's tests: one broker for all, and sessions to ask it from.

The law: names on the board are a test's own, so that the tests need no order. It
refuses to know what any test is about.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.cli.command import Login
from tests.conftest import make_short_directory
from tests.installing import Installed, answering, nobody_answers
from tests.running import KERNEL, Running, running_broker

__all__ = ["answering", "nobody_answers"]

_numbers = count()


@pytest.fixture(scope="session")
def broker() -> Iterator[Running]:
    """A broker that every test of the command line shares."""
    path = make_short_directory()
    with running_broker(path) as running:
        yield running
    shutil.rmtree(path)


@pytest.fixture
def told(answering: Installed, short_tmp: Path) -> Iterator[Login]:  # noqa: ARG001
    """A session, and the command in it, at a broker that the kernel tells sessions."""
    with running_broker(short_tmp, use=KERNEL) as running, Actor() as actor:
        yield Login(actor, running.dir)


@pytest.fixture
def login(broker: Running) -> Iterator[Login]:
    """A session, and the command in it."""
    with Actor() as actor:
        yield Login(actor, broker.dir)


@pytest.fixture
def other(broker: Running) -> Iterator[Login]:
    """Another session of the same uid."""
    with Actor() as actor:
        yield Login(actor, broker.dir)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"cli-{next(_numbers)}"


@pytest.fixture
def files(login: Login, name: str, short_tmp: Path) -> list[str]:
    """Three entries, each an open file of that name."""
    names = [f"{name}-{letter}" for letter in "abc"]
    for one in names:
        path = short_tmp / one
        path.write_text(f"this is {one}\n")
        login.must("post", one, "--open", str(path))
    return names
