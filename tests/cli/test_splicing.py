# SPDX-License-Identifier: MIT
"""connect: bytes between stdin, stdout and an entry.

The law: every byte arrives, in order, and what is posted is as blocking afterwards as it
was before. It refuses to know how a piece is moved.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pagsrv
from tests.cli.command import COMMAND, environment
from tests.running import Running

pytestmark = pytest.mark.kernel

SECONDS = 30


@contextmanager
def connected(
    broker: Running, name: str, posted: int, *, stdin: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """`pagsrv connect` to an entry that holds *posted*."""
    with pagsrv.connect(broker.dir) as board:
        board.post(name, posted, scope="user")
    with subprocess.Popen(
        [*COMMAND, "connect", name], env=environment(broker.dir), stdin=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as it:  # fmt: skip
        try:
            yield it
        finally:
            it.kill()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def test_a_conversation(broker: Running, name: str, pair: tuple[socket.socket, ...]) -> None:
    """Question and answer, as they come; the other end's end is ours, and 0."""
    ours, theirs = pair
    with connected(broker, name, theirs.fileno()) as it:
        theirs.close()
        assert it.stdin is not None
        assert it.stdout is not None
        it.stdin.write(b"question\n")
        it.stdin.flush()
        assert ours.recv(100) == b"question\n"
        ours.send(b"answer\n")
        assert it.stdout.readline() == b"answer\n"
        # While stdin is open still; the entry holds the other end open, so it is shut down.
        ours.shutdown(socket.SHUT_WR)
        assert it.wait(SECONDS) == 0


def test_the_end_of_stdin_is_told_and_the_answer_awaited(
    broker: Running, name: str, pair: tuple[socket.socket, ...]
) -> None:
    """A half-closed connection still brings what comes."""
    ours, theirs = pair
    with connected(broker, name, theirs.fileno()) as it:
        theirs.close()
        assert it.stdin is not None
        it.stdin.write(b"all of it")
        it.stdin.close()
        it.stdin = None
        assert ours.makefile("rb").read() == b"all of it"
        ours.send(b"and the answer")
        ours.close()
        assert it.communicate(timeout=SECONDS) == (b"and the answer", b"")
    assert it.returncode == 0


def test_every_byte_arrives(broker: Running, name: str, pair: tuple[socket.socket, ...]) -> None:
    """Megabytes of every value both ways at once, through slow readers."""
    ours, theirs = pair
    there, back = os.urandom(3_000_001), os.urandom(2_000_003)
    seen = bytearray()

    told = threading.Event()

    def answer() -> None:
        while piece := ours.recv(10_000):
            seen.extend(piece)
        assert told.wait(SECONDS)
        ours.shutdown(socket.SHUT_WR)

    def tell() -> None:
        ours.sendall(back)
        told.set()

    with connected(broker, name, theirs.fileno()) as it:
        theirs.close()
        with running(tell), running(answer):
            out, err = it.communicate(there, timeout=SECONDS)
    assert (bytes(seen), out, err) == (there, back, b"")


@contextmanager
def running(work: Callable[[], None]) -> Iterator[None]:
    """*work* in a thread, over when the context is."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_no_flag_of_the_open_file_is_changed(
    broker: Running, name: str, pair: tuple[socket.socket, ...]
) -> None:
    """O_NONBLOCK is everybody's who holds the open file: it stays as it was."""
    ours, theirs = pair
    reading, writing = os.pipe()
    before = fcntl.fcntl(theirs, fcntl.F_GETFL), fcntl.fcntl(reading, fcntl.F_GETFL)
    with connected(broker, name, theirs.fileno(), stdin=reading) as it:
        os.write(writing, b"x")
        assert ours.recv(1) == b"x"
        during = fcntl.fcntl(theirs, fcntl.F_GETFL), fcntl.fcntl(reading, fcntl.F_GETFL)
        os.close(writing)
        os.close(reading)
        ours.shutdown(socket.SHUT_RDWR)
        assert it.wait(SECONDS) == 0
    assert before == during


def test_pipes(broker: Running, name: str) -> None:
    """A pipe's reading end flows out, its writing end takes in."""
    reading, writing = os.pipe()
    with connected(broker, name, reading, stdin=subprocess.DEVNULL) as it:
        os.write(writing, b"out of it")
        os.close(writing)
        assert it.communicate(timeout=SECONDS) == (b"out of it", b"")
    with pagsrv.connect(broker.dir) as board:
        board.remove(name)
    os.close(reading)
    reading, writing = os.pipe()
    with connected(broker, name, writing) as it:
        os.close(writing)
        assert it.communicate(b"into it", timeout=SECONDS) == (b"", b"")
    assert os.read(reading, 100) == b"into it"
    os.close(reading)


def test_files(broker: Running, name: str, short_tmp: Path) -> None:
    """A file is read to its end, and then stdin goes into it."""
    path = short_tmp / "file"
    path.write_bytes(b"old\n")
    with path.open("r+b") as file, connected(broker, name, file.fileno()) as it:
        assert it.communicate(b"new\n", timeout=SECONDS) == (b"old\n", b"")
    assert path.read_bytes() == b"old\nnew\n"


def test_nobody_reads_the_answer(
    broker: Running, name: str, pair: tuple[socket.socket, ...]
) -> None:
    """Stdout's reader goes, and the command with it, though nothing flows."""
    ours, theirs = pair
    with connected(broker, name, theirs.fileno()) as it:
        assert it.stdin is not None
        assert it.stdout is not None
        it.stdin.write(b"x")
        it.stdin.flush()
        assert ours.recv(1) == b"x"
        it.stdout.close()
        assert it.wait(SECONDS) == 0


def test_interrupted(broker: Running, name: str, pair: tuple[socket.socket, ...]) -> None:
    """^C: 130, and not a word."""
    ours, theirs = pair
    with connected(broker, name, theirs.fileno()) as it:
        assert it.stdin is not None
        it.stdin.write(b"x")
        it.stdin.flush()
        assert ours.recv(1) == b"x"
        it.send_signal(2)
        assert it.communicate(timeout=SECONDS) == (b"", b"")
    assert it.returncode == 130


def test_what_does_not_flow(broker: Running, name: str, short_tmp: Path) -> None:
    """A listener and a directory are sentences, not hanging."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_tmp / "s"))
        listener.listen()
        with connected(broker, name, listener.fileno()) as it:
            _, err = it.communicate(timeout=SECONDS)
        assert it.returncode == 1
        assert f"pagsrv open {name} -- CMD" in err.decode()
    directory = os.open(short_tmp, os.O_RDONLY)
    with connected(broker, f"{name}-d", directory) as it:
        os.close(directory)
        _, err = it.communicate(timeout=SECONDS)
    assert b"is a directory" in err


def test_closed_ends(broker: Running, name: str, pair: tuple[socket.socket, ...]) -> None:
    """Without stdin and stdout there is nothing to say and nowhere to show it, and no mix-up."""
    ours, theirs = pair
    with pagsrv.connect(broker.dir) as board:
        board.post(name, theirs, scope="user")
    ours.send(b"lost")
    ours.shutdown(socket.SHUT_WR)
    closed = "import os, sys; os.close(0); os.close(1); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", closed, *COMMAND, "connect", name], env=environment(broker.dir),
        capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert ours.recv(1) == b""
