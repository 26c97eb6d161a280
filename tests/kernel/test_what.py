# SPDX-License-Identifier: MIT
"""What a descriptor is: told without waiting, and never wrong about ourselves."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.kernel import what
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from tests.actors import Actor, held

pytestmark = pytest.mark.kernel

_SYS_MEMFD_SECRET = 447  # asm-generic/unistd.h
_CLONE_NEWNS = 0x20000


def _pipe() -> int:
    read, write = os.pipe()
    os.close(write)
    return read


def _epoll() -> int:
    with select.epoll() as poll:
        return os.dup(poll.fileno())


@pytest.mark.parametrize(
    ("make", "kind", "access", "pollable", "path"),
    [
        (lambda: os.open(__file__, os.O_RDONLY), "file", "r", False, __file__),
        (lambda: os.open("/", os.O_RDONLY), "dir", "r", False, "/"),
        (lambda: os.open("/", os.O_PATH), "dir", None, False, "/"),
        (_pipe, "fifo", "r", True, ""),
        (lambda: os.open("/dev/null", os.O_WRONLY), "char", "w", False, "/dev/null"),
        (
            lambda: os.open("/dev/ptmx", os.O_RDWR),
            "char",
            "rw",
            True,
            os.path.realpath("/dev/ptmx"),
        ),
        (lambda: os.memfd_create("x"), "memfd", "rw", False, "/memfd:x (deleted)"),
        (lambda: os.pidfd_open(os.getpid()), "pidfd", "rw", True, "anon_inode:[pidfd]"),
        (lambda: os.eventfd(0), "anon", "rw", True, "anon_inode:[eventfd]"),
        (_epoll, "anon", "rw", False, "anon_inode:[eventpoll]"),
        (lambda: socket.socket(socket.AF_UNIX).detach(), "socket", "rw", True, ""),
    ],
)
def test_describe_tells_kind_access_and_path(
    make: Callable[[], int],
    kind: str,
    access: str,
    pollable: bool,  # noqa: FBT001 -- a column of the table
    path: str,
) -> None:
    """One descriptor of each kind, as this kernel shows it."""
    with Fd(make()) as fd:
        facts = what.describe(fd)
        found = os.fstat(fd.fileno())
    assert (kind, access, pollable) == (facts.kind, facts.access, facts.pollable)
    assert path == facts.path
    assert not facts.ours
    assert found.st_ino == facts.inode
    if kind != "pidfd":
        assert found.st_dev == facts.device


def test_describe_memfd_secret() -> None:
    """memfd_secret(2) is memory too."""
    number = libc().syscall(_SYS_MEMFD_SECRET, 0)
    if number < 0:
        pytest.skip("this kernel has no memfd_secret")
    with Fd(number) as fd:
        assert what.describe(fd).kind == "memfd"


def test_describe_without_statx_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where statx(2) is missing, fstat(2) says the same."""
    with Fd(os.open("/", os.O_RDONLY)) as fd:
        expected = what.describe(fd)
        monkeypatch.setattr(what, "_statx", lambda _fd: None)
        assert expected == what.describe(fd)


def test_describe_shows_addresses(short_tmp: Path) -> None:
    """A Unix socket's path is its address, the other end's first; others' would have to wait."""
    with socket.socket(socket.AF_INET) as sock:
        sock.bind(("127.0.0.1", 0))
        with Fd(os.dup(sock.fileno())) as fd:
            assert what.describe(fd).path == ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = str(short_tmp / "s\n")
        listener.bind(path)
        listener.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
            with Fd(os.dup(client.fileno())) as fd:
                assert path.replace("\n", "?") == what.describe(fd).path
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(f"\0pagsrv-test-{os.getpid()}")
        with Fd(os.dup(sock.fileno())) as fd:
            assert f"@pagsrv-test-{os.getpid()}" == what.describe(fd).path


def test_describe_a_socket_file_opened_by_path(short_tmp: Path) -> None:
    """O_PATH of a socket is a name and no socket."""
    path = short_tmp / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with Fd(os.open(path, os.O_PATH)) as fd:
            facts = what.describe(fd)
    assert (facts.kind, facts.access, facts.pollable) == ("socket", None, False)
    assert str(path) == facts.path


def test_describe_knows_a_connection_to_this_process(short_tmp: Path) -> None:
    """The client's end of a connection to us leads here; an unconnected socket does not."""
    path = str(short_tmp / "s")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client,
    ):
        listener.bind(path)
        listener.listen()
        with Fd(os.dup(client.fileno())) as fd:
            assert not what.describe(fd).ours
            client.connect(path)
            assert what.describe(fd).ours


def _listen(path: str) -> None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(path)
    sock.listen()
    held["listener"] = sock


def test_describe_knows_ours_though_another_process_listened(short_tmp: Path) -> None:
    """Socket activation: who called listen() is the manager, so path and inode tell."""
    path = str(short_tmp / "s")
    with Actor() as manager:
        manager(_listen, path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(path)
            with Fd(os.dup(client.fileno())) as fd:
                assert not what.describe(fd).ours
                assert what.describe(fd, addresses={path}).ours
                assert what.describe(fd, inodes={os.fstat(client.fileno()).st_ino}).ours


def test_describe_takes_no_network_address_for_ours() -> None:
    """TCP names no process: a connection is a connection, whatever address it has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        name = server.getsockname()
        with socket.create_connection(name) as client, Fd(os.dup(client.fileno())) as fd:
            facts = what.describe(fd, addresses={f"{name[0]}:{name[1]}"})
    assert not facts.ours


def _hang(path: str) -> str:
    """Describe the root of a file system whose server never answers."""
    if libc().unshare(_CLONE_NEWNS):
        return "no mount namespace"
    libc().mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None)  # MS_REC | MS_PRIVATE
    device = os.open("/dev/fuse", os.O_RDWR)
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % device
    if libc().mount(b"silent", path.encode(), b"fuse", ctypes.c_ulong(0), options):
        return "no FUSE"
    with Fd(os.open(path, os.O_PATH)) as fd:
        return what.describe(fd).kind


@pytest.mark.root
def test_describe_never_waits_for_a_file_server(short_tmp: Path, other_uid: int) -> None:
    """A file of a FUSE server that says nothing is described all the same."""
    assert other_uid
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    with Actor() as actor:
        kind = actor(_hang, str(short_tmp))
    if kind.startswith("no "):
        pytest.skip(f"cannot be tried here: {kind}")
    assert kind == "dir"


@given(st.text())
def test_printable_is_bounded_and_moves_nothing(text: str) -> None:
    """Whatever a path holds, what is shown is printable and short."""
    shown = what.printable(text)
    assert shown.isprintable()
    assert len(shown.encode()) <= what.PATH_BYTES


def test_printable_cuts_with_an_ellipsis() -> None:
    """A cut is seen to be one."""
    assert what.printable("ä" * 600).endswith("…")
    assert what.printable("a" * 512) == "a" * 512
    assert what.printable("\udcff") == "?"


def test_kinds_cover_every_file_type() -> None:
    """Each S_IF of stat.h has its kind."""
    types = {value for name, value in vars(stat).items() if name.startswith("S_IF") and value}
    assert types - {stat.S_IFMT, stat.S_IFDOOR, stat.S_IFPORT, stat.S_IFWHT} <= set(what._KINDS)
