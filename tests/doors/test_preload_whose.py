# SPDX-License-Identifier: MIT
"""Whose entries are seen behind the preload door, for how long, and what is left afterwards.

The law: other sessions, users, brokers and senders are real ones. It refuses to know what is
posted.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.actors import Actor, held
from tests.cli.command import COMMAND, Login, environment
from tests.doors.preloading import through, typed
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel


def test_another_session_sees_nothing(login: Login, other: Login, name: str, file: str) -> None:
    """Neither by its name, nor in a listing; what it creates there is its own."""
    login.must("post", name, "--open", file)
    assert typed(other, "bash", f"! test -e /srv/{name}", "ls /srv") == (0, "", "")
    assert through(other, "cat", f"/srv/{name}").status == 1
    assert typed(other, "bash", f"exec 3</dev/null; echo 3 > /srv/{name}") == (0, "", "")
    assert through(login, "cat", f"/srv/{name}") == (0, "hello\n", "")


def test_a_handle_that_somebody_sent_is_none(login: Login, name: str, writer: str) -> None:
    """Who is sent a memfd named as a handle, with a number in it, posts nothing by closing it."""
    said = through(login, writer, "forged", f"/srv/{name}", f"{login.scope()}/{name}")
    assert said == (0, "", "")
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is False


def test_another_user_sees_nothing(
    login: Login, name: str, file: str, subject: str, other_uid: int
) -> None:
    """Who changes user has the old connection no more: root's broker serves it as that user."""
    assert other_uid
    login.must("post", name, "--open", file)
    assert through(login, subject, "drop", f"/srv/{name}") == (0, "ENOENT\n", "")


def ask_shell(line: str, argv: list[str] | None = None, env: dict[str, str] | None = None) -> str:
    """Run in an actor: type *line* into its one shell, begun with *argv*; what it says."""
    if argv is not None:
        held["shell"] = subprocess.Popen(
            argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    shell = held["shell"]
    shell.stdin.write(f"{line}; echo\n")
    shell.stdin.flush()
    said: str = shell.stdout.readline()
    return said.strip()


def end_shell() -> int:
    """Run in an actor: the status of the shell when it has no more to read."""
    shell = held.pop("shell")
    shell.communicate()
    status: int = shell.returncode
    return status


def test_a_broker_that_is_started_anew(short_tmp: Path, name: str, file: str) -> None:
    """A shell that has asked the old one asks the new one; in between it is refused."""
    look = f"test -e /srv/{name} && printf there || printf no"
    argv = [*COMMAND, "exec", "--preload", "--", "bash"]
    with Actor() as actor:
        with running_broker(short_tmp) as broker:
            Login(actor, broker.dir).must("post", name, "--open", file)
            assert actor(ask_shell, look, argv, environment(broker.dir)) == "there"
            broker.kill()
        assert actor(ask_shell, look) == "no"
        (short_tmp / "b" / "board").unlink(missing_ok=True)
        with running_broker(short_tmp) as broker:
            assert actor(ask_shell, f"printf x; exec 3<{file}; echo 3 > /srv/{name}") == "x"
            assert actor(ask_shell, look) == "there"
            assert Login(actor, broker.dir)("stat", name).status == 0
            assert actor(end_shell) == 0


def test_elsewhere_than_srv(login: Login, name: str, file: str, short_tmp: Path) -> None:
    """--at takes the board elsewhere, and leaves /srv alone."""
    login.must("post", name, "--open", file)
    at = str(short_tmp / "board")
    assert through(login, "cat", f"{at}//{name}", at=f"{at}/") == (0, "hello\n", "")
    assert through(login, "ls", at, at=at) == (0, f"{name}\n", "")
    assert through(login, "cat", f"/srv/{name}", at=at).status == 1


def test_10000_opens_leave_nothing(
    login: Login, name: str, file: str, subject: str, broker: Running
) -> None:
    """As many descriptors afterwards as before, in the program and in the broker."""
    if os.geteuid() != 0:
        pytest.skip("only root may count a broker's descriptors")
    login.must("post", name, "--open", file)
    through(login, "cat", f"/srv/{name}")
    before = broker.descriptors()
    assert through(login, subject, "again", f"/srv/{name}", "10000") == (0, "0\n", "")
    login.must("stat", name)
    assert broker.descriptors() <= before
