# SPDX-License-Identifier: MIT
"""SO_PEERKEYRING beside other programs: whose answer stands."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.kernel import bpf
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.peerkeyring import ask, install
from tests import peers
from tests.actors import Actor
from tests.peers import Door

pytestmark = [pytest.mark.kernel, pytest.mark.root]

HERE = Path(__file__).resolve().parent


@pytest.fixture
def others(short_tmp: Path) -> str:
    """Somebody else's programs, compiled."""
    if shutil.which("clang") is None:
        pytest.skip("there is no clang to compile somebody else's program with")
    machine = subprocess.run(
        ["clang", "-print-multiarch"], capture_output=True, text=True, check=False
    ).stdout.strip()
    path = str(short_tmp / "other.bpf.o")
    source = str(HERE / "other.bpf.c")
    include = f"/usr/include/{machine}"
    options = ["-O2", "-g", "-target", "bpf", "-idirafter", include]
    subprocess.run(["clang", *options, "-c", source, "-o", path], check=True)
    return path


@pytest.fixture
def cgroup(place: str) -> Iterator[str]:  # noqa: ARG001 -- there is a cgroup v2 then
    """A cgroup directly beneath the root, empty."""
    top = next(path for path, kind in bpf.mounts() if kind == "cgroup2")
    path = os.path.join(top, f"pagsrv-test-{os.getpid()}")
    os.mkdir(path)
    yield path
    os.rmdir(path)


def _join(cgroup: str) -> None:
    Path(cgroup, "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


@pytest.mark.parametrize("program", ["forge", "forbid"])
@pytest.mark.parametrize("first", [True, False], ids=["root first", "root last"])
def test_descendants_program_does_not_stand(  # noqa: PLR0917
    place: str, cgroup: str, others: str, door: Door, program: str, first: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """Ancestors run last, in whatever order they were attached: the root's answer stands.

    A socket's cgroup is that of the process that connected.
    """
    if first:
        install(place)
    with (
        bpf.Program(program, others) as other,
        Fd(os.open(cgroup, os.O_RDONLY)) as where,
        other.attach_cgroup(where.fileno()) as link,
        Actor() as peer,
    ):
        peer(_join, cgroup)
        ring = peer(peers.connect, door.path)
        with door.accept() as sock:
            before = ask(sock)
            install(place)
            answer = ask(sock)
        datagrams = peer(_datagrams_answer)
        bpf.detach(link)
    assert answer is not None
    assert ring == answer.serial
    if first:
        assert before == answer
    else:
        assert (before.serial if before else None) == (666 if program == "forge" else None)
    # What the root refuses, it also takes back where another has answered.
    assert not datagrams


def _datagrams_answer() -> bool:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return ask(one) is not None


def test_forged_answer_without_ours(cgroup: str, others: str) -> None:
    """Root may always lie to those beneath it: nothing of ours has to be installed for that."""
    with (
        bpf.Program("forge", others) as other,
        Fd(os.open(cgroup, os.O_RDONLY)) as where,
        other.attach_cgroup(where.fileno()) as link,
        Actor() as peer,
    ):
        peer(_join, cgroup)
        assert peer(_datagrams_answer)
        bpf.detach(link)
        assert not peer(_datagrams_answer)
