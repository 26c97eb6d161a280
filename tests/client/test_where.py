# SPDX-License-Identifier: MIT
"""Where the library looks for a broker, and whom it does not talk to.

The law: the directories in the contract's order, the sentence that names them, and a
socket that is closed on every path but one.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.client import where
from pagsrv.errors import NoBroker
from tests.anybody import Anybody
from tests.conftest import RunAs
from tests.running import Running


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    """No directory from outside, and a machine's directory with nobody in it."""
    monkeypatch.delenv("PAGSRV_DIR", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(where, "MACHINE", str(short_tmp / "machine"))


@pytest.fixture
def machine(short_tmp: Path) -> str:
    """The machine's directory, as above."""
    return str(short_tmp / "machine")


def test_the_first_directory_named_is_taken(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    """The argument, PAGSRV_DIR, XDG_RUNTIME_DIR for others than root, the machine's."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert where.candidates() == [machine]
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert where.candidates() == ["/run/user/1000/pagsrv", machine]
    monkeypatch.setenv("PAGSRV_DIR", "/some/where")
    assert where.candidates() == ["/some/where", machine]
    assert where.candidates("/else/where") == ["/else/where", machine]
    assert where.candidates(machine) == [machine]


def test_empty_is_as_unset(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    """An empty variable names no directory."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("PAGSRV_DIR", "")
    assert where.candidates("") == [machine]


def test_root_has_no_runtime_directory(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    """A sudo that kept XDG_RUNTIME_DIR does not lead root to the user's broker."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert where.candidates() == [machine]


def test_a_directory_without_a_broker_leads_to_the_machines(
    broker: Running, monkeypatch: pytest.MonkeyPatch, short_tmp: Path
) -> None:
    """Absent, a file in place of the directory, or a socket nobody listens on."""
    monkeypatch.setattr(where, "MACHINE", broker.dir)
    (short_tmp / "file").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
        (short_tmp / "stale").mkdir()
        stale.bind(str(short_tmp / "stale/board"))
    for empty in ("absent", "file", "stale"):
        sock, found = where.dial(str(short_tmp / empty))
        sock.close()
        assert found == broker.dir


def test_a_socket_of_another_kind_is_no_broker(short_tmp: Path) -> None:
    """A STREAM socket named board is said to be out of reach, with the kernel's word for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(str(short_tmp / "board"))
        stream.listen()
        with pytest.raises(NoBroker, match="wrong type"):
            where.dial(str(short_tmp))


def test_a_path_too_long_is_said_to_be(short_tmp: Path) -> None:
    """sun_path has 108 bytes; the sentence says so, not that nobody is there."""
    with pytest.raises(NoBroker, match="shorter"):
        where.dial(str(short_tmp / ("x" * 100)))


@pytest.mark.root
def test_a_closed_directory_is_denied(
    broker: Running, other_uid: int, anybody_python: Anybody, run_as: RunAs
) -> None:
    """EACCES is Denied, and not that nobody is there."""
    code = "import pagsrv\ntry: pagsrv.connect()\nexcept pagsrv.Denied as denied: print(denied)\n"
    os.chmod(broker.dir, 0o700)
    try:
        done = run_as(
            other_uid,
            [*anybody_python.argv, "-c", code],
            env={**anybody_python.env, "PAGSRV_DIR": broker.dir},
        )
    finally:
        os.chmod(broker.dir, 0o755)  # noqa: S103 -- as the broker made it
    assert done.stderr == ""
    assert "may not connect" in done.stdout


@pytest.fixture
def full(short_tmp: Path) -> Iterator[socket.socket]:
    """A broker's socket in short_tmp whose queue is full."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as first,
    ):
        listener.bind(str(short_tmp / "board"))
        listener.listen(0)
        first.connect(str(short_tmp / "board"))
        yield listener


def test_a_full_queue_blocks_or_says_so(short_tmp: Path, full: socket.socket) -> None:
    """Whoever may not wait is told by BlockingIOError; the other is let in when there is room."""
    with pytest.raises(BlockingIOError):
        where.dial(str(short_tmp), blocking=False)
    thread = threading.Thread(target=_let_one_in, args=(full,))
    thread.start()
    where.dial(str(short_tmp))[0].close()
    thread.join()


def _let_one_in(listener: socket.socket) -> None:
    listener.accept()[0].close()
