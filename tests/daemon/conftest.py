# SPDX-License-Identifier: MIT
"""Fixtures of the broker's tests: a broker of one module, and the neighbour beside it.

The law: after each test the broker holds as many descriptors as before it, and the
neighbour, whom nothing concerned, is answered on its old connection as ever. It refuses
to know what a test did.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.anybody import Anybody
from tests.conftest import identity, make_short_directory
from tests.daemon.waiting import until
from tests.daemon.wire import Client, Parameters, post, text_of
from tests.installing import Installed, peerkeyring_installed
from tests.running import KERNEL, Running, running_broker

_numbers = count()


def descriptors(pid: int) -> int:
    """How many descriptors process *pid* holds (proc(5): the size of its fd, Linux 6.2)."""
    return os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))


class House:
    """A broker, and one client that has posted something there and minds its own business."""

    def __init__(self, broker: Running) -> None:
        self.broker = broker
        self.dir = broker.dir
        self.neighbour = Client(broker.dir)
        self.neighbour.attach("user")
        self.entry = post(self.neighbour, "neighbour", b"in peace", scope="user")
        text_of(self.neighbour.open("neighbour"))
        self.baseline = descriptors(broker.pid)

    def health(self) -> Parameters:
        """What the broker says of itself, over the neighbour's connection."""
        return self.neighbour.do("Health")

    def tidy(self) -> None:
        """Remove what a test left on the board on purpose."""
        for entry in self.neighbour.listed(scope="user"):
            if entry["name"] != "neighbour":
                self.neighbour.do("Remove", name=entry["name"], scope="user")

    def unharmed(self) -> None:
        """Fail if the neighbour was touched, or a descriptor stays behind in the broker."""
        self.tidy()
        now = self.neighbour.do("Stat", name="neighbour")["entry"]
        assert now["generation"] == self.entry["generation"]
        assert text_of(self.neighbour.open("neighbour")) == b"in peace"
        until(self._settled, self.health, "the broker closes what it was sent")
        assert "Traceback" not in self.broker.log, self.broker.log

    def _settled(self) -> bool:
        return descriptors(self.broker.pid) == self.baseline

    def close(self) -> None:
        """The neighbour leaves."""
        self.neighbour.close()


@pytest.fixture(scope="module")
def lasting_house() -> Iterator[House]:
    """A broker for all tests of a module."""
    path = make_short_directory()
    with running_broker(path) as broker:
        house = House(broker)
        yield house
        house.close()
    shutil.rmtree(path)


@pytest.fixture
def house(lasting_house: House) -> Iterator[House]:
    """The same, looked after once the test is over."""
    yield lasting_house
    lasting_house.unharmed()


@pytest.fixture
def broker(short_tmp: Path) -> Iterator[Running]:
    """A broker of the test's own."""
    with running_broker(short_tmp) as running:
        yield running


@pytest.fixture
def user_broker(short_tmp: Path, other_uid: int, anybody_python: Anybody) -> Iterator[Running]:
    """A broker of a uid that is not root; only root can start one."""
    short_tmp.chmod(0o777)
    argv = (*anybody_python.argv, "-m", "pagsrv.daemon")
    with running_broker(
        short_tmp, argv=argv, env=anybody_python.env, cwd="/", **identity(other_uid)
    ) as running:
        yield running


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    """A connection that may change things, in the user scope."""
    with Client(house.dir) as one:
        one.attach("user")
        yield one


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"entry-{next(_numbers)}"


@pytest.fixture(scope="module")
def answered() -> Iterator[Installed]:
    """The kernel answers."""
    with peerkeyring_installed() as installed:
        yield installed


@pytest.fixture(scope="module")
def kernel_board(answered: Installed) -> Iterator[Running]:  # noqa: ARG001 -- it asks the kernel
    """A broker of root's for the module; in the end it holds nothing of anybody's."""
    path = make_short_directory()
    with running_broker(path, use=KERNEL) as running, Client(running.dir) as client:
        client.do("Health")
        before = descriptors(running.pid)
        yield running
        until(
            lambda: descriptors(running.pid) == before,
            lambda: client.do("Health"),
            "the broker lets go of every session",
        )
        assert "Traceback" not in running.log, running.log
    shutil.rmtree(path)
