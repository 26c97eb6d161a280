# SPDX-License-Identifier: MIT
"""Fd: one owner, one close, on every path."""

from __future__ import annotations

import os
import socket
import warnings
from fcntl import F_GETFD, FD_CLOEXEC, fcntl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.kernel.fd import Fd


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_fd_closes_at_the_end_of_with() -> None:
    """Leaving the block closes the number, and closing again does nothing."""
    number = os.memfd_create("x")
    with Fd(number) as fd:
        assert number == fd.fileno()
    assert not _is_open(number)
    fd.close()
    assert fd.closed


def test_fd_close_does_not_touch_a_number_given_away_again() -> None:
    """A second close() spares whoever has the number now."""
    fd = Fd(os.memfd_create("x"))
    number = fd.fileno()
    fd.close()
    second = os.memfd_create("y")
    assert number == second
    fd.close()
    assert _is_open(second)
    os.close(second)


@pytest.mark.parametrize("use", [Fd.fileno, Fd.detach, Fd.dup, Fd.to_file, Fd.to_socket])
def test_fd_that_is_closed_says_so(use: object) -> None:
    """No verb works on a closed one."""
    fd = Fd(os.memfd_create("x"))
    fd.close()
    with pytest.raises(ValueError, match="closed or was given away"):
        use(fd)  # type: ignore[operator]


def test_fd_detach_moves_ownership_out() -> None:
    """After detach() the number is the caller's and the Fd is closed."""
    with Fd(os.memfd_create("x")) as fd:
        number = fd.detach()
        assert fd.closed
    assert _is_open(number)
    os.close(number)


def test_fd_dup_is_a_second_owner_close_on_exec() -> None:
    """dup() shares the open file and nothing else."""
    with Fd(os.memfd_create("x")) as fd, fd.dup() as second:
        assert fd.fileno() != second.fileno()
        assert fcntl(second.fileno(), F_GETFD) & FD_CLOEXEC
        os.write(second.fileno(), b"abc")
        assert os.lseek(fd.fileno(), 0, os.SEEK_CUR) == len(b"abc")


def test_fd_to_file_moves_ownership() -> None:
    """The file closes the number, the Fd no more."""
    number = os.memfd_create("x")
    fd = Fd(number)
    with fd.to_file("w+b") as file:
        assert fd.closed
        assert number == file.fileno()
        file.write(b"abc")
    assert not _is_open(number)


def test_fd_to_file_with_a_wrong_mode_keeps_it() -> None:
    """What open() refuses before it takes the number over stays with the Fd."""
    with Fd(os.memfd_create("x")) as fd:
        with pytest.raises(ValueError, match="mode"):
            fd.to_file("z")
        assert _is_open(fd.fileno())


def test_fd_to_file_refused_by_the_kernel_closes_it() -> None:
    """A directory is no file: the error closes the number, exactly once."""
    number = os.open("/", os.O_RDONLY)
    fd = Fd(number)
    with pytest.raises(IsADirectoryError):
        fd.to_file()
    assert fd.closed
    assert not _is_open(number)


def test_fd_to_socket_moves_ownership_or_keeps_it() -> None:
    """A socket object takes over; of what is no socket the Fd stays the owner."""
    here, there = socket.socketpair()
    with Fd(here.detach()) as fd, there, fd.to_socket() as sock:
        assert fd.closed
        assert sock.family == socket.AF_UNIX
    with Fd(os.memfd_create("x")) as fd:
        with pytest.raises(OSError, match="socket"):
            fd.to_socket()
        assert _is_open(fd.fileno())


def test_fd_forgotten_warns_and_closes() -> None:
    """The collector closes what its owner forgot, and says so."""
    number = os.memfd_create("x")
    forgotten = [Fd(number)]
    with pytest.warns(ResourceWarning, match="unclosed <Fd"):
        forgotten.clear()
    assert not _is_open(number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_fd_forgotten_is_closed_though_warnings_are_errors() -> None:
    """What says that it was forgotten may raise; it is closed all the same."""
    number = os.memfd_create("x")
    forgotten = [Fd(number)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forgotten.clear()
    assert not _is_open(number)


def test_fd_refuses_a_number_that_is_none() -> None:
    """-1 is the kernel's error, never a descriptor."""
    with pytest.raises(ValueError, match="-1"):
        Fd(-1)


def test_fd_shows_its_number() -> None:
    """The repr is for people who look for a leak."""
    fd = Fd(os.memfd_create("x"))
    assert f"<Fd {fd.fileno()}>" == repr(fd)
    fd.close()
    assert repr(fd) == "<Fd closed>"


@given(st.lists(st.sampled_from(["close", "dup", "detach", "with"]), max_size=8))
def test_fd_conserves_descriptors(verbs: list[str]) -> None:
    """After any verbs, what was opened was closed or is the caller's."""
    before = len(os.listdir("/proc/self/fd"))
    fd = Fd(os.memfd_create("x"))
    out: list[int] = []
    for verb in verbs:
        try:
            match verb:
                case "close":
                    fd.close()
                case "dup":
                    fd.dup().close()
                case "detach":
                    out.append(fd.detach())
                case _:
                    with fd:
                        pass
        except ValueError:
            assert fd.closed
    fd.close()
    assert len(out) <= 1
    for number in out:
        os.close(number)
    assert before == len(os.listdir("/proc/self/fd"))
