# SPDX-License-Identifier: MIT
"""The preload door with programs that know nothing of it.

The law: real programs, in a real session, at a real broker. It refuses to know how the
library does it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.actors import Actor, held
from tests.cli.command import COMMAND, Login, Said, environment
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel

shells = pytest.mark.parametrize("shell", ["dash", "bash"])


def through(
    login: Login, *command: str, at: str = "/srv", env: dict[str, str] | None = None
) -> Said:
    """Run *command* through the door."""
    return login.execute([*COMMAND, "exec", "--preload", "--at", at, "--", *command], env=env)


def typed(login: Login, shell: str, *lines: str) -> Said:
    """Type *lines* into a *shell* behind the door; no line but the last may fail."""
    return through(login, shell, "-ec", "\n".join(lines))


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
    assert said == (0, f"-rw------- {owner} {created} 0 /srv/{name}\n", "")
    listed = through(login, "ls", "-l", "/srv")
    assert (listed.status, listed.err) == (0, "")
    assert listed.out.splitlines()[1].split()[-1] == name


@pytest.mark.parametrize("echo", ["/bin/echo 3", "printf 3", "sh -c 'echo 3'"])
@shells
def test_other_programs_write_the_number(
    login: Login, name: str, file: str, shell: str, echo: str
) -> None:
    """A program that is handed the open entry assigns its own descriptor 3."""
    said = typed(login, shell, f"{echo} 3<{file} > /srv/{name}", f"cat /srv/{name}")
    assert said == (0, "hello\n", "")


@pytest.mark.parametrize("echo", ["busybox echo 3", "env -i /bin/echo 3", "nice busybox echo 3"])
@shells
def test_a_number_is_not_lost(login: Login, name: str, shell: str, echo: str) -> None:
    """Whoever has not the library, and would write to a handle, is told so."""
    said = typed(login, shell, f"{echo} > /srv/{name} || echo no")
    assert (said.status, said.out) == (0, "no\n")
    assert "Operation not permitted" in said.err
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is False


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


@pytest.mark.parametrize("number", ["77", "x", "-1", "", "00000000000000000003", "4000000000"])
@shells
def test_what_is_no_number_fails_and_changes_nothing(
    login: Login, name: str, shell: str, number: str
) -> None:
    """The shell's echo fails, with EINVAL, and the entry stays empty."""
    said = typed(login, shell, f"echo '{number}' > /srv/{name} || echo no")
    assert (said.status, said.out) == (0, "no\n")
    assert said.err
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is False


def test_a_handle_replaces(login: Login, name: str, file: str, short_tmp: Path) -> None:
    """A second number through the same handle is another post; who opened before keeps the old."""
    (short_tmp / "other").write_text("other\n")
    said = typed(
        login, "bash",
        f"exec 3<{file} 4<{short_tmp}/other 5>/srv/{name}",
        "echo 3 >&5", f"exec 6</srv/{name}", "echo 4 >&5", f"cat /srv/{name} - <&6",
    )  # fmt: skip
    assert said == (0, "other\nhello\n", "")


def test_what_is_assigned_is_opened_for_writing_too(
    login: Login, name: str, short_tmp: Path
) -> None:
    """A redirection to an assigned entry writes to what was posted, and posts nothing."""
    target = short_tmp / "target"
    target.write_text("")
    login.must("post", name, "--open", str(target))
    assert typed(login, "dash", f"echo 3 > /srv/{name}") == (0, "", "")
    assert target.read_text() == "3\n"


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
        ("signals", "refused\n"), ("kinds", "100600 100600 {uid}\n"),
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


@pytest.mark.parametrize("command", ["print /srv/{name} 3", "reopen /srv/{name} <{file}"])
def test_numbers_by_streams(login: Login, name: str, file: str, subject: str, command: str) -> None:
    """Stdio writes within libc, and what it wrote is acted upon all the same."""
    line = f"{shlex.quote(subject)} {command.format(name=name, file=file)} 3<{file}"
    assert typed(login, "dash", line, f"cat /srv/{name}") == (0, "hello\n", "")


def test_a_stream_that_fails_says_so(login: Login, name: str, subject: str) -> None:
    """fclose(3) tells that the number was none."""
    said = through(login, subject, "print", f"/srv/{name}", "345")
    assert said == (1, "", "fclose: EINVAL\n")


def test_bytes_written_to_one_handle(login: Login, name: str, subject: str) -> None:
    """Each write is a number of its own; the handle itself and the door's own socket are ELOOP."""
    numbers = ["0", "99", "a", "-1", "0\n", "0" * 20, "3"]
    said = through(login, subject, "numbers", f"/srv/{name}", *numbers)
    assert said.out.split() == ["0", "EINVAL", "EINVAL", "EINVAL", "0", "EINVAL", "ELOOP"]
    assert through(login, subject, "offset", f"/srv/{name}-b").out.split() == ["EINVAL", "0"]
    assert through(login, subject, "own", f"/srv/{name}-c").out.split() == ["ELOOP"]
    assert login.must("stat", f"{name}-c", "--json").objects()[0]["assigned"] is False


# ---- whose -------------------------------------------------------------------------------------


def test_another_session_sees_nothing(login: Login, other: Login, name: str, file: str) -> None:
    """Neither by its name, nor in a listing; what it creates there is its own."""
    login.must("post", name, "--open", file)
    assert typed(other, "bash", f"! test -e /srv/{name}", "ls /srv") == (0, "", "")
    assert through(other, "cat", f"/srv/{name}").status == 1
    assert typed(other, "bash", f"exec 3</dev/null; echo 3 > /srv/{name}") == (0, "", "")
    assert through(login, "cat", f"/srv/{name}") == (0, "hello\n", "")


def test_a_handle_that_somebody_sent_is_none(login: Login, name: str, subject: str) -> None:
    """Who is sent a memfd named as a handle, with a number in it, posts nothing by closing it."""
    said = through(login, subject, "forged", f"/srv/{name}", f"{login.scope()}/{name}")
    assert said == (0, "", "")
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is False


def test_another_user_sees_nothing(
    login: Login, name: str, file: str, subject: str, other_uid: int
) -> None:
    """Who changes user has the old connection no more: root's broker serves it as that user."""
    assert other_uid
    login.must("post", name, "--open", file)
    assert through(login, subject, "drop", f"/srv/{name}") == (0, "ENOENT\n", "")


def ask_shell(line: str, argv: list[str] | None = None, env: dict[str, str] | None = None) -> str:
    """Run in an actor: type *line* into its one shell, begun with *argv*; what it says."""
    if argv is not None:
        held["shell"] = subprocess.Popen(
            argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    shell = held["shell"]
    shell.stdin.write(f"{line}; echo\n")
    shell.stdin.flush()
    said: str = shell.stdout.readline()
    return said.strip()


def end_shell() -> int:
    """Run in an actor: the status of the shell when it has no more to read."""
    shell = held.pop("shell")
    shell.communicate()
    status: int = shell.returncode
    return status


def test_a_broker_that_is_started_anew(short_tmp: Path, name: str, file: str) -> None:
    """A shell that has asked the old one asks the new one; in between it is refused."""
    look = f"test -e /srv/{name} && printf there || printf no"
    argv = [*COMMAND, "exec", "--preload", "--", "bash"]
    with Actor() as actor:
        with running_broker(short_tmp) as broker:
            Login(actor, broker.dir).must("post", name, "--open", file)
            assert actor(ask_shell, look, argv, environment(broker.dir)) == "there"
            broker.kill()
        assert actor(ask_shell, look) == "no"
        (short_tmp / "b" / "board").unlink(missing_ok=True)
        with running_broker(short_tmp) as broker:
            assert actor(ask_shell, f"printf x; exec 3<{file}; echo 3 > /srv/{name}") == "x"
            assert actor(ask_shell, look) == "there"
            assert Login(actor, broker.dir)("stat", name).status == 0
            assert actor(end_shell) == 0


def test_elsewhere_than_srv(login: Login, name: str, file: str, short_tmp: Path) -> None:
    """--at takes the board elsewhere, and leaves /srv alone."""
    login.must("post", name, "--open", file)
    at = str(short_tmp / "board")
    assert through(login, "cat", f"{at}//{name}", at=f"{at}/") == (0, "hello\n", "")
    assert through(login, "ls", at, at=at) == (0, f"{name}\n", "")
    assert through(login, "cat", f"/srv/{name}", at=at).status == 1


def test_10000_opens_leave_nothing(
    login: Login, name: str, file: str, subject: str, broker: Running
) -> None:
    """As many descriptors afterwards as before, in the program and in the broker."""
    if os.geteuid() != 0:
        pytest.skip("only root may count a broker's descriptors")
    login.must("post", name, "--open", file)
    through(login, "cat", f"/srv/{name}")
    before = broker.descriptors()
    assert through(login, subject, "again", f"/srv/{name}", "10000") == (0, "0\n", "")
    login.must("stat", name)
    assert broker.descriptors() <= before
