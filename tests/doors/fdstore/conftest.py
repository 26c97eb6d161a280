# SPDX-License-Identifier: MIT
"""A broker and its board for the tests of managers and their stores.

The law: nobody else posts on it. It refuses to know who is told of its entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.client.blocking import Board, connect
from tests.running import Running, running_broker


@pytest.fixture
def broker(short_tmp: Path) -> Iterator[Running]:
    """A broker of the test's own."""
    (short_tmp / "broker").mkdir()
    with running_broker(short_tmp / "broker") as running:
        yield running


@pytest.fixture
def board(broker: Running) -> Iterator[Board]:
    """Its board."""
    with connect(broker.dir, scopes=["user"], changes=True) as found:
        yield found
