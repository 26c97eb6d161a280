# SPDX-License-Identifier: MIT
"""The mount behaves as srvfs does, to stock programs and to the kernel's calls.

The law: a row of the table that srvfs sets is a test here. It refuses to know how the mount is
made.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.daemon.waiting import until
from tests.doors.fuse import doing
from tests.doors.fuse.mounts import Mounted
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]

RDWR, WRITE, CREAT = os.O_RDWR, os.O_WRONLY, os.O_CREAT

SHELLS = (("sh", "-c"), ("bash", "-c"), ("busybox", "sh", "-c"))


@pytest.mark.parametrize("argv", SHELLS, ids=lambda argv: argv[0])
def test_stock_shells_post_and_open(
    here: Actor, mount: Mounted, path: str, scratch: str, argv: tuple[str, ...]
) -> None:
    """Redirection, cat, ls, test, mv and rm are all it takes; in a static binary as well."""
    said = here(
        doing.shell,
        f"""echo hello >{scratch}; exec 3<>{scratch}
            echo 3 >{path} && ls {mount.path} && test -e {path} && cat {path}
            exec 4<>{path} && echo more >&4 && mv {path} {path}y && ls {mount.path}
            rm {path}y && ls {mount.path} && test ! -e {path}y && cat {scratch}""",
        argv=argv,
    )
    name = os.path.basename(path)
    assert said == (0, f"{name}\nhello\n{name}y\nhello\nmore\n", "")


PYTHON = "/usr/bin/python3 -c"
READERS = (
    "cat {}", "busybox cat {}", "head -c 6 {}", "tail -n 1 {}", "dd if={} status=none", "sort {}",
    "grep '' {}", "cp {} {}.copy && cat {}.copy", "sed '' {}", "sh -c 'read line <{}; echo $line'",
    PYTHON + " \"print(open('{}').read(), end='')\"",
    PYTHON + " \"import shutil; shutil.copyfile('{}', '{}.copy')\" && cat {}.copy",
)  # fmt: skip


@pytest.mark.parametrize("command", READERS)
def test_stock_programs_read(here: Actor, path: str, short_tmp: Path, command: str) -> None:
    """By whatever calls: read(2), or sendfile(2) and copy_file_range(2) where these are tried."""
    copied = str(short_tmp / "copied")
    number = here(doing.a_file, str(short_tmp / "file"), b"hello\n")
    here(doing.assign, path, number)
    words = command.replace("{}.copy", copied).replace("{}", path)
    assert here(doing.shell, words) == (0, "hello\n", "")
    here(doing.close, "f")


WRITERS = (
    "echo hello >{}", "echo hello >>{}", "echo hello | tee {}", "echo hello | tee -a {}",
    "echo hello | dd of={} status=none", "echo hello | busybox tee {}",
    "echo hello >{}.copy; cp {}.copy {}", "echo hello >{}.copy; busybox cp {}.copy {}",
    PYTHON + " \"open('{}', 'w').write('hello\\n')\"",
    PYTHON + " \"open('{}', 'ab', 0).write(b'hello\\n')\"",
)  # fmt: skip


@pytest.mark.parametrize("command", WRITERS)
def test_stock_programs_write(here: Actor, path: str, short_tmp: Path, command: str) -> None:
    """What they write goes to the posted file, at its own offset, which nobody truncates."""
    copied = str(short_tmp / "copied")
    number = here(doing.a_file, str(short_tmp / "file"), b"and more to keep\n")
    here(doing.assign, path, number)
    words = command.replace("{}.copy", copied).replace("{}", path)
    said = here(doing.shell, words)
    assert (said.status, said.err) == (0, "")
    assert (short_tmp / "file").read_text() == "hello\nre to keep\n"
    assert here(doing.read, "f", 2) == b"re"
    here(doing.close, "f")


def test_an_entry_is_empty_before_it_is_assigned(here: Actor, path: str) -> None:
    """Nothing but removing works on it; it is a file of the directory all the same."""
    here(doing.open_at, path, RDWR | CREAT)
    assert here(doing.read_fault, "file") == "ENXIO"
    assert here(doing.fault, doing.read_path, path) == "ENXIO"
    assert here(doing.xattrs, path)["user.pagsrv.assigned"] == "false"
    here(os.unlink, path)
    assert here(doing.fault, os.stat, path) == "ENOENT"
    here(doing.close, "file")


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"x", b"3x", b"-1", b" 3", b"3 ", b"3\n\n", b"0x3", b"1" * 20, b"3" + b" " * 20,
     b"99999999999", b"2147483648", b"\xb2"],
)  # fmt: skip
def test_a_bad_number_changes_nothing(here: Actor, path: str, scratch: str, data: bytes) -> None:
    """EINVAL for what is no number, and for 20 bytes and more; what was assigned stays."""
    number = here(doing.a_file, scratch, b"kept")
    here(doing.open_at, path, WRITE | CREAT)
    here(doing.write, "file", b"%d" % number)
    if data:
        assert here(doing.write_at_fault, "file", data, 0) == "EINVAL"
    assert here(doing.read_path, path) == b"kept"
    here(doing.close, "f", "file")


def test_a_write_elsewhere_than_at_the_beginning(here: Actor, path: str, scratch: str) -> None:
    """EINVAL, the second write of a handle among them."""
    number = here(doing.a_file, scratch)
    here(doing.open_at, path, WRITE | CREAT)
    assert here(doing.write_at_fault, "file", b"%d" % number, 1) == "EINVAL"
    here(doing.write, "file", b"%d" % number)
    assert here(doing.write_fault, "file", b"%d" % number) == "EINVAL"
    here(doing.close, "f", "file")


@pytest.mark.parametrize("number", [999, 1_000_000])
def test_a_number_that_is_not_open(here: Actor, path: str, number: int) -> None:
    """EINVAL, and the entry stays empty."""
    assert here(doing.assign, path, number) == "EINVAL"
    assert here(doing.xattrs, path)["user.pagsrv.assigned"] == "false"


def test_a_number_of_the_doors_own(here: Actor, mount: Mounted, path: str) -> None:
    """It is looked up in the writer's descriptors, not in the door's."""
    number = max(map(int, os.listdir(f"/proc/{mount.pid}/fd")))
    assert here(doing.shell, f"echo {number} >{path}").status != 0
    assert here(doing.xattrs, path)["user.pagsrv.assigned"] == "false"


def test_writing_again_replaces_for_later_opens(here: Actor, path: str, scratch: str) -> None:
    """By a handle opened while the entry was empty; who opened before keeps what it opened."""
    first = here(doing.a_file, scratch, b"first")
    here(doing.open_at, path, WRITE | CREAT, "empty")
    here(doing.write, "empty", b"%d" % first)
    here(doing.open_at, path, os.O_RDONLY, "before")
    second, _ = here(doing.a_pipe)
    here(doing.write, "w", b"second")
    assert here(doing.write_at, "empty", b"%d" % second, 0) == len(str(second))
    here(doing.open_at, path, os.O_RDONLY, "after")
    assert here(doing.read, "before") == b"first"
    assert here(doing.read, "after") == b"second"
    here(doing.close, "f", "empty", "before", "after", "r", "w")


def test_a_handle_opened_later_is_the_posted_file(here: Actor, path: str, scratch: str) -> None:
    """A number written into it is bytes."""
    number = here(doing.a_file, scratch)
    here(doing.assign, path, number)
    assert here(doing.assign, path, number) == ""
    with open(scratch) as file:
        assert file.read() == f"{number}\n"
    here(doing.close, "f")


def test_the_offset_is_everybodys(here: Actor, path: str, scratch: str) -> None:
    """It is one open file: what one reads, the next does not; there is no seeking of one's own."""
    number = here(doing.a_file, scratch, b"abcdef")
    here(doing.assign, path, number)
    here(doing.open_at, path, RDWR, "one")
    here(doing.open_at, path, RDWR, "two")
    assert here(doing.read, "one", 2) == b"ab"
    assert here(doing.read, "two", 2) == b"cd"
    assert here(doing.read, "f", 1) == b"e"
    assert here(doing.fault, os.lseek, here(doing.number_of, "one"), 0, 0) == "ESPIPE"
    here(doing.write, "two", b"!")
    assert here(doing.offset_of, "f") == 6
    with open(scratch) as file:
        assert file.read() == "abcde!"
    here(doing.close, "f", "one", "two")


@pytest.mark.parametrize("flags", [os.O_APPEND, os.O_TRUNC, os.O_SYNC, os.O_APPEND | os.O_TRUNC])
def test_flags_have_no_effect(here: Actor, path: str, scratch: str, flags: int) -> None:
    """Of opening what was posted, and of assigning."""
    number = here(doing.a_file, scratch, b"abcdef")
    assert here(doing.write_new, path, b"%d\n" % number, WRITE | CREAT | flags) == ""
    assert here(doing.write_new, path, b"X", WRITE | flags) == ""
    with open(scratch) as file:
        assert file.read() == "Xbcdef"
    here(doing.close, "f")


def test_what_was_posted_keeps_its_access(here: Actor, path: str) -> None:
    """A mode asked for at open gives nobody more than the file has."""
    reading, _ = here(doing.a_pipe)
    here(doing.assign, path, reading)
    assert here(doing.write_new, path, b"x", WRITE) == "EBADF"
    here(doing.close, "r", "w")


def test_it_stays_after_the_poster_and_after_removal(
    here: Actor, mount: Mounted, path: str, scratch: str
) -> None:
    """The writer has closed it and exited; who opened keeps it when the name is gone."""
    assert here(doing.shell, f"echo kept >{scratch}; exec 3<{scratch}; echo 3 >{path}") == (
        0, "", "",
    )  # fmt: skip
    here(doing.open_at, path, os.O_RDONLY)
    here(os.unlink, path)
    assert here(os.listdir, mount.path) == []
    number = here(doing.number_of, "file")
    until(lambda: here(os.fstat, number).st_nlink == 0, os.sched_yield, "the name is gone")
    assert here(doing.read, "file") == b"kept\n"
    here(doing.close, "file")


def test_a_handle_of_a_removed_entry_assigns_nothing(here: Actor, path: str, scratch: str) -> None:
    """ENOENT; the name stays free."""
    number = here(doing.a_file, scratch)
    here(doing.open_at, path, WRITE | CREAT)
    here(os.unlink, path)
    assert here(doing.write_fault, "file", b"%d" % number) == "ENOENT"
    assert here(doing.fault, os.stat, path) == "ENOENT"
    here(doing.close, "f", "file")


def test_a_handle_of_a_renamed_entry(here: Actor, path: str, scratch: str) -> None:
    """It is the entry's, whatever that is called by now; its inode is the same."""
    number = here(doing.a_file, scratch, b"text")
    here(doing.open_at, path, WRITE | CREAT)
    inode = here(os.stat, path).st_ino
    here(os.rename, path, path + "y")
    here(doing.write, "file", b"%d" % number)
    assert here(os.stat, path + "y").st_ino == inode
    assert here(os.fstat, here(doing.number_of, "file")).st_nlink == 1
    assert here(doing.read_path, path + "y") == b"text"
    here(doing.close, "f", "file")


def test_a_file_of_the_mount_is_a_loop(here: Actor, mount: Mounted, path: str) -> None:
    """ELOOP: of an entry, of itself, of the directory; and of one that came by another way."""
    here(doing.open_at, path, RDWR | CREAT, "itself")
    assert here(doing.write_fault, "itself", b"%d" % here(doing.number_of, "itself")) == "ELOOP"
    here(doing.open_at, mount.path, os.O_RDONLY | os.O_DIRECTORY, "directory")
    assert here(doing.write_fault, "itself", b"%d" % here(doing.number_of, "directory")) == "ELOOP"
    here(doing.close, "itself", "directory")


def test_a_loop_made_by_the_command(here: Actor, board: Running, path: str) -> None:
    """The broker does not know mounts; the door refuses to open what leads back to it."""
    here(doing.open_at, path, RDWR | CREAT, "itself")
    here(doing.post_held, board.dir, os.path.basename(path) + "-loop", "itself")
    assert here(doing.fault, doing.read_path, f"{path}-loop") == "ELOOP"
    here(doing.close, "itself")


def test_modes(here: Actor, mount: Mounted, path: str) -> None:
    """-rw-r--r-- and 0755, as srvfs has them; a mode changes the possessors' rights alone."""
    assert here(doing.fault, os.mknod, path, stat.S_IFREG | 0o600) == ""
    assert stat.filemode(here(os.stat, path).st_mode) == "-rw-r--r--"
    assert stat.filemode(here(os.stat, mount.path).st_mode) == "drwxr-xr-x"
    for mode, shown, mask in (
        (0o400, 0o444, "als-rv-----v------------"), (0o200, 0o200, "alsw-v-----v------------"),
        (0, 0, "als--v-----v------------"), (0o600, 0o644, "alswrv-----v------------"),
    ):  # fmt: skip
        here(os.chmod, path, mode)
        assert stat.S_IMODE(here(os.stat, path).st_mode) == shown
        assert here(doing.xattrs, path)["user.pagsrv.mask"] == mask
    for mode in (0o755, 0o666, 0o4644):
        assert here(doing.fault, os.chmod, path, mode) == "EPERM"


def test_rights_are_the_brokers(here: Actor, path: str, scratch: str) -> None:
    """Without read nobody opens, and access(2) says so; with it again it is open to all."""
    number = here(doing.a_file, scratch, b"text")
    here(doing.assign, path, number)
    here(os.chmod, path, 0o200)
    assert not here(os.access, path, os.R_OK)
    assert here(doing.fault, doing.read_path, path) == "EACCES"
    here(os.chmod, path, 0o644)
    assert here(os.access, path, os.R_OK | os.W_OK)
    assert not here(os.access, path, os.X_OK)
    assert here(doing.read_path, path) == b"text"
    here(doing.close, "f")


def test_attributes(here: Actor, path: str, scratch: str) -> None:
    """Owner and times by stat(2), the rest as extended attributes."""
    number = here(doing.a_file, scratch, b"text")
    here(doing.assign, path, number)
    here(doing.read_path, path)
    seen, more = here(os.stat, path), here(doing.xattrs, path)
    assert (seen.st_uid, seen.st_gid, seen.st_nlink) == (0, 0, 1)
    assert seen.st_mtime == pytest.approx(float(more["user.pagsrv.created"]))
    assert seen.st_atime == pytest.approx(float(more["user.pagsrv.last_opened"]))
    told = {name.removeprefix("user.pagsrv."): value for name, value in more.items()}
    assert told["kind"] == "file"
    assert told["access"] == "rw"
    assert told["opens"] == "1"
    assert told["until"] == "revoked"
    assert told["poster"].split()[0] == str(here.pid)
    assert told["path"] == scratch
    assert told["scope"].startswith("session:")
    assert here(doing.fault, os.getxattr, path, "user.pagsrv.nothing") == "ENODATA"
    assert here(doing.fault, os.setxattr, path, "user.pagsrv.kind", b"pipe") == "EPERM"
    here(os.setxattr, path, "user.pagsrv.mask", b"3f0b0000")
    assert here(doing.xattrs, path)["user.pagsrv.mask"] == "alswrv--s-rv------------"
    here(doing.close, "f")


def test_names(here: Actor, mount: Mounted) -> None:
    """What cannot be an entry's name is no file's; a name that is taken is not replaced."""
    for bad, why in (("session:1", "EINVAL"), ("a\nb", "EINVAL"), ("x" * 256, "ENAMETOOLONG")):
        assert here(doing.fault, os.mknod, mount / bad) == why
        assert here(doing.fault, os.stat, mount / bad) in ("ENOENT", "ENAMETOOLONG")
    for name in ("a", "b", "ü" * 127):
        here(os.mknod, mount / name)
    assert here(doing.fault, os.mknod, mount / "a") == "EEXIST"
    assert here(doing.fault, os.rename, mount / "a", mount / "b") == "EEXIST"
    assert here(doing.fault, os.rename, mount / "c", mount / "d") == "ENOENT"
    assert sorted(here(os.listdir, mount.path)) == ["a", "b", "ü" * 127]
    assert here(doing.fault, os.open, mount / "a", CREAT | os.O_EXCL) == "EEXIST"
    for name in ("a", "b", "ü" * 127):
        here(os.unlink, mount / name)


def test_what_no_entry_can_be(here: Actor, mount: Mounted, path: str) -> None:
    """No directory, link, fifo or owner of one's choice."""
    here(os.mknod, path)
    assert here(doing.fault, os.mkdir, mount / "d") == "EPERM"
    assert here(doing.fault, os.symlink, "a", mount / "l") == "EPERM"
    assert here(doing.fault, os.link, path, mount / "l") == "EPERM"
    assert here(doing.fault, os.mkfifo, mount / "p") == "EPERM"
    assert here(doing.fault, os.rmdir, path) == "ENOTDIR"
    assert here(doing.fault, os.chown, path, 1, 1) == "EPERM"
    assert here(doing.fault, os.chown, path, 0, -1) == ""
    assert here(doing.fault, os.utime, path) == ""
    assert here(os.statvfs, mount.path).f_namemax == 255


def test_many_entries_are_listed(here: Actor, mount: Mounted, path: str) -> None:
    """More than one answer to getdents64(2) holds."""
    for number in range(700):
        here(os.mknod, f"{path}-{number}-{'n' * 100}")
    assert len(here(os.listdir, mount.path)) == 700
    assert here(doing.shell, f"ls {mount.path} | wc -l && rm {path}-*").out == "700\n"
    assert here(os.listdir, mount.path) == []


def test_the_directory_is_rewound(here: Actor, mount: Mounted, path: str) -> None:
    """And shows what is there by then, as rewinddir(3) has it."""
    here(os.mknod, path)
    here(doing.open_at, mount.path, os.O_RDONLY, "directory")
    number = here(doing.number_of, "directory")
    name = os.path.basename(path)
    assert here(os.listdir, number) == [name]
    here(os.rename, path, path + "y")
    assert here(os.listdir, number) == [name + "y"]
    here(os.unlink, path + "y")
    here(doing.close, "directory")
