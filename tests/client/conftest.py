# SPDX-License-Identifier: MIT
"""Fixtures of the client's tests: a broker for all of them, and the two faces.

The law: what a test does with a Board it does through a face, so that both pass the
same battery. It refuses to know what any test is about.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.client.faces import AioFace, BlockingFace, Face
from tests.conftest import make_short_directory
from tests.installing import Installed, answering, nobody_answers
from tests.running import ITERATOR, KERNEL, Running, running_broker

__all__ = ["answering", "nobody_answers"]

_numbers = count()


@pytest.fixture(scope="session")
def broker() -> Iterator[Running]:
    """A broker that every test of the client shares; names in it are a test's own."""
    path = make_short_directory()
    with running_broker(path) as running:
        yield running
    shutil.rmtree(path)


@pytest.fixture
def own_broker(short_tmp: Path) -> Iterator[Running]:
    """A broker of this test's own: nobody else's entries end there meanwhile."""
    with running_broker(short_tmp) as running:
        yield running


@pytest.fixture(params=[KERNEL, ITERATOR])
def kernel_broker(
    request: pytest.FixtureRequest,
    answering: Installed,  # noqa: ARG001
    short_tmp: Path,
) -> Iterator[Running]:
    """A broker that the kernel tells sessions from its start, by each way it has."""
    with running_broker(short_tmp, use=request.param) as running:
        yield running


@pytest.fixture(params=["blocking", "aio"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each face of the library in turn."""
    if request.param == "blocking":
        yield BlockingFace()
        return
    with asyncio.Runner() as runner:
        yield AioFace(runner)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"entry-{next(_numbers)}"
