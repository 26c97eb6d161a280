# SPDX-License-Identifier: MIT
"""Everything a peer can use up: what it is told, and that the others do not notice.

The law: QuotaExceeded with a sentence, for the uid that asked for too much, and for
nobody else; what is given back can be had again.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from pagsrv.kernel.fd import Fd
from tests.actors import Actor, held, session_leader
from tests.anybody import Anybody
from tests.conftest import identity
from tests.daemon import members
from tests.daemon.conftest import House, descriptors
from tests.daemon.waiting import exited, until
from tests.daemon.wire import Client, Said, call, memory, post, text_of
from tests.holding import locked
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel


# ---- the process's own limit ---------------------------------------------------------------------


@pytest.fixture
def tight(short_tmp: Path) -> Iterator[House]:
    """A broker that may hold 96 descriptors, and a neighbour that was there first."""
    argv = ("sh", "-c", 'ulimit -n 96; exec "$@"', "sh", sys.executable, "-m", "pagsrv.daemon")
    with running_broker(short_tmp, argv=argv) as broker:
        house = House(broker)
        yield house
        house.unharmed()
        house.close()


def test_entries_up_to_the_limit_of_descriptors(tight: House) -> None:
    """Said before it is reached; entries there are opened still, and removing makes room."""
    with Client(tight.dir) as client:
        client.attach("user")
        names: list[str] = []
        while (error := _post_next(client, names)) == "":
            pass
        assert error == "QuotaExceeded"
        assert 30 < len(names) < 96
        assert text_of(client.open(names[-1])) == str(len(names) - 1).encode()
        assert text_of(tight.neighbour.open("neighbour")) == b"in peace"
        # A message that brings more than there is room for is cut by the kernel: hung up.
        with memory(b"") as fd, Client(tight.dir) as greedy:
            with suppress(Said, EOFError, BrokenPipeError):
                greedy.attach("user")
                greedy.talk("Post", {"name": "x", "fd": 0}, [fd.fileno()] * 253).fine()
            assert greedy.gone()
        for name in names[:20]:
            client.do("Remove", name=name)
        post(client, "room again", scope="user")
        assert text_of(client.open("room again")) == b"text"


def _post_next(client: Client, names: list[str]) -> str:
    """One more entry; the error's name."""
    try:
        post(client, f"entry {len(names)}", str(len(names)).encode(), scope="user")
    except Said as said:
        return said.error
    names.append(f"entry {len(names)}")
    return ""


def test_connections_up_to_the_limit_of_descriptors(tight: House) -> None:
    """Turned away with an answer; whoever is in stays, and the next one finds room again."""
    with ExitStack() as kept:
        errors = []
        for _ in range(120):
            client = kept.enter_context(Client(tight.dir))
            with suppress(BrokenPipeError):
                client.push(call("Health"))
            errors.append(client.hear().error)
        assert errors.index("QuotaExceeded") > 20
        assert set(errors[errors.index("QuotaExceeded") :]) == {"QuotaExceeded"}
        assert text_of(tight.neighbour.open("neighbour")) == b"in peace"
    until(lambda: tight.health()["connections"] == 1, tight.health, "the others are gone")
    with Client(tight.dir) as client:
        assert client.do("Health")


def test_calls_that_open_descriptors_in_the_broker(tight: House, name: str) -> None:
    """Many conditions, each with a pidfd to be opened: refused before the first is."""
    ends = [{"cond": "leader"}] * 1500
    one = [{"cond": "leader", "fd": 0}]
    with Client(tight.dir) as client, session_leader() as pidfd:
        client.attach("user")
        for _ in range(20):
            client.ask("Post", {"name": name, "scope": "user", "until": ends})
            tight.neighbour.do("Post", [pidfd], name=name, scope="user", until=one)
            tight.neighbour.do("Remove", name=name)
            assert client.hear().error == "InvalidParameter"


def test_answers_that_wait_at_the_limit(tight: House) -> None:
    """Duplicates for readers that do not read are descriptors, too: that reader pays."""
    with ExitStack() as kept:
        for _ in range(4):
            client = kept.enter_context(Client(tight.dir))
            client.sock.setblocking(False)
            with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                while True:
                    client.push(call("OpenMany", {"names": ["neighbour"] * 60}))
        # What is on its way is counted by the kernel, too, for all of a uid but root (ETOOMANYREFS
        # of unix(7)): there the neighbour may have to wait for them.
        if os.geteuid() == 0:
            assert text_of(tight.neighbour.open("neighbour")) == b"in peace"
        with Client(tight.dir) as another:
            assert another.do("Health")
    until(
        lambda: not tight.neighbour.refusal("Open", name="neighbour"),
        tight.health,
        "what was on its way is closed",
    )


@pytest.mark.root
def test_questions_that_wait_at_the_limit(tight: House) -> None:
    """Each has a descriptor of its own while it waits for those that hang: never the last ones."""
    with ExitStack() as kept:
        poster = kept.enter_context(Client(tight.dir))
        poster.attach("user")
        clients = [kept.enter_context(Client(tight.dir)) for _ in range(22)]
        for number, _ in enumerate(clients):
            sock = kept.enter_context(socket.socket())
            poster.do("Post", [sock.fileno()], name=f"socket {number}", fd=0, scope="user")
            kept.enter_context(locked(sock))
        before = descriptors(tight.broker.pid)
        for number, client in enumerate(clients):
            client.ask("Stat", {"name": f"socket {number}"})
        tight.health()
        assert before < descriptors(tight.broker.pid) <= 96 * 3 // 4
        assert all(client.hear().fine()["entry"]["socket"] for client in clients)


def test_half_messages_up_to_the_limit(tight: House) -> None:
    """Descriptors of messages without an end: whoever brings too many is told, and hung up."""
    with ExitStack() as kept, memory(b"") as fd:
        those = [kept.enter_context(Client(tight.dir, stream=True)) for _ in range(5)]
        for client in those:
            client.attach("user")
        for client in those * 6:
            with suppress(BrokenPipeError, ConnectionResetError):
                client.push(b" ", [fd.fileno()] * 4)
            tight.health()
        assert descriptors(tight.broker.pid) < 76
        errors = []
        for client in those:
            client.sock.setblocking(False)
            with suppress(BlockingIOError):
                errors.append(client.hear().error)
        assert set(errors) == {"QuotaExceeded"}


@pytest.mark.root
def test_nothing_is_taken_that_cannot_be_sent(
    short_tmp: Path, other_uid: int, anybody_python: Anybody, name: str
) -> None:
    """What a uid has on its way is counted against its broker: what is asked for stays there."""
    os.chown(short_tmp, other_uid, other_uid)
    limit = ("sh", "-c", 'ulimit -n 96; exec "$@"', "sh", *anybody_python.argv)
    argv = (*limit, "-m", "pagsrv.daemon")
    with (
        running_broker(
            short_tmp, argv=argv, env=anybody_python.env, cwd="/", **identity(other_uid)
        ),
        Actor(other_uid) as actor,
        Actor(other_uid) as hoarder,
    ):
        actor(members.join, str(short_tmp / "b"))
        actor(members.put, name, b"still there")
        assert hoarder(_hoard, 100) == 100
        for method, asked in (("Take", {"name": name}), ("TakeMany", {"names": [name]})):
            with pytest.raises(Said, match="it is left on the board") as said:
                actor(members.do, method, **asked)
            assert said.value.error == "QuotaExceeded"
        hoarder(_let_go)
        assert actor(members.read, name) == b"still there"
        assert actor(members.refusal, "Take", name=name) == ""


def _hoard(number: int) -> int:
    """Send ourselves so many descriptors, and do not read them."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    held["ends"] = ends
    for _ in range(number):
        socket.send_fds(ends[0], [b"x"], [0])
    return number


def _let_go() -> None:
    for end in held.pop("ends"):
        end.close()


# ---- budgets -------------------------------------------------------------------------------------


@contextmanager
def limited(short_tmp: Path, **limits: int) -> Iterator[Running]:
    """A broker with these budgets."""
    lines = [f"{name} = {value}\n" for name, value in limits.items()]
    with running_broker(short_tmp, config="[limits]\n" + "".join(lines)) as broker:
        yield broker


def test_connections_of_a_uid(short_tmp: Path) -> None:
    """One too many is told so and hung up; another uid's connections are its own."""
    with (
        Actor(60702 if os.geteuid() == 0 else None) as other,
        limited(short_tmp, connections_per_uid=5) as broker,
        ExitStack() as kept,
    ):
        those = [kept.enter_context(Client(broker.dir)) for _ in range(5)]
        assert all(client.do("Health") for client in those)
        with Client(broker.dir) as sixth:
            assert sixth.hear().error == "QuotaExceeded"
            assert sixth.gone()
        if os.geteuid() == 0:
            assert other(members.join, broker.dir) == ["user:60702"]
        those[0].close()
        until(
            lambda: those[1].do("Health")["connections"] < 6,
            lambda: None,
            "the broker notices who left",
        )
        with Client(broker.dir) as again:
            assert again.do("Health")


def test_entries_of_a_uid(short_tmp: Path) -> None:
    """Empty ones count; a batch of refused posts uses nothing up."""
    with limited(short_tmp, entries_per_uid=10) as broker, Client(broker.dir) as client:
        client.attach("user")
        for number in range(10):
            client.do("Post", name=str(number), scope="user")
        for _ in range(50):
            with memory(b"") as fd:
                sent = [fd.fileno()]
                error = client.refusal("Post", sent, name="x", fd=0, scope="user")
                assert error == "QuotaExceeded"
        client.do("Remove", name="0")
        post(client, "x", scope="user")
        post(client, "x", b"again", scope="user", replace=True)


def test_watches_and_waits_of_a_uid(short_tmp: Path) -> None:
    """Counted together, and given back with their connections."""
    with limited(short_tmp, watches_per_uid=2) as broker, Client(broker.dir) as asker:
        with Client(broker.dir) as one, Client(broker.dir) as two:
            one.ask("Watch", {"initial": True}, more=True)
            assert one.hear().fine()["event"] == "live"
            two.ask("Wait", {"name": "x"})
            until(
                lambda: asker.refusal("Wait", name="y", timeout=0.001) == "QuotaExceeded",
                lambda: None,
                "both are counted",
            )
        until(
            lambda: asker.refusal("Wait", name="y", timeout=0.001) == "TimedOut",
            lambda: None,
            "both are given back",
        )


def test_processes_of_a_uid(short_tmp: Path) -> None:
    """Pidfds held for conditions are counted once for each process."""
    with limited(short_tmp, processes_per_uid=3) as broker, Client(broker.dir) as client:
        client.attach("user")
        children: list[int] = []
        try:
            errors = [_post_until_exit(client, children) for _ in range(5)]
        finally:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                exited(pid)
        # One of the three is the poster itself.
        assert errors == ["", "", "QuotaExceeded", "QuotaExceeded", "QuotaExceeded"]
        until(
            lambda: client.do("Health")["entries"] == 0, lambda: None, "they end with the processes"
        )
        assert client.refusal("Post", name="x", scope="user") == ""


def _post_until_exit(client: Client, children: list[int]) -> str:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    children.append(pid)
    with Fd(os.pidfd_open(pid)) as pidfd:
        ends = [{"cond": "exit", "fd": 0}]
        return client.refusal("Post", [pidfd.fileno()], name=f"of {pid}", scope="user", until=ends)


def test_grants_of_a_uid(short_tmp: Path) -> None:
    """For each entry and for each uid; to scopes that nobody is in, which the grantor pays."""
    limits = {"grants_per_entry": 3, "grants_per_uid": 4, "namespaces_per_uid": 4}
    with limited(short_tmp, **limits) as broker, Client(broker.dir) as client:
        client.attach("user")
        for name in ("a", "b"):
            post(client, name, scope="user")
        errors = [
            client.refusal("Grant", name=name, to=f"pag:{0x41000000 + number}")
            for name in ("a", "b")
            for number in range(4)
        ]
        assert errors[:4] == ["", "", "", "QuotaExceeded"]
        assert errors[4:] == ["", "QuotaExceeded", "QuotaExceeded", "QuotaExceeded"]
        client.do("Remove", name="a")
        assert client.refusal("Grant", name="b", to="pag:1090519046") == ""


def _mint(dir: str) -> str:  # noqa: A002
    """A fresh ring of our own, and a proof of it; the error's name."""
    keys.join_session()
    try:
        members.join(dir, "session")
    except Said as said:
        return said.error
    return ""


def _end_ring() -> None:
    keys.revoke(keys.session_ring())


def test_minting_sessions(short_tmp: Path) -> None:
    """H12: a process makes ring after ring and proves each: its uid's budget ends that."""
    with (
        Actor() as member,
        Actor() as minter,
        limited(short_tmp, namespaces_per_uid=6, entries_per_uid=20) as broker,
    ):
        member(members.join, broker.dir)
        member(members.put, "db")
        errors = [minter(_mint, broker.dir) for _ in range(12)]
        assert errors[:4] == [""] * 4
        assert set(errors[5:]) == {"QuotaExceeded"}
        # Entries count for the uid as well, whatever ring they are posted in.
        assert member(members.read, "db") == b"text"
        # What the minter lets go is room again, once the broker has seen it.
        minter(_end_ring)
        until(
            lambda: minter(_mint, broker.dir) == "",
            lambda: minter(members.crowd, 1, _wait, broker.dir),
            "a ring that is gone makes room",
        )
        assert member(members.read, "db") == b"text"


def _wait(dir: str) -> str:  # noqa: A002
    """A moment, as the broker's clock tells it."""
    with Client(dir) as client:
        return client.refusal("Wait", name="nothing", timeout=0.05)
