# SPDX-License-Identifier: MIT
"""The s6 door as a process: how it begins, what it says when it cannot, how it ends.

The law: it is the command itself, with its exit status and its one sentence. It refuses to
know the protocol.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import stat
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pagsrv.doors import s6
from tests.cli.command import COMMAND, SECONDS, environment, execute, start
from tests.doors.s6.conftest import Door, clients, running_door
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


def test_it_lends_its_rights_to_nobody(short_tmp: Path, board: Running) -> None:
    """A directory that is stored is what it is, and nobody goes beneath by the door's rights."""
    (short_tmp / "inside").touch()
    with running_door(short_tmp, board.dir, "--scope", "user") as door, Raw(str(door.path)) as raw:
        directory = os.open(short_tmp, os.O_RDONLY)
        try:
            assert raw.store(b"docs", directory) == 0
        finally:
            os.close(directory)
        beneath, itself, gone = (
            execute([*COMMAND, *words], environment(board.dir), None, ())
            for words in (
                ("open", "docs/inside", "--", "true"), ("open", "docs", "--", "true"),
                ("rm", "docs"),
            )
        )  # fmt: skip
        assert (beneath.status, "no_new_privs" in beneath.err) == (4, True)
        assert (itself.status, gone.status) == (0, 0)


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


def test_where_somebody_serves_too_slowly(short_tmp: Path, board: Running) -> None:
    """A queue that is full is somebody's: nothing is waited for, and nothing replaced."""
    short_tmp.chmod(0o700)
    path = str(short_tmp / "s6")
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(path)
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                peer = stack.enter_context(socket.socket(socket.AF_UNIX))
                peer.setblocking(False)
                peer.connect(path)
        words = [*COMMAND, "door", "s6", path, "--scope", "user"]
        said = execute(words, environment(board.dir), None, ())
    assert (said.status, said.err) == (1, f"pagsrv door: somebody serves at {path} already\n")


class Short(socket.socket):
    """A listener in a process that has no number left; it has *news* on its third try."""

    news: socket.socket
    tries: list[str]

    def accept(self) -> NoReturn:
        """There is none for the peer, either."""
        self.tries.append("tried")
        if self.tries.count("tried") == 3:
            self.news.send(b".")
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class Heard:
    """An epoll that writes down, in *tries*, when nothing was told of in time."""

    def __init__(self, epoll: select.epoll, tries: list[str]) -> None:
        self.register, self.modify, self.close = epoll.register, epoll.modify, epoll.close
        self._epoll, self._tries = epoll, tries

    def poll(self, seconds: float | None) -> list[tuple[int, int]]:
        """As epoll's."""
        told = self._epoll.poll(seconds)
        self._tries += [] if told else ["waited"]
        return told


def test_without_a_number_left_it_waits(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that nobody can accept is left alone for a while, and not tried for all the time."""
    monkeypatch.setattr(s6, "_SECOND", 0.01)
    path, tries = str(short_tmp / "s6"), list[str]()
    with (
        Short(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as peer,
    ):  # fmt: skip
        stop, listener.news = socket.socketpair()
        board, broker = socket.socketpair()
        listener.tries = tries
        listener.bind(path)
        listener.listen()
        peer.connect(path)
        with stop, listener.news, board, broker:
            nobody: Any = None  # who is not accepted is shown to nobody
            there: Any = board
            door = s6.Door(listener, there, nobody, nobody)
            heard: Any = Heard(door._epoll, tries)
            door._epoll = heard
            door.run(stop)
            door.close()
    assert tries == ["tried", "waited", "tried", "waited", "tried"]
