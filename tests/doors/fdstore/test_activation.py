# SPDX-License-Identifier: MIT
"""Debian's systemd-socket-activate starts brokers and imports; what LISTEN_FDS brings is posted.

The law: it is the real program, and it acts when somebody connects. It refuses to know the
store.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagsrv.client.blocking import Board
from tests.anybody import Anybody
from tests.cli.command import COMMAND, SECONDS, Said, environment, execute
from tests.conftest import StartAs
from tests.running import Running

pytestmark = pytest.mark.kernel

_GIVE = """
import os, sys
count, names, pid, *words = sys.argv[1:]
os.environ |= {"LISTEN_FDS": count, "LISTEN_PID": pid or str(os.getpid())}
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execvp(words[0], words)
"""


@contextmanager
def activated(
    options: list[str], command: list[str], env: Mapping[str, str], count: int = 1
) -> Iterator[subprocess.Popen[str]]:
    """systemd-socket-activate, when it listens at *count* places; ended at the end."""
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("systemd is not installed: contrib/setup.sh names the packages")
    # It hands on these of its environment, and those it is told to.
    words = [f"--setenv={name}={value}" for name, value in env.items()]
    process = subprocess.Popen(
        [program, *options, *words, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=Path(__file__).parent.parent.parent.parent, env=dict(env),
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for _ in range(count):
            assert "Listening on" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def test_sockets_are_imported(broker: Running, board: Board, short_tmp: Path) -> None:
    """Under their names, when the first client connects, who is served by who opens them."""
    one, other = short_tmp / "one", short_tmp / "other"
    options = ["-l", str(one), "-l", str(other), "--fdname=web:admin"]
    command = [*COMMAND, "fdstore", "import", "--scope", "user", "--json"]
    env = environment(broker.dir)
    with activated(options, command, env, 2) as process, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(other))
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
        assert (out.count('"name":"web"'), out.count('"name":"admin"')) == (1, 1)
        assert sorted(board.names()) == ["admin", "web"]
        client.sendall(b"hello")
        with board.open("admin").to_socket() as listener, listener.accept()[0] as accepted:
            assert accepted.recv(5) == b"hello"
        with board.open("web").to_socket() as listener:
            assert listener.getsockname() == str(one)


def test_the_command_gets_them_as_well(broker: Running, board: Board, short_tmp: Path) -> None:
    """With the numbers and words it would have had without us."""
    show = 'echo "$LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$))"; readlink /proc/$$/fd/3'
    command = [*COMMAND, "fdstore", "import", "--scope", "user", "--", "sh", "-c", show]
    options = ["-l", str(short_tmp / "one"), "--fdname=web"]
    with (
        activated(options, command, environment(broker.dir)) as process,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(short_tmp / "one"))
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert out.splitlines()[0] == "1 web 0"
    assert out.splitlines()[1].startswith("socket:")
    assert board.names() == ["web"]


def test_a_broker_is_started_by_its_first_client(short_tmp: Path) -> None:
    """At the socket that was made for it."""
    place = short_tmp / "place"
    place.mkdir(mode=0o700)
    options = ["--seqpacket", "-l", str(place / "board")]
    command = [*COMMAND, "broker", "--dir", str(place)]
    with activated(options, command, environment(str(place))) as process:
        said = execute([*COMMAND, "post", "x", "--empty", "--scope", "user"],
                       environment(str(place)), None, ())  # fmt: skip
        assert said == (0, "", "")
        said = execute([*COMMAND, "ls"], environment(str(place)), None, ())
        assert said == (0, f"user:{os.geteuid()}/x\n", "")
        process.terminate()
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err


# ---- what LISTEN_FDS may say ---------------------------------------------------------------------


def passing(broker: Running, count: int, names: str, *words: str, pid: str = "") -> Said:
    """`pagsrv fdstore import` as started with that many descriptors of /dev/null, from 3 up."""
    command = [*COMMAND, "fdstore", "import", "--scope", "user", *words]
    argv = [sys.executable, "-c", _GIVE, str(count), names, pid, *command]
    opened = " ".join(f"{number}</dev/null" for number in range(3, 3 + count))
    shell = ["bash", "-c", f'exec "$@" {opened}', "bash", *argv]
    return execute(shell, environment(broker.dir), None, ())


def test_names_that_come_twice(broker: Running, board: Board) -> None:
    """Each gets a name of its own; so do those that have none."""
    said = passing(broker, 4, "web:web:web.2:")
    assert (said.status, "it is empty" in said.err) == (2, True)
    assert board.names() == []
    assert passing(broker, 3, "web:web:web.2") == (0, "", "")
    assert sorted(board.names()) == ["web", "web.2", "web.2.2"]
    assert passing(broker, 2, "") == (0, "", "")
    assert sorted(board.names())[:2] == ["unknown", "unknown.2"]


def test_all_or_none_are_imported(broker: Running, board: Board) -> None:
    """If one name is taken nothing is posted; --replace takes its place."""
    board.create("c", scope="user")
    with open(os.devnull) as file:
        board.post("b", file, scope="user")
    before = board.stat("b").generation
    assert passing(broker, 4, "a:c:b:d").status == 5
    assert sorted(board.names()) == ["b", "c"]
    assert board.stat("b").generation == before
    assert passing(broker, 3, "a:b:c", "--replace") == (0, "", "")
    assert board.stat("b").generation != before
    assert board.stat("c").assigned


@pytest.mark.root
def test_nobody_of_the_uid_takes_them_meanwhile(
    anybody_python: Anybody, other_uid: int, short_tmp: Path, start_as: StartAs
) -> None:
    """H5: while they wait for the broker they are not to be taken from the command."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.bind(str(short_tmp / "board"))
        os.chmod(short_tmp / "board", 0o666)  # noqa: S103 -- as root's broker's is
        silent.listen()
        silent.settimeout(SECONDS)
        give = [*anybody_python.argv, "-c", _GIVE, "1", "a", ""]
        command = [*anybody_python.argv, "-m", "pagsrv", "--dir", str(short_tmp), "fdstore",
                   "import", "--scope", "user"]  # fmt: skip
        process = start_as(other_uid, ["bash", "-c", 'exec "$@" 3</dev/null', "-", *give, *command],
                           env=anybody_python.env)  # fmt: skip
        with silent.accept()[0] as connection:
            assert connection.recv(4096), "it attaches, and waits"
            assert os.stat(f"/proc/{process.pid}/fd").st_uid == 0


def test_none_is_all_right(broker: Running, board: Board) -> None:
    """The first start of a service; CMD is run."""
    said = execute([*COMMAND, "fdstore", "import", "--", "echo", "on we go"],
                   environment(broker.dir), None, ())  # fmt: skip
    assert said == (0, "on we go\n", "")
    assert board.names() == []


def test_a_count_that_is_none(broker: Running) -> None:
    """Nobody takes it for a first start."""
    told = environment(broker.dir, {"LISTEN_FDS": "many"})
    said = execute([*COMMAND, "fdstore", "import", "--", "echo", "on we go"], told, None, ())
    assert (said.status, said.out, "LISTEN_FDS is no number" in said.err) == (1, "", True)


def test_those_of_another_process_are_not_taken(broker: Running, board: Board) -> None:
    """It says whose they are."""
    said = passing(broker, 1, "a", pid="1")
    assert (said.status, "is for process 1, and" in said.err) == (1, True)
    assert board.names() == []


def test_those_that_are_not_there(broker: Running, board: Board) -> None:
    """Nothing is posted."""
    argv = [sys.executable, "-c", _GIVE, "3", "", "", *COMMAND, "fdstore", "import"]
    said = execute(argv, environment(broker.dir), None, ())
    assert (said.status, "3 is not open" in said.err) == (1, True)
    assert board.names() == []
