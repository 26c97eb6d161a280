# SPDX-License-Identifier: MIT
"""The s6 door as a process: how it begins, what it says when it cannot, how it ends.

The law: it is the command itself, with its exit status and its one sentence. It refuses to
know the protocol.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, SECONDS, environment, execute, start
from tests.doors.s6.conftest import Door, clients
from tests.doors.s6.raw import Raw
from tests.running import Running, wait_ready

pytestmark = pytest.mark.kernel


def test_the_door_ends_with_the_broker(short_tmp: Path, board: Running) -> None:
    """It says so, with the status of NoBroker, and takes its socket away."""
    short_tmp.chmod(0o700)
    path = str(short_tmp / "s6")
    process = start("door", "s6", path, "--scope", "user", directory=board.dir)
    assert process.stderr is not None
    assert process.stderr.readline() == f"pagsrv door: serving user:{os.geteuid()} at {path}\n"
    board.process.terminate()
    assert board.process.wait(SECONDS) == 0
    _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err.count("the broker hung up")) == (6, 1)
    assert not os.path.exists(path)


def test_a_signal_ends_it_well(short_tmp: Path, board: Running) -> None:
    """With status 0; a socket that nobody serves at any more is no hindrance."""
    short_tmp.chmod(0o700)
    path = str(short_tmp / "s6")
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = start("door", "s6", path, "--scope", "user", directory=board.dir)
        assert process.stderr is not None
        assert "serving" in process.stderr.readline()
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        process.send_signal(number)
        process.communicate(timeout=SECONDS)
        assert process.returncode == (0 if number != signal.SIGKILL else -number)
        assert os.path.exists(path) == (number == signal.SIGKILL)


def test_what_it_says_goes_to_no_client(short_tmp: Path, board: Running, note: str) -> None:
    """Where stderr is closed its number is no socket's."""
    short_tmp.chmod(0o700)
    path = str(short_tmp / "s6")
    words = [*COMMAND, "door", "s6", path, "--scope", "user"]
    script = 'exec "$@" <&- >&- 2>&-'
    notify, log = short_tmp / "notify", short_tmp / "log"
    log.touch()
    env = environment(board.dir, {"NOTIFY_SOCKET": str(notify)})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(notify))
        process = subprocess.Popen(["sh", "-c", script, "sh", *words], env=env, cwd="/")
        wait_ready(heard, process.pid, Door(Path(path), process.pid, log))  # type: ignore[arg-type]
    try:
        with Raw(path) as raw, Raw(path) as bad, open(note, "rb") as file:
            bad.send(b"nonsense that is told of")
            assert bad.read() is None
            assert raw.store(b"a", file.fileno()) == 0
        if os.geteuid() == 0:  # nobody else is shown what the door holds
            found = {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)}
            assert found == {os.devnull}
    finally:
        process.terminate()
        assert process.wait(SECONDS) == 0


WRONG = [
    (("gopher", "SOCKET"), 2, "is no door: there is s6"),
    (("s6",), 2, "SOCKET"),
    (("s6", "SOCKET", "--scope", "neighbour"), 2, "is no scope"),
    (("s6", "SOCKET", "--scope", "user:4000000"), 7, "you are not proved in user:4000000"),
    (("s6", "/SOCKET/in/none", "--scope", "user"), 1, "cannot be served at"),
    (("s6", "OPEN/s6", "--scope", "user"), 1, "is not yours alone"),
    (("s6", "TAKEN", "--scope", "user"), 1, "somebody serves at"),
    (("s6", "FILE", "--scope", "user"), 1, "cannot be served at"),
]


def test_what_cannot_be_is_one_sentence(door: Door, board: Running, short_tmp: Path) -> None:
    """With its status; and what is at the place stays there."""
    (short_tmp / "open").mkdir()
    (short_tmp / "open").chmod(0o777)
    (short_tmp / "file").touch()
    places = {"SOCKET": "s", "OPEN/s6": "open/s6", "TAKEN": "s6", "FILE": "file"}
    for words, status, why in WRONG:
        told = [str(short_tmp / places[word]) if word in places else word for word in words]
        said = execute([*COMMAND, "door", *told], environment(board.dir), None, ())
        assert (said.status, said.out, said.err.count("\n")) == (status, "", 1), said
        assert why in said.err
    assert clients("s6-fdholder-list", door.path).status == 0
    assert sorted(path.name for path in (short_tmp / "open").iterdir()) == []
