# SPDX-License-Identifier: MIT
"""Pipes, sockets, terminals through the mount: waiting, polling, being interrupted.

The law: who waits keeps nobody else waiting, and gets an end to it as with the file itself. It
refuses to know names.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pagsrv.kernel import fuse
from pagsrv.kernel.fd import Fd
from tests.actors import Actor
from tests.conftest import make_short_directory
from tests.doors.fuse import being, doing
from tests.doors.fuse.mounts import Mounted, mounted
from tests.doors.fuse.silent import silent
from tests.holding import writing
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]

RDWR, NONBLOCK = os.O_RDWR, os.O_NONBLOCK
IN, OUT, HUP = select.POLLIN, select.POLLOUT, select.POLLHUP

BOTH = pytest.mark.parametrize("make", [doing.a_pipe, doing.a_socketpair])
Make = Callable[[], tuple[int, int]]


@pytest.fixture(scope="module", params=["everybody", "same uid"])
def mount(request: pytest.FixtureRequest, board: Running) -> Iterator[Mounted]:
    """A mount that moves bytes in threads, and one that does so in its loop."""
    path = make_short_directory()
    options = () if request.param == "everybody" else ("--same-uid", "--scope=user")
    with mounted(path, board.dir, *options) as made:
        yield made
    shutil.rmtree(path)


@pytest.fixture
def posted(here: Actor, path: str, make: Make) -> str:
    """The reading end of what *make* makes, posted."""
    reading, _ = here(make)
    assert here(doing.assign, path, reading) == ""
    return path


@BOTH
def test_o_nonblock(here: Actor, posted: str) -> None:
    """EAGAIN where there is nothing: as it was opened, and as it is set afterwards."""
    here(doing.open_at, posted, os.O_RDONLY | NONBLOCK, "one")
    assert here(doing.read_fault, "one") == "EAGAIN"
    here(doing.open_at, posted, os.O_RDONLY, "two")
    here(doing.set_nonblocking, "two")
    assert here(doing.read_fault, "two") == "EAGAIN"
    here(doing.write, "w", b"text")
    assert here(doing.read, "one", 1) == b"t"
    assert here(doing.read, "two") == b"ext"
    here(doing.close, "one", "two", "r", "w")


@BOTH
def test_o_nonblock_of_what_was_posted(here: Actor, posted: str) -> None:
    """It is the file's own, for everybody."""
    here(doing.set_nonblocking, "r")
    assert here(doing.fault, doing.read_path, posted) == "EAGAIN"
    here(doing.close, "r", "w")


@BOTH
def test_poll(here: Actor, posted: str) -> None:
    """What is ready, what is not, and the hang-up."""
    here(doing.open_at, posted, RDWR)
    assert here(doing.polled, "file", IN) == 0
    here(doing.write, "w", b"text")
    assert here(doing.polled, "file", IN) == IN
    assert here(doing.read, "file") == b"text"
    here(doing.close, "w")
    assert here(doing.polled, "file", IN) & HUP
    assert here(doing.read, "file") == b""
    here(doing.close, "file", "r")


@BOTH
def test_poll_waits(here: Actor, posted: str) -> None:
    """Somebody in poll(2) is woken by what comes."""
    here(doing.open_at, posted, os.O_RDONLY)
    here(doing.stays_polling, "file", IN)
    here(doing.write, "w", b"text")
    assert here(doing.heard) == [IN]
    here(doing.close, "file", "r", "w")


@BOTH
def test_epoll_by_edges(here: Actor, posted: str) -> None:
    """Each arrival is told once, also to who did not read meanwhile."""
    here(doing.open_at, posted, os.O_RDONLY)
    here(doing.edges, "file", IN)
    for _ in range(3):
        here(doing.write, "w", b"text")
        assert here(doing.edge, doing.SECONDS) == IN
    assert here(doing.read, "file") == b"text" * 3
    here(doing.end_edges)
    here(doing.close, "file", "r", "w")


def test_poll_for_room(here: Actor, path: str) -> None:
    """A pipe that is full is not ready to be written to, and a reader makes it so."""
    _, writing_end = here(doing.a_pipe)
    here(doing.assign, path, writing_end)
    here(doing.open_at, path, os.O_WRONLY | NONBLOCK)
    assert here(doing.polled, "file", OUT) == OUT
    sent = here(doing.fill, "file")
    assert here(doing.polled, "file", OUT) == 0
    here(doing.stays_polling, "file", OUT)
    assert here(doing.drain, "r", sent) == sent
    assert here(doing.heard) == [OUT]
    here(doing.close, "file", "r", "w")


def test_a_long_write_is_written_whole(here: Actor, path: str) -> None:
    """By who waits for it: more than the pipe holds, while somebody reads."""
    _, writing_end = here(doing.a_pipe)
    here(doing.assign, path, writing_end)
    said = here(doing.shell_between, f"head -c 3000000 /dev/zero >{path}", "r", 3_000_000)
    assert said == (0, "", "")
    here(doing.close, "r", "w")


@pytest.mark.parametrize("size", [4096, 1_000_000])
def test_a_writer_that_waits_keeps_no_name(
    here: Actor, there: Actor, path: str, mount: Mounted, size: int
) -> None:
    """Its name can be opened, truncated, renamed and removed, and the directory be listed."""
    _, writing_end = here(doing.a_pipe)
    here(doing.assign, path, writing_end)
    here(doing.set_nonblocking, "w")
    here(doing.fill, "w")
    here(doing.clear_nonblocking, "w")
    pid = here(doing.start_shell, f"exec head -c {size} /dev/zero >{path}")
    here(doing.wait_until_writing, pid)
    assert here(doing.write_new, path, b"x", os.O_WRONLY | os.O_TRUNC | NONBLOCK) == "EAGAIN"
    here(os.chmod, path, 0o200)
    here(os.rename, path, path + "y")
    here(os.unlink, path + "y")
    assert os.path.basename(path) not in here(os.listdir, mount.path)
    there(os.mknod, path)
    there(os.unlink, path)
    os.kill(pid, signal.SIGKILL)
    assert here(doing.status_of, pid) == -signal.SIGKILL
    here(doing.close, "r", "w")


def test_a_long_read_takes_what_is_there(here: Actor, path: str) -> None:
    """And does not wait for the rest of a large buffer."""
    reading, _ = here(doing.a_socketpair)
    here(doing.assign, path, reading)
    here(doing.open_at, path, os.O_RDONLY)
    here(doing.write, "w", b"x" * 100_000)
    assert here(doing.read, "file", 8 << 20) == b"x" * 100_000
    here(doing.close, "file", "r", "w")


def read_askew(path: str, skew: int) -> int:
    """A pipe full but for *skew* bytes, read to a place so far within a page; how many came."""
    reading, writing_end = os.pipe()
    size = fcntl.fcntl(writing_end, fcntl.F_SETPIPE_SZ, fuse.MOST_IO)
    assert doing.assign(path, reading) == ""
    os.set_blocking(writing_end, False)
    assert os.write(writing_end, bytes(size - skew)) == size - skew
    fd = os.open(path, os.O_RDONLY)
    signal.alarm(doing.SECONDS)
    with mmap.mmap(-1, 4 * size) as room:
        got = os.readv(fd, [memoryview(room)[skew:]])
    signal.alarm(0)
    for number in (fd, reading, writing_end):
        os.close(number)
    return got


def test_a_long_read_to_the_middle_of_a_page(here: Actor, path: str) -> None:
    """The kernel asks for less at a time then, and the first part is all that there is."""
    assert here(read_askew, path, 512) in (fuse.MOST_IO - 512, fuse.MOST_IO - 513)


@BOTH
def test_a_reader_is_killed(here: Actor, posted: str, mount: Mounted) -> None:
    """It ends, and what comes afterwards is the next one's."""
    here(doing.start_reader, posted)
    here(doing.wait_until_reading)
    assert here(doing.signal_readers, signal.SIGKILL) == [-signal.SIGKILL]
    here(doing.write, "w", b"text")
    assert here(doing.read_path, posted) == b"text"
    assert mount.process.poll() is None
    here(doing.close, "r", "w")


@BOTH
def test_a_read_is_interrupted(here: Actor, posted: str) -> None:
    """EINTR, by a signal that is caught."""
    here(doing.open_at, posted, os.O_RDONLY)
    assert here(doing.interrupted_read, "file") == "EINTR"
    here(doing.write, "w", b"text")
    assert here(doing.read, "file") == b"text"
    here(doing.close, "file", "r", "w")


@BOTH
def test_many_wait_and_the_mount_goes_on(here: Actor, there: Actor, posted: str) -> None:
    """Fifty readers of one entry: each gets its part, and meanwhile everybody else is served."""
    here(doing.start_reader, posted, 50)
    here(doing.wait_until_reading)
    other = posted + "-other"
    assert there(doing.fault, os.mknod, other) == ""
    there(os.unlink, other)
    assert here(doing.xattrs, posted)["user.pagsrv.opens"] == "50"
    here(doing.write, "w", b"text")
    here(doing.close, "w", "r")
    here(os.unlink, posted)
    statuses, texts = here(doing.end_readers)
    assert statuses == [0] * 50
    assert b"".join(texts) == b"text"


def test_a_terminal(here: Actor, path: str) -> None:
    """A file that cannot be asked without a wait: it is read in a thread, and broken off there."""
    reading, _ = here(doing.a_terminal)
    here(doing.assign, path, reading)
    here(doing.open_at, path, RDWR)
    here(doing.open_at, path, RDWR | NONBLOCK, "impatient")
    assert here(doing.read_fault, "impatient") == "EAGAIN"
    assert here(doing.interrupted_read, "file") == "EINTR"
    here(doing.write, "w", b"line\n")
    assert here(doing.read, "file") == b"line\n"
    here(doing.write, "file", b"out")
    assert here(doing.drain, "w", len("line\r\nout")) == len("line\r\nout")
    here(doing.close, "file", "impatient", "r", "w")


def test_an_eventfd(here: Actor, path: str) -> None:
    """What is no file at all works as well."""
    here(doing.assign, path, here(doing.an_eventfd))
    here(doing.open_at, path, RDWR | NONBLOCK)
    assert here(doing.read_fault, "file") == "EAGAIN"
    here(doing.write, "file", (7).to_bytes(8, "little"))
    assert here(doing.polled, "file", IN) == IN
    assert here(doing.read, "file", 8) == (7).to_bytes(8, "little")
    here(doing.close, "file", "e")


def test_a_file_that_nobody_serves(
    here: Actor, there: Actor, path: str, short_tmp: Path, mount: Mounted
) -> None:
    """Who reads it waits, who closes it does not; nobody else is held up by either."""
    with silent(str(short_tmp)) as file:
        here(doing.open_at, file, RDWR, "silent")
        assert here(doing.assign, path, here(doing.number_of, "silent")) == ""
        here(doing.open_at, path, RDWR | NONBLOCK)
        assert here(doing.polled, "file", IN) == IN
        here(doing.close, "file")
        here(doing.stays_reading, path)
        for actor in (here, there):
            assert actor(doing.fault, os.mknod, f"{path}-{actor.pid}") == ""
            assert actor(os.stat, f"{path}-{actor.pid}").st_nlink == 1
            actor(os.unlink, f"{path}-{actor.pid}")
        here(os.unlink, path)
    assert here(doing.heard) == ["ECONNABORTED"]
    assert here(doing.fault, doing.close, "silent") == "ENOTCONN"
    assert mount.process.poll() is None


def test_a_poster_holds_its_pipes_lock(here: Actor, there: Actor, path: str) -> None:
    """Whoever reads it waits; nobody else does, nor the reader's other questions."""
    if here(doing.xattrs, _made(here, path))["user.pagsrv.scope"].startswith("user:"):
        return  # one uid alone is served, which keeps itself waiting
    reading, pipe = os.pipe()
    with Fd(reading), Fd(pipe):
        here(being.borrow, os.getpid(), reading, "r")
        here(doing.assign, path, here(doing.number_of, "r"))
        with writing(pipe):
            here(doing.start_reader, path)
            here(doing.wait_until_reading)
            for actor in (here, there):
                assert actor(doing.fault, os.mknod, f"{path}-{actor.pid}") == ""
                actor(os.unlink, f"{path}-{actor.pid}")
        here(doing.close, "r")
    assert here(doing.end_readers) == ([0], [bytes(100)])


def _made(actor: Actor, path: str) -> str:
    """An empty entry at *path*."""
    actor(os.mknod, path)
    return path


@pytest.mark.parametrize("lock", [fcntl.flock, fcntl.lockf])
def test_nobody_is_told_that_it_has_a_lock(
    here: Actor, path: str, scratch: str, lock: Callable[[int, int], None]
) -> None:
    """The posted file has locks of its own, which are not to be had through the mount."""
    assert here(doing.assign, path, here(doing.a_file, scratch)) == ""
    number = here(doing.open_at, path, os.O_RDWR)
    for how in (fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_SH):
        assert here(doing.fault, lock, number, how) == "ENOLCK"
    here(doing.close, "file", "f")
