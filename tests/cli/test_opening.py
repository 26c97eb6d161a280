# SPDX-License-Identifier: MIT
"""post, open, take: which descriptor comes from where, and goes where.

The law: it is the very same open file, by the number that was asked for. It refuses to
know how a message carries it.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.cli import fast
from pagsrv.cli.opening import split
from tests.cli.command import COMMAND, TYPED, Login, environment, start

pytestmark = pytest.mark.kernel

SHOW = "for n in 3 4 5 6; do if [ -e /proc/self/fd/$n ]; then readlink /proc/self/fd/$n; fi; done"
LISTEN = 'echo "$LISTEN_FDS|$LISTEN_FDNAMES|$([ "$LISTEN_PID" = $$ ] && echo mine)"'


def test_descriptors_run_from_3(login: Login, files: list[str], short_tmp: Path) -> None:
    """In the order of the names, and LISTEN_… says so; nothing else comes along."""
    said = login.must("open", *files, "--", "sh", "-c", f"{LISTEN}; {SHOW}").out.splitlines()
    assert said == [f"3|{':'.join(files)}|mine", *(str(short_tmp / one) for one in files)]


def test_descriptors_go_where_they_are_told(login: Login, files: list[str]) -> None:
    """NAME=FD; names without take what is free from 3, and LISTEN_… counts them by number."""
    one, two, three = files
    said = login.must("open", f"{one}=5", two, f"{three}=3", "--", "sh", "-c",
                      f"{LISTEN}; cat <&3; cat <&4; cat <&5").out.splitlines()  # fmt: skip
    assert said == [
        f"3|{three}:{two}:{one}|mine", f"this is {three}", f"this is {two}", f"this is {one}"
    ]  # fmt: skip


def test_a_gap_leaves_listen_fds_out(login: Login, files: list[str]) -> None:
    """Without descriptors from 3 on in a row there is nothing a service could count."""
    env = {"LISTEN_FDS": "7", "LISTEN_PID": "1", "LISTEN_FDNAMES": "old"}
    said = login("open", f"{files[0]}=4", "--", "sh", "-c", f"{LISTEN}; cat <&4", env=env)
    assert said.out == f"||\nthis is {files[0]}\n"


def test_names_are_all_or_none(login: Login, files: list[str]) -> None:
    """One that is not there, and no command runs and nothing is taken."""
    for verb in ("open", "take"):
        said = login(verb, *files, "not-there", "--", "echo", "ran")
        assert (said.status, said.out) == (3, "")
    assert len(login.must("ls", "--scope", "session").out.splitlines()) == len(files)
    said = login.must("take", *files, "--", "sh", "-c", "cat <&3; cat <&4; cat <&5")
    assert said.out.splitlines() == [f"this is {one}" for one in files]
    assert login.must("ls", "--scope", "session").out == ""


def test_scope_and_full_names(login: Login, files: list[str]) -> None:
    """--scope goes for every bare name, one or several; a full name says its own."""
    scope = login.scope()
    for names in ([files[0]], files, [f"{scope}/{files[0]}", files[1]]):
        said = login.must("open", *names, "--scope", "session", "--", "sh", "-c", LISTEN)
        bare = ":".join(one.rpartition("/")[2] for one in names)
        assert said.out == f"{len(names)}|{bare}|mine\n"
    assert login("open", *files, "--scope", "user", "--", "true").status == 3
    assert login("open", *files, "--scope", "pag", "--", "true").status == 7


def test_ways_to_say_where_the_broker_is(login: Login, files: list[str]) -> None:
    """--dir before and after the command's name, with = and without."""
    nowhere = {"PAGSRV_DIR": "/nonexistent"}
    for before, after in (
        (["--dir", login.directory], []), ([f"--dir={login.directory}"], []),
        ([], ["--dir", login.directory]), ([], [f"--dir={login.directory}"]),
    ):  # fmt: skip
        for words in (["open", files[0], "--", "true"], ["stat", files[0]]):
            said = login(*before, words[0], *after, *words[1:], env=nowhere)
            assert (said.status, said.err) == (0, "")


def test_one_of_many_takes(login: Login, name: str) -> None:
    """Ten at once, and exactly one gets it."""
    login.must("post", name, "--open", "/etc/passwd", "--scope", "user")
    argv = [*COMMAND, "take", name, "--", "true"]
    env = environment(login.directory)

    def take(_: int) -> int:
        return subprocess.run(argv, env=env, stderr=subprocess.DEVNULL, check=False).returncode

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(take, range(10))) == [0, *[3] * 9]


def test_the_command_gets_no_ignored_signals(login: Login, files: list[str]) -> None:
    """Python ignores SIGPIPE for itself; whoever comes after it must not."""
    shown = ["grep", "SigIgn", "/proc/self/status"]
    for words in (["open", files[0]], ["session"]):
        ignored = int(login.must(*words, "--", *shown).out.split()[1], 16)
        # Above 31 are the C library's own, which posix_spawn(3) leaves ignored.
        assert not ignored & 0x7FFFFFFF


# ── what is posted ──


def test_an_inherited_descriptor(login: Login, name: str) -> None:
    """--fd: the same open file that this command was given."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = ["post", name, f"--fd={theirs.fileno()}", "--scope", "user"]
        with start(*words, directory=login.directory, pass_fds=(theirs.fileno(),)) as it:
            assert it.communicate(timeout=30) == ("", "")
        assert it.returncode == 0
        login.must("open", name, "--", "sh", "-c", "echo hello >&3")
        assert ours.recv(100) == b"hello\n"


def test_open_takes_as_much_as_is_permitted(login: Login, name: str, short_tmp: Path) -> None:
    """Read-write, else what is permitted; a directory for reading; blocking."""
    path = short_tmp / "file"
    path.write_text("x")
    (short_tmp / "directory").mkdir()
    os.mkfifo(short_tmp / "fifo")
    shown = {}
    for what in ("file", "directory", "fifo"):
        login.must("post", f"{name}-{what}", "--open", str(short_tmp / what))
        (entry,) = login.must("stat", f"{name}-{what}", "--json").objects()
        shown[what] = (entry["kind"], entry["access"])
    assert shown == {"file": ("file", "rw"), "directory": ("dir", "r"), "fifo": ("fifo", "rw")}
    flags = login.must("open", f"{name}-fifo", "--", "sh", "-c", "grep flags /proc/self/fdinfo/3")
    assert not int(flags.out.split()[1], 8) & os.O_NONBLOCK
    said = login("post", name, "--open", str(short_tmp / "nothing"))
    assert said.err == f"pagsrv: {short_tmp}/nothing cannot be opened: No such file or directory\n"
    assert "--dial" in login("post", name, "--open", f"{login.directory}/varlink").err


def test_dialling_and_listening(login: Login, name: str, short_tmp: Path) -> None:
    """A listener posted, dialled by its path, and by name: what is said arrives."""
    path = str(short_tmp / "s")
    login.must("post", f"{name}-in", "--listen", f"unix:{path}")
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    login.must("post", f"{name}-out", "--dial", f"unix:{path}")
    login.must("open", f"{name}-out", "--", "sh", "-c", "echo hello >&3")
    accept = "import socket; print(socket.socket(fileno=3).accept()[0].makefile().readline())"
    said = login.must("open", f"{name}-in", "--", COMMAND[0], "-c", accept)
    assert said.out.strip() == "hello"
    again = login("post", f"{name}-more", "--listen", f"unix:{path}")
    assert again.err == f"pagsrv: unix:{path} cannot be listened on: Address already in use\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_tcp(login: Login, name: str, host: str) -> None:
    """tcp:HOST:PORT, with IPv6 in brackets and names resolved."""
    login.must("post", name, "--listen", f"tcp:{host}:0")
    port = login.must("open", name, "--", COMMAND[0], "-c",
                      "import socket; print(socket.socket(fileno=3).getsockname()[1])")  # fmt: skip
    login.must("post", f"{name}-out", "--dial", f"tcp:{host}:{port.out.strip()}")
    (entry,) = login.must("stat", f"{name}-out", "--json").objects()
    assert entry["kind"] == "socket"


def test_abstract_sockets(login: Login, name: str) -> None:
    """unix:@NAME has no file."""
    login.must("post", name, "--listen", f"unix:@pagsrv-{os.getpid()}-{name}")
    login.must("post", f"{name}-out", "--dial", f"unix:@pagsrv-{os.getpid()}-{name}")
    assert not os.path.exists(f"@pagsrv-{os.getpid()}-{name}")


def test_a_listener_that_is_not_posted_leaves_no_file(
    login: Login, name: str, short_tmp: Path
) -> None:
    """The name is taken: the socket file made for it is gone again."""
    login.must("post", name, "--empty")
    login.must("post", name, "--open", "/etc/passwd")
    assert login("post", name, "--listen", f"unix:{short_tmp}/s").status == 5
    assert os.listdir(short_tmp) == []


# ── ends ──


def test_exit_and_leader_are_those_of_the_parent(login: Login, name: str) -> None:
    """By default the shell that ran the command, and the leader of its session."""
    script = f"{TYPED} post {name} --empty --until exit --until leader --json; echo $$"
    said = login.execute(["setsid", "--wait", "sh", "-c", script])
    entry, shell = said.out.splitlines()
    assert f'"until":["exit={shell}","leader={shell}","revoked"]' in entry


def test_an_entry_ends_with_the_parent(login: Login, name: str) -> None:
    """The shell is gone, and so is what was posted until then."""
    post = f"{TYPED} post {name} --open /etc/passwd --until exit"
    waited = f"{post} && {TYPED} stat {name} --json"
    with start("watch", "--initial", directory=login.directory, env=None) as it:
        assert it.stdout is not None
        while "live" not in it.stdout.readline():
            pass
        said = login.execute(["sh", "-c", waited])
        assert '"until":["exit=' in said.out
        # What others left here may end meanwhile, each in a line of its own.
        while f"/{name}  exit" not in (line := it.stdout.readline()):
            assert line
        it.terminate()
    assert login("stat", name).status == 3


def test_a_lease_stays_in_the_foreground(login: Login, name: str) -> None:
    """The command holds the entry, and a signal ends both."""
    argv = [*COMMAND, "post", name, "--open", "/etc/passwd", "--until", "lease", "--scope", "user",
            "-v"]  # fmt: skip
    with subprocess.Popen(argv, env=environment(login.directory), stdout=subprocess.PIPE,
                          text=True) as it:  # fmt: skip
        assert it.stdout is not None
        assert f"/{name}" in it.stdout.readline()
        assert login.must("stat", name, "--json").objects()[0]["until"] == ["lease"]
        it.send_signal(2)
        assert it.wait(30) == 130
    with start("wait", name, "--timeout", "0", directory=login.directory) as waiting:
        waiting.communicate(timeout=30)
    assert login("stat", name).status == 3


# ── words ──


@given(st.text(), st.integers(0, 10**6))
def test_the_last_equals_sign_counts(text: str, number: int) -> None:
    """NAME=FD, if only digits follow."""
    assert split(f"{text}={number}") == (text, number)
    assert split(f"{text}=x{number}") == (f"{text}=x{number}", None)
    assert split(f"{text}=") == (f"{text}=", None)


@given(
    st.lists(
        st.sampled_from(["open", "take", "a", "--dir", "--dir=d", "--scope", "--", "-h", "x=3"])
    )
)
def test_the_short_way_agrees_with_the_grammar(words: list[str]) -> None:
    """What fast.py understands is what the parser makes of it."""
    from pagsrv.cli import grammar, main, parser  # noqa: PLC0415

    short = fast.parse(words)
    if short is None:
        return
    directory, rest = main._leading(words)
    found = parser.parse(grammar.BY_NAME[rest[0]], rest[1:], directory)
    assert short == fast.Opening(found.verb, found.name, found.command, found.dir, found.scope)


def test_no_word_is_lost() -> None:
    """Help and mistakes go the long way."""
    for line in ("open a", "open -h -- b", "open --json a -- b", "ls -- a", "open a --", "-- a"):
        assert fast.parse(line.split()) is None
