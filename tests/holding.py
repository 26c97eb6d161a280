# SPDX-License-Identifier: MIT
"""A lock of the kernel's, held for as long as a test likes, as a hostile poster holds it.

    with locked(sock):
        …    # whoever asks this socket anything that takes its lock waits

The law: the kernel copies from a page that is not there and whose fault nobody answers
(userfaultfd(2)) while it holds the lock; that it does is known before the test goes on, and
the fault is answered at the end. An unprivileged poster has the same from a mapped file of
its own FUSE server. It refuses to know who waits.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl

import pytest

from pagsrv.kernel.libc import libc

_NEW = 0xAA00  # USERFAULTFD_IOC_NEW; these are of linux/userfaultfd.h
_API, _REGISTER, _ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
_MISSING = 1
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_SECONDS = 10


@contextmanager
def locked(sock: socket.socket) -> Iterator[None]:
    """The lock of *sock*, of any family, is held: a filter is being copied in (socket(7))."""

    def attach(address: int) -> None:
        program = struct.pack("HxxxxxxQ", 1, address)
        libc().setsockopt(
            sock.fileno(), socket.SOL_SOCKET, _SO_ATTACH_FILTER, program, len(program)
        )

    with _held(attach):
        yield


@contextmanager
def sending(sock: socket.socket) -> Iterator[None]:
    """The same of a connected TCP socket, in the middle of a send(2)."""
    with _held(lambda address: libc().send(sock.fileno(), ctypes.c_void_p(address), 100, 0)):
        yield


@contextmanager
def writing(pipe: int) -> Iterator[None]:
    """The lock of a pipe, both ends', whose end to write to is *pipe*."""
    with _held(lambda address: libc().write(pipe, ctypes.c_void_p(address), 100)):
        yield


@contextmanager
def _held(copy: Callable[[int], object]) -> Iterator[None]:
    """Whatever lock *copy* takes before it reads from the address it is given."""
    try:
        device = os.open("/dev/userfaultfd", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        pytest.skip("there is no /dev/userfaultfd")
    except PermissionError:
        pytest.skip("only root may answer the kernel's own page faults")
    try:
        # One that blocks is always ready for select(2), fault or no (userfaultfd_poll() says why).
        faults = ioctl(device, _NEW, os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(device)
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    view = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(view)
    try:
        ioctl(faults, _API, struct.pack("QQQ", 0xAA, 0, 0))
        ioctl(faults, _REGISTER, struct.pack("QQQQ", address, mmap.PAGESIZE, _MISSING, 0))

        def hold() -> None:
            # A signal would end the wait for the page (userfaultfd(2)), and with it the hold.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            copy(address)

        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        assert select.select([faults], [], [], _SECONDS)[0], "nothing is being copied"
        try:
            yield
        finally:
            ioctl(faults, _ZEROPAGE, struct.pack("QQQQ", address, mmap.PAGESIZE, 0, 0))
            holder.join(_SECONDS)
            assert not holder.is_alive()
    finally:
        os.close(faults)
        del view
        memory.close()
