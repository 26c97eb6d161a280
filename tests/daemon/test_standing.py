# SPDX-License-Identifier: MIT
"""Peers that are gone before they are answered: what is kept, and what is told, is true.

The law: the broker stands still while the peer asks and leaves, so that the answer meets
nobody; whoever comes afterwards must not be the one to notice.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pagsrv.daemon.standing import Kin
from tests.daemon.conftest import House
from tests.daemon.wire import Client, clients, memory, post
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel

LEASE = [{"cond": "lease"}]


@contextmanager
def standing_still(broker: Running) -> Iterator[None]:
    """The broker stopped meanwhile."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def test_answer_for_a_peer_that_is_gone_does_not_stand(house: House, name: str) -> None:
    """Its lease ended with it: kept, the answer would hand out whatever has that number now."""
    with Client(house.dir) as reader:
        reader.do("Health")
        leaver = Client(house.dir)
        leaver.attach("user")
        post(leaver, name, scope="user", until=LEASE)
        with standing_still(house.broker):
            leaver.ask("Open", {"name": name})
            leaver.close()
        assert reader.refusal("Stat", name=name) == "NoEntry"
        with clients(house.dir, 3) as others:
            for other in others:
                other.do("Health")
            assert reader.refusal("Open", name=name) == "NoEntry"


def test_events_of_a_peer_that_is_gone_are_told_in_order(house: House, name: str) -> None:
    """First what it did, then that it ended: a watcher's picture of the board stays true."""
    with Client(house.dir) as watcher, memory(b"text") as fd:
        watcher.ask("Watch", {"initial": True}, more=True)
        while watcher.hear().fine()["event"] != "live":
            pass
        leaver = Client(house.dir)
        leaver.attach("user")
        asked = {"name": name, "fd": 0, "scope": "user", "until": LEASE}
        with standing_still(house.broker):
            leaver.ask("Post", asked, [fd.fileno()])
            leaver.close()
        assert [watcher.hear().fine()["event"] for _ in range(2)] == ["posted", "ended"]


def test_many_watchers_that_go_at_once(short_tmp: Path) -> None:
    """Each end is news for the others, who are gone as well: they go one after the other."""
    number = 250
    config = f"[limits]\nwatches_per_uid = {number}\n"
    with running_broker(short_tmp, config=config) as broker, Client(broker.dir) as other:
        with ExitStack() as kept:
            for place in range(number):
                client = kept.enter_context(Client(broker.dir))
                client.attach("user")
                post(client, f"entry {place}", scope="user", until=LEASE)
                client.ask("Watch", more=True)
            assert other.do("Health")["entries"] == number
            os.kill(broker.pid, signal.SIGSTOP)
        os.kill(broker.pid, signal.SIGCONT)
        # One call after another, each a batch of events later than the last.
        for _ in range(number):
            health = other.do("Health")
        assert (health["connections"], health["entries"], health["watches"]) == (1, 0, 0)
        assert "Traceback" not in broker.log


def test_requests_kept_are_bounded_in_bytes() -> None:
    """Blanks after a call make another request of it, as long as its sender likes."""
    kin = Kin()
    for size in range(1000, 3000):
        kin.keep(b" " * size, ([], [], ()), 1)
    assert sum(map(len, kin.answers)) <= 256 * 1024
    kin.keep(b"one more", ([], [], ()), 1)
    assert b"one more" in kin.answers
