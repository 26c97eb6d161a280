# SPDX-License-Identifier: MIT
"""The preload door with programs that know nothing of it.

The law: real programs, in a real session, at a real broker. It refuses to know how the
library does it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.command import Login
from tests.doors.preloading import shells, through, typed

pytestmark = pytest.mark.kernel


# ---- shells, and what they run -------------------------------------------------------------------


@shells
def test_a_shell_posts_and_opens(login: Login, name: str, file: str, shell: str) -> None:
    """`echo 3 > /srv/x` posts the shell's descriptor 3; `exec 4<>/srv/x` gets the same file."""
    said = typed(
        login, shell,
        f"exec 3<{file}", f"echo 3 > /srv/{name}", f"cat /srv/{name}", f"exec 4<>/srv/{name}",
        "readlink /proc/self/fd/4", "read line <&3 || echo the same offset",
    )  # fmt: skip
    assert said == (0, f"hello\n{file}\nthe same offset\n", "")
    assert login.must("stat", name, "--json").objects()[0]["kind"] == "file"


@shells
def test_names_are_files(login: Login, name: str, file: str, shell: str) -> None:
    """Test, ls, mv and rm work on the names, and the board follows."""
    login.must("post", name, "--open", file)
    said = typed(
        login, shell,
        f"test -e /srv/{name}", f"test -r /srv/{name}", f"! test -e /srv/{name}-none",
        f"mv /srv/{name} /srv/{name}-b", "ls /srv", "echo /srv/*", "cd /srv", "ls", "echo *",
        f"cat {name}-b", f"rm {name}-b", "ls",
    )  # fmt: skip
    listed = f"{name}-b\n/srv/{name}-b\n{name}-b\n{name}-b\nhello\n"
    assert said == (0, listed, "")
    assert login("stat", f"{name}-b").status == 3


def test_a_scope_is_a_directory(login: Login, name: str, file: str) -> None:
    """An entry goes by its full name, too, and a scope can be listed by its."""
    login.must("post", name, "--open", file)
    scope = login.scope()
    said = typed(
        login, "bash",
        f"ls /srv/{scope}", f"cat /srv/{scope}/{name}", f"stat -c %F /srv/{scope}",
        f"mv /srv/{scope}/{name} /srv/{scope}/{name}-b", f"test -e /srv/{name}-b && echo there",
        f"echo 0 > /srv/{scope}/{name}; ls /srv/{scope} | wc -l",
    )  # fmt: skip
    assert said == (0, f"{name}\nhello\ndirectory\nthere\n2\n", "")


def test_a_posted_directory_can_be_entered(login: Login, name: str, short_tmp: Path) -> None:
    """It is the directory that was posted: cd goes there, and ls lists it."""
    (short_tmp / "inside").write_text("inside\n")
    login.must("post", name, "--open", str(short_tmp))
    said = typed(
        login, "bash", f"ls /srv/{name}", f"cd /srv/{name}", "cat inside", "readlink /proc/self/cwd"
    )
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines()[-2:] == ["inside", str(short_tmp)]
    assert said.out.splitlines()[0] == "inside"


def test_stat_and_ls_show_the_entry(login: Login, name: str, file: str) -> None:
    """Owner, mask and times are the entry's; there is nothing more to know of it by its name."""
    login.must("post", name, "--open", file, "--mask", "3f003020")
    told = login.must("stat", name, "--json").objects()[0]
    said = through(login, "stat", "-c", "%A %u %Y %s %n", f"/srv/{name}")
    owner, created = told["owner"]["uid"], int(told["created"])
    assert said == (0, f"-rw-r--r-- {owner} {created} 0 /srv/{name}\n", "")
    listed = through(login, "ls", "-l", "/srv")
    assert (listed.status, listed.err) == (0, "")
    assert listed.out.splitlines()[1].split()[-1] == name


def test_what_an_entry_is_not_for(login: Login, name: str, file: str) -> None:
    """No directory, link or pipe is made there, nor in a directory that lies there; no mode set."""
    login.must("post", name, "--open", file)
    tried = (
        f"mkdir /srv/{name}-d", f"mkfifo /srv/{name}-f", f"ln -s x /srv/{name}-l",
        f"ln /srv/{name} /srv/{name}-h", f"chmod 600 /srv/{name}", f"chown 0 /srv/{name}",
        f"touch -d 2020-01-01 -c -h /srv/{name}", "rmdir /srv", "mv /srv /tmp/moved",
    )  # fmt: skip
    said = typed(login, "bash", *(f"{one} && echo done: {one}" for one in tried), "true")
    assert said.out == ""
    assert said.err.count("Operation not permitted") == len(tried) - 2
    assert typed(login, "bash", "ls /srv").out == f"{name}\n"


def test_an_entry_without_a_descriptor(login: Login, name: str) -> None:
    """It can be created, looked at and removed, and gives ENXIO to who reads it."""
    said = typed(
        login, "bash",
        f": > /srv/{name}", f"test -e /srv/{name}", f"cat /srv/{name} || true", f"rm /srv/{name}",
        f"set -C; : > /srv/{name}; : > /srv/{name} || true",
    )  # fmt: skip
    assert said.status == 0
    assert "No such device or address" in said.err
    assert "cannot overwrite" in said.err
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is False


# ---- python and C --------------------------------------------------------------------------------

PYTHON = """
import os, sys
name, file = sys.argv[1:]
kept = open(file)
with open(f"/srv/{name}", "w") as entry:
    entry.write(str(kept.fileno()))
assert open(f"/srv/{name}").read() == "hello\\n"
assert os.listdir("/srv") == [name] and [one.name for one in os.scandir("/srv")] == [name]
assert os.path.exists(f"/srv/{name}") and not os.path.isdir(f"/srv/{name}")
os.rename(f"/srv/{name}", f"/srv/{name}-b")
try:
    os.link(f"/srv/{name}-b", "/tmp/link")
except PermissionError:
    os.unlink(f"/srv/{name}-b")
try:
    with open(f"/srv/{name}", "w") as entry:
        entry.write("999")
except OSError as error:
    print(error.strerror)
"""


def test_python(login: Login, name: str, file: str) -> None:
    """What Python does with files it does with entries, and it is told what is refused."""
    said = through(login, sys.executable, "-c", PYTHON, name, file)
    assert said == (0, "Invalid argument\n", "")


@pytest.mark.parametrize(
    "asked",
    [
        ("stream", "hello\n"), ("close_all", "hello\n"), ("children", "hello\n" * 3),
        ("vforked", "hello\n"), ("threads", ""), ("lowest", "0\n"), ("flags", "0 1 block rw\n"),
        ("rejoin", "ENOENT\n"),
        ("signals", "refused\n"), ("kinds", "100644 100644 {uid}\n"),
    ],
)  # fmt: skip
def test_a_c_program(
    login: Login, name: str, file: str, subject: str, asked: tuple[str, str]
) -> None:
    """Streams, flags, children, threads, a new session, and one that closes all it has."""
    login.must("post", name, "--open", file)
    command, says = asked
    said = through(login, subject, command, f"/srv/{name}")
    assert said == (0, says.format(uid=os.geteuid()), "")


def test_a_child_lists_whatever_its_parents_threads_did(
    login: Login, name: str, file: str, lister: str
) -> None:
    """A thread that is in the middle of a directory leaves no lock behind in a child."""
    login.must("post", name, "--open", file)
    assert through(login, lister, "/srv") == (0, "", "")
