# SPDX-License-Identifier: MIT
"""pagsrv whois: the facts of a peer and of a process, for people and for programs.

The law: JSON is compared key by key; who answered is said. It refuses to know what a
fact is worth.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from tests import peers
from tests.actors import Actor
from tests.anybody import Anybody
from tests.cli.command import COMMAND, Login, Said, environment, execute, uid
from tests.conftest import RunAs
from tests.peers import Door
from tests.running import Running

pytestmark = pytest.mark.kernel

FACT = ["fact", "value", "evidence", "strength", "why"]
OF_THE_RING = ["keyring", "mask", "isolation"]
OF_A_PROCESS = [
    "session", "pag", "uid", "gid", "groups", "process", "alive", "pid", "audit-session",
    "login-uid", "cgroup", "logind-session",
]  # fmt: skip
OF_A_PEER = [OF_A_PROCESS[0], *OF_THE_RING, *OF_A_PROCESS[1:]]
HEAD = ["FACT", "VALUE", "STRENGTH", "EVIDENCE,", "OR", "WHY", "NOT"]
NOWHERE = "/nonexistent"


def ask(*words: str, fd: int | None = None, directory: str = NOWHERE) -> Said:
    """`pagsrv whois` with *words*, and *fd* to inherit."""
    argv = [*COMMAND, "whois", *words]
    return execute(argv, environment(directory), None, () if fd is None else (fd,))


def test_the_peer_of_a_descriptor_as_json() -> None:
    """One fact a line, with all its keys; nobody else is asked."""
    one, other = socket.socketpair()
    with one, other:
        said = ask("--fd", str(one.fileno()), "--json", fd=one.fileno())
    assert (said.status, said.err) == (0, "")
    facts = said.objects()
    assert {tuple(FACT)} == {tuple(fact) for fact in facts}
    assert [fact["fact"] for fact in facts] in (OF_A_PEER, OF_A_PROCESS)
    told = {fact["fact"]: fact for fact in facts}
    assert told["uid"] == {
        "fact": "uid", "value": str(uid()), "evidence": "SO_PEERCRED", "strength": "kernel",
        "why": "",
    }  # fmt: skip
    assert (told["alive"]["value"], told["pid"]["value"]) == ("yes", str(os.getpid()))
    unknown = [fact for fact in facts if fact["value"] is None]
    assert all(fact["strength"] == "none" and fact["why"] for fact in unknown)


@pytest.mark.root
@pytest.mark.usefixtures("answering")
def test_a_session_that_the_kernel_tells(other_uid: int, short_tmp: Path) -> None:
    """Ring, mask and isolation, in JSON and in the table."""
    door = Door(short_tmp / "door")
    with door.listener, Actor(other_uid) as peer:
        ring = peer(peers.connect, door.path)
        with door.accept() as sock:
            number = str(sock.fileno())
            facts = ask("--fd", number, "--json", fd=sock.fileno()).objects()
            shown = ask("--fd", number, fd=sock.fileno())
    assert [fact["fact"] for fact in facts] == OF_A_PEER
    assert [fact["value"] for fact in facts[:4]] == [
        f"session:{ring}", "_ses", "alswrv----rv------------", "isolated"
    ]  # fmt: skip
    header, first, *_ = shown.out.splitlines()
    assert header.split() == HEAD
    assert first.split() == ["session", f"session:{ring}", "kernel", "SO_PEERKEYRING"]


def test_a_process_for_people(login: Login) -> None:
    """A table, with reasons for what is not known; the last line says who answered."""
    said = login.must("whois", "--pid", str(os.getpid()))
    header, *rows, empty, last = said.out.splitlines()
    assert header.split() == HEAD
    assert [row.split()[0] for row in rows] == OF_A_PROCESS
    assert rows[0].split()[:4] == ["session", "not", "known", "none"]
    assert "socket" in rows[0]
    assert rows[2].split()[:3] == ["uid", str(uid()), "kernel"]
    assert (empty, last) == ("", f"Told by the broker at {login.directory}.")


def test_a_process_where_no_broker_answers() -> None:
    """About our own the kernel can be asked here, and that is said."""
    said = ask("--pid", str(os.getpid()))
    assert (said.status, said.err) == (0, "")
    assert said.out.endswith("Told by the kernel, asked by this command: no broker answers.\n")
    facts = ask("--pid", str(os.getpid()), "--json").objects()
    assert [fact["fact"] for fact in facts] == OF_A_PROCESS


@pytest.mark.root
def test_others_processes(
    broker: Running, other_uid: int, anybody_python: Anybody, run_as: RunAs
) -> None:
    """Refused by the broker with 4; without one there is nobody to ask, which is 6."""
    argv = [*anybody_python.argv, "-m", "pagsrv", "whois", "--pid", str(os.getpid())]
    for directory, status, why in (
        (broker.dir, 4, "only its own uid"), (NOWHERE, 6, "only a broker tells")
    ):  # fmt: skip
        env = {**anybody_python.env, **environment(directory), **anybody_python.env}
        done = run_as(other_uid, argv, env=env)
        assert (done.returncode, done.stdout) == (status, "")
        assert why in done.stderr


def test_what_has_no_peer() -> None:
    """A usage error each, in one sentence; a process that is not there is not."""
    with open(os.devnull, "rb") as null, socket.socket(socket.AF_UNIX) as lone:
        wrong = [
            (ask("--fd", str(null.fileno()), fd=null.fileno()), "no socket"),
            (ask("--fd", str(lone.fileno()), fd=lone.fileno()), "other end"),
            (ask("--fd", "999"), "not open here"),
            (ask("--fd", "99999999999"), "not open here"),
            (ask(), "--fd --pid is required"),
            (ask("--fd", "0", "--pid", "1"), "not allowed with"),
        ]
    for said, why in wrong:
        assert (said.status, said.out) == (2, "")
        assert why in said.err
        assert said.err.count("\n") == 1
    for number in ("4194305", "99999999999999"):
        assert ask("--pid", number) == (1, "", f"pagsrv: there is no process {number}\n")


@pytest.mark.root
def test_whoami_and_doctor_tell_of_the_kernels_proof(told: Login) -> None:
    """PROVED BY kernel, the proofs of the broker from the best, and what it costs."""
    scope = f"session:{told.actor(keys.session_ring)}"
    out = told.must("whoami").out
    assert [scope, "kernel", "isolated"] in [line.split() for line in out.splitlines()]
    assert (
        "This broker takes, best first: kernel, possession, groups, user. Your session is what "
        "the kernel itself says (SO_PEERKEYRING).\n"
    ) in out
    found = {one["check"]: one for one in told("doctor", "--json").objects()}
    assert found["its proofs"] == {
        "check": "its proofs", "ok": True,
        "found": "best first: kernel, possession, groups, user", "do": "",
    }  # fmt: skip
    assert found["kernel proof"]["ok"]
    assert found["kernel proof"]["found"].startswith("answered")
    assert "0.4 µs" in found["kernel proof"]["found"]


@pytest.mark.root
@pytest.mark.usefixtures("nobody_answers")
def test_whoami_and_doctor_tell_that_it_is_not_there(login: Login) -> None:
    """What is taken instead, and who could install it; that is amiss for nobody's own broker."""
    out = login.must("whoami").out
    assert "possession, groups, user. Your session is what you could show" in out
    assert "SO_PEERKEYRING: not asked: the configuration leaves it out" in out
    found = {one["check"]: one for one in login("doctor", "--json").objects()}
    assert "kernel is absent" in found["its proofs"]["found"]
    assert found["its proofs"]["ok"]
    assert "the configuration leaves it out" in found["by peerkeyring"]["found"]
    assert "the configuration leaves it out" in found["by iterator"]["found"]
    assert found["by possession"]["found"].startswith("taken: ")
    assert found["kernel proof"]["ok"]
    assert found["kernel proof"]["found"].startswith("not answered")


@pytest.mark.root
def test_whom_it_is_amiss_for(
    broker: Running, other_uid: int, anybody_python: Anybody, run_as: RunAs
) -> None:
    """Another user at root's broker, whose session cannot be served, is told what to do."""
    argv = [*anybody_python.argv, "-m", "pagsrv", "doctor"]
    env = {**anybody_python.env, **environment(broker.dir), **anybody_python.env}
    done = run_as(other_uid, argv, env=env)
    assert done.returncode == 1
    assert "! its proofs" in done.stdout
    assert "pagsrv peerkeyring install" in done.stdout.partition("! its proofs")[2]
