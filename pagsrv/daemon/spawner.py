# SPDX-License-Identifier: MIT
"""The spawner: a process that makes walkers, forked before the broker holds anything.

The law: made while there is one thread, not dumpable, and no descriptor of anybody's; so it
and what it forks hold none, cannot be traced, and never wait for whoever serves a file that
is on the board, as a child of the broker would while it closes that. It ends with the broker.
It refuses to know what walkers are asked.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from contextlib import suppress
from typing import NoReturn

import msgspec

from pagsrv.daemon import walker
from pagsrv.errors import PagsrvError
from pagsrv.kernel import keys
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import call_oneself
from pagsrv.kernel.scm import ancillary, receive_blocking
from pagsrv.nodes import Credentials

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
NAME = "pagsrv-spawner"
_ROOM = 1 << 20  # bytes: credentials with all the groups that a process may have

_credentials = msgspec.json.Decoder(Credentials)


class Spawner:
    """The broker's part; owns the process, which ends with it. OSError if there is none."""

    def __init__(self) -> None:
        libc()  # what a walker needs is loaded here: it may have no right to
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._pid = os.fork()
            if self._pid == 0:
                _spawn(theirs)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._pid

    def spawn(self, credentials: Credentials) -> socket.socket:
        """The socket to a walker with *credentials*, the caller's; its pidfd comes over it.

        At once, whatever becomes of the walker: if it ends, or there is none, the socket is hung
        up. OSError if the process that makes them is gone or has too much to do.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                beside = ancillary([theirs.fileno()])
                self._sock.sendmsg([msgspec.json.encode(credentials)], beside, _FLAGS)
            except BaseException:
                ours.close()
                raise
        return ours

    def close(self) -> None:
        """End it, and wait until it has; walkers end when their sockets are closed."""
        self._sock.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


# ---- the process ---------------------------------------------------------------------------------


def _spawn(channel: socket.socket) -> NoReturn:
    """Make walkers until the other end of *channel* is closed; never returns."""
    try:
        # What the parent left to the collector would close numbers that mean other things here.
        gc.disable()
        call_oneself(NAME)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: _reap())
        _hold_only(channel.fileno())
        alone = False
        while True:
            with receive_blocking(channel, _ROOM) as packet:
                if not packet.data:
                    break
                sock = packet.take()[0].to_socket()
            with sock:
                alone = _make(channel, sock, packet.data, alone=alone)
    finally:
        os._exit(0)


def _make(channel: socket.socket, sock: socket.socket, data: bytes, *, alone: bool) -> bool:
    """A walker, or the reason why there is none; whether we have left the broker's session."""
    try:
        if not alone:
            # The broker's ring may hold what file systems take for a right.
            keys.join_session()
        alone = True
        _fork(channel, sock, _credentials.decode(data))
    except (OSError, PagsrvError) as error:
        with suppress(OSError):
            sock.send(walker.WHY + str(error).encode(), _FLAGS)
    return alone


def _hold_only(kept: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _fork(channel: socket.socket, sock: socket.socket, credentials: Credentials) -> None:
    """One walker more, at the other end of what *sock* is the end of."""
    begun, begin = os.pipe()
    # Until its pidfd is there it must not be reaped: its number could be another's.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        pid = os.fork()
        if pid == 0:
            try:
                channel.close()
                os.close(begin)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                # Until then it is silent: whom the broker kills is whom the first word there shows.
                if os.read(begun, 1):
                    os.close(begun)
                    walker.serve(sock, credentials)
            finally:
                os._exit(0)
        pidfd = os.pidfd_open(pid)
        try:
            sock.sendmsg([walker.PIDFD], ancillary([pidfd]), _FLAGS)
            os.write(begin, b".")
        finally:
            os.close(pidfd)
    finally:
        os.close(begun)
        os.close(begin)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
