# SPDX-License-Identifier: MIT
"""The seccomp door with programs that know nothing of it, static ones too.

The law: real programs, in a real session, at a real broker. It refuses to know how the
supervisor does it.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, Login, Said

pytestmark = pytest.mark.kernel

shells = pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
ways = pytest.mark.parametrize(
    "way",
    [("open", "stays"), ("openat", "closes"), ("openat2", "closes"), ("creat", "stays"),
     ("relative", "stays")],
)  # fmt: skip


def through(login: Login, *command: str, at: str = "/srv", scope: str = "") -> Said:
    """Run *command* through the door."""
    scopes = ("--scope", scope) if scope else ()
    return login.execute([*COMMAND, "exec", "--at", at, *scopes, "--", *command])


def typed(login: Login, shell: str, *lines: str, at: str = "/srv", scope: str = "") -> Said:
    """Type *lines* into a *shell* behind the door; no line but the last may fail."""
    return through(login, *shell.split(), "-ec", "\n".join(lines), at=at, scope=scope)


def python(login: Login, code: str, *words: str) -> Said:
    """Run Python behind the door, with *words* as its arguments."""
    return through(login, sys.executable, "-c", code, *words)


TRY = (
    "import errno, os, sys\n"
    "def told(call, *words, **more):\n"
    "    try: return str(call(*words, **more))\n"
    "    except OSError as error: return errno.errorcode[error.errno]\n"
    "path = sys.argv[1]\n"
)
"""Python that names the errno of what a call raises; `path` is its first argument."""


@pytest.fixture
def file(short_tmp: Path) -> str:
    """A file that says hello."""
    path = short_tmp / "hello"
    path.write_text("hello\n")
    return str(path)


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
def test_the_number_is_posted_before_the_write_returns(
    login: Login, name: str, file: str, shell: str
) -> None:
    """What is closed in the next command has been posted."""
    loop = "while [ $i -lt 50 ]; do"
    body = f"exec 3<{file}; echo 3 > /srv/{name}; exec 3>&-; cat /srv/{name}; rm /srv/{name}"
    said = typed(login, shell, "i=0", loop, body, "i=$((i + 1))", "done")
    assert said == (0, "hello\n" * 50, "")


@shells
def test_names_are_files(login: Login, name: str, file: str, shell: str) -> None:
    """Test, ls, mv, stat and rm work on the names, in the directory too, and the board follows."""
    login.must("post", name, "--open", file)
    said = typed(
        login, shell,
        f"test -e /srv/{name}", f"test -r /srv/{name}", f"! test -x /srv/{name}",
        f"! test -e /srv/{name}-none", f"stat -c '%a %F' /srv/{name}",
        f"mv /srv/{name} /srv/{name}-b", "ls /srv", "echo /srv/*", "cd /srv", "ls", "echo *",
        "ls -l | cut -c 1-10", f"cat ./{name}-b", f"rm {name}-b", "ls",
    )  # fmt: skip
    listed = f"{name}-b\n/srv/{name}-b\n{name}-b\n{name}-b\ntotal 0\n-rw-r--r--\nhello\n"
    assert said == (0, f"644 regular empty file\n{listed}", "")
    assert login("stat", name).status == login("stat", f"{name}-b").status == 3


@shells
def test_an_empty_entry_is_made_assigned_and_replaced(
    login: Login, name: str, file: str, shell: str
) -> None:
    """A handle had while the entry is empty assigns, and replaces; who opens later has the file."""
    said = typed(
        login, shell,
        f": > /srv/{name}", f"test -e /srv/{name}", f"! cat /srv/{name} 2>/dev/null",
        f"exec 5>/srv/{name} 3</dev/null", "echo 3 >&5", f"readlink /proc/self/fd/4 4</srv/{name}",
        f"exec 3<{file}", "echo 3 >&5", f"cat /srv/{name}",
    )  # fmt: skip
    assert said == (0, "/dev/null\nhello\n", "")


def test_posted_files_have_no_other_flags(login: Login, name: str, short_tmp: Path) -> None:
    """Access mode, O_TRUNC, O_APPEND and O_NONBLOCK are of whoever opened what was posted."""
    path = short_tmp / "log"
    path.write_text("first\n")
    login.must("post", name, "--open", str(path))
    said = typed(login, "bash", f"echo second > /srv/{name}", f"echo more >> /srv/{name}")
    assert said == (0, "", "")
    assert path.read_text() == "second\nmore\n"


def test_scopes_have_names(login: Login, name: str, file: str) -> None:
    """S:N/NAME is a full name, S:N a directory; --scope says where new ones go."""
    login.must("post", name, "--open", file)
    session, user = login.scope(), login.scope("user")
    said = typed(
        login, "bash", f"cat /srv/{session}/{name}", f"ls /srv/{session}", f"exec 3<{file}",
        f"echo 3 > /srv/{name}-u", f"test -e /srv/{user}/{name}-u", f"cd /srv/{session}", "ls",
        f"rm /srv/{user}/{name}-u", scope="user",
    )  # fmt: skip
    # The directories of scopes are not there to be gone to.
    assert (said.out, said.status) == (f"hello\n{name}\n", 1)
    assert "cd: " in said.err
    login.must("rm", f"{user}/{name}-u")


def test_a_posted_directory_is_one(login: Login, name: str, short_tmp: Path) -> None:
    """It is listed, as often as anybody likes, and shown as a directory."""
    (short_tmp / "within").write_text("deep\n")
    login.must("post", name, "--open", str(short_tmp))
    said = typed(
        login, "bash", f"ls /srv/{name}", f"ls /srv/{name}/", f"test -d /srv/{name}",
        f"stat -c %F /srv/{name}", "ls -F /srv", f"! (echo x >/srv/{name}/new) 2>/dev/null",
    )  # fmt: skip
    assert said == (0, f"within\nwithin\ndirectory\n{name}/\n", "")
    assert os.listdir(short_tmp) == ["within"]


def test_beneath_a_posted_directory_the_broker_opens(
    login: Login, name: str, file: str, short_tmp: Path
) -> None:
    """Nothing that leaves it, nothing is made; what was posted through the door lends no rights."""
    (short_tmp / "sub").mkdir()
    (short_tmp / "sub" / "within").write_text("deep\n")
    (short_tmp / "out").symlink_to("/etc/passwd")
    login.must("post", name, "--open", str(short_tmp))
    login.must("post", f"{name}-f", "--open", file)
    code = (
        "def said(name): return told(lambda: open(path + name).read().strip())\n"
        "print(said('/sub/within'), os.stat(path + '/sub/within').st_size)\n"
        "print(os.listdir(path + '/sub'), said('/none'), said('/out'), said('/sub/../none'))\n"
        "print(said('-f/x'), told(os.open, path + '/sub/new', os.O_RDWR | os.O_CREAT))\n"
        "print(told(os.unlink, path + '/sub/within'))\n"
        f"directory = os.open({str(short_tmp)!r}, os.O_RDONLY)\n"
        "with open(path + '-d', 'w') as handle: print(directory, file=handle)\n"
        "print(said('-d/sub/within'), sorted(os.listdir(path + '-d')))\n"
    )
    expected = (
        "deep 5\n['within'] ENOENT EACCES ENOENT\nENOTDIR EROFS\nEROFS\n"
        f"EACCES {sorted(os.listdir(short_tmp))}\n"
    )
    assert python(login, TRY + code, f"/srv/{name}") == (0, expected, "")


def test_a_place_that_is_not_there_serves(login: Login, name: str, file: str) -> None:
    """--at needs no directory."""
    said = typed(
        login, "bash", f"exec 3<{file}", f"echo 3 > /no/where/{name}", f"cat /no/where/{name}",
        "ls /no/where", "test -d /no/where", "test -d /no || echo gone", at="/no/where",
    )  # fmt: skip
    assert said == (0, f"hello\n{name}\ngone\n", "")


def test_a_directory_behind_a_symlink_leads_to_the_board(
    login: Login, name: str, file: str, short_tmp: Path
) -> None:
    """$XDG_RUNTIME_DIR may be one, as where /var/run leads to /run."""
    login.must("post", name, "--open", file)
    (short_tmp / "run").mkdir()
    (short_tmp / "link").symlink_to("run")
    code = (
        "import os, sys\n"
        "there = os.open('/srv', os.O_RDONLY)\n"
        "print(os.read(os.open(sys.argv[1], os.O_RDONLY, dir_fd=there), 9))\n"
    )
    words = [*COMMAND, "exec", "--", sys.executable, "-c", code, name]
    said = login.execute(words, env={"XDG_RUNTIME_DIR": str(short_tmp / "link")})
    assert said == (0, "b'hello\\n'\n", "")


def test_whoever_stays_beneath_the_directory_is_served(login: Login, name: str, file: str) -> None:
    """RESOLVE_BENEATH and RESOLVE_IN_ROOT; a path that climbs is the kernel's to refuse."""
    login.must("post", name, "--open", file)
    code = (
        "import ctypes, errno, os, struct, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "there = os.open('/srv', os.O_RDONLY)\n"
        "def openat2(path, resolve):\n"
        "    how = struct.pack('QQQ', os.O_RDONLY, 0, resolve)\n"
        "    fd = libc.syscall(437, there, path.encode(), how, len(how))\n"
        "    if fd < 0: return errno.errorcode[ctypes.get_errno()]\n"
        "    return os.pread(fd, 5, 0).decode()\n"
        "for resolve in (8, 16): print(openat2(sys.argv[1], resolve))\n"
        "print(openat2('../srv/' + sys.argv[1], 8), openat2('/srv/' + sys.argv[1], 8))\n"
    )
    assert python(login, code, name) == (0, "hello\nhello\nEXDEV EXDEV\n", "")


# ---- programs that have no libc in common with us ------------------------------------------------


@ways
def test_static_programs_are_reached(
    login: Login, name: str, file: str, raw: str, way: tuple[str, str]
) -> None:
    """Every system call that opens; O_CLOEXEC is the caller's to say."""
    call, inherited = way
    login.must("post", name, "--open", file)
    assert through(login, raw, call, f"/srv/{name}") == (0, f"{inherited} hello\n\n", "")


@pytest.mark.parametrize("vector", [(), ("writev",)])
def test_static_programs_post(
    login: Login, name: str, file: str, raw: str, vector: tuple[str, ...]
) -> None:
    """By write, and as musl's stdio writes."""
    script = shlex.join([raw, "post", f"/srv/{name}", "3", *vector])
    assert typed(login, "dash", f"exec 3<{file}", script) == (0, "", "")
    assert login.must("open", name, "--", "cat", "/dev/fd/3").out == "hello\n"


def test_python_posts_a_pipe(login: Login, name: str) -> None:
    """open(), os.write, listdir, stat, rename and unlink, as a program would."""
    code = (
        "import os, sys\n"
        "path = sys.argv[1]\n"
        "ours, theirs = os.pipe()\n"
        "with open(path, 'w') as file: print(ours, file=file)\n"
        "os.write(theirs, b'through')\n"
        "print(os.read(os.open(path, os.O_RDONLY), 7).decode(), os.listdir('/srv'))\n"
        "os.rename(path, path + '-b')\n"
        "print(os.path.exists(path), os.stat(path + '-b').st_uid == os.geteuid())\n"
        "os.unlink(path + '-b')\n"
    )
    said = python(login, code, f"/srv/{name}")
    assert said == (0, f"through {[name]}\nFalse True\n", "")
