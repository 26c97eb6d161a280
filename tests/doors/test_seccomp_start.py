# SPDX-License-Identifier: MIT
"""`pagsrv exec`: what CMD finds of us, how it ends, and what is refused before it runs.

The law: real processes, real signals, a real terminal. It refuses to know what is opened.
"""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pagsrv.cli import doctor
from pagsrv.doors import parts, preload, seccomp
from tests.cli.command import COMMAND, Login, environment
from tests.conftest import RunAs
from tests.doors.test_seccomp import through, typed

pytestmark = pytest.mark.kernel

PATIENCE = 30


def test_cmd_is_the_process_that_was_started(login: Login) -> None:
    """Its number, arguments, environment, directory; it has no child, and no more descriptors."""
    code = (
        "import json, os, sys\n"
        "held = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))\n"
        "try: os.waitpid(-1, os.WNOHANG); child = True\n"
        "except ChildProcessError: child = False\n"
        "print(json.dumps([os.getpid(), sys.argv[1:], os.environ.get('MINE'), os.getcwd(), child,\n"
        "    len(held)]))\n"
    )
    script = (
        f"import os, json; print(os.getpid(), flush=True); os.execv({COMMAND[0]!r}, "
        f"{[*COMMAND, 'exec', '--', sys.executable, '-c', code, '--at', '-x']!r})"
    )
    said = login.execute([sys.executable, "-c", script], env={"MINE": "kept"})
    assert (said.status, said.err) == (0, "")
    pid, told = said.out.splitlines()
    # 0, 1, 2 and the listing's own
    assert json.loads(told) == [int(pid), ["--at", "-x"], "kept", "/", False, 4]


def test_closed_ends_stay_closed(login: Login, name: str) -> None:
    """Whoever runs us without stdin, stdout and stderr has a door, and they are closed in CMD."""
    inner = f"exec 9</etc/hostname; echo 9 >/srv/{name}; test ! -e /proc/self/fd/0"
    outer = shlex.join([*COMMAND, "exec", "--", "sh", "-c", inner])
    said = login.execute(["sh", "-c", f"{outer} <&- >&- 2>&-"])
    assert said == (0, "", "")
    assert login.must("stat", name, "--json").objects()[0]["assigned"] is True


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", -15)])
def test_the_status_is_cmds_own(login: Login, script: str, status: int) -> None:
    """An exit, or the signal itself."""
    assert through(login, "sh", "-c", script).status == status


def test_what_cannot_be_run_is_said(login: Login, short_tmp: Path) -> None:
    """As a shell would have it."""
    said = through(login, "/no/such/command")
    assert (said.status, said.out) == (127, "")
    assert said.err == (
        "pagsrv: /no/such/command cannot be run: there is no such command; give it after --\n"
    )
    (short_tmp / "text").write_text("text")
    said = through(login, str(short_tmp / "text"))
    assert (said.status, said.err.count("\n")) == (126, 1)


def test_what_is_wrong_is_said_before(login: Login, short_tmp: Path) -> None:
    """Each with its status and one sentence; CMD has not run."""
    mark = short_tmp / "ran"
    command = ("touch", str(mark))
    for words, status in (
        (("--at", "/"), 2), (("--at", "srv"), 2), (("--at", "/a/../b"), 2),
        (("--scope", "mine"), 2), (("--scope", "user", "--preload"), 2),
        (("--dir", str(short_tmp)), 0),
    ):  # fmt: skip
        said = login("exec", *words, "--", *command, env={"PAGSRV_DIR": str(short_tmp)})
        assert said.status == (status or 6), words
        assert (said.out, said.err.count("\n")) == ("", 1), words
    assert not mark.exists()


def test_a_second_door_is_refused(login: Login) -> None:
    """Linux has room for one, and the sentence says what to do."""
    said = through(login, *COMMAND, "exec", "--", "true")
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("pagsrv: somebody listens to this process already, and Linux has ")
    assert "run CMD as it is" in said.err


def test_a_part_that_is_not_built_is_said(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    """With the command that builds it."""
    monkeypatch.setattr(parts, "_prefixes", lambda: [short_tmp])
    with pytest.raises(parts.NotBuilt, match=r"make -C contrib/c install PREFIX="):
        seccomp.words(["true"], "/srv", None, None)
    assert all(part in preload.missing() for part in (preload.LIBRARY, "pagsrv's sources"))
    told = [finding for finding in doctor._all(str(short_tmp)) if finding.check == "doors"]
    assert [(one.found, "pagsrv-exec is not" in one.do) for one in told] == [
        ("no `pagsrv exec`", True)
    ]


def test_what_the_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    """Kernel, seccomp and Yama, each as the machine tells it; root is let by Yama."""
    assert seccomp.missing() == ""
    told = short_tmp / "told"
    told.write_text("2\n")
    monkeypatch.setattr(seccomp, "_YAMA", str(told))
    assert ("ptrace_scope" in seccomp.missing()) == (os.geteuid() != 0)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "ptrace_scope" in seccomp.missing()
    told.write_text("1\n")
    assert seccomp.missing() == ""
    monkeypatch.setattr(seccomp, "_ACTIONS", str(told))
    assert "user notifications" in seccomp.missing()
    monkeypatch.setattr(seccomp, "_KERNEL", (99, 0))
    assert "it takes Linux 99.0" in seccomp.missing()


def test_a_supervisor_that_may_not_look_is_refused(
    login: Login, run_as: RunAs, other_uid: int, built: Path
) -> None:
    """Neither aside nor as a parent: the program may not be read, and so not be traced."""
    closed = built / "closed-exec"
    shutil.copy(parts.program(seccomp.PROGRAM), closed)
    closed.chmod(0o111)
    done = run_as(other_uid, [str(closed), "--", "true"], env=environment(login.directory))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pagsrv: the supervisor may not look at CMD (")
    assert "--preload" in done.stderr


def test_the_terminal_is_cmds(login: Login) -> None:
    """^C reaches CMD and what it started, and not the supervisor, which goes on serving."""
    assert login.actor(interrupted, login.directory) == "caught again\r\n"


def interrupted(directory: str) -> str:
    """What CMD says on a terminal that has sent it ^C."""
    ours, theirs = pty.openpty()
    lines = "trap 'printf caught' INT; echo ready; cat /srv/none 2>/dev/null; read line; "
    lines += "test -d /srv && test ! -e /srv/none && echo ' again'"
    words = [*COMMAND, "exec", "--", "bash", "-c", lines]
    login_tty = (
        "import fcntl, os, sys, termios; os.setsid(); fd = int(sys.argv[1]); "
        "fcntl.ioctl(fd, termios.TIOCSCTTY, 0); [os.dup2(fd, n) for n in range(3)]; "
        "os.execvp(sys.argv[2], sys.argv[2:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", login_tty, str(theirs), *words],
        env=environment(directory), pass_fds=(theirs,),
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while not said.endswith(b"ready\r\n"):
        said += os.read(ours, 1000)
    os.write(ours, b"\x03")
    while b"caught" not in said:
        said += os.read(ours, 1000)
    os.write(ours, b"go\n")
    while not said.endswith(b"again\r\n"):
        said += os.read(ours, 1000)
    process.wait(PATIENCE)
    os.close(ours)
    return (b"caught" + said.rpartition(b" ")[1] + said.rpartition(b" ")[2]).decode()


def test_signals_are_as_they_were(login: Login) -> None:
    """What was ignored or blocked when we began is so in CMD, and nothing else."""
    shown = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status"
    plain = login.execute(["sh", "-c", shown])
    assert typed(login, "sh", shown).out == plain.out
    inner = [*COMMAND, "exec", "--", "sh", "-c", shown]
    ignoring = login.actor(with_usr1_ignored, inner, login.directory)
    ignored = int(ignoring.split("SigIgn:\t")[1].split()[0], 16)
    assert ignored & 1 << (signal.SIGUSR1 - 1)


def with_usr1_ignored(words: list[str], directory: str) -> str:
    """What *words* say when they begin with SIGUSR1 ignored."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        return subprocess.check_output(words, env=environment(directory), text=True)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_directory_goes_with_the_last(login: Login, name: str, short_tmp: Path) -> None:
    """The supervisor ends, and removes what it made, when nobody is left behind the door."""
    runtime = short_tmp / "runtime"
    runtime.mkdir()
    fifo = short_tmp / "fifo"
    os.mkfifo(fifo)
    lines = f"ls /srv >/dev/null; echo x >/srv/{name}; ls {runtime}"
    argv = [*COMMAND, "exec", "--", "sh", "-c", lines]
    said = login.execute(argv, env={"XDG_RUNTIME_DIR": str(runtime)})
    assert said.out.startswith("pagsrv-exec-")
    here = os.open(runtime, os.O_RDONLY)
    try:
        # Each look is a system call; the last process has ended, so this comes to an end.
        while os.listdir(here):
            os.sched_yield()
    finally:
        os.close(here)
    login.must("rm", name)
    shutil.rmtree(runtime)
