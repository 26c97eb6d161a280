# SPDX-License-Identifier: MIT
"""Sockets that a service manager passes to the broker (sd_listen_fds(3)).

The law: they are told apart by their type and made safe as the first thing, and the
broker speaks for itself on them; they are the manager's to remove.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.anybody import bare_environment
from tests.daemon import members
from tests.daemon.wire import Client
from tests.running import SECONDS, Running, running_broker

pytestmark = pytest.mark.kernel

TOP = Path(__file__).parent.parent.parent


@contextmanager
def activated(
    short_tmp: Path, *order: str, keep: list[socket.socket] | None = None
) -> Iterator[Running]:
    """A broker with listening sockets that we made, passed in that *order*; to *keep*, too."""
    kinds = {"board": socket.SOCK_SEQPACKET, "varlink": socket.SOCK_STREAM}
    (short_tmp / "b").mkdir()
    made = [socket.socket(socket.AF_UNIX, kinds[name]) for name in order]
    for name, sock in zip(order, made, strict=True):
        sock.bind(str(short_tmp / "b" / name))
        sock.listen()
    fds = [sock.fileno() for sock in made]
    if keep is not None:
        keep += made
    script = (
        "import os,sys\n"
        f"for to, fd in enumerate({[fd + 100 for fd in fds]}, 3): os.dup2(fd, to)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        f"os.environ['LISTEN_FDS'] = '{len(fds)}'\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'pagsrv.daemon', *sys.argv[1:]])\n"
    )
    high = [os.dup2(fd, fd + 100) for fd in fds]
    try:
        with running_broker(
            short_tmp, argv=(sys.executable, "-c", script), pass_fds=high
        ) as broker:
            yield broker
    finally:
        for fd in high:
            os.close(fd)
        for sock in made:
            sock.close()


@pytest.mark.parametrize("order", [("board", "varlink"), ("varlink", "board")])
def test_activated_sockets_are_told_apart(short_tmp: Path, order: tuple[str, str]) -> None:
    """By their type; H9 holds for them; and they are the manager's to remove."""
    with activated(short_tmp, *order) as broker, Actor() as member:
        for stream in (False, True):
            assert member(members.join, broker.dir, stream=stream)[0].startswith("session:")
            assert member(members.do, "Health")["pid"] == broker.pid
        member(members.put, "db", b"by activation")
        assert member(members.read, "db") == b"by activation"
    assert sorted(os.listdir(short_tmp / "b")) == ["board", "id", "varlink"]


def test_activated_broker_speaks_for_itself(short_tmp: Path) -> None:
    """listen(2) anew: a client sees the broker as its peer, and not whoever made the socket."""
    with activated(short_tmp, "board", "varlink") as broker, Client(broker.dir) as client:
        raw = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert int.from_bytes(raw[:4], sys.byteorder) == broker.pid
        assert broker.pid != os.getpid()


def test_listening_socket_is_not_posted(short_tmp: Path) -> None:
    """Loop: whoever activated the broker has its listening sockets, and may not post them."""
    made: list[socket.socket] = []
    with (
        activated(short_tmp, "board", "varlink", keep=made) as broker,
        Client(broker.dir) as client,
    ):
        client.attach("user")
        for sock in made:
            error = client.refusal("Post", [sock.fileno()], name="x", fd=0, scope="user")
            assert error == "Loop"


def test_wrong_activation(short_tmp: Path) -> None:
    """Something that is no such socket: said, with what is wanted."""
    script = (
        "import os,sys\n"
        "os.dup2(int(sys.argv.pop(1)), 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'pagsrv.daemon', *sys.argv[1:]])\n"
    )
    with (
        open(os.devnull, "rb") as null,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as internet,
    ):
        for given, word in ((null, "no socket"), (datagrams, "SEQPACKET"), (internet, "SEQPACKET")):
            fd = given.fileno()
            done = subprocess.run(
                [sys.executable, "-c", script, str(fd), "--dir", str(short_tmp / "b")],
                env=bare_environment(), cwd=TOP, pass_fds=[fd], capture_output=True, text=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
            assert done.returncode == 2
            assert word in done.stderr


def test_environment_of_another_process_is_not_taken(short_tmp: Path) -> None:
    """LISTEN_PID names somebody else: the descriptors are not ours."""
    env = bare_environment() | {"LISTEN_PID": "1", "LISTEN_FDS": "2"}
    with running_broker(short_tmp, env=env) as broker, Client(broker.dir) as client:
        assert client.do("Health")
