# SPDX-License-Identifier: MIT
"""Reading and writing somebody's file in their name, with no right of ours.

The law: what a file lets one do may depend on who reads or writes it, and not on who opened it
(SCM_CREDENTIALS of unix(7), set-user-ID bits, /proc/PID): root that is led to do it has to be
somebody else meanwhile. Only the calling thread changes, and only in what it acts by: by real and
saved ids it stays root's, so that nobody may signal or trace it. A thread that could not return
ends the process. It refuses to know what is read.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EPERM
from typing import TYPE_CHECKING

from pagsrv.kernel import threads
from pagsrv.kernel.libc import libc
from pagsrv.kernel.process import NoProcess

if TYPE_CHECKING:
    from pagsrv.kernel.fd import Fd

_HEADER = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3 (linux/capability.h)
_CAPS = struct.Struct("6I")  # effective, permitted, inheritable, each in two halves
_UCRED = struct.Struct("iII")  # struct ucred of unix(7)
_ASK = 0xFFFFFFFF  # no id: it is only told


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """The calling thread's file-system ids are *uid* and *gid*, and no capability counts.

    Nothing changes for who has that effective uid already.
    """
    own = os.geteuid()
    if uid == own:
        yield
        return
    calls, kept = libc(), ctypes.create_string_buffer(_CAPS.size)
    if calls.capget(_HEADER, kept):
        raise PermissionError(EPERM, "the kernel does not tell what rights are ours")
    first, permitted, inherited, second, more, others = _CAPS.unpack(kept.raw)
    none = _CAPS.pack(0, permitted, inherited, 0, more, others)
    try:
        calls.setfsgid(gid)
        calls.setfsuid(uid)
        acts = calls.setfsuid(_ASK) == uid and calls.setfsgid(_ASK) == gid
        if not acts or calls.capset(_HEADER, none):
            raise PermissionError(EPERM, "the kernel does not let us act as somebody else")
        yield
    finally:
        calls.capset(_HEADER, _CAPS.pack(first, permitted, inherited, second, more, others))
        calls.setfsuid(own)
        calls.setfsgid(os.getegid())
        if calls.setfsuid(_ASK) != own:
            os.abort()


def send_as(fd: Fd, data: memoryview, tid: int) -> int:
    """Send *data* over the Unix socket *fd* in the name of thread *tid*, which waits for it.

    How many bytes; never waits. OSError as sendmsg(2), EPERM if nobody knows who that is.
    """
    try:
        with threads.open_thread(tid) as pidfd:
            asker = threads.look(pidfd)
    except NoProcess:
        asker = None
    if asker is None:
        raise PermissionError(EPERM, "nobody knows who wants that to be sent")
    named = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, _UCRED.pack(asker.pid, *asker.real))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd.fileno())
    try:
        return sock.sendmsg([data], [named], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    finally:
        sock.detach()
