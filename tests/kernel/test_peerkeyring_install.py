# SPDX-License-Identifier: MIT
"""SO_PEERKEYRING, installed and removed: from when to when it is answered, and by whom."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pagsrv.kernel import bpf
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from pagsrv.kernel.peerkeyring import answers, ask, install, remove, status
from tests import peers
from tests.actors import Actor
from tests.peers import Door

pytestmark = [pytest.mark.kernel, pytest.mark.root]

_NEWNS = 0x20000  # CLONE_NEWNS of linux/sched.h
_PRIVATE = 1 << 18 | 1 << 14  # MS_PRIVATE, MS_REC of sys/mount.h
_BIND = 1 << 12  # MS_BIND
_MNT_DETACH = 2


def in_child(function: object, *arguments: object) -> int:
    """Run *function* in a forked process; its exit status, 0 if it returned."""
    pid = os.fork()
    if pid == 0:
        try:
            assert callable(function)
            function(*arguments)
        except BaseException:  # noqa: BLE001 -- a child never leaves the fork
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_answers_outlive_the_installer(place: str) -> None:
    """Who installed it has ended, and the kernel answers still."""
    assert in_child(install, place) == 0
    assert answers()
    assert status(place) == (True, "answered by the kernel", "")
    assert remove(place)
    assert not answers()


def test_directory_is_nobody_elses(place: str, other_uid: int) -> None:
    """The pin lies in a directory of mode 0700, where others find nothing."""
    install(place)
    assert os.lstat(place).st_mode & 0o7777 == 0o700
    with Actor(other_uid) as other, pytest.raises(PermissionError):
        other(os.listdir, place)
    remove(place)
    assert not os.path.lexists(place)


def test_install_again_changes_nothing_for_askers(place: str) -> None:
    """There is one link however often it is installed, and no moment without an answer."""
    install(place)
    with Fd(os.open(place, os.O_RDONLY)) as held:
        for _ in range(3):
            install(place)
        assert os.listdir(held.fileno()) == ["getsockopt"]
    assert remove(place)
    assert not remove(place)
    assert not answers()


def test_installers_take_turns(place: str) -> None:
    """Several at once leave one link."""
    installers = [os.fork() for _ in range(4)]
    if 0 in installers:
        try:
            install(place)
        except BaseException:  # noqa: BLE001 -- a child never leaves the fork
            os._exit(1)
        os._exit(0)
    assert [os.waitpid(pid, 0)[1] for pid in installers] == [0] * 4
    assert remove(place)
    assert not answers()


def test_remove_detaches_what_others_hold(place: str) -> None:
    """A process that holds the link, as a child forked at the wrong moment does, keeps nothing."""
    install(place)
    link = bpf.pinned(os.path.join(place, "getsockopt"))
    assert link is not None
    with link, Actor() as holder:
        link.close()
        assert holder(answers)
        assert remove(place)
        assert not answers()


def test_unlinking_is_not_detaching(place: str) -> None:
    """Why remove() detaches first: while anybody holds the link, the program runs."""
    install(place)
    pin = os.path.join(place, "getsockopt")
    link = bpf.pinned(pin)
    assert link is not None
    with link:
        os.unlink(pin)
        assert answers()
        found = status(place)
        assert found.ok
        assert "not by what is pinned" in found.found
        with pytest.raises(bpf.BpfFault, match="answers still"):
            remove(place)
        bpf.detach(link)
        assert not answers()


def test_install_replaces_a_link_that_was_detached(place: str) -> None:
    """What is pinned and attached to nothing any more is made anew."""
    install(place)
    link = bpf.pinned(os.path.join(place, "getsockopt"))
    assert link is not None
    with link:
        bpf.detach(link)
    assert not answers()
    install(place)
    assert answers()


def test_removed_while_being_asked(place: str, door: Door, other_uid: int) -> None:
    """Each answer is the right one, or none; and none is given once remove() has returned."""
    install(place)
    with Actor(other_uid) as peer:
        ring = peer(peers.connect, door.path)
        with door.accept() as sock:
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os._exit(_ask_until_nobody_answers(sock, ring, write))
            os.close(write)
            with Fd(read) as begun:
                assert os.read(begun.fileno(), 1) == b"x"
                remove(place)
            assert ask(sock) is None
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _ask_until_nobody_answers(sock: socket.socket, ring: int, begun: int) -> int:
    first = True
    while (answer := ask(sock)) is not None:
        if answer.serial != ring:
            return 1
        if first:
            os.write(begun, b"x")
            first = False
    return 0


# ---- where it cannot be --------------------------------------------------------------------------


def test_directory_of_somebody_else_is_refused(place: str, other_uid: int) -> None:
    """In a bpf file system that anybody may write to, the name may be taken already."""
    os.mkdir(place, 0o700)
    os.chown(place, other_uid, other_uid)
    with pytest.raises(bpf.BpfFault, match="somebody else"):
        install(place)
    os.chown(place, 0, 0)
    os.chmod(place, 0o750)  # noqa: S103 -- that is what is refused
    with pytest.raises(bpf.BpfFault, match="0700"):
        install(place)
    os.rmdir(place)
    os.symlink("/tmp", place)
    with pytest.raises(bpf.BpfFault, match="somebody else"):
        install(place)
    os.unlink(place)
    assert not answers()


def test_directory_elsewhere_is_refused(turn: None, short_tmp: Path) -> None:  # noqa: ARG001
    """Pins live in a bpf file system only."""
    with pytest.raises(bpf.BpfFault, match="no bpf file system"):
        install(str(short_tmp / "pagsrv"))
    assert not answers()


def test_who_may_not_is_told(place: str, other_uid: int) -> None:
    """Without the capabilities nothing is installed, and the sentence names them."""
    with Actor(other_uid) as other:
        with pytest.raises(bpf.BpfFault, match="CAP_BPF"):
            other(install, place)
        assert other(status, place).do == "have root run: pagsrv peerkeyring install"


def test_object_that_was_not_compiled_is_told(short_tmp: Path) -> None:
    """The sentence says what is missing, and what makes it."""
    path = str(short_tmp / "none.bpf.o")
    assert "clang" in bpf.missing(path)
    with pytest.raises(bpf.BpfFault, match="clang"):
        bpf.Program("peerkeyring", path)
    with pytest.raises(bpf.BpfFault, match="no program"):
        bpf.Program("nothing")


def test_usual_place_is_mounted_where_it_is_not(turn: None) -> None:  # noqa: ARG001
    """In a mount namespace of its own, so that this machine's stays as it is."""
    assert in_child(_install_in_the_usual_place) == 0
    assert not answers()


def _install_in_the_usual_place() -> None:
    assert libc().unshare(_NEWNS) == 0
    assert libc().mount(None, b"/", None, _PRIVATE, None) == 0
    while libc().umount2(b"/sys/fs/bpf", _MNT_DETACH) == 0:
        pass
    try:
        install()
        assert answers()
        assert ("/sys/fs/bpf", "bpf") in bpf.mounts()
    finally:
        remove()


def test_machine_without_cgroup_v2(turn: None) -> None:  # noqa: ARG001
    """Neither in no hierarchy, nor in a part of one, is anything attached; it is said which."""
    assert in_child(_look_for_the_root_cgroup) == 0


def _look_for_the_root_cgroup() -> None:
    assert libc().unshare(_NEWNS) == 0
    assert libc().mount(None, b"/", None, _PRIVATE, None) == 0
    places = [path for path, kind in bpf.mounts() if kind == "cgroup2"]
    part = os.path.join(places[0], f"pagsrv-test-{os.getpid()}")
    os.mkdir(part)
    try:
        assert libc().mount(os.fsencode(part), b"/mnt", None, _BIND, None) == 0
    finally:
        os.rmdir(part)
    for place in reversed(places):
        assert libc().umount2(os.fsencode(place), _MNT_DETACH) == 0
    with pytest.raises(bpf.BpfFault, match="/mnt is a part of the cgroups only"):
        bpf.root_cgroup()
    assert "/mnt is a part" in status().found
    assert libc().umount2(b"/mnt", _MNT_DETACH) == 0
    with pytest.raises(bpf.BpfFault, match="no cgroup v2 is mounted"):
        install()
