# SPDX-License-Identifier: MIT
"""Fixtures of the C library's tests: what is built, and a broker for all of them.

The law: the battery is passed by every way of building. It refuses to know what any test
is about.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.c import building
from tests.c.building import Built
from tests.c.driving import Member, member
from tests.conftest import make_short_directory
from tests.installing import Installed, answering, nobody_answers
from tests.running import ITERATOR, KERNEL, Running, running_broker

__all__ = ["answering", "nobody_answers"]

_numbers = count()
_ways = {"shared": building.shared, "sanitized": building.sanitized}


@pytest.fixture(scope="session", params=list(_ways))
def built(request: pytest.FixtureRequest) -> Iterator[Built]:
    """The driver, built in each way, where every uid can run it."""
    path = make_short_directory()
    yield _ways[request.param](path)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def libraries() -> Iterator[Path]:
    """Where both libraries lie, by gcc: libpagsrv.a and libpagsrv.so.0."""
    building.needs("gcc")
    path = make_short_directory()
    for kind in ("a", "so.0"):
        building.library(path, kind, "gcc")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def watched() -> Iterator[Built]:
    """The driver under valgrind."""
    path = make_short_directory()
    yield building.watched(path)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def unit() -> Iterator[Path]:
    """The parts that need no broker."""
    path = make_short_directory()
    yield building.units(path)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def broker() -> Iterator[Running]:
    """A broker that all of these tests share; names in it are a test's own."""
    path = make_short_directory()
    with running_broker(path) as running:
        yield running
    shutil.rmtree(path)


@pytest.fixture(params=[KERNEL, ITERATOR])
def kernel_broker(
    request: pytest.FixtureRequest,
    answering: Installed,  # noqa: ARG001
    short_tmp: Path,
) -> Iterator[Running]:
    """A broker that the kernel tells sessions from its start, by each way it has."""
    with running_broker(short_tmp, use=request.param) as running:
        yield running


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"entry-{next(_numbers)}"


@pytest.fixture
def one(built: Built, broker: Running) -> Iterator[Member]:
    """A driver in a session of its own, attached for changes."""
    with member(built) as mine:
        yield mine.attached(broker.dir)
        mine("close")


@pytest.fixture
def file(short_tmp: Path) -> str:
    """A file that says so."""
    path = short_tmp / "file"
    path.write_text("this is it")
    return str(path)
