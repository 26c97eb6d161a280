# SPDX-License-Identifier: MIT
"""Web servers that replace each other on one posted socket, while clients keep coming.

The law: the servers are real and are started and stopped as docs/howto/zero-downtime.md
says; every request is accounted for. It refuses to know HTTP beyond an answer.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.neighbours.beside import HOWTO, Beside, page, write
from tests.neighbours.load import REFUSED, UNANSWERED, Load
from tests.running import SECONDS

pytestmark = pytest.mark.kernel

PAGE = "zero-downtime.md"
ROWS = {
    name: (start, getattr(signal, f"SIG{stop}"))
    for name, start, stop in re.findall(
        r"^\| ([\w, ]+) \| `(pagsrv .+)` \| `kill -(\w+)` \|$",
        (HOWTO / PAGE).read_text(), re.MULTILINE,
    )
}  # fmt: skip
"""The page's table: how each server is started, and by which signal it is stopped."""

ANSWERS_ALL = ["uvicorn, patient", "gunicorn", "gunicorn, by number", "nginx"]
SOME = 50


class Servers:
    """A posted socket, and servers of one kind on it."""

    def __init__(self, beside: Beside, place: Path, entry: str, kind: str) -> None:
        self._beside, self._place, self._kind = beside, place, kind
        for program in ("uvicorn", "gunicorn", "nginx"):
            if program in kind and shutil.which(program, path=beside.env()["PATH"]) is None:
                pytest.skip(f"there is no {program} here")
        write(PAGE, place)
        beside.post(entry, "--listen", "tcp:127.0.0.1:0")
        (stat,) = beside.must("pagsrv", "stat", entry, "--json").splitlines()
        self.port = int(json.loads(stat)["socket"]["local"].rpartition(":")[2])
        command, self.signal = ROWS[kind]
        self._command = command.replace(" web", f" {entry}").replace("$PWD", str(place))
        if kind == "nginx":
            (line,) = [one for one in page(PAGE, "console") if "set_blocking" in one]
            beside.must("sh", "-c", line.removeprefix("$ ").replace(" web ", f" {entry} "))

    def start(self, answer: str) -> subprocess.Popen[bytes]:
        """One more of them, that answers *answer*."""
        command = self._command
        if self._kind == "nginx":
            command = command.replace("nginx.conf", f"{answer}.conf")
            (self._place / f"{answer}.conf").write_text(self._settings(answer))
        with (self._place / f"{answer}.log").open("wb") as log:
            return self._beside.start(
                "sh", "-c", f"exec {command}", env={"ANSWER": answer, "HOME": str(self._place)},
                cwd=self._place, stdout=log, stderr=log,
            )  # fmt: skip

    def _settings(self, answer: str) -> str:
        """The page's nginx.conf, told where it may write."""
        (text,) = [one for one in page(PAGE) if "daemon off" in one]
        place = self._place
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {place}/{kind}; " for kind in kinds)
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        text = text.replace("return 200 one", f"return 200 {answer}")
        text = text.replace("http {\n", f"http {{\naccess_log off; {paths}\n")
        return f"pid {place}/{answer}.pid; error_log {place}/{answer}.log;\n{text}"

    def stop(self, server: subprocess.Popen[bytes]) -> None:
        """Stop *server* as the page says; it has ended when this returns."""
        server.send_signal(self.signal)
        server.wait(SECONDS)

    def replace_twice(self) -> Load:
        """Under load: new before old goes, then old before new comes. What clients were told."""
        first = self.start("one")
        with Load(self.port) as load:
            load.wait("one", SOME)
            second = self.start("two")
            load.wait("two", 1)
            self.stop(first)
            load.wait("two", SOME)
            self.stop(second)
            self.start("three")
            load.wait("three", SOME)
        return load


@pytest.mark.parametrize("kind", ANSWERS_ALL)
def test_every_request_is_answered(beside: Beside, short_tmp: Path, name: str, kind: str) -> None:
    """Nobody is refused, and nobody is hung up on."""
    load = Servers(beside, short_tmp, name, kind).replace_twice()
    assert {"one", "two", "three"} == set(load.answers), load.answers


def test_uvicorn_refuses_nobody(beside: Beside, short_tmp: Path, name: str) -> None:
    """As it comes it hangs up on some, without a byte of an answer; it refuses none."""
    load = Servers(beside, short_tmp, name, "uvicorn").replace_twice()
    assert {"one", "two", "three"} <= set(load.answers) <= {"one", "two", "three", UNANSWERED}


@pytest.mark.parametrize(
    ("kind", "sets"), [("uvicorn", True), ("gunicorn", True), ("nginx", False)]
)
def test_who_makes_the_socket_non_blocking(
    beside: Beside,
    short_tmp: Path,
    name: str,
    kind: str,
    sets: bool,  # noqa: FBT001 -- a table
) -> None:
    """Nginx leaves a socket that it was given as it is; the others set the flag, for all."""
    servers = Servers(beside, short_tmp, name, kind)
    block = "import os; os.set_blocking(3, True)"
    beside.must("pagsrv", "open", name, "--", "python3", "-c", block)
    servers.start("one")
    with Load(servers.port) as load:
        load.wait("one", 1)
    tell = "import os; print(os.get_blocking(3))"
    assert beside.must("pagsrv", "open", name, "--", "python3", "-c", tell) == f"{not sets}\n"


def test_refusals_would_be_seen() -> None:
    """Where nobody listens, the load says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Load(port) as load:
        load.wait(REFUSED, 10)


def test_the_page_has_these_servers() -> None:
    """Each row of its table is tried here."""
    assert {"uvicorn", *ANSWERS_ALL} == set(ROWS)


@pytest.mark.parametrize(
    ("words", "stays"), [("{} -- gunicorn", True), ("{}=4 -- gunicorn --bind fd://4", False)]
)
def test_gunicorn_and_the_path_of_a_unix_socket(
    beside: Beside,
    short_tmp: Path,
    name: str,
    words: str,
    stays: bool,  # noqa: FBT001 -- a table
) -> None:
    """With fd:// it is removed at the end; with LISTEN_FDS it stays."""
    write(PAGE, short_tmp)
    path = short_tmp / "s"
    beside.post(name, "--listen", f"unix:{path}")
    start = f"exec pagsrv open {words.format(name)} app:wsgi"
    server = beside.start("sh", "-c", start, cwd=short_tmp, stderr=subprocess.DEVNULL)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(SECONDS)
        sock.connect(str(path))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.0 200")
    server.terminate()
    assert server.wait(SECONDS) == 0
    assert path.exists() is stays


def test_gunicorn_takes_a_socket_once(beside: Beside, short_tmp: Path, name: str) -> None:
    """By LISTEN_FDS and by number together it does not start."""
    write(PAGE, short_tmp)
    beside.post(name, "--listen", f"unix:{short_tmp}/s")
    start = ("pagsrv", "open", name, "--", "gunicorn", "--bind", "fd://3", "app:wsgi")
    said = beside.run(*start, cwd=str(short_tmp))
    assert said.status == 1
    assert "Bad file descriptor" in said.err
