# SPDX-License-Identifier: MIT
"""session --broker: a broker that begins and ends with the session.

The law: it is there before the command and gone after it, whatever ended it. It refuses
to know what is posted there.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from pathlib import Path

import pytest

from pagsrv.kernel.fd import Fd
from pagsrv.kernel.scm import SO_PEERPIDFD
from tests.anybody import Anybody
from tests.cli.command import SECONDS, TYPED, Login, start
from tests.conftest import RunAs, StartAs

pytestmark = pytest.mark.kernel


def test_a_broker_of_its_own(login: Login, short_tmp: Path) -> None:
    """It serves as long, in a private directory that is gone afterwards."""
    short_tmp.chmod(0o700)
    script = (
        f"echo $PAGSRV_DIR; {TYPED} post x --empty; {TYPED} ls; "
        f"{TYPED} whoami --json; stat -c %a $PAGSRV_DIR"
    )
    runtime = {"XDG_RUNTIME_DIR": str(short_tmp)}
    said = login("session", "--broker", "--", "sh", "-c", script, env=runtime)
    directory, entry, whoami, mode = said.out.splitlines()
    assert (said.status, said.err, mode) == (0, "", "700")
    assert os.path.dirname(directory) == str(short_tmp)
    assert directory != login.directory
    assert entry.startswith("session:")
    assert f'"dir":"{directory}"' in whoami
    assert os.listdir(short_tmp) == []


def test_its_own_broker_is_in_no_session_of_it(login: Login) -> None:
    """The broker keeps the ring it was started in, and ^C does not reach it."""
    script = (
        f"{TYPED} doctor --json | grep -o 'process [0-9]*' | tail -1 "
        "| { read word pid; grep -c . /proc/$pid/comm; ps -o sid= -p $pid | tr -d ' '; echo $pid; }"
    )
    said = login("session", "--broker", "--", "sh", "-c", script)
    _, sid, pid = said.out.split()
    assert sid == pid


@pytest.mark.root
def test_a_broker_that_does_not_start_is_6(
    anybody_python: Anybody, other_uid: int, run_as: RunAs, short_tmp: Path
) -> None:
    """Its own last words are in the sentence, and CMD does not run."""
    config = short_tmp / "pagsrv" / "pagsrv.toml"
    config.parent.mkdir()
    config.write_text("nonsense = 1\n")
    argv = [*anybody_python.argv, "-m", "pagsrv", "session", "--broker", "--", "echo", "ran"]
    env = anybody_python.env | {"XDG_CONFIG_HOME": str(short_tmp)}
    done = run_as(other_uid, argv, env=env)
    assert (done.returncode, done.stdout) == (6, "")
    assert "nonsense" in done.stderr


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_before_its_broker_is_ready_leaves_nothing(
    anybody_python: Anybody, other_uid: int, start_as: StartAs, short_tmp: Path,
    number: signal.Signals,
) -> None:  # fmt: skip
    """No broker, no directory; the status tells the signal."""
    config, runtime = short_tmp / "pagsrv" / "pagsrv.toml", short_tmp / "runtime"
    for made in (config.parent, runtime):
        made.mkdir()
        os.chown(made, other_uid, other_uid)
    os.mkfifo(config)
    config.chmod(0o644)
    argv = [*anybody_python.argv, "-m", "pagsrv", "session", "--broker", "--", "echo", "ran"]
    env = anybody_python.env | {"XDG_CONFIG_HOME": str(short_tmp), "XDG_RUNTIME_DIR": str(runtime)}
    it = start_as(other_uid, argv, env=env)
    # Opened when the broker opens it, which then waits for what is written there.
    with config.open("wb"):
        it.send_signal(number)
        out, err = it.communicate(timeout=30)
    assert (it.returncode, out, err) == (128 + number, "", "")
    assert os.listdir(runtime) == []


def test_it_ends_with_a_session_that_is_killed(short_tmp: Path) -> None:
    """SIGKILL gives the session no time to end it: it ends by itself, and lets go of its sockets.

    The command lives on, as the children of a shell do, and holds nothing that would keep it.
    """
    script = "echo $PAGSRV_DIR; exec cat"
    runtime = {"XDG_RUNTIME_DIR": str(short_tmp)}
    words = ("session", "--broker", "--", "sh", "-c", script)
    with start(*words, directory="", env=runtime) as it:
        assert it.stdin is not None
        assert it.stdout is not None
        directory = it.stdout.readline().strip()
        with broker_of(directory) as broker:
            it.kill()
            ended = select.poll()
            ended.register(broker.fileno(), select.POLLIN)
            assert ended.poll(SECONDS * 1000), "the broker lives on"
        assert not os.path.exists(f"{directory}/board")
        it.stdin.write("still here\n")
        it.stdin.close()
        assert it.stdout.read() == "still here\n"


def broker_of(directory: str) -> Fd:
    """A pidfd of the broker that serves at *directory*, the caller's: who listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(f"{directory}/board")
        return Fd(int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4), "little"))


def test_a_runtime_directory_that_will_not_do(login: Login, short_tmp: Path) -> None:
    """One whose path is too long for a socket, or that is not there: /tmp will do."""
    deep = short_tmp / ("x" * 90)
    deep.mkdir()
    for runtime in (deep, short_tmp / "none"):
        said = login("session", "--broker", "--", "sh", "-c", "echo $PAGSRV_DIR",
                     env={"XDG_RUNTIME_DIR": str(runtime)})  # fmt: skip
        assert (said.status, said.err, said.out[:12]) == (0, "", "/tmp/pagsrv-")
