# SPDX-License-Identifier: MIT
"""The seccomp door with honest programs that ask for what cannot be, or by strange paths.

The law: each is told at once, by the errno that a file system would have, and nothing changes.
It refuses to know how the supervisor does it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Login
from tests.doors.test_seccomp import TRY, file, python, through

__all__ = ["file"]

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    "text", ["x", "", "-1", "+1", "1 2", "1\0", "77", "9" * 10, "1" * 19, "1" * 20, "1" * 5000]
)
def test_bad_numbers_change_nothing(login: Login, name: str, text: str) -> None:
    """EINVAL, at once, to whoever wrote; nothing written is nothing."""
    code = f"print(told(os.write, os.open(path, os.O_WRONLY | os.O_CREAT), {text!r}.encode()))"
    assert python(login, TRY + code, f"/srv/{name}") == (0, "EINVAL\n" if text else "0\n", "")
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is False


def test_errors_are_those_of_files(login: Login, name: str) -> None:
    """Each refusal is the errno that srvfs, or a directory, would give."""
    code = (
        "print(told(os.open, path, os.O_RDONLY))\n"
        "fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)\n"
        "print(told(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))\n"
        "print(told(os.open, path, os.O_RDONLY))\n"
        "print(told(os.pwrite, fd, b'0', 1), told(os.write, fd, str(fd).encode()))\n"
        "directory = os.open('/srv', os.O_RDONLY)\n"
        "print(told(os.write, fd, str(directory).encode()), told(os.pwrite, fd, b'0', 0))\n"
        "print(told(os.open, path, os.O_RDONLY | os.O_DIRECTORY), told(os.open, path + '/', 0))\n"
        "print(told(os.open, '/srv', os.O_RDWR), told(os.open, '/srv/' + 'n' * 256, os.O_CREAT))\n"
        "print(told(os.mkdir, path + '-d'), told(os.symlink, 'a', path + '-l'))\n"
        "print(told(os.rename, path, '/tmp/x'), told(os.rename, path, path + '-none/x'))\n"
        "print(told(os.getxattr, path, 'user.x'), told(os.chmod, path, 0))\n"
        "print(told(os.unlink, path + '-none'), told(os.rename, path + '-none', path + '-b'))\n"
        "print(told(os.unlink, path), told(os.write, fd, b'0'))\n"
    )
    expected = (
        "ENOENT\nEEXIST\nENXIO\nEINVAL ELOOP\nELOOP 1\nENOTDIR ENOTDIR\nEISDIR ENAMETOOLONG\n"
        "EPERM EPERM\nEXDEV EROFS\nENOTSUP EPERM\nENOENT ENOENT\nNone ENOENT\n"
    )
    assert python(login, TRY + code, f"/srv/{name}") == (0, expected, "")


def test_a_full_table_is_the_callers(login: Login, name: str, file: str) -> None:
    """EMFILE by the caller's own limit; the supervisor has its own."""
    login.must("post", name, "--open", file)
    code = (
        "import resource\n"
        "first = os.open(path, os.O_RDONLY)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (first + 1, first + 1))\n"
        "print(told(os.open, path, os.O_RDONLY))\n"
        "os.close(first)\n"
        "print(os.open(path, os.O_RDONLY) == first)\n"
    )
    assert python(login, TRY + code, f"/srv/{name}") == (0, "EMFILE\nTrue\n", "")


def test_paths_are_ours_by_their_text(login: Login, name: str, file: str, short_tmp: Path) -> None:
    """Dots, slashes and directory descriptors lead here; symlinks do not."""
    login.must("post", name, "--open", file)
    (short_tmp / "link").symlink_to(f"/srv/{name}")
    (short_tmp / "deep").mkdir()
    (short_tmp / "away").symlink_to(short_tmp / "deep")
    (short_tmp / "srv").mkdir()
    (short_tmp / "srv" / name).write_text("of its own\n")
    code = (
        f"name, tmp = {name!r}, {str(short_tmp)!r}\n"
        "def ours(path, **more): return told(os.open, path, os.O_RDONLY, **more).isdigit()\n"
        "print([ours(one) for one in (f'//srv/.///{name}', f'/srv/../srv/{name}',\n"
        "    f'/usr/../srv/./{name}', f'/srv/none/../{name}')])\n"
        "top, there = os.open('/', os.O_RDONLY), os.open('/srv', os.O_RDONLY)\n"
        "print([ours(f'srv/{name}', dir_fd=top), ours(name, dir_fd=there),\n"
        "    ours(f'../srv/{name}', dir_fd=there)])\n"
        "print(name in os.listdir('/usr/../srv'), name in os.listdir('/srv/..'))\n"
        "os.chdir(tmp + '/deep')\n"
        "print(ours(f'../../../srv/{name}'))\n"
        "print([ours(f'{tmp}/link'), ours(f'/proc/self/root/srv/{name}'), ours(f'srv/{name}')])\n"
        "os.chdir('/tmp')\n"
        "print(open(f'{tmp}/away/../srv/{name}').read())\n"
    )
    expected = (
        "[True, True, True, True]\n[True, True, False]\nTrue False\nTrue\n[False, False, False]\n"
    )
    said = python(login, TRY + code, "/srv")
    assert said == (0, f"{expected}of its own\n\n", "")


def test_other_sessions_have_their_own(login: Login, other: Login, name: str, file: str) -> None:
    """The door shows the session that it was started in, and no other."""
    login.must("post", name, "--open", file)
    assert through(login, "cat", f"/srv/{name}").status == 0
    assert through(other, "cat", f"/srv/{name}").err.endswith("No such file or directory\n")
