# SPDX-License-Identifier: MIT
"""The ways to learn a session, as one by one they come and go: what a broker does not see.

The law: the reader, the giver and the kernel are real; only the pauses between tries are left
out. It refuses to know what is answered (test_iterator.py).
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.daemon import ways as tested
from pagsrv.daemon.config import Config
from pagsrv.daemon.ways import Ways
from pagsrv.kernel import bpf
from pagsrv.kernel.giver import Giver
from tests.daemon.waiting import exited, until
from tests.peers import Door

pytestmark = [pytest.mark.kernel, pytest.mark.root]


@pytest.fixture(autouse=True)
def possible(other_uid: int) -> None:  # noqa: ARG001 -- only root can
    """Skip where no program can be loaded."""
    if bpf.missing():
        pytest.skip(bpf.missing())


@pytest.fixture
def late_giver(short_tmp: Path) -> Iterator[str]:
    """Where root's helper listens, which says first that it cannot give, and then gives."""
    door = Door(short_tmp / "giver")
    pid = os.fork()
    if pid == 0:
        try:
            sock, _ = door.listener.accept()
            sock.send(b"no room")
            sock.close()
            with Giver() as giver:
                giver.serve(door.listener)
        finally:
            os._exit(1)
    door.listener.close()
    yield door.path
    os.kill(pid, signal.SIGKILL)
    exited(pid)


def test_what_was_in_vain_is_tried_again(late_giver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells that a shortage has passed: neither the path nor its file changes."""
    monkeypatch.setattr(tested, "_AGAIN", 0.0)
    ways = Ways(Config("/nowhere", ways=("iterator",), helper=late_giver), root=False)
    try:
        ways.wait()
        assert [way.why for way in ways.views() if way.way == "iterator"] == ["no room"]
        until(lambda: ways.taken == ["kernel"], ways.sweep, "it is given")
    finally:
        ways.close()


def test_a_reader_is_not_closed_under_who_asks_it() -> None:
    """A thread may be about to use its number: it is somebody else's once it is closed."""
    ways = Ways(Config("/nowhere", ways=("iterator",)), root=True)
    try:
        ways.wait()
        (asker,) = [ways._asker]
        assert asker is not None
        with ways._turn:
            ways._lose("for the test")
            ways.sweep()
            with socket.socket(fileno=os.dup(asker._sock.fileno())) as channel:
                assert channel.getpeername() is not None
        until(lambda: asker.pid == 0, ways.sweep, "it has ended")
        assert asker._sock.fileno() < 0
    finally:
        ways.close()
