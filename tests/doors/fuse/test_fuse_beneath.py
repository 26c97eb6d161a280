# SPDX-License-Identifier: MIT
"""What lies beneath an entry that is a directory, in the mount, by stock programs.

The law: whoever may open the entry finds what its poster would, each look asked for anew; nothing
is made there, and no link leads out. It refuses to know how the broker looks.
"""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.daemon.directories import walkers
from tests.daemon.waiting import until
from tests.doors.fuse import doing
from tests.doors.fuse.mounts import Mounted, mounted
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]


@pytest.fixture
def tree(short_tmp: Path) -> Path:
    """A directory with some of everything."""
    top = short_tmp / "docs"
    (top / "a" / "deep").mkdir(parents=True)
    (top / "a" / "b.txt").write_text("one\ntwo\n")
    (top / "readme").write_text("read me\n")
    (top / "first").symlink_to("a/b.txt")
    (top / "a" / "up").symlink_to("../readme")
    (top / "round").symlink_to(".")
    (top / "out").symlink_to("/etc/passwd")
    (top / "above").symlink_to("a/../../other")
    (top / "nowhere").symlink_to("nothing")
    os.mkfifo(top / "fifo")
    (short_tmp / "other").write_text("not beneath\n")
    return top


@pytest.fixture
def docs(here: Actor, board: Running, tree: Path, path: str) -> str:
    """It, posted: its path in the mount."""
    here(doing.open_at, str(tree), os.O_RDONLY | os.O_DIRECTORY, "d")
    here(doing.post_held, board.dir, os.path.basename(path), "d")
    here(doing.close, "d")
    return path


def walked(path: str) -> list[tuple[str, list[str], list[str]]]:
    """What os.walk(3) finds, below *path*."""
    found = os.walk(path)
    return [(where[len(path) :], sorted(dirs), sorted(files)) for where, dirs, files in found]


WALKED = [
    ("", ["a", "round"], ["above", "fifo", "first", "nowhere", "out", "readme"]),
    ("/a", ["deep"], ["b.txt", "up"]),
    ("/a/deep", [], []),
]

READS = (
    ("cat {}/a/b.txt", "one\ntwo\n"),
    ("cat {}/first", "one\ntwo\n"),
    ("cat {}/a/up", "read me\n"),
    ("tail -n 1 {}/a/b.txt", "two\n"),
    ("ls {}/a", "b.txt\ndeep\nup\n"),
    ("cd {}/a && cat b.txt && cat ../readme && ls deep && pwd -P", "one\ntwo\nread me\n{}/a\n"),
    ("find {} -type f | sort", "{}/a/b.txt\n{}/readme\n"),
    ("find {}/a/ -name '*.txt' -print0 | xargs -0 cat", "one\ntwo\n"),
    ("grep -rh two {}", "two\n"),
    ("stat -c %F {}/a {}/readme {}/first", "directory\nregular file\nsymbolic link\n"),
    ("stat -c %s {}/a/b.txt", "8\n"),
    ("readlink {}/first", "a/b.txt\n"),
    ("busybox cat {}/a/b.txt", "one\ntwo\n"),
    ("busybox find {} -name readme", "{}/readme\n"),
    ("test -d {} && test -x {}/a && test -r {}/readme && test ! -e {}/no && echo yes", "yes\n"),
    ("exec 3<{}/a/b.txt; read line <&3; cat <&3; cat {}/a/b.txt", "two\none\ntwo\n"),
    ("cp -r {}/a $T && cat $T/b.txt", "one\ntwo\n"),
    ("cmp {}/a/b.txt {}/first && echo same", "same\n"),
)  # fmt: skip


@pytest.mark.parametrize(("script", "says"), READS)
def test_stock_programs_look_and_read(
    here: Actor, docs: str, short_tmp: Path, script: str, says: str
) -> None:
    """As in any directory."""
    said = here(doing.shell, f"T={short_tmp}/copied; {script.replace('{}', docs)}")
    assert said == (0, says.replace("{}", docs), "")


def test_a_program_walks(here: Actor, docs: str) -> None:
    """os.walk(3) of Python's finds everything once, and goes through no link."""
    assert here(walked, docs) == WALKED


def mapped(path: str) -> tuple[bytes, int, bytes]:
    """What a mapping of *path* shows, where it ends, and what is read at 4."""
    import mmap  # noqa: PLC0415 -- an actor's own

    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as shown,
    ):
        return shown[:], file.seek(0, os.SEEK_END), os.pread(file.fileno(), 3, 4)


def test_what_is_opened_is_a_file_of_its_own(here: Actor, docs: str) -> None:
    """It has an offset, an end, and pages."""
    assert here(mapped, docs + "/a/b.txt") == (b"one\ntwo\n", 8, b"two")


def test_writing(here: Actor, docs: str, tree: Path) -> None:
    """`>` empties, `>>` appends, as the poster could; what is not there is not made."""
    said = here(
        doing.shell,
        f"echo new >{docs}/readme; echo more >>{docs}/readme; truncate -s 6 {docs}/a/b.txt",
    )
    assert said == (0, "", "")
    assert (tree / "readme").read_text() == "new\nmore\n"
    assert (tree / "a" / "b.txt").read_text() == "one\ntw"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo x >{}/new", "Read-only file system"),
        ("mkdir {}/new", "Read-only file system"),
        ("rm {}/readme", "Read-only file system"),
        ("rmdir {}/a/deep", "Read-only file system"),
        ("mv -T {}/readme {}/a/readme", "Read-only file system"),
        ("mv -T {}-more {}/more", "Read-only file system"),
        ("ln {}/readme {}/again", "Read-only file system"),
        ("ln -s readme {}/again", "Read-only file system"),
        ("chmod 600 {}/readme", "Operation not permitted"),
        ("cat {}/no", "No such file or directory"),
        ("cat {}/readme/no", "Not a directory"),
        ("cat {}/out", "Invalid cross-device link"),
        ("cat {}/above", "Invalid cross-device link"),
        ("cat {}/nowhere", "No such file or directory"),
        ("cat {}/fifo", "No such device or address"),
        ("cat {}/a", "Is a directory"),
        ("rmdir {}-more", "Not a directory"),
        ("rm {}", "Is a directory"),
    ],
)
def test_what_is_refused(here: Actor, docs: str, tree: Path, script: str, why: str) -> None:
    """Each with what a file system says."""
    here(os.mknod, docs + "-more")
    before = sorted(str(one) for one in tree.rglob("*"))
    said = here(doing.shell, script.replace("{}", docs))
    assert said.status != 0
    assert why in said.err
    assert sorted(str(one) for one in tree.rglob("*")) == before
    here(os.unlink, docs + "-more")


def test_modes(here: Actor, docs: str) -> None:
    """They say what the mask gives, and a chmod of the entry is a mask."""
    assert stat.filemode(here(os.stat, docs).st_mode) == "drwxr-xr-x"
    assert stat.filemode(here(os.stat, docs + "/a").st_mode) == "dr-xr-xr-x"
    assert stat.filemode(here(os.stat, docs + "/readme").st_mode) == "-rw-r--r--"
    said = here(doing.shell, f"chmod u-w {docs} && stat -c %A {docs} {docs}/readme")
    assert said == (0, "dr-xr-xr-x\n-r--r--r--\n", "")
    assert here(doing.fault, os.open, docs + "/readme", os.O_WRONLY) == "EACCES"
    assert here(doing.read_path, docs + "/readme") == b"read me\n"


def test_another_session(here: Actor, there: Actor, docs: str) -> None:
    """It finds nothing there; by a directory that it was handed, neither."""
    assert there(doing.fault, os.stat, docs + "/readme") == "ENOENT"
    assert there(doing.fault, os.listdir, docs) == "ENOENT"
    pid = here(os.getpid)
    here(os.chdir, docs)
    try:
        assert there(doing.fault, os.stat, f"/proc/{pid}/cwd/readme") in ("EACCES", "ENOENT")
        assert there(doing.fault, os.listdir, f"/proc/{pid}/cwd/") in ("EACCES", "ENOENT")
        assert here(doing.read_path, "a/b.txt") == b"one\ntwo\n"
    finally:
        here(os.chdir, "/")


def test_a_directory_that_becomes_a_file(
    here: Actor, board: Running, docs: str, tree: Path
) -> None:
    """Who stands in it finds nothing any more; by its name it is the file."""
    here(os.chdir, docs)
    here(doing.open_at, str(tree / "readme"), os.O_RDONLY, "d")
    here(doing.replace_held, board.dir, os.path.basename(docs), "d")
    here(doing.close, "d")
    try:
        assert here(doing.fault, os.stat, "readme") in ("ENOENT", "ESTALE")
        # What was looked up is good for a moment.
        until(
            lambda: here(doing.fault, os.stat, ".") == "ESTALE",
            lambda: here(os.getpid),
            "it is told",
        )
        assert here(doing.fault, os.stat, docs + "/readme") == "ENOTDIR"
        assert here(doing.read_path, docs) == b"read me\n"
    finally:
        here(os.chdir, "/")


def listed_twice(path: str) -> tuple[int, int]:
    """How many names one open directory has, and when it is read again (rewinddir(3))."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return len(os.listdir(fd)), len(os.listdir(fd))
    finally:
        os.close(fd)


def test_many_names(here: Actor, docs: str, tree: Path) -> None:
    """A directory that takes the broker several answers is listed whole, once and again."""
    wanted = sorted(f"{number:05}-with-a-longer-name" for number in range(1500))
    for name in wanted:
        (tree / "a" / "deep" / name).touch()
    assert sorted(here(os.listdir, docs + "/a/deep")) == wanted
    assert here(listed_twice, docs + "/a/deep") == (1500, 1500)


def test_a_file_system_that_hangs_keeps_nobody_else(
    here: Actor, there: Actor, board: Running, mount: Mounted, docs: str
) -> None:
    """Who asks for it is told ETIMEDOUT after some seconds; the mount goes on meanwhile."""
    here(doing.read_path, docs + "/readme")
    for pid in walkers(board):
        os.kill(pid, signal.SIGSTOP)
    here(doing.stays_looking, docs + "/a/b.txt")
    assert there(os.listdir, mount.path) == []
    assert os.path.basename(docs) in here(os.listdir, mount.path)
    here(os.mknod, docs + "-else")
    assert here(doing.fault, doing.read_path, docs + "-else") == "ENXIO"
    here(os.unlink, docs + "-else")
    assert here(doing.heard) == ["ETIMEDOUT"]
    assert here(doing.read_path, docs + "/readme") == b"read me\n"


def test_what_is_forgotten_is_let_go(here: Actor, docs: str, tree: Path, mount: Mounted) -> None:
    """Neither descriptors nor nodes stay: what the kernel forgets the door does."""
    for number in range(50):
        (tree / "a" / "deep" / f"f{number}").write_text("x")
    here(doing.shell, f"cat {docs}/a/deep/*")
    before = mount.descriptors()
    here(doing.cycle, docs + "/a/b.txt", 200)
    here(doing.shell, f"cat {docs}/a/deep/*")
    until(lambda: mount.descriptors() <= before + 8, lambda: here(os.getpid), "all is closed")


def test_a_mount_for_the_uid(board: Running, tree: Path, short_tmp: Path) -> None:
    """It is the poster of what is written into it, so that it may be gone beneath."""
    with mounted(short_tmp, board.dir, "--same-uid", "--scope=user") as made, Actor() as actor:
        at = made / "docs"
        said = actor(
            doing.shell,
            f"exec 3<{tree}; echo 3 >{at}; cat {at}/a/b.txt; ls {at}/a; (cd {at}/a && cat up)\n"
            f"mv {at} {at}-b && echo three >>{at}-b/first && rmdir {at}-b && ls {made.path}",
        )
        assert said == (0, "one\ntwo\nb.txt\ndeep\nup\nread me\n", "")
    assert (tree / "a" / "b.txt").read_text() == "one\ntwo\nthree\n"
