# SPDX-License-Identifier: MIT
"""Socket activation with programs that speak it: as the parent, and as the child.

The law: systemd-socket-activate starts us as systemd would, systemd-socket-proxyd is started
by us. It refuses to know what flows.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.neighbours.beside import Beside
from tests.running import SECONDS

pytestmark = pytest.mark.kernel

PROXY = "/lib/systemd/systemd-socket-proxyd"
POST = ("pagsrv", "post", "--listen-fds", "--scope", "user")


@pytest.fixture
def names(beside: Beside, name: str) -> tuple[str, str]:
    """Two entries, each a file."""
    both = f"{name}-a", f"{name}-b"
    for one in both:
        beside.post(one, "--open", "/etc/passwd")
    return both


def caller(path: Path) -> socket.socket:
    """A connection to *path*; the caller's to close."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SECONDS)
    try:
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock


def test_what_a_service_manager_has_passed(beside: Beside, short_tmp: Path, name: str) -> None:
    """It is posted under its name, with whoever waits at it."""
    if shutil.which("systemd-socket-activate") is None:
        pytest.skip("there is no systemd-socket-activate here")
    path, end = short_tmp / "s", subprocess.PIPE
    env = [f"-E{key}={value}" for key, value in beside.env().items()]
    activate = ["systemd-socket-activate", f"--listen={path}", f"--fdname={name}", *env, *POST]
    manager = beside.start(*activate, stdout=end, stderr=end)
    assert manager.stderr is not None
    assert f"Listening on {path}" in manager.stderr.readline().decode()
    with caller(path) as first:
        assert manager.communicate(timeout=SECONDS)[0] == b""
        assert manager.returncode == 0
        accept = "import socket; socket.socket(fileno=3).accept()[0].sendall(b'served')"
        beside.must("pagsrv", "open", name, "--", "python3", "-c", accept)
        assert first.recv(100) == b"served"


def test_a_program_that_is_activated(beside: Beside, short_tmp: Path, name: str) -> None:
    """systemd-socket-proxyd finds what it is to listen on."""
    if not os.access(PROXY, os.X_OK):
        pytest.skip(f"there is no {PROXY} here")
    beside.post(name, "--listen", f"unix:{short_tmp}/front")
    with socket.socket(socket.AF_UNIX) as back, caller(short_tmp / "front") as client:
        back.bind(str(short_tmp / "back"))
        back.listen()
        back.settimeout(SECONDS)
        beside.start("pagsrv", "open", name, "--", PROXY, f"{short_tmp}/back")
        with back.accept()[0] as served:
            served.sendall(b"served")
            assert client.recv(100) == b"served"


def test_each_under_its_name(beside: Beside, names: tuple[str, str]) -> None:
    """Every descriptor, in its order, and one line for each; --replace for those there are."""
    said = beside.must("pagsrv", "open", *names, "--", *POST, "--replace", "--verbose")
    told = [re.sub(r"\(r\w?\) as|, generation.*", "", line) for line in said.splitlines()]
    assert [f"posted file  user:{os.geteuid()}/{one}" for one in names] == told


def test_in_turn(beside: Beside, names: tuple[str, str]) -> None:
    """One that is refused ends it, and the sentence names what is on the board by then."""
    first, second = names
    again = ("env", f"LISTEN_FDNAMES={first}-new:{second}", *POST)
    said = beside.run("pagsrv", "open", *names, "--", *again)
    assert (said.status, said.out) == (5, "")
    assert said.err.endswith(f"; posted before it: {first}-new\n")
    beside.must("pagsrv", "stat", f"{first}-new")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("LISTEN_PID=1", "is for process 1, and this is"),
        ("LISTEN_PID=", "is for process none, and this is"),
        ("LISTEN_PIDFDID=1", "let the command take that one's place"),
        ("LISTEN_FDS=0", "no descriptors were passed"),
        ("LISTEN_FDS=many", "no descriptors were passed"),
        (f"LISTEN_FDS={'9' * 5000}", "no descriptors were passed"),
        ("LISTEN_FDS=1", "does not name each of the 1 descriptors"),
        ("LISTEN_FDNAMES=", "does not name each of the 2 descriptors"),
        ("LISTEN_FDNAMES=a:a", "several descriptors are called a"),
        ("LISTEN_FDNAMES=a:b/c", "cannot be an entry's name"),
    ],
)
def test_what_is_not_for_us_is_refused(
    beside: Beside, names: tuple[str, str], change: str, why: str
) -> None:
    """Another process's, unnamed, named alike: one sentence, status 2, nothing posted."""
    said = beside.run("pagsrv", "open", *names, "--", "env", change, *POST, "--replace")
    assert (said.status, said.out) == (2, "")
    assert why in said.err


def test_the_process_is_known_by_its_pidfd(beside: Beside, names: tuple[str, str]) -> None:
    """LISTEN_PIDFDID with the right inode is this very process."""
    become = (
        "import os, sys; inode = os.fstat(os.pidfd_open(os.getpid())).st_ino; "
        "os.environ['LISTEN_PIDFDID'] = str(inode); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    beside.must("pagsrv", "open", *names, "--", "python3", "-c", become, *POST, "--replace")


def test_a_number_that_is_not_open(beside: Beside, names: tuple[str, str]) -> None:
    """LISTEN_FDS counts one that somebody has closed: nothing is posted."""
    close = f"exec 4<&-; exec {' '.join(POST)} --replace"
    said = beside.run("pagsrv", "open", *names, "--", "sh", "-c", close)
    assert said.status == 2
    assert "LISTEN_FDS counts 2 descriptors, and 4 is not open" in said.err
