# SPDX-License-Identifier: MIT
"""What the broker says of itself and of its namespaces, and to whom.

The law: what is counted is what was done; nobody but root and the broker's own uid learns
what others do.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pagsrv.kernel import process
from pagsrv.kernel.fd import Fd
from tests.actors import Actor
from tests.daemon import asking, members
from tests.daemon.conftest import House, descriptors
from tests.daemon.waiting import exited, until
from tests.daemon.wire import Client, Parameters, post, text_of
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel


def namespaces(client: Client) -> dict[str, Parameters]:
    """Every namespace that *client* is shown, by its scope."""
    client.ask("Namespaces", more=not client.stream)
    found = []
    while True:
        answer = client.hear()
        found += answer.fine()["namespaces"]
        if not answer.continues:
            return {one["scope"]: one for one in found}


def its_namespaces() -> dict[str, Parameters]:
    """The same, for an actor."""
    return namespaces(members.mine())


def opened(client: Client, name: str) -> list[Parameters]:
    """Who opened *name*, as Stat tells it."""
    openers: list[Parameters] = client.do("Stat", name=name)["entry"].get("openers", [])
    return openers


# ---- what is counted -----------------------------------------------------------------------------


def test_activity_is_what_was_done(house: House, client: Client, name: str) -> None:
    """Calls, refusals by name, proofs by kind, and descriptors as the kernel counts them."""
    before = house.health()
    post(client, name, scope="user")
    for _ in range(300):
        text_of(client.open(name))
    assert client.refusal("Open", name="nonesuch") == "NoEntry"
    assert client.refusal("Nonesuch") == "MethodNotFound"
    with Client(house.dir) as other:
        other.attach("user", changes=False)
        after = house.health()
        held = descriptors(house.broker.pid)
    assert after["calls"] - before["calls"] == 305  # both Health, Post, the opens, NoEntry, Attach
    done, was = after["activity"], before["activity"]
    assert done["refusals"]["NoEntry"] == was["refusals"].get("NoEntry", 0) + 1
    assert done["refusals"]["MethodNotFound"] == was["refusals"].get("MethodNotFound", 0) + 1
    assert sum(done["refusals"].values()) == after["refusals"]
    assert done["proofs"]["user"] == was["proofs"]["user"] + 1
    assert set(done["proofs"]) >= {"possession", "groups", "user"}
    assert done["descriptors"]["used"] == held < done["descriptors"]["most"]


def test_latency_is_of_calls(house: House, client: Client, name: str) -> None:
    """In order, of as many as were measured; who asks seldom is measured, too."""
    post(client, name, scope="user")
    samples = (house.health()["activity"]["latency"] or {"samples": 0})["samples"]
    for _ in range(1000):
        text_of(client.open(name))
    latency = house.health()["activity"]["latency"]
    assert latency["samples"] > samples
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]


def test_breaking_the_rules_is_counted(house: House) -> None:
    """Under the name of the last reply."""
    before = house.health()["activity"]["refusals"].get("ProtocolError", 0)
    with Client(house.dir) as rude:
        rude.push(b"[]")
        assert rude.gone()
    assert house.health()["activity"]["refusals"]["ProtocolError"] == before + 1


def test_session_proof_is_counted_once(broker: Running) -> None:
    """However often the connection attaches."""
    with Client(broker.dir) as client, Actor() as actor:
        (session,) = actor(members.join, broker.dir, "session")
        actor(members.do, "Attach", scopes=["session"])
        proofs = client.do("Health")["activity"]["proofs"]
        assert proofs.get("kernel", 0) + proofs["possession"] == 1
        actor(members.put, "x", scope="session")
        assert client.do("Health")["activity"]["unattended"] == 0
        actor(members.leave)
        until(
            lambda: client.do("Health")["activity"]["unattended"] == 1,
            lambda: client.do("WhoAmI"),
            f"{session} is left",
        )


# ---- to whom -------------------------------------------------------------------------------------


def test_others_activity_is_nobodys_business(broker: Running, other_uid: int) -> None:
    """A user of root's broker learns of its own budget, root of everybody's."""
    with Client(broker.dir) as root, Actor(other_uid) as actor:
        root.attach("user")
        post(root, "x", scope="user")
        actor(members.join, broker.dir, "user")
        actor(members.put, "y", scope="user")
        told = actor(members.do, "Health")
        assert told["activity"] is None
        assert [one["uid"] for one in told["budgets"]] == [other_uid]
        assert told["budgets"][0]["entries"] == {"used": 1, "most": 16384}
        told = root.do("Health")
        assert told["activity"]["descriptors"]["used"] > 0
        assert [one["uid"] for one in told["budgets"]] == [0, other_uid]
        assert actor(its_namespaces).keys() == {f"user:{other_uid}"}
        assert namespaces(root).keys() == {"user:0"}


def test_user_learns_of_the_users_own_broker(user_broker: Running, other_uid: int) -> None:
    """All of it: nobody else is served there."""
    with Actor(other_uid) as actor:
        actor(members.join, user_broker.dir, "user")
        told = actor(members.do, "Health")
    assert told["activity"]["descriptors"]["used"] > 0


# ---- namespaces ----------------------------------------------------------------------------------


def lead() -> int:
    """Become the leader of a session; our pid."""
    os.setsid()
    return os.getpid()


@pytest.mark.parametrize("stream", [False, True])
def test_namespace_names_its_leader(broker: Running, *, stream: bool) -> None:
    """The leader of its member, also once that has left and only what it posted is there."""
    with Actor() as actor, Client(broker.dir, stream=stream) as client:
        pid = actor(lead)
        (session,) = actor(members.join, broker.dir, "session")
        actor(members.put, "x", scope="session")
        client.attach("user", changes=False)
        seen = namespaces(client)[session]
        assert (seen["isolation"], seen["proof"], seen["uid"]) == ("isolated", None, os.geteuid())
        assert (seen["entries"], seen["members"]) == (1, 1)
        assert seen["leader"] == {"pid": pid, "comm": process.comm(pid)}
        assert actor(its_namespaces)[session]["proof"] in ("possession", "kernel")
        actor(members.leave)
        until(
            lambda: namespaces(client)[session]["members"] == 0,
            lambda: client.do("WhoAmI"),
            "the member is gone",
        )
        assert namespaces(client)[session]["leader"]["pid"] == pid
        actor.close()
        until(
            lambda: (
                namespaces(client)[session]["leader"] is None
                if session in namespaces(client)
                else True
            ),
            lambda: client.do("WhoAmI"),
            "the leader is gone",
        )


def test_namespaces_want_more(client: Client) -> None:
    """On the packet socket, as List does; and oneway there is no answer."""
    assert client.refusal("Namespaces") == "ExpectedMore"
    client.ask("Namespaces", more=True, oneway=True)
    assert client.do("WhoAmI")


def test_namespaces_do_not_fit_one_message(short_tmp: Path) -> None:
    """They come in several, and on the stream in one if that is asked for."""
    number = 500
    config = f"[limits]\nnamespaces_per_uid = {number}\n"
    with running_broker(short_tmp, config=config) as broker, Actor() as actor:
        for _ in range(number):
            actor(asking.new_session)
            actor(members.join, broker.dir, "session")
            actor(members.put, "x", scope="session")
        with Client(broker.dir) as client, Client(broker.dir, stream=True) as stream:
            found = namespaces(client)
            assert len(found) == number
            client.ask("Namespaces", more=True)
            assert client.hear().continues
            whole = stream.do("Namespaces")["namespaces"]
            assert {one["scope"] for one in whole} == found.keys()


# ---- an entry ------------------------------------------------------------------------------------


def test_path_is_as_of_the_post(client: Client, name: str, short_tmp: Path) -> None:
    """Of a file and a socket; there is none of what has no name."""
    before = short_tmp / "before"
    with before.open("w") as file:
        entry = client.do("Post", [file.fileno()], name=name, fd=0, scope="user")["entry"]
    before.rename(short_tmp / "after")
    assert entry["path"] == str(before)
    assert client.do("Stat", name=name)["entry"]["path"] == str(before)
    assert next(one for one in client.listed() if one["name"] == name)["path"] == str(before)
    read, write = os.pipe()
    try:
        entry = client.do("Post", [read], name=f"{name}-pipe", fd=0, scope="user")["entry"]
    finally:
        os.close(read)
        os.close(write)
    assert "path" not in entry
    assert "openers" not in entry


def test_openers_are_asked_whether_they_live(house: House, client: Client, name: str) -> None:
    """Of one that lives its name, of one that does not that it is gone."""
    post(client, name, scope="user")
    with Actor() as first, Actor() as second:
        for actor in (first, second):
            actor(members.join, house.dir, "user")
            actor(members.read, name)
            actor(members.read, name)
        second.close()
        told = opened(client, name)
        assert [(one["pid"], one["alive"]) for one in told] == [
            (second.pid, False), (first.pid, True)
        ]  # fmt: skip
        assert told[1]["comm"] == process.comm(first.pid)
        assert told[0]["time"] >= told[1]["time"]
    assert [one["alive"] for one in opened(client, name)] == [False, False]


def test_opener_that_the_kernel_never_named(house: House, client: Client, name: str) -> None:
    """Known while its connection is there; afterwards it is not, unless it was asked before."""
    post(client, name, scope="user")
    with Client(house.dir) as first, Client(house.dir) as second:
        text_of(first.open(name))
        assert opened(client, name)[0]["alive"] is True
        text_of(second.open(name))
    connections = house.health()["connections"]
    assert connections
    until(
        lambda: len(opened(client, name)) == 2 and house.health()["connections"] == 2,
        house.health,
        "both are gone",
    )
    assert [one["alive"] for one in opened(client, name)] == [None, True]


def test_number_that_was_given_away_again_is_nobody() -> None:
    """A process is its inode; a zombie has exited."""
    pidfd = Fd(os.pidfd_open(os.getpid()))
    with pidfd:
        inode = process.inode_of(pidfd)
    assert process.name_of(os.getpid(), inode) == process.comm(os.getpid())
    assert process.name_of(os.getpid(), inode + 1) is None
    one, other = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    with one, other, Fd(os.pidfd_open(pid)) as child:
        inode = process.inode_of(child)
        until(lambda: not process.is_alive(child), lambda: None, "it exits")
        assert process.name_of(pid, inode) is None
    exited(pid)
    assert process.name_of(pid, inode) is None


def test_descriptors_are_the_kernels_count() -> None:
    """One more for one more."""
    before = process.descriptors()
    with Fd(os.pidfd_open(os.getpid())):
        assert process.descriptors() == before + 1
    assert process.descriptors() == before == len(os.listdir("/proc/self/fd")) - 1
