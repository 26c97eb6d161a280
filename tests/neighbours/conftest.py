# SPDX-License-Identifier: MIT
"""Fixtures of the neighbours' tests: a broker, and programs that run beside it.

The law: whatever is started here is gone when the test is over. It refuses to know what any
program is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.cli.conftest import name
from tests.conftest import make_short_directory
from tests.neighbours.beside import Beside
from tests.running import Running, running_broker

__all__ = ["name"]


@pytest.fixture(scope="module")
def broker() -> Iterator[Running]:
    """A broker that the tests of a file share."""
    path = make_short_directory()
    with running_broker(path) as running:
        yield running
    shutil.rmtree(path)


@pytest.fixture
def beside(broker: Running) -> Iterator[Beside]:
    """Programs that find the broker, and `pagsrv`, in their environment."""
    with Beside(broker.dir) as found:
        yield found
