# SPDX-License-Identifier: MIT
"""session, pagsh and broker: what they begin, and that nothing of it is left.

The law: real keyrings, real signals, a real terminal where one is needed. It refuses to
know what is posted.
"""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from tests.anybody import Anybody
from tests.cli.command import COMMAND, TYPED, Login, environment, start
from tests.conftest import RunAs

pytestmark = pytest.mark.kernel

RING = "from pagsrv.kernel import keys; print(keys.session_ring())"


def ring_of(login: Login, *words: str) -> int:
    """The session keyring in which *words* run a command."""
    return int(login.must(*words, "--", sys.executable, "-c", RING).out)


def test_a_session_is_new_and_ends(login: Login) -> None:
    """CMD is in a ring that nobody had, and that is revoked afterwards."""
    mine = login.actor(keys.session_ring)
    first, second = ring_of(login, "session"), ring_of(login, "session")
    assert len({mine, first, second}) == 3
    assert login.actor.fault(keys.describe, first) in ("revoked", "gone", "denied")
    assert login.actor(keys.ring_facts, mine).state == "live"


def test_a_session_outlived_is_revoked(login: Login, short_tmp: Path) -> None:
    """What CMD leaves behind is in a session that is over."""
    told = short_tmp / "told"
    os.mkfifo(told)
    ask = [sys.executable, "-c", "from pagsrv.kernel import keys; keys.session_ring()"]
    late = f"{shlex.join(ask)} 2>&1"
    script = f"( read line <{told}; ( {late} | tail -1 ) >{told}.out; echo >{told}.done ) & true"
    done = f"{told}.done"
    os.mkfifo(done)
    login.must("session", "--", "sh", "-c", f"( {script} ) >/dev/null 2>&1")
    told.write_text("go\n")
    Path(done).read_text()
    assert "Key has been revoked" in Path(f"{told}.out").read_text()


def test_its_entries_end_with_it(login: Login, other: Login, name: str) -> None:
    """The end of the session is the end of what was posted there."""
    script = f"{TYPED} post {name} --open /etc/passwd -v"
    with start("watch", "--initial", directory=login.directory) as it:
        assert it.stdout is not None
        while "live" not in (line := it.stdout.readline()):
            pass
        said = login.must("session", "--", "sh", "-c", script).out
        full = said.split(" as ")[1].split(",")[0]
        while "ended" not in line or name not in line:
            line = it.stdout.readline()
            assert line
        it.terminate()
    assert f"{full}  revoked" in line
    assert other("stat", full).status == 3


def test_the_default_is_the_shell(login: Login) -> None:
    """$SHELL, or /bin/sh; it gets the terminal's lines."""
    assert login("session", stdin="exit 9\n").status == 9
    said = login("session", stdin="echo $0\n", env={"SHELL": ""})
    assert (said.status, said.out) == (0, "/bin/sh\n")


def test_a_relative_directory_is_good_everywhere(login: Login) -> None:
    """What --dir says is still right when CMD has gone elsewhere."""
    near = os.path.relpath(login.directory, "/")
    script = f"cd /usr && exec {TYPED} whoami --json"
    said = login.must("session", "--dir", near, "--", "sh", "-c", script)
    assert f'"dir":"{login.directory}"' in said.out


# ── signals ──


def test_a_signal_that_ends_the_command_is_128_more(login: Login) -> None:
    """As a shell tells it."""
    assert login("session", "--", "sh", "-c", "kill -KILL $$").status == 128 + 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_to_us_go_to_the_command(login: Login, number: signal.Signals) -> None:
    """And what it makes of them is our status."""
    with start("session", "--", sys.executable, "-c", SIGWAIT, str(number.value),
               directory=login.directory) as it:  # fmt: skip
        assert it.stdout is not None
        assert it.stdout.readline() == "ready\n"
        it.send_signal(number)
        assert it.wait(30) == 5


SIGWAIT = (
    "import signal, sys; wanted = {int(sys.argv[1])}; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, wanted); print('ready', flush=True); "
    "signal.sigwait(wanted); sys.exit(5)"
)


def test_interrupts_are_the_commands_business(login: Login) -> None:
    """^C goes to all in the foreground: we stay until the command has decided."""
    script = "trap 'echo again' INT; echo ready; read line; read line; exit 6"
    with start("session", "--", "bash", "-c", script, directory=login.directory,
               start_new_session=True) as it:  # fmt: skip
        assert it.stdout is not None
        assert it.stdin is not None
        assert it.stdout.readline() == "ready\n"
        os.killpg(it.pid, signal.SIGINT)
        it.stdin.write("one\ntwo\nthree\n")
        it.stdin.close()
        assert it.stdout.read() == "again\n"
        assert it.wait(30) == 6


def test_a_stop_gives_the_terminal_back(login: Login) -> None:
    """On a terminal we stop when the command does, and continue it when we are continued."""
    ours, theirs = pty.openpty()
    script = "kill -STOP $$; echo continued"
    argv = [*COMMAND, "session", "--", "sh", "-c", script]
    pid = os.fork()
    if pid == 0:
        os.login_tty(theirs)
        os.close(ours)
        os.execve(argv[0], argv, environment(login.directory))  # noqa: S606 -- no shell wanted
    os.close(theirs)
    try:
        seen = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED)
        assert seen is not None
        assert (seen.si_code, seen.si_status) == (os.CLD_STOPPED, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        assert os.read(ours, 100) == b"continued\r\n"
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        os.close(ours)


# ── pagsh ──


@pytest.mark.root
def test_a_pag_and_a_session(login: Login, other_uid: int) -> None:
    """Inside, both are new; a post goes to the session unless --scope pag is said."""
    del other_uid  # asks for root
    script = (
        f"{TYPED} whoami --json; {TYPED} post a --empty; "
        f"{TYPED} post b --empty --scope pag; "
        f"{TYPED} ls --scope session; {TYPED} ls --scope pag"
    )
    said = login.must("pagsh", "--", "sh", "-c", script).out.splitlines()
    assert [line.partition(":")[0] for line in said[1:]] == ["session", "pag"]
    assert '"proof":"groups","isolation":"isolated"' in said[0]
    assert login.scope() not in said[1]
    inner = login.must("pagsh", "--", *COMMAND, "pagsh", "--", "id", "-G").out.split()
    assert len([gid for gid in inner if 0x41000000 <= int(gid) <= 0x41FFFFFF]) == 1


@pytest.mark.root
def test_a_pag_and_the_same_session(login: Login, other_uid: int) -> None:
    """--keep-session: only the PAG is new, and nothing is revoked."""
    del other_uid  # asks for root
    mine = login.actor(keys.session_ring)
    assert ring_of(login, "pagsh", "--keep-session") == mine
    assert ring_of(login, "pagsh") != mine
    assert login.actor(keys.ring_facts, mine).state == "live"


@pytest.mark.root
def test_a_pag_needs_a_right(anybody_python: Anybody, other_uid: int, run_as: RunAs) -> None:
    """Without CAP_SETGID: 4, and what to do instead."""
    argv = [*anybody_python.argv, "-m", "pagsrv", "pagsh", "--", "echo", "ran"]
    done = run_as(other_uid, argv, env=anybody_python.env)
    assert (done.returncode, done.stdout) == (4, "")
    assert "CAP_SETGID" in done.stderr
    assert "pagsrv session" in done.stderr


# ── broker ──


def test_the_command_becomes_the_broker(login: Login, short_tmp: Path) -> None:
    """The same process, so that who started it can watch it; SIGTERM ends it with 0."""
    directory = short_tmp / "b"
    with subprocess.Popen(
        [*COMMAND, "broker", "--dir", str(directory)], env=environment(""), cwd="/",
        stderr=subprocess.PIPE, text=True,
    ) as it:  # fmt: skip
        assert it.stderr is not None
        assert it.stderr.readline().startswith("pagsrv: serving ")
        here = Login(login.actor, str(directory))
        found = {one["check"]: one["found"] for one in here("doctor", "--json").objects()}
        assert f"process {it.pid}," in found["broker"]
        it.terminate()
        assert it.wait(30) == 0
    assert here("ls").status == 6


def test_the_broker_says_what_is_wrong(login: Login, short_tmp: Path) -> None:
    """A configuration that is not there, a directory others can write to."""
    said = login("broker", "--config", str(short_tmp / "none.toml"))
    assert (said.status, said.out) == (2, "")
    assert "none.toml" in said.err
    short_tmp.chmod(0o777)
    assert "written by others" in login("broker", "--dir", str(short_tmp)).err


def test_no_module_comes_from_the_current_directory(login: Login, short_tmp: Path) -> None:
    """The broker is started in directories that others can write to."""
    (short_tmp / "msgspec.py").write_text("print('stolen')\n")
    command = shlex.quote(f"{Path(sys.executable).parent}/pagsrv")
    script = f"cd {short_tmp}; exec {command} broker --config /nonexistent"
    said = login.execute(["sh", "-c", script])
    assert (said.status, said.out) == (2, "")
