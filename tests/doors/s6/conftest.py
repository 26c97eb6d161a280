# SPDX-License-Identifier: MIT
"""The s6 door beside the real s6-fdholderd, each at a socket, and Debian's clients for both.

The law: what is handed out answers already, and is gone afterwards. It refuses to know
what is asked.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.actors import Actor, held
from tests.anybody import Anybody, bare_environment
from tests.cli.command import Login, Said, environment
from tests.conftest import make_short_directory
from tests.running import SECONDS, Running, running_broker, wait_ready

MODULE = ("-P", "-m", "pagsrv.doors.s6")
DOOR = (sys.executable, *MODULE)


class Door:
    """A door of process *pid* at *path*; *log* is what it has said."""

    def __init__(self, path: Path, pid: int, log: Path) -> None:
        self.path = str(path)
        self.pid = pid
        self._log = log

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return self._log.read_text()

    def descriptors(self) -> int:
        """How many descriptors it holds; only root may ask, since it is not dumpable."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def start_door(
    words: Sequence[str], env: Mapping[str, str], log: str, argv: Sequence[str] = DOOR
) -> int:
    """Start the door; run in an actor, it is in the actor's session, and the actor's child."""
    with open(log, "wb") as errors:
        held["door"] = subprocess.Popen(
            [*argv, *words], env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=errors,
            stderr=errors,
        )  # fmt: skip
    return int(held["door"].pid)


def end_door(*, ask: bool) -> int:
    """End it, if *ask*ed to; its exit status."""
    process = held.pop("door")
    try:
        if ask:
            process.terminate()
        return int(process.wait(SECONDS))
    finally:
        process.kill()
        process.wait()


def wait_door() -> int:
    """Wait until it has ended by itself; its exit status."""
    return int(held["door"].wait(SECONDS))


def here(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- any call
    """Call *function* in this process, as an actor would in its own."""
    return function(*args, **kwargs)


@contextmanager
def running_door(
    tmp: Path, directory: str, *words: str, by: Callable[..., Any] = here, status: int = 0,
    way: Anybody | None = None,
) -> Iterator[Door]:  # fmt: skip
    """A door at tmp/s6, started *by* an actor, or by this process; it ends with *status*.

    *way* is how Python runs for every uid, where the actor has another.
    """
    tmp.chmod(0o700)
    path, log, notify = tmp / "s6", tmp / "door.log", tmp / "door.notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(notify))
        os.chmod(notify, 0o666)  # noqa: S103 -- the door may be another uid's
        told = {"NOTIFY_SOCKET": str(notify), "PYTHONWARNINGS": "always::ResourceWarning"}
        env = environment(directory, told) | ({} if way is None else way.env)
        argv = DOOR if way is None else (*way.argv, *MODULE)
        pid = by(start_door, [*words, str(path)], env, str(log), argv)
        door = Door(path, pid, log)
        try:
            wait_ready(heard, pid, door)  # type: ignore[arg-type]  # it has a log, too
            yield door
        except BaseException:
            by(end_door, ask=True)
            raise
        assert by(end_door, ask=True) == status, door.log
        assert "ResourceWarning" not in door.log
    notify.unlink()


@contextmanager
def real_daemon(tmp: Path) -> Iterator[str]:
    """Debian's s6-fdholderd at a socket in *tmp*, with every right for everybody; its path."""
    rules = tmp / "rules" / "uid" / "default"
    (rules / "env").mkdir(parents=True)
    (rules / "allow").touch()
    for right in ("STORE_REGEX", "RETRIEVE_REGEX", "LIST", "GETDUMP", "SETDUMP"):
        (rules / "env" / f"S6_FDHOLDER_{right}").write_text(".\n")
    path = tmp / "real"
    words = ["s6-fdholder-daemon", "-1", "-n", "2000", "-i", str(tmp / "rules"), str(path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=bare_environment())
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        assert ready
        assert process.stdout.read(1) == b"\n"
        yield str(path)
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def clients(*words: str, env: Mapping[str, str] | None = None, **popen: Any) -> Said:  # noqa: ANN401 -- run's own
    """Run one of Debian's clients to its end; as run in an actor, in the actor's session."""
    done = subprocess.run(
        words, env={**bare_environment(), **(env or {})}, capture_output=True, timeout=SECONDS,
        check=False, **({"stdin": subprocess.DEVNULL} | popen),
    )  # fmt: skip
    return Said(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode())


def stored(path: str, name: str, file: str, *more: str) -> Said:
    """Run s6-fdholder-store with *file* as its descriptor."""
    with open(file, "rb") as source:
        return clients("s6-fdholder-store", *more, path, name, stdin=source)


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Debian's package s6 is there."""
    if shutil.which("s6-fdholder-daemon") is None:
        pytest.skip("s6 is not installed: contrib/setup.sh names the packages")


@pytest.fixture(scope="session")
def broker() -> Iterator[Running]:
    """A broker that these tests share."""
    path = make_short_directory()
    with running_broker(path) as running:
        yield running
    shutil.rmtree(path)


@pytest.fixture
def login(broker: Running) -> Iterator[Login]:
    """A session, and the command in it."""
    with Actor() as actor:
        yield Login(actor, broker.dir)


@pytest.fixture
def board(short_tmp: Path) -> Iterator[Running]:
    """A broker of the test's own: what is in its user scope is the test's."""
    (short_tmp / "broker").mkdir()
    with running_broker(short_tmp / "broker") as running:
        yield running


@pytest.fixture
def door(board: Running, short_tmp: Path) -> Iterator[Door]:
    """A door to the user scope of that broker."""
    with running_door(short_tmp, board.dir, "--scope", "user") as running:
        yield running


@pytest.fixture
def note(short_tmp: Path) -> str:
    """A file to store."""
    path = short_tmp / "note"
    path.write_text("what the file says\n")
    return str(path)
