# SPDX-License-Identifier: MIT
"""Process events: told of who is followed and of nobody else, in order, or as lost."""

from __future__ import annotations

import os
import platform
import socket
import struct
from collections.abc import Iterator
from select import POLLIN, poll

import pytest

from pagsrv.kernel import procevents
from pagsrv.kernel.libc import libc
from pagsrv.kernel.procevents import (
    EXEC,
    FORK,
    SETSID,
    UID,
    Dropped,
    Event,
    NoEvents,
    NoRoom,
    ProcessEvents,
)
from tests.actors import Actor
from tests.doers import Doer, skip_unless_told

pytestmark = [pytest.mark.kernel, pytest.mark.root]

ALL = EXEC | SETSID | UID
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000  # CLONE_NEW… of linux/sched.h
UNPRIVILEGED = (6, 6)  # the first Linux that tells them to everybody


@pytest.fixture
def events() -> Iterator[ProcessEvents]:
    """A subscription that follows nobody yet."""
    skip_unless_told()
    with ProcessEvents() as events:
        yield events


def test_deeds_are_told_in_order(events: ProcessEvents) -> None:
    """Of the process that is followed; what others do, children and threads too, is not."""
    with Doer() as mine, Doer() as other:
        events.follow({mine.pid: ALL})
        for what in ("fork", "setsid", "drop", "exec"):
            other.do(what)
            mine.do(what)
        told = [Event(SETSID, mine.pid), Event(UID, mine.pid), Event(EXEC, mine.pid)]
        assert events.read() == told
        assert events.read() == []


def test_exec_changes_the_saved_user_id(events: ProcessEvents) -> None:
    """It is set to the effective one, before the program starts: a change like any other."""
    with Doer() as doer:
        doer.do("uid")
        events.follow({doer.pid: ALL})
        doer.do("exec")
        assert events.read() == [Event(UID, doer.pid), Event(EXEC, doer.pid)]


@pytest.mark.parametrize(("what", "kind"), [("thread uid", UID), ("thread exec", EXEC)])
def test_deed_of_a_thread_is_its_processs(events: ProcessEvents, what: str, kind: int) -> None:
    """The number told is the thread group's, whichever thread did it."""
    with Doer() as doer:
        events.follow({doer.pid: ALL})
        doer.do(what)
        assert events.read() == [Event(kind, doer.pid)]


def test_only_the_kinds_wanted_are_told(events: ProcessEvents) -> None:
    """Each process has its own; and nobody is woken for the rest."""
    with Doer() as one, Doer() as other:
        events.follow({one.pid: SETSID, other.pid: UID})
        watch = poll()
        watch.register(events.fileno(), POLLIN)
        one.do("uid")
        other.do("setsid")
        one.do("exec")
        assert watch.poll(0) == []
        other.do("uid")
        assert watch.poll(0) != []
        assert events.read() == [Event(UID, other.pid)]
        events.follow({other.pid: SETSID})
        other.do("back")
        assert events.read() == []


def test_number_given_away_is_told_first(events: ProcessEvents) -> None:
    """A new process of a number that is followed: its fork comes before whatever it does."""
    with Doer() as first:
        events.follow({first.pid: ALL})
        first.do("setsid")
        first.kill()
        with Doer(first.pid) as second:
            assert second.pid == first.pid
            second.do("exec")
            told = [(SETSID, first.pid), (FORK, first.pid), (EXEC, first.pid)]
            assert events.read() == told


def test_loss_is_told_once_and_for_each(events: ProcessEvents) -> None:
    """More than the socket holds: Dropped; afterwards all is told again, another loss too."""
    with Doer() as doer:
        events.follow({doer.pid: UID})
        for _ in range(2):
            doer.do("flood")
            with pytest.raises(Dropped):
                events.read()
            doer.do("back")
            doer.do("uid")
            doer.do("back")
            assert events.read() == [(UID, doer.pid)] * 2


def test_many_are_followed_and_too_many_refused(events: ProcessEvents) -> None:
    """The last of a thousand is heard as the first; a refusal leaves things as they were."""
    with Doer() as first, Doer() as last:
        crowd = dict.fromkeys(range(5_000_000, 5_001_000), EXEC)
        events.follow({first.pid: SETSID, **crowd, last.pid: EXEC})
        with pytest.raises(NoRoom):
            events.follow(dict.fromkeys(range(5_000_000, 5_010_000), EXEC))
        first.do("setsid")
        last.do("exec")
        assert events.read() == [(SETSID, first.pid), (EXEC, last.pid)]


def test_nobody_but_the_kernel_is_believed(events: ProcessEvents) -> None:
    """A message of somebody with CAP_NET_ADMIN, an event in every byte, is none."""
    with Doer() as doer:
        events.follow({doer.pid: ALL})
        forged = struct.pack(
            "=IHHII IIIIHH IIQii 16x", 76, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0,
            EXEC, 0, 0, doer.pid, doer.pid,
        )  # fmt: skip
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11) as forger:
            forger.sendto(forged, events._sock.getsockname())
            watch = poll()
            watch.register(events.fileno(), POLLIN)
            assert watch.poll(0) != []
            assert events.read() == []
            doer.do("setsid")
            assert events.read() == [(SETSID, doer.pid)]


def test_subscribing_hears_nobody_else(events: ProcessEvents) -> None:  # noqa: ARG001
    """Whoever listens and says so meanwhile, and whatever happens, is not taken for our answer."""
    with Doer() as busy:
        busy.do("fork")
        for _ in range(20):
            with ProcessEvents() as another:
                busy.do("fork")
                assert another.read() == []


# ── where they are not to be had ──


def _refusal() -> str:
    try:
        ProcessEvents().close()
    except NoEvents as error:
        return str(error)
    return "heard"


def _inside(flags: int) -> str:
    """What is said to a process in namespaces of its own."""
    ours, theirs = os.pipe()
    if libc().unshare(flags):
        return "cannot be made"
    pid = os.fork()
    if pid == 0:
        os.write(theirs, _refusal().encode())
        os._exit(0)
    os.close(theirs)
    said = os.read(ours, 1000).decode()
    os.close(ours)
    os.waitpid(pid, 0)
    return said


@pytest.mark.parametrize(
    ("flags", "name"), [(NEWUSER, "user"), (NEWPID, "pid"), (NEWNET, "network")]
)
def test_first_namespaces_only(events: ProcessEvents, flags: int, name: str) -> None:  # noqa: ARG001
    """The sentence says which namespace it is, also while somebody outside listens."""
    with Actor() as actor:
        said = actor(_inside, flags)
    assert f"in the first {name} namespace only; run the broker outside" in said


def test_unprivileged_listeners(events: ProcessEvents, other_uid: int) -> None:  # noqa: ARG001
    """Anybody since Linux 6.6; the sentence says what is missing before."""
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    with Actor(other_uid) as actor:
        said = actor(_refusal)
    assert said == "heard" if release >= UNPRIVILEGED else "CAP_NET_ADMIN" in said


def test_kernel_that_refuses_says_so() -> None:
    """As kernels before 6.6 do, by bind(2) or in the acknowledgement."""
    assert "CAP_NET_ADMIN" in procevents._why_not(PermissionError(1, "no"))
    assert "(No buffer space" in procevents._why_not(OSError(105, os.strerror(105)))


def test_no_descriptor_for_it(events: ProcessEvents) -> None:  # noqa: ARG001
    """Refused in one sentence, and nothing is left open."""
    with Actor() as actor:
        assert "Too many open files" in actor(_without_descriptors)


def _without_descriptors() -> str:
    import resource  # noqa: PLC0415 -- in the actor

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        return _refusal()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ── what another reader of the same header says ──


def test_layout_is_pyroute2s() -> None:
    """The kinds, and where each field is: pyroute2's proc connector has them the same."""
    cn_proc = pytest.importorskip("pyroute2.netlink.connector.cn_proc")
    ours = (FORK, EXEC, UID, SETSID)
    theirs = ("FORK", "EXEC", "UID", "SID")
    assert ours == tuple(getattr(cn_proc, f"PROC_EVENT_{name}") for name in theirs)
    raw = struct.pack("=IHHII", 76, 3, 0, 0, 0) + bytes(range(60))
    for kind, field, at in (
        (cn_proc.proc_event_exec, "ack", procevents._ACKED),
        (cn_proc.proc_event_exec, "what", procevents._WHAT),
        (cn_proc.proc_event_exec, "process_tgid", procevents._TGID),
        (cn_proc.proc_event_fork, "child_pid", procevents._CHILD_PID),
    ):
        message = kind(raw)
        message.decode()
        assert message[field] == struct.unpack_from("=I", raw, at)[0]
