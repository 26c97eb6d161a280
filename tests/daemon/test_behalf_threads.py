# SPDX-License-Identifier: MIT
"""On behalf of a thread: root shows its pidfd, and the broker asks the kernel whose it is.

The law: it is the thread's session, and not its process's or its leader's; what the kernel does
not tell is refused, and looked for nowhere else. It refuses to know what the asker serves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.kernel import bpf, keys, threads
from tests.actors import Actor, held
from tests.daemon import members
from tests.daemon.members import mine
from tests.daemon.wire import Parameters, Said, memory
from tests.running import POSSESSION, Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]

PAG = 0x41000000 + 1619


@pytest.fixture
def board(short_tmp: Path) -> Iterator[Running]:
    """A broker of root's that may ask the kernel."""
    if os.geteuid() != 0 or bpf.missing():
        pytest.skip(bpf.missing() or "only root can have the kernel run a program")
    short_tmp.chmod(0o755)
    with running_broker(short_tmp, use=("iterator", "possession")) as running:
        yield running


@pytest.fixture
def asker(board: Running) -> Iterator[Actor]:
    """One of root's, attached to the broker."""
    with Actor() as actor:
        actor(members.join, board.dir, "user")
        yield actor


@pytest.fixture
def one(board: Running, other_uid: int) -> Iterator[Actor]:  # noqa: ARG001 -- after the broker
    """A process of another uid, which has never heard of a board."""
    with Actor(other_uid) as actor:
        actor(os.getuid)  # by then it is who it is to be
        yield actor


def session(actor: Actor) -> str:
    """Its session scope."""
    return f"session:{actor(keys.session_ring)}"


def ask(tid: int, method: str, **parameters: object) -> Parameters:
    """One call on behalf of thread *tid*."""
    with threads.open_thread(tid) as pidfd:
        return mine().do(method, [pidfd.fileno()], on_behalf_of=0, **parameters)


def post(tid: int, name: str, **parameters: object) -> Parameters:
    """Post a memfd on behalf of thread *tid*; the entry."""
    with threads.open_thread(tid) as pidfd, memory(b"text") as fd:
        found: Parameters = mine().do(
            "Post", [fd.fileno(), pidfd.fileno()], name=name, fd=0, on_behalf_of=1, **parameters
        )["entry"]
    return found


def refusal(tid: int, method: str, **parameters: object) -> str:
    """The name of the refusal of such a call."""
    try:
        ask(tid, method, **parameters)
    except Said as said:
        return said.error
    return ""


def start_thread() -> int:
    """A thread in a session of its own; its number."""
    ready: list[int] = []
    begun, held["end"] = threading.Event(), threading.Event()

    def run() -> None:
        keys.join_session(None)
        ready.append(keys.session_ring())
        begun.set()
        held["end"].wait()

    held["thread"] = threading.Thread(target=run)
    held["thread"].start()
    begun.wait()
    held["ring"] = ready[0]
    number: int = held["thread"].native_id
    return number


def its_ring() -> int:
    """The session keyring of that thread."""
    return int(held["ring"])


def end_thread() -> None:
    """Let it end."""
    held.pop("end").set()
    held.pop("thread").join()


def test_it_acts_as_the_thread(asker: Actor, one: Actor, other_uid: int) -> None:
    """Owner, poster and default scope are its own; renaming and the mask among the calls."""
    entry = asker(post, one.pid, "cache")
    assert entry["scope"] == session(one)
    assert entry["owner"] == {"uid": other_uid, "gid": other_uid}
    assert (entry["poster"]["pid"], entry["poster"]["alive"]) == (one.pid, True)
    asker(ask, one.pid, "Rename", name="cache", to="old")
    asker(ask, one.pid, "SetMask", name="old", mask="3f000000")
    assert asker(ask, one.pid, "Stat", name="old")["entry"]["mask"] == "alswrv------------------"
    assert asker(refusal, asker.pid, "Stat", name="old") == "NoEntry"
    asker(ask, one.pid, "Remove", name="old")


def test_two_sessions_of_one_uid(asker: Actor, one: Actor, other_uid: int) -> None:
    """Each has its own, by the same name."""
    with Actor(other_uid) as two:
        two(os.getuid)
        for actor in (one, two):
            assert asker(post, actor.pid, "cache")["scope"] == session(actor)
        asker(ask, one.pid, "Remove", name="cache")
        assert asker(refusal, one.pid, "Stat", name="cache") == "NoEntry"
        assert asker(ask, two.pid, "Stat", name="cache")["entry"]["scope"] == session(two)


def test_a_thread_in_a_session_of_its_own(asker: Actor, one: Actor) -> None:
    """Its session counts, and not that of its process's first thread."""
    tid = one(start_thread)
    entry = asker(post, tid, "cache")
    assert entry["scope"] == f"session:{one(its_ring)}"
    assert entry["poster"]["pid"] == one.pid
    assert asker(refusal, one.pid, "Stat", name="cache") == "NoEntry"
    one(end_thread)


def test_a_pag(asker: Actor, other_uid: int) -> None:
    """By its groups."""
    with Actor(other_uid, groups=(PAG,)) as member:
        member(os.getuid)
        assert asker(post, member.pid, "cache", scope="pag")["scope"] == f"pag:{PAG}"
        with Actor(other_uid) as other:
            other(os.getuid)
            assert asker(refusal, other.pid, "Stat", name="cache") == "NoEntry"


def test_a_revoked_session(asker: Actor, one: Actor) -> None:
    """It proves nothing any more."""
    asker(post, one.pid, "cache")
    one(keys.revoke, one(keys.session_ring))
    assert asker(refusal, one.pid, "Stat", name="cache", scope="session") == "NoSession"


def test_one_that_has_exited(asker: Actor, board: Running) -> None:
    """A bad field, as a descriptor is that is no pidfd."""
    with Actor() as gone:
        asker(keep, gone.pid)
    assert asker(refusal_of_kept, "Stat", name="x") == "InvalidParameter"
    assert board.process.poll() is None


def keep(tid: int) -> None:
    """Keep a pidfd of thread *tid*."""
    held["pidfd"] = threads.open_thread(tid)


def refusal_of_kept(method: str, **parameters: object) -> str:
    """As `refusal`, by the pidfd that was kept."""
    with held.pop("pidfd") as pidfd:
        return mine().refusal(method, [pidfd.fileno()], on_behalf_of=0, **parameters)


def test_only_root_may(short_tmp: Path, board: Running, one: Actor, other_uid: int) -> None:
    """A pidfd is to be had of anybody's process: of the trusted group it is not taken."""
    (short_tmp / "two").mkdir()
    config = f"[whois]\ntrusted_group = {other_uid}\n"
    with running_broker(short_tmp / "two", config=config) as trusting, Actor(other_uid) as member:
        member(members.join, trusting.dir, "user")
        assert member(refusal, one.pid, "Stat", name="x") == "Denied"
    with Actor(other_uid) as stranger:
        stranger(members.join, board.dir, "user")
        assert stranger(refusal, one.pid, "Stat", name="x") == "Denied"


def test_a_broker_that_may_not_ask(short_tmp: Path, other_uid: int) -> None:
    """Nothing is looked for in another scope."""
    with (
        running_broker(short_tmp, use=POSSESSION) as running,
        Actor() as asker,
        Actor(other_uid) as one,
    ):
        one(os.getuid)
        asker(members.join, running.dir, "user")
        assert asker(refusal, one.pid, "Stat", name="x") == "NoSession"
