# SPDX-License-Identifier: MIT
"""The broker's process: argv, configuration, sockets, loop, end.

The law: made undumpable before the first descriptor could come in; whatever
stops it, the sockets that are ours are unlinked. It refuses to know the command
line of the pagsrv command, which only execs this.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable

from pagsrv.daemon import config
from pagsrv.daemon.connection import Connection
from pagsrv.daemon.daemon import Daemon
from pagsrv.daemon.directory import Directory, adopt
from pagsrv.daemon.log import log
from pagsrv.daemon.spawner import Spawner
from pagsrv.daemon.streaming import StreamConnection
from pagsrv.errors import PagsrvError
from pagsrv.kernel import manager
from pagsrv.kernel.process import undumpable

KINDS: dict[str, type[Connection]] = {"board": Connection, "varlink": StreamConnection}
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_UNTIL_EOF = "--until-eof"
"""Of argv: end when nobody holds the other end of standard input any more, as if told to."""


def _arguments(argv: list[str]) -> dict[str, str]:
    told: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == _UNTIL_EOF:
            told[word] = ""
            continue
        name, equals, value = word.partition("=")
        if name not in ("--dir", "--config"):
            raise config.BadConfig(f"{word} is unknown; there are --dir DIR and --config FILE")
        if not equals:
            if not rest:
                raise config.BadConfig(f"{name} needs a value")
            value = rest.pop(0)
        told[name[2:]] = value
    return told


def main(argv: list[str]) -> int:
    """Run a broker in the foreground; the exit status of the process."""
    undumpable()
    spawner = _spawner()
    activated: dict[str, socket.socket] = {}
    try:
        # Before anything else is opened here, so that no number of ours is taken for one of them.
        activated = adopt([passed.fd for passed in manager.listen_fds()])
        told = _arguments(argv)
        chosen = config.load(told.get("dir"), told.get("config"))
        directory = Directory(chosen.dir)
        try:
            return _serve(
                chosen, directory, activated, spawner=spawner, until_eof=_UNTIL_EOF in told
            )
        finally:
            directory.close()
    except PagsrvError as error:
        sys.stderr.write(f"pagsrv broker: {error}\n")
        return error.status
    finally:
        if spawner is not None:
            spawner.close()
        for sock in activated.values():
            sock.close()


def _spawner() -> Spawner | None:
    try:
        return Spawner()
    except OSError as error:
        log("no spawner", why=error.strerror)
        return None


def _serve(
    chosen: config.Config,
    directory: Directory,
    activated: dict[str, socket.socket],
    *,
    spawner: Spawner | None,
    until_eof: bool,
) -> int:
    daemon = Daemon(chosen, directory.broker, spawner)
    try:
        _stop_on_signals(daemon, until_eof=until_eof)
        for name, sock in (activated or directory.listen()).items():
            daemon.listen(sock, KINDS[name])
        daemon.each_sweep.append(_displacement(directory))
        manager.notify(f"READY=1\nSTATUS=serving {chosen.dir}")
        log("serving", dir=chosen.dir, uid=daemon.uid, broker=directory.broker)
        daemon.run()
        manager.notify("STOPPING=1")
        log("stopping")
    finally:
        signal.set_wakeup_fd(-1)
        daemon.close()
    return 0


def _stop_on_signals(daemon: Daemon, *, until_eof: bool) -> None:
    ours, kernels = socket.socketpair()
    ours.setblocking(False)
    kernels.setblocking(False)
    signal.set_wakeup_fd(kernels.fileno())
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)

    def stop(_: int) -> None:
        daemon.stopping = True

    daemon.watch_fd(ours.fileno(), stop)
    if until_eof:
        try:
            daemon.watch_fd(0, stop, 0)  # a hang-up is told unasked (epoll_ctl(2))
        except OSError as error:
            raise config.BadConfig(f"{_UNTIL_EOF} needs a pipe to read from: {error}") from None
    daemon.keep(ours, kernels)


def _displacement(directory: Directory) -> Callable[[], None]:
    told: set[str] = set()

    def look() -> None:
        for name in directory.displaced():
            if name not in told:
                told.add(name)
                log("displaced", socket=os.path.join(directory.path, name),
                    why="it was removed or replaced: new clients do not reach this broker; "
                        "restart it")  # fmt: skip

    return look
