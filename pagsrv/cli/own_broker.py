# SPDX-License-Identifier: MIT
"""A broker for one session: in a private directory, ready before the session begins.

The law: nobody waits by the clock, the broker tells when it is ready; at the end it is
stopped and its directory is gone. It gets no signal of the terminal's. Its standard input
is a pipe that this process alone holds open, so that it ends also when we are killed. It
refuses to know what is posted there.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from select import POLLIN, poll

from pagsrv.cli.fail import Stopped
from pagsrv.cli.starting import DAEMON
from pagsrv.errors import NoBroker
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.process import open_pidfd

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_READY_SECONDS = 30
_END_SECONDS = 5
_ANYWHERE = "/tmp"  # noqa: S108 -- mkdtemp(3) makes a name of its own, for us alone
_PATH_BYTES = 80  # of the 107 that a socket's path may have (unix(7)), to leave room for names
_NOT_THE_BROKERS = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID")


@contextmanager
def own_broker() -> Iterator[str]:
    """A broker's directory; it and the broker end with the context. NoBroker if none starts.

    What would end this process raises Stopped inside, and outside it waits.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    directory = _private()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
            news.bind(os.path.join(directory, "notify"))
            pid, leash = _start(directory, before)
            with leash, open_pidfd(pid) as pidfd:
                try:
                    _stop_by_exception()
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                    _await_ready(news, pidfd, directory)
                    yield directory
                finally:
                    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
                    _end(pid, pidfd)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _stop_by_exception() -> None:
    def stop(number: int, _: object) -> None:
        raise Stopped(number)

    for number in _ENDING:
        # Who was told to ignore one (nohup) goes on doing so.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def _private() -> str:
    """A directory nobody else may enter, with a path short enough for a socket in it."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or _ANYWHERE
    if len(os.fsencode(runtime)) <= _PATH_BYTES:
        try:
            return tempfile.mkdtemp(prefix="pagsrv-", dir=runtime)
        except OSError:
            pass  # a variable left over from another user's login, as a rule
    return tempfile.mkdtemp(prefix="pagsrv-", dir=_ANYWHERE)


def _start(directory: str, mask: Iterable[int]) -> tuple[int, Fd]:
    """The broker, and what ends it when it is closed; now the caller's."""
    environment = {
        name: value for name, value in os.environ.items() if name not in _NOT_THE_BROKERS
    }
    environment["NOTIFY_SOCKET"] = os.path.join(directory, "notify")
    log = os.path.join(directory, "log")
    theirs, ours = map(Fd, os.pipe())
    actions = (
        (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    )
    argv = [*DAEMON, f"--dir={directory}", "--until-eof"]
    try:
        pid = os.posix_spawn(
            DAEMON[0], argv, environment, file_actions=actions, setsid=True, setsigmask=mask
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, ours


def _await_ready(news: socket.socket, pidfd: Fd, directory: str) -> None:
    watch = poll()
    watch.register(news.fileno(), POLLIN)
    watch.register(pidfd.fileno(), POLLIN)
    while ready := dict(watch.poll(_READY_SECONDS * 1000)):
        if news.fileno() in ready and b"READY=1" in news.recv(4096).split(b"\n"):
            return
        if pidfd.fileno() in ready:
            break
    raise NoBroker(f"the session's own broker did not start: {_last_line(directory)}")


def _last_line(directory: str) -> str:
    try:
        with open(os.path.join(directory, "log"), errors="replace") as file:
            lines = file.read().split("\n")
    except OSError:
        lines = []
    told = [line for line in lines if line.strip()]
    return told[-1].removeprefix("pagsrv broker: ") if told else "it said nothing"


def _end(pid: int, pidfd: Fd) -> None:
    watch = poll()
    watch.register(pidfd.fileno(), POLLIN)
    signal.pidfd_send_signal(pidfd.fileno(), signal.SIGTERM)
    if not watch.poll(_END_SECONDS * 1000):
        signal.pidfd_send_signal(pidfd.fileno(), signal.SIGKILL)
    os.waitpid(pid, 0)
