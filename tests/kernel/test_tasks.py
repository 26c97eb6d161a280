# SPDX-License-Identifier: MIT
"""Of one task its session keyring; of one's own session who is in it, and of no other's.

The law: root may ask about anybody; whoever holds the other iterator learns of its own session
alone, however it came by it. It refuses to judge what is told.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from pagsrv.kernel import bpf, keys, threads
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.process import NoProcess
from pagsrv.kernel.tasks import Mates, Tasks
from tests.actors import Actor, held

pytestmark = [pytest.mark.kernel, pytest.mark.root]


@pytest.fixture(autouse=True)
def able() -> None:
    """Only root can have the kernel run a program."""
    if os.geteuid() != 0 or bpf.missing():
        pytest.skip(bpf.missing() or "only root can have the kernel run a program")


@pytest.fixture
def one(other_uid: int) -> Iterator[Actor]:
    """A session of another uid."""
    with Actor(other_uid) as actor:
        actor(os.getuid)
        yield actor


def test_a_tasks_session(one: Actor, other_uid: int) -> None:
    """Its ring, its euid, and the ring's owner."""
    with Tasks() as tasks:
        told = tasks.ask(one.pid)
        assert told is not None
        assert told.serial == one(keys.session_ring)
        assert (told.euid, told.key_uid, told.has_cred) == (other_uid, other_uid, True)
        assert tasks.ask(2**22 + 1) is None


def test_it_is_of_the_moment(one: Actor) -> None:
    """A ring that is joined afterwards is told, and one that is revoked is so."""
    with Tasks() as tasks:
        before = tasks.ask(one.pid)
        one(keys.join_session, None)
        after = tasks.ask(one.pid)
        assert before is not None
        assert after is not None
        assert before.serial != after.serial == one(keys.session_ring)
        one(keys.revoke, after.serial)
        revoked = tasks.ask(one.pid)
        assert revoked is not None
        assert revoked.flags & 1 << 1


def test_a_thread_is_not_its_process() -> None:
    """Credentials are a thread's."""
    with Actor() as actor:
        tid, ring = actor(_thread_in_a_session)
        with Tasks() as tasks:
            told, first = tasks.ask(tid), tasks.ask(actor.pid)
        assert told is not None
        assert first is not None
        assert told.serial == ring != first.serial
        actor(_end)


def _thread_in_a_session() -> tuple[int, int]:
    told: list[int] = []
    ready, held["end"] = threading.Event(), threading.Event()

    def run() -> None:
        keys.join_session(None)
        told.extend((threading.get_native_id(), keys.session_ring()))
        ready.set()
        held["end"].wait()

    held["thread"] = threading.Thread(target=run)
    held["thread"].start()
    ready.wait()
    return told[0], told[1]


def _end() -> None:
    held.pop("end").set()
    held.pop("thread").join()


# ---- one's own session ---------------------------------------------------------------------------


def test_mates_are_of_the_readers_session() -> None:
    """A process of the session is one, another session's is none; a child is one too."""
    with Actor() as one, Actor() as two:
        one(_take_link, os.getpid())
        assert one(_includes, one.pid)
        assert not one(_includes, two.pid)
        assert not one(_includes, 1)
        child = one(_child)
        assert one(_includes, child)
        one(keys.join_session, None)
        assert one(_includes, one.pid)
        assert not one(_includes, child)
        one(_leave)


def test_whoever_has_the_link_learns_of_itself_alone(one: Actor, other_uid: int) -> None:
    """Without a right, in another uid and session than whoever made it: only of its own."""
    with bpf.Program("mates") as program, program.attach_iterator() as link:
        number = link.fileno()
        with Actor(other_uid) as reader:
            reader(_inherit, number)
            assert reader(_includes, reader.pid)
            for pid in (os.getpid(), one.pid, 1):
                assert not reader(_includes, pid)
            reader(_leave)


def test_a_ring_shared_with_another_uid() -> None:
    """Who has kept the ring and changed its uid is none of the uid's, nor the uid of its."""
    with Actor() as root:
        root(_take_link, os.getpid())
        child = root(_child, 60704)
        assert not root(_includes, child)
        root(_leave)


def _take_link(_: int) -> None:
    held["mates"] = Mates.own()


def _inherit(number: int) -> None:
    # A copy of the maker's, kept over the fork.
    held["mates"] = Mates(Fd(os.dup(number)))


def _includes(pid: int) -> bool:
    return bool(held["mates"].includes(pid))


def _child(uid: int = 0) -> int:
    reading, writing = os.pipe()
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        if uid:
            os.setresuid(uid, uid, uid)
        os.write(told, b".")
        os.read(reading, 1)
        os._exit(0)
    os.read(ready, 1)
    for fd in (reading, ready, told):
        os.close(fd)
    held["child"] = (pid, writing)
    return pid


def _leave() -> None:
    held.pop("mates").close()
    if "child" in held:
        pid, writing = held.pop("child")
        os.close(writing)
        os.waitpid(pid, 0)


# ---- descriptors of a thread ---------------------------------------------------------------------


def test_a_descriptor_of_another_process(one: Actor) -> None:
    """The same open file; a number that is not open is no descriptor."""
    with threads.open_thread(one.pid) as pidfd:
        with threads.descriptor(pidfd, 0) as fd:
            assert os.fstat(fd.fileno()).st_ino == os.fstat(0).st_ino
            assert not os.get_inheritable(fd.fileno())
        with pytest.raises(threads.NotOpen):
            threads.descriptor(pidfd, 54321)


def test_a_thread_that_is_gone() -> None:
    """Nobody looks at it, by a pidfd or by its number."""
    with Actor() as actor, threads.open_thread(actor.pid) as pidfd:
        actor.close()
        assert threads.look(pidfd) is None
        with pytest.raises(NoProcess):
            threads.open_thread(actor.pid)
