# SPDX-License-Identifier: MIT
"""openat2(2) beneath a real directory: what is found, what leads out, what never waits.

The law: whatever is tried, nothing outside is reached. It refuses to know whose rights
these are.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from fcntl import F_GETFL, F_GETLEASE, F_SETLEASE, F_UNLCK, F_WRLCK, fcntl
from pathlib import Path

import pytest

from pagsrv.errors import Denied, InvalidParameter, NoEntry, PagsrvError, Refused, TimedOut
from pagsrv.kernel import beneath
from pagsrv.kernel.fd import Fd
from pagsrv.nodes import Node

pytestmark = pytest.mark.kernel

AT = "user:1/docs"
OPENS = 5000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with something in it, beside something that is outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    top = tmp_path / "docs"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "sub" / "a.txt").write_text("inside")
    return top


@pytest.fixture
def top(tree: Path) -> Iterator[Fd]:
    """It, opened."""
    with Fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        yield fd


def split(path: str) -> tuple[str, ...]:
    """A path as names.py parses it."""
    return tuple(part for part in path.split("/") if part)


def read(top: Fd, path: str) -> bytes:
    """What the file at *path* holds."""
    with beneath.open_beneath(top, AT, split(path), "r") as fd:
        assert not os.get_inheritable(fd.fileno())
        return os.read(fd.fileno(), 100)


def refused(top: Fd, path: str, access: beneath.Asked = "r") -> PagsrvError:
    """The refusal for *path*."""
    with pytest.raises(Refused) as caught:
        beneath.open_beneath(top, AT, split(path), access).close()
    return caught.value


def listed(top: Fd, path: str = "", after: str | None = None) -> list[Node]:
    """Everything that lies at *path*."""
    nodes: list[Node] = []
    while True:
        _, some, after = beneath.walk(top, AT, split(path), after)
        nodes += some
        if after is None:
            return nodes


# ---- what is found -------------------------------------------------------------------------------


def test_files_and_directories(top: Fd, tree: Path) -> None:
    """Opened anew: an offset of its own, and flags as nobody asked for others."""
    assert read(top, "sub/a.txt") == read(top, "sub/a.txt") == b"inside"
    with beneath.open_beneath(top, AT, ("sub", "a.txt"), "r") as fd:
        assert fcntl(fd.fileno(), F_GETFL) & (os.O_ACCMODE | os.O_NONBLOCK) == os.O_RDONLY
    for path in ("", "sub/deep"):
        with beneath.open_beneath(top, AT, split(path), "r") as fd:
            assert os.path.samestat(os.fstat(fd.fileno()), os.stat(tree / path))


def test_access_is_what_was_asked(top: Fd, tree: Path) -> None:
    """For writing, and for both; a directory is for reading."""
    with beneath.open_beneath(top, AT, ("sub", "a.txt"), "w") as fd:
        os.write(fd.fileno(), b"in")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.read(fd.fileno(), 1)
    with beneath.open_beneath(top, AT, ("sub", "a.txt"), "rw") as fd:
        assert os.read(fd.fileno(), 2) == b"in"
        os.write(fd.fileno(), b"SIDE")
    assert (tree / "sub" / "a.txt").read_text() == "inSIDE"
    for access in ("w", "rw"):
        assert isinstance(refused(top, "sub", access), InvalidParameter)  # type: ignore[arg-type]


def test_links_that_stay_are_followed(top: Fd, tree: Path) -> None:
    """Down, and up as long as it is beneath."""
    (tree / "down").symlink_to("sub/a.txt")
    (tree / "sub" / "deep" / "up").symlink_to("../../down")
    (tree / "dir").symlink_to("sub/deep")
    assert read(top, "sub/deep/up") == read(top, "dir/up") == b"inside"


# ---- what leads out ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../outside/secret", "sub/../../outside/secret", "..", "/", "../docs/sub",
     "/proc/self/root/etc/passwd", "/proc/self/cwd", "/dev/stdin"],
)  # fmt: skip
def test_links_that_leave_are_refused(top: Fd, tree: Path, target: str) -> None:
    """By the name of the link, also where one only passes; even if they came back."""
    (tree / "out").symlink_to(target)
    for path in ("out", "out/further", "sub/../out"):
        error = refused(top, path)
        assert isinstance(error, Denied)
        assert "/out is a link that leaves" in str(error)


def test_links_in_a_circle(top: Fd, tree: Path) -> None:
    """Found out by the kernel."""
    (tree / "round").symlink_to("round")
    assert "in a circle" in str(refused(top, "round"))


def test_links_that_lead_nowhere(top: Fd, tree: Path) -> None:
    """They are there, and what they say is not."""
    (tree / "sub" / "nowhere").symlink_to("missing")
    for path in ("sub/nowhere", "sub/nowhere/further"):
        error = refused(top, path)
        assert isinstance(error, NoEntry)
        assert f"{AT}/sub/nowhere is a link to what is not there" in str(error)


def test_nothing_of_proc_is_reached(tree: Path) -> None:
    """Neither links of the kernel's own, nor the process that looks, by whatever name."""
    os.symlink("../docs", tree / "on-the-way")
    with Fd(os.open("/", os.O_RDONLY | os.O_DIRECTORY)) as root:
        for path in ("proc", "proc/self", "proc/self/mem", "proc/1/status", "proc/self/fd/0"):
            assert isinstance(refused(root, path), Denied), path
    with Fd(os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)) as proc:
        for path in ("", "self/mem", "self/root/etc/passwd", f"{os.getpid()}/cwd", "version"):
            assert isinstance(refused(proc, path), Denied), path
        with pytest.raises(Denied):
            listed(proc)


def test_parents_are_nowhere(top: Fd) -> None:
    """Were one asked for all the same: the kernel itself says no."""
    for path in ("..", "sub/../../outside/secret"):
        assert isinstance(refused(top, path), Denied)


# ---- what never waits ----------------------------------------------------------------------------


def test_other_kinds_are_refused_unopened(top: Fd, tree: Path) -> None:
    """A fifo's writer does not notice; a socket is none to open."""
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tree)
        try:
            listener.bind("socket")
        finally:
            os.chdir("/")
    for name in ("fifo", "socket"):
        for access in ("r", "w", "rw"):
            error = refused(top, name, access)  # type: ignore[arg-type]
            assert str(error).startswith(f"{AT}/{name} is a {name}:")
    with pytest.raises(OSError, match="No such device"):
        os.open(tree / "fifo", os.O_WRONLY | os.O_NONBLOCK)  # so nobody has opened it to read
    if os.geteuid() == 0:
        with suppress(PermissionError):  # a container may be let make none
            os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            assert "is a char" in str(refused(top, "null"))


def test_a_lease_is_not_waited_for(top: Fd, tree: Path) -> None:
    """Who holds it is asked to let go, and the look is over."""
    with Fd(os.open(tree / "sub" / "a.txt", os.O_RDWR)) as held:
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        fcntl(held.fileno(), F_SETLEASE, F_WRLCK)
        try:
            assert isinstance(refused(top, "sub/a.txt"), TimedOut)
            assert fcntl(held.fileno(), F_GETLEASE) != F_WRLCK  # it is being broken
        finally:
            fcntl(held.fileno(), F_SETLEASE, F_UNLCK)
            signal.signal(signal.SIGIO, before)
    assert read(top, "sub/a.txt") == b"inside"


# ---- what is said --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("missing", NoEntry, f"there is no missing in {AT},"),
        ("sub/missing/further/still", NoEntry, f"there is no missing in {AT}/sub,"),
        ("sub/a.txt/x/y", NoEntry, f"{AT}/sub/a.txt is no directory, so there is no x in it"),
        ("sub/" + "x" * 256, InvalidParameter, "is too long to be a file's name"),
    ],
)
def test_the_first_name_that_leads_nowhere_is_told(
    top: Fd, path: str, kind: type[PagsrvError], said: str
) -> None:
    """However much follows it."""
    error = refused(top, path)
    assert isinstance(error, kind)
    assert said in str(error)


# ---- listing -------------------------------------------------------------------------------------


def test_listing(top: Fd, tree: Path) -> None:
    """By name: kinds, sizes, times, and what links say, whether they leave or not."""
    os.mkfifo(tree / "sub" / "b")
    (tree / "sub" / "c").symlink_to("/etc/passwd")
    os.utime(tree / "sub" / "a.txt", (0, 1234.5))
    at, nodes, more = beneath.walk(top, AT, ("sub",), None)
    assert (at, more) == (f"{AT}/sub", None)
    assert [(one.name, one.kind, one.size, one.target) for one in nodes] == [
        ("a.txt", "file", 6, None), ("b", "fifo", None, None),
        ("c", "link", None, "/etc/passwd"), ("deep", "dir", None, None),
    ]  # fmt: skip
    assert nodes[0].modified == 1234.5
    assert beneath.walk(top, AT, ("sub", "a.txt"), None) == (f"{AT}/sub", nodes[:1], None)
    assert [one.name for one in listed(top)] == ["sub"]


def test_a_large_directory_comes_in_parts(top: Fd, tree: Path) -> None:
    """Each of them is one message's; none is told twice, whatever is made between."""
    names = [f"{'long-' * 20}{number:05}" for number in range(3000)]
    for name in names:
        (tree / "sub" / "deep" / name).touch()
    at, first, more = beneath.walk(top, AT, ("sub", "deep"), None)
    assert more == first[-1].name
    (tree / "sub" / "deep" / "0").touch()
    rest = listed(top, "sub/deep", more)
    assert [one.name for one in first + rest] == names
    assert at == f"{AT}/sub/deep"


def test_names_that_are_no_utf8(top: Fd, tree: Path) -> None:
    """Shown, so that nothing is hidden; two of them are two."""
    for raw in (b"menu\xe9", b"menu\xe8"):
        os.close(os.open(os.fsencode(tree) + b"/" + raw, os.O_CREAT | os.O_WRONLY))
    assert [one.name for one in listed(top)] == ["menu\\xe8", "menu\\xe9", "sub"]
    assert isinstance(refused(top, "menu\\xe9"), NoEntry)


# ---- races ---------------------------------------------------------------------------------------


def _swap(tree: Path, over: threading.Event) -> None:
    """Move directories out and in, and put links in their place, all the time."""
    inside, outside, link = tree / "sub", tree.parent / "outside", tree / "link"
    away = tree.parent / "away"
    while not over.is_set():
        inside.rename(away)
        inside.symlink_to(outside)
        inside.unlink()
        outside.rename(inside)  # what was outside is inside now, and may be reached
        inside.rename(outside)
        away.rename(inside)
        link.symlink_to("sub/deep/../../../outside")
        link.unlink()


def test_renames_racing(top: Fd, tree: Path) -> None:
    """Of 5000 opens each gets the file, or a refusal: what stays outside is never reached."""
    (tree.parent / "other").mkdir()
    (tree.parent / "other" / "secret").write_text("outside")
    (tree / "sub" / "deep" / "x").symlink_to("../../../other/secret")
    over = threading.Event()
    mover = threading.Thread(target=_swap, args=(tree, over))
    mover.start()
    paths = ("sub/a.txt", "sub/secret", "link/secret", "sub/deep/x", "sub/deep")
    told: dict[str, int] = {}
    try:
        for number in range(OPENS):
            try:
                with beneath.open_beneath(top, AT, split(paths[number % len(paths)]), "r") as fd:
                    found = "dir" if stat.S_ISDIR(os.fstat(fd.fileno()).st_mode) else (
                        os.read(fd.fileno(), 100).decode())  # fmt: skip
            except Refused as error:
                found = type(error).__name__
            told[found] = told.get(found, 0) + 1
    finally:
        over.set()
        mover.join()
    assert "outside" not in told
    assert told["inside"] > 0
    assert set(told) <= {"inside", "secret", "dir", "NoEntry", "Denied", "TimedOut"}, told
