# SPDX-License-Identifier: MIT
"""How an entry ends, each way by the real kernel, and that the event says which.

The law: the first condition that fires takes the entry down, and what was handed out
stays handed out.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from pagsrv.kernel import keys
from pagsrv.kernel.fd import Fd
from tests.actors import Actor, session_leader
from tests.daemon import members
from tests.daemon.conftest import House
from tests.daemon.waiting import exited
from tests.daemon.wire import Client, Parameters, clients, memory, post, text_of
from tests.running import Running

pytestmark = pytest.mark.kernel


class Watcher:
    """A watch on what ends."""

    def __init__(self, client: Client) -> None:
        self.client = client
        client.attach("user", changes=False)
        client.ask("Watch", {"initial": True}, more=True)
        while client.hear().fine()["event"] != "live":
            pass

    def ended(self, name: str) -> str:
        """Wait until *name* has ended; why."""
        return str(self.event("ended", name)["why"])

    def event(self, event: str, name: str = "") -> Parameters:
        """The next event of that sort, of that entry where one is named."""
        while True:
            told = self.client.hear().fine()
            if told["event"] == event and name in ("", told["name"]):
                return told


@pytest.fixture
def watcher(house: House) -> Iterator[Watcher]:
    """A watch that has begun."""
    with Client(house.dir) as client:
        yield Watcher(client)


def child() -> int:
    """A process that waits to be killed."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid


def kill(pid: int) -> None:
    """End *pid* and reap it."""
    os.kill(pid, signal.SIGKILL)
    exited(pid)


def until(*conditions: str) -> list[dict[str, str]]:
    """End conditions as the wire has them."""
    return [{"cond": condition} for condition in conditions]


def test_removed(client: Client, watcher: Watcher, name: str) -> None:
    """By whoever may, and by nobody who has seen another generation."""
    entry = post(client, name, scope="user")
    stale = entry["generation"] - 1
    assert client.refusal("Remove", name=name, expect=stale) == "Stale"
    client.do("Remove", name=name, expect=entry["generation"])
    assert watcher.ended(name) == "removed"


def test_exit(client: Client, watcher: Watcher, name: str) -> None:
    """The process named by its pidfd is gone; the number of the entry says it was."""
    pid = child()
    with Fd(os.pidfd_open(pid)) as pidfd, memory(b"x") as fd:
        both = [fd.fileno(), pidfd.fileno()]
        ends = [{"cond": f"exit={pid}", "fd": 1}]
        entry = client.do("Post", both, name=name, fd=0, scope="user", until=ends)["entry"]
    assert entry["until"] == [f"exit={pid}"]
    with client.open(name) as kept:
        kill(pid)
        assert watcher.ended(name) == "exit"
        assert os.pread(kept.fileno(), 1, 0) == b"x"


def test_exit_of_the_poster(house: House, watcher: Watcher, name: str) -> None:
    """Without a number it is the process that posted, though its connection is held by another."""
    with Actor() as poster, Actor() as other:
        poster(members.join, house.dir, "user")
        poster(members.put, name, scope="user", until=until("exit"))
        other(members.join, house.dir, "user")
        assert other(members.read, name) == b"text"
        poster.close()
        assert watcher.ended(name) == "exit"
        assert other(members.refusal, "Open", name=name) == "NoEntry"


def test_leader(house: House, watcher: Watcher, name: str) -> None:
    """H13: the leader of the process's session (getsid(2)), where the ring would be pinned."""
    with Actor() as leader:
        leader(os.setsid)
        leader(_post_from_child, house.dir, name)
        leader.close()
        assert watcher.ended(name) == "leader"


def _post_from_child(dir: str, name: str) -> None:  # noqa: A002
    assert members.crowd(1, _post, dir, name, "leader") == ["leader"]


def _post(dir: str, name: str, condition: str) -> str:  # noqa: A002
    with Client(dir) as client:
        client.attach("user")
        post(client, name, scope="user", until=until(condition))
    return condition


def test_lease(house: House, client: Client, watcher: Watcher, name: str) -> None:
    """The connection that posted; the process may live on."""
    with Client(house.dir) as poster:
        poster.attach("user")
        post(poster, name, scope="user", until=until("lease"))
        assert text_of(client.open(name)) == b"text"
    assert watcher.ended(name) == "lease"


def test_hup(client: Client, watcher: Watcher, name: str) -> None:
    """The other end of a socketpair closes, or of a pipe, either way."""
    for ours, theirs in (socket.socketpair(), map(Fd, os.pipe()), map(Fd, os.pipe()[::-1])):
        with ours, theirs:
            client.do("Post", [ours.fileno()], name=name, fd=0, scope="user", until=until("hup"))
            ours.close()
            client.open(name).close()
            theirs.close()
            assert watcher.ended(name) == "hup"


def test_no_hup_unless_asked(client: Client, name: str) -> None:
    """Off by default: a dead connection stays on the board until somebody takes it down."""
    ours, theirs = socket.socketpair()
    with ours:
        client.do("Post", [ours.fileno()], name=name, fd=0, scope="user")
        theirs.close()
    with client.open(name).to_socket() as sock:
        assert sock.recv(1) == b""


def test_ttl(client: Client, watcher: Watcher, name: str) -> None:
    """Its seconds are over, though nobody asks for it; and may be set and cleared later."""
    post(client, name, scope="user", until=until("ttl=0.05"))
    assert watcher.ended(name) == "ttl"
    post(client, name, scope="user", until=until("ttl=3600"))
    client.do("SetTimeout", name=name, seconds=0)
    assert client.do("Stat", name=name)["entry"]["until"] == []
    client.do("SetTimeout", name=name, seconds=0.05)
    assert watcher.ended(name) == "ttl"


def test_opens(client: Client, watcher: Watcher, name: str) -> None:
    """So many opens and no more, the last of them being answered too."""
    post(client, name, scope="user", until=until("opens=3"))
    for _ in range(3):
        assert text_of(client.open(name)) == b"text"
    assert client.refusal("Open", name=name) == "NoEntry"
    assert watcher.ended(name) == "opens"


def test_first_condition_wins(client: Client, watcher: Watcher, name: str) -> None:
    """The others are forgotten with it, and what they needed is closed."""
    with session_leader() as pidfd, memory(b"") as fd:
        both = [{"cond": "exit", "fd": 1}, {"cond": "leader", "fd": 2}]
        ends = [*both, *until("lease", "ttl=3600", "opens=1")]
        with Fd(os.dup(pidfd)) as again:
            sent = [fd.fileno(), pidfd, again.fileno()]
            client.do("Post", sent, name=name, fd=0, scope="user", until=ends)
        text_of(client.open(name))
        assert watcher.ended(name) == "opens"
    assert client.refusal("Stat", name=name) == "NoEntry"


def test_many_entries_of_one_process(house: House, client: Client, name: str) -> None:
    """One pidfd for them all; it exits, they all go, and nobody else's."""
    pid = child()
    with Fd(os.pidfd_open(pid)) as pidfd:
        for number in range(100):
            client.do(
                "Post", [pidfd.fileno()], name=f"{name}.{number}", scope="user",
                until=[{"cond": "exit", "fd": 0}],
            )  # fmt: skip
    with clients(house.dir, 1) as (watch,):
        watcher = Watcher(watch)
        kill(pid)
        for _ in range(100):
            assert watcher.event("ended")["why"] == "exit"


# ---- sessions ------------------------------------------------------------------------------------


def _end_ring(how: str) -> None:
    ring = keys.session_ring()
    if how == "revoked":
        keys.revoke(ring)
    elif how == "expired":
        keys.set_timeout(ring, 1)
    else:
        keys.invalidate(ring)


@pytest.mark.parametrize("how", ["revoked", "expired", "gone"])
def test_session_that_ends(broker: Running, how: str) -> None:
    """H4, H13: revoked, expired, invalidated: its entries go, its connections are hung up."""
    with Client(broker.dir) as client, Actor() as member, Actor() as other:
        watcher = Watcher(client)
        other(members.join, broker.dir)
        other(members.put, "theirs")
        scope = member(members.join, broker.dir)[0]
        assert scope.startswith("session:")
        entry = member(members.put, "mine")
        assert entry["until"] == ["revoked"]
        member(_end_ring, how)
        assert watcher.ended("mine") == "revoked"
        assert member(members.gone)
        assert member(members.join, broker.dir, "user") == [f"user:{os.getuid()}"]
        assert member(members.refusal, "Post", name="again", scope="session") == "NoSession"
        # The other session is as it was, on its old connection.
        assert other(members.read, "theirs") == b"text"


def _hide_ring() -> int:
    ring = keys.session_ring()
    keys.set_mask(ring, 0x3F000000)
    return ring


def test_ring_the_broker_may_not_look_at(broker: Running) -> None:
    """Unverifiable: no new proof; what is there stays for its grace (the core's tests go on)."""
    with Actor() as member:
        member(members.join, broker.dir)
        member(members.put, "mine")
        ring = member(_hide_ring)
        assert member(_join_ring, broker.dir, ring) == ("NoSession", True)
        assert member(members.read, "mine") == b"text"


def _join_ring(dir: str, ring: int) -> tuple[str, bool]:  # noqa: A002
    """A second connection's proof: the error's name, and whether it says that nobody may look."""
    with Client(dir) as client:
        client.do("Attach", scopes=[f"session:{ring}"])
        answer = client.talk("Prove", {"ring": ring})
        return answer.error, "may not look" in answer.parameters["message"]


def test_pinned_ring_outlives_its_members(broker: Running) -> None:
    """H13: our descriptors hold the ring, so that nothing but an end condition ends it."""
    with Client(broker.dir) as client, Actor() as member:
        watcher = Watcher(client)
        scope = member(members.join, broker.dir)[0]
        member(members.put, "pinned", until=until("exit"))
        ring = int(scope.partition(":")[2])
        assert keys.describe(ring).serial == ring
        member.close()
        assert watcher.ended("pinned") == "exit"
