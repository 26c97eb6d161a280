# SPDX-License-Identifier: MIT
"""What is so before the broker has looked: early peers of an activated socket, old PAGs.

The law: who came early is served like who came late. It refuses to know how units
are written.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pagsrv.proofs.groups import to_pair
from tests.anybody import Anybody, bare_environment
from tests.running import running_broker

_TAKE_OVER = """
import fcntl, os, sys
held = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
for target, source in enumerate(held, 3):
    os.dup2(source, target)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
os.execv(sys.executable, [sys.executable, "-m", "pagsrv.daemon", *sys.argv[3:]])
"""
_PAG = 0x41000123


def _listen(path: Path, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    sock.listen()
    return sock


@pytest.mark.kernel
def test_a_peer_that_came_before_the_broker_may_change_the_board(short_tmp: Path) -> None:
    """Options set on the listening socket are not inherited by who connected before."""
    place = short_tmp / "b"
    place.mkdir(mode=0o700)
    board = _listen(place / "board", socket.SOCK_SEQPACKET)
    varlink = _listen(place / "varlink", socket.SOCK_STREAM)
    with board, varlink:
        env = bare_environment() | {"PAGSRV_DIR": str(place)}
        words = ["post", "early", "--open", "/dev/null", "--scope", "user"]
        early = subprocess.Popen([sys.executable, "-m", "pagsrv", *words], env=env)
        try:
            # It is in the queue once the socket can be accepted from.
            _wait_readable(board)
            fds = (board.fileno(), varlink.fileno())
            argv = [sys.executable, "-c", _TAKE_OVER, *map(str, fds)]
            with running_broker(short_tmp, argv=argv, pass_fds=fds):
                assert early.wait(30) == 0
        finally:
            early.kill()
            early.wait()


def _wait_readable(sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    assert poll.poll(30_000)


@pytest.mark.kernel
@pytest.mark.root
@pytest.mark.parametrize("asked_for", [True, False])
def test_two_groups_are_a_pag_where_asked_for(
    short_tmp: Path, other_uid: int, anybody_python: Anybody, *, asked_for: bool
) -> None:
    """The older form of a PAG counts with two_groups, and not without."""
    config = f"[pag]\ntwo_groups = {str(asked_for).lower()}\n"
    with running_broker(short_tmp, config=config) as broker:
        done = subprocess.run(
            [*anybody_python.argv, "-m", "pagsrv", "--dir", broker.dir, "whoami", "--json"],
            env=anybody_python.env, user=other_uid, group=other_uid, extra_groups=to_pair(_PAG),
            capture_output=True, text=True, check=True, cwd="/", timeout=30,
        )  # fmt: skip
    assert asked_for is (f'"scope":"pag:{_PAG}","proof":"groups"' in done.stdout)
