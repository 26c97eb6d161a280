# SPDX-License-Identifier: MIT
"""Who is left in a session: tasks by the keyring they name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import time

import pytest

from pagsrv.kernel import bpf, keys
from pagsrv.kernel.libc import libc
from pagsrv.kernel.members import Members
from pagsrv.proofs import kernel
from tests import peers
from tests.actors import Actor, held
from tests.peers import Door
from tests.running import SECONDS

ROOT = Path(__file__).resolve().parent.parent.parent
NEWPID = 0x20000000  # CLONE_NEWPID of linux/sched.h

pytestmark = [pytest.mark.kernel, pytest.mark.root]


@pytest.fixture
def members() -> Iterator[Members]:
    """The counter."""
    if os.geteuid() != 0:
        pytest.skip("only root can load a program")
    if bpf.missing():
        pytest.skip(bpf.missing())
    with Members() as members:
        yield members


def _start_thread() -> None:
    held["go"] = threading.Event()
    held["thread"] = threading.Thread(target=held["go"].wait)
    held["thread"].start()


def _end_thread() -> None:
    held["go"].set()
    held["thread"].join()
    # Python is done with a thread before the kernel is.
    while len(os.listdir("/proc/self/task")) > 1:
        os.sched_yield()


def _fork_one() -> int:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid


def _end_one(pid: int, reap: bool) -> None:  # noqa: FBT001 -- a case
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if reap:
        os.waitpid(pid, 0)


def test_members_are_threads_and_children(members: Members, other_uid: int) -> None:
    """Each counts; one that has exited does not, also while nobody has reaped it."""
    with Actor(other_uid) as actor:
        ring = actor(keys.session_ring)
        assert members.members(ring) == 1
        child = actor(_fork_one)
        assert members.members(ring) == 2
        actor(_start_thread)
        assert members.members(ring) == 3
        actor(_end_thread)
        actor(_end_one, child, False)
        assert members.members(ring) == 1
    assert members.members(ring) == 0
    assert ring not in members.counts()


def test_members_tell_what_their_ring_is(members: Members, other_uid: int) -> None:
    """Its owner, mask, whether it is over: also of one that shows itself to nobody."""
    with Actor(other_uid) as actor:
        serial = actor(keys.session_ring)
        ring = members.look()[1][serial]
        assert (ring.serial, ring.key_uid, ring.mask) == (serial, other_uid, 0x3F030000)
        assert kernel.judge(ring, time()).ok
        actor(keys.set_mask, serial, 0x3F000000)
        assert members.look()[1][serial].mask == 0x3F000000
        actor(keys.revoke, serial)
        assert kernel.judge(members.look()[1][serial], time()).ring.state == "revoked"


def test_members_of_a_ring_that_is_only_pinned(
    members: Members, door: Door, other_uid: int
) -> None:
    """A connection holds the ring and is no member of it."""
    with Actor(other_uid) as actor:
        ring = actor(peers.connect, door.path)
        sock = door.accept()
    with sock:
        assert members.members(ring) == 0


def test_members_leave_by_joining_another(members: Members, other_uid: int) -> None:
    """And the one they join has them."""
    with Actor(other_uid) as actor:
        ring = actor(keys.session_ring)
        new = actor(keys.join_session)
        assert (members.members(ring), members.members(new)) == (0, 1)


def test_members_cannot_be_counted_by_anybody(members: Members, other_uid: int) -> None:  # noqa: ARG001
    """Without the capabilities it says which."""
    with Actor(other_uid) as actor, pytest.raises(bpf.BpfFault, match="CAP_BPF"):
        actor(Members)


def _count_in_a_pid_namespace() -> str:
    ours, theirs = os.pipe()
    if libc().unshare(NEWPID):
        return "no pid namespaces here"
    pid = os.fork()
    if pid == 0:
        try:
            Members().close()
            os.write(theirs, b"counted")
        except bpf.BpfFault as fault:
            os.write(theirs, str(fault).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    said = os.read(ours, 1000).decode()
    os.close(ours)
    os.waitpid(pid, 0)
    return said


def test_members_in_a_pid_namespace_are_not_all(members: Members) -> None:  # noqa: ARG001
    """Tasks outside it would be missed, and their session taken for empty: nobody counts there."""
    with Actor() as actor:
        assert "pid namespace" in actor(_count_in_a_pid_namespace)


def test_members_are_counted_by_the_service(members: Members) -> None:  # noqa: ARG001
    """The capabilities that the broker's unit leaves it are enough."""
    unit = (ROOT / "contrib/systemd/system/pagsrv.service").read_text()
    (line,) = (one for one in unit.split("\n") if one.startswith("CapabilityBoundingSet="))
    kept = [f"+{name.removeprefix('CAP_').lower()}" for name in line.partition("=")[2].split()]
    counting = "from pagsrv.kernel.members import Members; print(sum(Members().counts().values()))"
    with Actor():
        done = subprocess.run(
            ["setpriv", f"--bounding-set={','.join(['-all', *kept])}", "--no-new-privs",
             sys.executable, "-W", "ignore", "-c", counting],
            cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0
