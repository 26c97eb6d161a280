# SPDX-License-Identifier: MIT
"""Walkers that say what no walker does, and one that takes more than its uid's share.

The law: the other ends of the walkers' sockets are the test's, so that they say what it
wants; how real ones do is in test_walkers.py. It refuses to know what is looked for.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

import pytest

from pagsrv.daemon import walkers
from pagsrv.daemon.closing import closer
from pagsrv.daemon.walker import PIDFD, Task, Told
from pagsrv.daemon.walkers import Walkers
from pagsrv.errors import Refused
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.scm import ancillary
from pagsrv.limits import WALK_SECONDS
from pagsrv.nodes import Credentials

pytestmark = pytest.mark.kernel

OPEN, LIST = Task("user:1/docs", ("a",), "r"), Task("user:1/docs", ())
_FINE = b'{"walked":{"at":"user:1/docs","nodes":[],"next":null}}'
_LINGER = struct.pack("ii", 1, 20)


class House:
    """What walkers need of a broker, and of those who ask; owns the walkers' ends."""

    most_fds = 1 << 20

    def __init__(self, stack: ExitStack) -> None:
        self.ends: list[socket.socket] = []
        self.told: list[tuple[str, object]] = []
        self._stack = stack
        self._heard: dict[int, Callable[[int], None]] = {}
        self.walkers = Walkers(cast("Any", self), cast("Any", self))

    def spawn(self, _: Credentials) -> socket.socket:
        """As the spawner."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ends.append(self._stack.enter_context(theirs))
        return ours

    def watch_fd(self, fd: int, ready: Callable[[int], None]) -> None:
        """As the daemon."""
        self._heard[fd] = ready

    def unwatch_fd(self, fd: int) -> None:
        """As the daemon."""
        del self._heard[fd]

    def second(self, fd: Fd) -> Fd:
        """As the daemon."""
        return Fd(fd.dup().detach())

    def drop(self, fds: Iterable[Fd]) -> None:
        """As the daemon."""
        for fd in fds:
            fd.close()

    def hear(self) -> None:
        """Let whatever has been said be heard."""
        for ready in list(self._heard.values()):
            ready(0)

    def ask(self, who: str, task: Task = OPEN, uid: int = 1) -> None:
        """Have *task* done; what comes of it is in `told`."""

        def then(told: Told | Refused, fd: Fd | None) -> None:
            if fd is not None:
                self._stack.enter_context(fd)
            self.told.append((who, fd if fd is not None else told))

        with Fd(os.open("/", os.O_RDONLY | os.O_DIRECTORY)) as top:
            self.walkers.ask(Credentials(uid, uid, ()), task, top, then)

    def say(self, data: bytes, *fds: int, walker: int = -1) -> None:
        """As a walker."""
        self.ends[walker].sendmsg([data], ancillary(fds))


@pytest.fixture
def house() -> Iterator[House]:
    """Walkers, and nobody behind them."""
    with ExitStack() as stack:
        made = House(stack)
        yield made
        made.walkers.close()
        closed()


@contextmanager
def a_process() -> Iterator[tuple[int, int]]:
    """One that waits, and its pidfd."""
    pid = os.fork()
    if pid == 0:
        while True:
            os.read(os.eventfd(0), 8)
    pidfd = os.pidfd_open(pid)
    try:
        yield pid, pidfd
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)


def closed() -> None:
    """Wait until what was left to be closed has been, one after the other."""
    reader, writer = os.pipe()
    closer.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_whom_a_walker_shows_is_not_killed(house: House) -> None:
    """The spawner has shown who it is; what it says itself later is no word of a walker's."""
    with a_process() as (_, first), a_process() as (_, other):
        house.ask("one")
        house.say(PIDFD, first)
        house.hear()
        house.say(PIDFD, other)
        house.hear()
        assert [who for who, _ in house.told] == ["one"]
        assert isinstance(house.told[0][1], Refused)
        assert select.select([first], [], [], 20)[0]
        assert not select.select([other], [], [], 0)[0]


@pytest.mark.parametrize(
    ("task", "data", "fds"),
    [
        (OPEN, PIDFD, 0), (OPEN, b"{}", 0), (OPEN, b"{}", 2), (OPEN, b"[", 1), (OPEN, _FINE, 1),
        (LIST, b"{}", 0), (LIST, _FINE, 1), (OPEN, b'{"error":"org.pagsrv.Board.Denied"}', 1),
    ],
)  # fmt: skip
def test_what_no_walker_says(house: House, task: Task, data: bytes, fds: int) -> None:
    """Its asker is refused, it is none any more, and what came is closed."""
    before = len(os.listdir("/proc/self/fd"))
    house.ask("one", task)
    house.say(data, *[house.ends[0].fileno()] * fds)
    house.hear()
    assert [who for who, _ in house.told] == ["one"]
    assert isinstance(house.told[0][1], Refused)
    house.ends[0].settimeout(20)
    house.ends[0].recv(1000)  # the task
    assert house.ends[0].recv(1000) == b""
    house.ends[0].close()
    house.ask("two", LIST)
    house.say(_FINE)
    house.hear()
    assert isinstance(house.told[1][1], Told)
    house.walkers.close()
    house.ends[1].recv(1000)
    assert house.ends[1].recv(1000) == b""
    house.ends[1].close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_nobody_gets_what_another_asked_for(house: House) -> None:
    """A word of a walker's that is lost for want of a descriptor is not taken for its answer."""
    house.ask("one")
    with a_process() as (_, pidfd):
        house.say(PIDFD, pidfd)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            house.hear()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    house.ask("two")
    with Fd(os.eventfd(0)) as mine:
        with suppress(BrokenPipeError):
            house.say(b"{}", mine.fileno(), walker=0)
        house.hear()
    assert [who for who, _ in house.told] == ["one"]


def test_a_uid_keeps_to_its_share_when_there_is_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle walkers of others are ended for who has fewer than it may, and for nobody else."""
    monkeypatch.setattr(walkers, "_MOST", 5)
    house.ask("other", LIST, uid=2)
    house.say(_FINE)
    house.hear()
    for number in range(6):
        house.ask(f"{number}")
    house.hear()
    assert len(house.ends) == 5
    house.ask("other", LIST, uid=2)
    house.say(_FINE, walker=0)
    house.hear()
    assert [who for who, _ in house.told] == ["other", "other"]


def test_who_was_never_looked_for_is_told_so(house: House) -> None:
    """Those before it took too long, and not its own file system, as far as is known."""
    for number in range(5):
        house.ask(f"{number}")
    for _ in range(WALK_SECONDS + 1):
        house.walkers.sweep()
    told = {who: str(error) for who, error in house.told}
    assert {who for who, error in told.items() if "file system" in error} == {*"0123"}
    assert "other things to do" in told["4"]


def test_the_loop_closes_no_unread_word(house: House) -> None:
    """It may hold a descriptor whose close waits for whoever made it."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as sock:
        peer, _ = listener.accept()
        with peer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            sock.setblocking(False)
            try:
                while True:
                    sock.send(b"x" * 65536)
            except BlockingIOError:
                sock.setblocking(True)
            house.ask("one")
            house.say(b"{}", sock.fileno())
            os.close(sock.detach())
            done = threading.Event()
            waiting = threading.Thread(target=lambda: (house.walkers.close(), done.set()))
            waiting.start()
            assert done.wait(10)
            waiting.join()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    closed()
