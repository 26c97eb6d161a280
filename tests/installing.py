# SPDX-License-Identifier: MIT
"""SO_PEERKEYRING on this machine: there, or not there, for the time of a test or a module.

    with peerkeyring_installed() as ours:
        ours.remove()

The law: it is the whole machine's, so that all tests of all checkouts take turns at it, and
those that can do without (`use` of running_broker) do. What the machine's owner has installed
is put aside and put back, the very same program; what is ours is pinned in a mount namespace
of a process of its own. Both are so whatever becomes of the tests: that process does it as
it ends. It refuses to know what is asked.
"""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from fcntl import LOCK_EX, flock
from struct import Struct

import pytest

from pagsrv.kernel import bpf, peerkeyring
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from tests.actors import Actor

BPFFS = "/sys/fs/bpf"
_NEWNS = 0x20000  # CLONE_NEWNS of linux/sched.h
_PRIVATE = 0x4000 | 1 << 18  # MS_REC and MS_PRIVATE of linux/mount.h
_TURNS = "/sys/kernel/btf"  # a directory that is there wherever programs can be loaded
_PIN = "getsockopt"
_GETSOCKOPT = 21  # BPF_CGROUP_GETSOCKOPT of linux/bpf.h
_INFO = Struct("3I116x")  # the first fields of struct bpf_link_info: type, id, prog_id

_depth = 0


@contextmanager
def our_turn() -> Iterator[None]:
    """Be the only process of this machine's tests that installs; a skip with the reason elsewhere.

    Within one process it may be taken again while it is held.
    """
    global _depth  # noqa: PLW0603 -- there is one machine, and one turn at it
    if os.geteuid() != 0:
        pytest.skip("only root can have the kernel run a program")
    why = bpf.missing()
    if why:
        pytest.skip(why)
    with ExitStack() as stack:
        if not _depth:
            handle = stack.enter_context(Fd(os.open(_TURNS, os.O_RDONLY | os.O_DIRECTORY)))
            flock(handle.fileno(), LOCK_EX)
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1


@contextmanager
def nobody_answering() -> Iterator[None]:
    """The kernel tells nothing, nor does it begin to meanwhile, whatever the owner installed."""
    with our_turn(), _put_aside() if peerkeyring.answers() else nullcontext():
        assert not peerkeyring.answers()
        yield
        assert not peerkeyring.answers()


@contextmanager
def _put_aside() -> Iterator[None]:
    """Without what the owner has installed: a process keeps it, and puts it back when we end."""
    if not os.path.lexists(os.path.join(peerkeyring.DIRECTORY, _PIN)):
        pytest.skip("SO_PEERKEYRING is answered here by what its owner has pinned elsewhere")
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os._exit(_keep(theirs))
    theirs.close()
    with ours:
        assert ours.recv(1) == b"x", "it could not be put aside"
        try:
            yield
        finally:
            ours.shutdown(socket.SHUT_WR)
            done = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert done == 0, "what was installed here before could not be put back"
    assert peerkeyring.answers()


def _keep(channel: socket.socket) -> int:
    """Take it down, and put it back once the other end of *channel* is closed; the status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pin = os.path.join(peerkeyring.DIRECTORY, _PIN)
    try:
        link = bpf.pinned(pin)
        assert link is not None
        with link, _program_of(link) as program, bpf.root_cgroup() as cgroup:
            bpf.detach(link)
            os.unlink(pin)
            channel.send(b"x")
            channel.recv(1)
            _attach(program, cgroup, pin)
    except BaseException:  # noqa: BLE001 -- a child never leaves the fork
        traceback.print_exc()
        return 1
    return 0


def _attach(program: Fd, cgroup: Fd, pin: str) -> None:
    create = bpf._library().calls.bpf_link_create
    with Fd(create(program.fileno(), cgroup.fileno(), _GETSOCKOPT, None)) as link:
        bpf.pin(link, pin)


def _program_of(link: Fd) -> Fd:
    """The program that *link* runs, as it is in the kernel (BPF_PROG_GET_FD_BY_ID, bpf(2))."""
    ctypes, calls, _ = bpf._library()
    info, size = ctypes.create_string_buffer(_INFO.size), ctypes.c_uint32(_INFO.size)
    assert calls.bpf_obj_get_info_by_fd(link.fileno(), info, ctypes.byref(size)) == 0
    return Fd(calls.bpf_prog_get_fd_by_id(_INFO.unpack(info.raw)[2]))


# ---- ours ----------------------------------------------------------------------------------------


class Installed:
    """The answer of this machine, which is ours to take down: *owner* has installed it."""

    def __init__(self, owner: Actor) -> None:
        self._owner = owner

    def remove(self) -> None:
        """Have the kernel answer no more."""
        self._owner(peerkeyring.remove)

    def install(self) -> None:
        """Have it answer again."""
        self._owner(peerkeyring.install)


def own_bpffs() -> None:
    """See a bpf file system that nobody else sees, from now on; run in an actor."""
    if libc().unshare(_NEWNS):
        raise OSError("there is no mount namespace to be had")
    for source, target, kind, flags in (
        (b"none", b"/", b"", _PRIVATE), (b"bpf", BPFFS.encode(), b"bpf", 0),
    ):  # fmt: skip
        if libc().mount(source, target, kind, flags, None):
            raise OSError(f"{target!r} cannot be mounted")


@contextmanager
def peerkeyring_installed() -> Iterator[Installed]:
    """The kernel answers; a broker has to be started after this to begin with it."""
    with nobody_answering(), Actor() as owner:
        try:
            bpf.root_cgroup().close()
        except bpf.BpfFault as fault:
            pytest.skip(str(fault))
        owner(own_bpffs)
        installed = Installed(owner)
        installed.install()
        yield installed
        installed.remove()


@pytest.fixture
def nobody_answers() -> Iterator[None]:
    """The kernel tells nothing."""
    with nobody_answering():
        yield


@pytest.fixture
def answering() -> Iterator[Installed]:
    """The kernel tells."""
    with peerkeyring_installed() as installed:
        yield installed
