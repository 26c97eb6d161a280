# SPDX-License-Identifier: MIT
"""`pagsrv tui` for real: in tmux, driven by send-keys and read by capture-pane.

The law: the tmux server is the test's own, on a socket of its own, and is gone afterwards. It
refuses to know the dashboard's inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.anybody import bare_environment
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel

_JOIN = (
    "import os, sys; from pagsrv.kernel import keys; keys.join_session(); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)

SECONDS = 20
PAGSRV = str(Path(sys.executable).parent / "pagsrv")


class Tmux:
    """A terminal of 100 by 30 in a new session keyring, and what runs in it."""

    def __init__(self, tmp: Path, *argv: str, **variables: str) -> None:
        self._socket = str(tmp / "tmux")
        env = bare_environment() | {
            "XDG_CONFIG_HOME": str(tmp / "config"), "LANG": "C.UTF-8", "TERM": "xterm-256color",
            **variables,
        }  # fmt: skip
        told = [f"-e{name}={value}" for name, value in env.items()]
        self._run("-f/dev/null", "new-session", "-d", "-x100", "-y30", *told, *argv, env=env)

    def _run(self, *words: str, env: dict[str, str] | None = None) -> str:
        argv = ["tmux", "-u", "-S", self._socket, *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=env, timeout=20)
        return done.stdout

    def press(self, *names: str) -> None:
        """Press keys, by tmux's names."""
        self._run("send-keys", *names)

    def screen(self) -> str:
        """What is on the screen."""
        return self._run("capture-pane", "-p")

    def until(self, *texts: str) -> str:
        """The screen once all of *texts* are on it."""
        deadline = time.monotonic() + SECONDS
        while not all(text in (seen := self.screen()) for text in texts):
            assert time.monotonic() < deadline, f"{texts} did not come\n{seen}"
        return seen

    def close(self) -> None:
        """End it all."""
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False, timeout=20,
                       capture_output=True)  # fmt: skip


@pytest.fixture
def broker(short_tmp: Path) -> Iterator[Running]:
    """A broker of this test."""
    with running_broker(short_tmp) as running:
        yield running


@pytest.fixture
def tmux(short_tmp: Path) -> Iterator[Callable[..., Tmux]]:
    """Starts a command in a terminal, in a new session."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    started: list[Tmux] = []

    def start(*argv: str, **variables: str) -> Tmux:
        started.append(Tmux(short_tmp, sys.executable, "-P", "-c", _JOIN, *argv, **variables))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_the_command_is_a_dashboard(
    broker: Running, tmux: Callable[..., Tmux], short_tmp: Path
) -> None:
    """It shows what is posted, removes, undoes, and leaves the terminal as it was."""
    (short_tmp / "note.txt").write_text("hello\n")
    shell = f"{PAGSRV} post note --open {short_tmp}/note.txt; {PAGSRV} tui; echo LEFT $?; cat"
    at = tmux("sh", "-c", shell, PAGSRV_DIR=broker.dir)
    at.until("live", "Board 1", "isolated", "note", "file")
    at.press("d")
    at.until("Remove", "five seconds")
    at.press("y")
    at.until("Board 0")
    at.press("u")
    at.until("Board 1", "is back")
    at.press("2")
    at.until("posted", "ended", "removed")
    at.press("?")
    at.until("turn the order round")
    at.press("q")
    at.until("Sessions")
    at.press("q")
    assert "Sessions" not in at.until("LEFT 0")


def test_the_console_is_drawn_in_ascii(broker: Running, tmux: Callable[..., Tmux]) -> None:
    """TERM=linux: whatever its font lacks is not sent."""
    shell = f"{PAGSRV} post a --empty; TERM=linux exec {PAGSRV} tui --read-only"
    at = tmux("sh", "-c", shell, PAGSRV_DIR=broker.dir)
    seen = at.until("* live", "read-only", "# ", "isolated")
    assert {one for one in seen if not one.isascii()} == set()


def test_a_broken_settings_file_is_a_notice(
    broker: Running, tmux: Callable[..., Tmux], short_tmp: Path
) -> None:
    """And the dashboard is there; without colours, if they are not wanted."""
    (short_tmp / "config" / "pagsrv").mkdir(parents=True)
    (short_tmp / "config" / "pagsrv" / "tui.toml").write_text("sort = [")
    at = tmux(PAGSRV, "tui", "--dir", broker.dir, NO_COLOR="1")
    at.until("live", "TOML")


def test_without_a_terminal_it_says_so() -> None:
    """One sentence and status 2."""
    done = subprocess.run(
        [PAGSRV, "tui"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=bare_environment(), timeout=20,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a terminal" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """The command runs where Textual is not, and says where it is had."""
    program = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'textual' else real(name, *a);"
        "from pagsrv.cli.main import main; sys.argv = ['pagsrv', 'tui']; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env=bare_environment(), cwd=tmp_path, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "pip install 'pagsrv[tui]'" in done.stderr
    assert os.listdir(tmp_path) == []
