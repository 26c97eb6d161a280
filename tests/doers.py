# SPDX-License-Identifier: MIT
"""Doers: processes that do, when told, what the kernel tells of: exec, setsid, user ids.

    with Doer() as doer:
        doer.do("setsid")

The law: it is done, and the kernel has told of it, when `do` returns; after `exec` it is
another program, which does nothing more. It refuses to know who listens.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from typing import Self

import pytest

from pagsrv.kernel.libc import libc

SECONDS = 15
_CLONE3 = 435  # __NR_clone3, the same on every architecture
_CLONE_ARGS = struct.Struct("=10Q")  # struct clone_args of linux/sched.h, with set_tid
_ANYBODY = 60702


def exec_cat() -> None:
    """Become a program that echoes."""
    os.execv("/bin/cat", ["cat"])  # noqa: S606 -- this is the deed


def _in_a_thread(what: str) -> None:
    # File-system ids are a thread's own also in the C library, which changes others everywhere.
    act = exec_cat if what == "exec" else lambda: libc().setfsuid(_ANYBODY)
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def _flood() -> None:
    libc()
    for _ in range(8000):
        libc().setfsuid(_ANYBODY)
        libc().setfsuid(0)


def _act(what: str) -> None:
    if what == "exec":
        exec_cat()
    elif what == "setsid":
        os.setsid()
    elif what == "uid":
        os.setresuid(_ANYBODY, _ANYBODY, 0)
    elif what == "back":
        os.setresuid(0, 0, 0)
    elif what == "drop":
        os.setresuid(_ANYBODY, _ANYBODY, _ANYBODY)
    elif what == "flood":
        _flood()
    elif what == "fork":
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    else:
        _in_a_thread(what.removeprefix("thread "))


def skip_unless_told() -> None:
    """Skip the test where the kernel tells of nobody's deeds: outside its first namespaces.

    Asked of the namespaces, and not of what is tested.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can have other processes change their user ids")
    for name, first in (("pid", 0xEFFFFFFC), ("user", 0xEFFFFFFD)):
        if os.stat(f"/proc/self/ns/{name}").st_ino != first:
            pytest.skip(f"cannot be tried here: this is not the first {name} namespace")


class Doer:
    """A forked process that waits to be told; *pid* is its number, asked for or not."""

    def __init__(self, pid: int = 0) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = _numbered(pid) if pid else os.fork()
        if self.pid == 0:
            try:
                ours.close()
                for number in (0, 1):
                    os.dup2(theirs.fileno(), number)
                while what := os.read(0, 100):
                    _act(what.decode())
                    os.write(1, what)
            finally:
                os._exit(1)
        theirs.close()
        self._sock = ours
        self._sock.settimeout(SECONDS)
        self._pidfd = os.pidfd_open(self.pid)

    def fileno(self) -> int:
        """Its pidfd, owned here."""
        return self._pidfd

    def do(self, what: str) -> None:
        """Have it do that: what _act knows, or `thread exec`, `thread uid`."""
        self._sock.send(what.encode())
        if "exec" in what:
            self._sock.send(b"?")  # it is cat that answers
        assert self._sock.recv(100)

    def kill(self) -> None:
        """End it and reap it: its number is free when this returns."""
        if self._pidfd >= 0:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._pidfd)
            self._pidfd = -1
            self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _numbered(pid: int) -> int:
    """fork(), and the child has the number *pid*, which nobody has (clone3(2), set_tid)."""
    import ctypes  # noqa: PLC0415 -- only here

    wanted = ctypes.c_int(pid)
    told = _CLONE_ARGS.pack(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1)
    made = int(libc().syscall(_CLONE3, told, len(told)))
    assert made in (0, pid), os.strerror(ctypes.get_errno())
    return made
