# SPDX-License-Identifier: MIT
"""pagsrv peerkeyring: installed and taken down again, by the command, and told truly.

The law: whatever is installed here is pinned in a mount namespace of the test's own, and
goes with it. It refuses to know how the kernel answers: tests/kernel does.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from pagsrv.kernel import peerkeyring
from pagsrv.kernel.iterlink import Asker
from pagsrv.kernel.peerkeyring import PeerKeyring
from tests import peers
from tests.actors import Actor
from tests.anybody import Anybody
from tests.cli.command import COMMAND, Login, Said, environment, execute, start
from tests.conftest import RunAs
from tests.installing import own_bpffs
from tests.peers import Door

pytestmark = [pytest.mark.kernel, pytest.mark.root]

NOWHERE = "/nonexistent"


def run(*words: str) -> Said:
    """`pagsrv peerkeyring` with *words*."""
    return execute([*COMMAND, "peerkeyring", *words], environment(NOWHERE), None, ())


@pytest.mark.usefixtures("nobody_answers")
def test_from_nothing_to_nothing() -> None:
    """Silent, and done twice the same as once; status says how it is, and exits with it."""
    with Actor() as actor:
        actor(own_bpffs)
        root = Login(actor, NOWHERE)
        before = root("peerkeyring", "status")
        assert before.status == 1
        assert before.out == (
            "SO_PEERKEYRING is not answered; have root run: pagsrv peerkeyring install\n"
        )
        try:
            for _ in range(2):
                root.must("peerkeyring", "install")
                assert peerkeyring.answers()
                status = root("peerkeyring", "status")
                assert status == (0, "SO_PEERKEYRING is answered by the kernel\n", "")
        finally:
            for _ in range(2):
                root.must("peerkeyring", "remove")
        assert root("peerkeyring", "status") == before


@pytest.mark.usefixtures("nobody_answers")
def test_only_root_installs(other_uid: int, anybody_python: Anybody, run_as: RunAs) -> None:
    """Anybody else is told what it takes; anybody may ask how it is."""
    argv = [*anybody_python.argv, "-m", "pagsrv", "peerkeyring"]
    done = run_as(other_uid, [*argv, "install"], env=anybody_python.env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "CAP_BPF" in done.stderr
    assert done.stderr.count("\n") == 1
    serve = run_as(other_uid, [*argv, "serve"], env=anybody_python.env)
    assert (serve.returncode, serve.stdout, serve.stderr.count("\n")) == (1, "", 1)
    status = run_as(other_uid, [*argv, "status"], env=anybody_python.env)
    assert (status.returncode, status.stderr) == (1, "")
    assert not peerkeyring.answers()


@pytest.mark.usefixtures("answering")
def test_anybody_sees_that_it_answers(
    other_uid: int, anybody_python: Anybody, run_as: RunAs
) -> None:
    """The question takes no right, so neither does the status."""
    argv = [*anybody_python.argv, "-m", "pagsrv", "peerkeyring", "status"]
    done = run_as(other_uid, argv, env=anybody_python.env)
    assert done.returncode == 0
    assert done.stdout == "SO_PEERKEYRING is answered by the kernel\n"


def test_words_that_are_none() -> None:
    """A usage error each, and nothing is done."""
    for words, why in (
        (["begin"], "neither install"), ([], "ACTION"), (["status", "--dir", "/x"], "only serve"),
        (["install", "remove"], "remove"),
    ):  # fmt: skip
        said = run(*words)
        assert (said.status, said.out) == (2, "")
        assert why in said.err


def _ask_inherited(giver: str, fd: int) -> PeerKeyring | None:
    with Asker(giver) as asker, socket.socket(fileno=os.dup(fd)) as sock:
        return asker.ask(sock)


def _serving(directory: Path) -> subprocess.Popen[str]:
    serving = start("peerkeyring", "serve", "--dir", str(directory), directory=NOWHERE)
    assert serving.stdout is not None
    assert serving.stdout.readline() == f"serves at {directory}/peerkeyring\n"
    return serving


@pytest.mark.usefixtures("nobody_answers")
def test_iterators_are_served(short_tmp: Path, other_uid: int) -> None:
    """A process without rights asks by what it was given; SIGTERM ends it, and its socket."""
    where = short_tmp / "made"
    path = where / "peerkeyring"
    door = Door(short_tmp / "door")
    with _serving(where) as serving:
        try:
            with door.listener, Actor() as peer:
                ring = peer(peers.connect, door.path)
                with door.accept() as sock, Actor(other_uid) as broker:
                    answer = broker(_ask_inherited, str(path), sock.fileno())
            again = run("serve", "--dir", str(where))
        finally:
            serving.terminate()
            rest = serving.communicate(timeout=30)
    assert answer is not None
    assert answer.serial == ring
    assert again == (1, "", f"pagsrv: somebody serves at {path} already\n")
    assert (serving.returncode, *rest) == (0, "", "")
    assert not path.exists()


@pytest.mark.usefixtures("nobody_answers")
def test_what_an_earlier_one_left_is_replaced(short_tmp: Path) -> None:
    """A socket nobody listens on is; anything else is not ours to remove."""
    path = short_tmp / "peerkeyring"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as gone:
        gone.bind(str(path))
    with _serving(short_tmp) as serving:
        serving.terminate()
        serving.communicate(timeout=30)
    path.write_text("somebody's")
    said = run("serve", "--dir", str(short_tmp))
    assert (said.status, said.out) == (1, "")
    assert "cannot be served at: Address already in use" in said.err
    assert path.read_text() == "somebody's"
