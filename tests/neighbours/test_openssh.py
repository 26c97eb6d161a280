# SPDX-License-Identifier: MIT
"""OpenSSH over what is posted: ProxyCommand with ProxyUseFdpass, and without.

The law: a real ssh talks to a real sshd, by the lines that docs/howto/openssh.md shows. It
refuses to know ssh's protocol.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pagsrv.kernel import scm
from tests.cli.command import SECONDS, Said
from tests.neighbours.beside import Beside, page
from tests.neighbours.shore import Shore

pytestmark = pytest.mark.kernel


@pytest.fixture
def shore(short_tmp: Path) -> Iterator[Shore]:
    """An sshd."""
    with Shore(short_tmp) as found:
        yield found


PASSED, MASTER, COPIED = page("openssh.md", "ini")
"""What the page has for ~/.ssh/config, in its order."""


def ssh(
    beside: Beside, shore: Shore, place: Path, name: str, *words: str, config: str = PASSED
) -> Said:
    """`ssh` with *words*, and the page's *config* with its entry called *name*."""
    told = config.replace("fdpass gate", f"fdpass {name}")
    file = place / "ssh_config"
    file.write_text(told.replace("connect gate", f"connect {name}") + shore.config)
    return beside.run("ssh", "-F", str(file), *words, cwd=str(place))


def test_over_a_posted_connection(beside: Beside, shore: Shore, short_tmp: Path, name: str) -> None:
    """It is the very connection that was posted, and its poster is long gone."""
    beside.post(name, "--dial", f"tcp:127.0.0.1:{shore.port}")
    (entry,) = beside.must("pagsrv", "stat", name, "--json").splitlines()
    ours = json.loads(entry)["socket"]["local"].rpartition(":")[2]
    said = ssh(beside, shore, short_tmp, name, "gate", "echo $SSH_CONNECTION")
    assert said == (0, f"127.0.0.1 {ours} 127.0.0.1 {shore.port}\n", "")


def test_one_connection_is_one_conversation(
    beside: Beside, shore: Shore, short_tmp: Path, name: str
) -> None:
    """A second ssh cannot use it; an entry of one open says so."""
    dial = ("--dial", f"tcp:127.0.0.1:{shore.port}")
    beside.post(name, *dial)
    assert ssh(beside, shore, short_tmp, name, "gate", "true").status == 0
    assert ssh(beside, shore, short_tmp, name, "gate", "true").status == 255
    beside.post(f"{name}-once", *dial, "--until", "opens=1")
    once = f"{name}-once"
    assert ssh(beside, shore, short_tmp, once, "gate", "true").status == 0
    again = ssh(beside, shore, short_tmp, once, "gate", "true")
    (shown,) = [text for text in page("openssh.md") if "no entry" in text]
    assert again.err.splitlines()[0].replace(once, "gate") == shown.splitlines()[1]  # pagsrv's own
    assert again.status == 255


def test_a_master_serves_many(beside: Beside, shore: Shore, short_tmp: Path, name: str) -> None:
    """With ControlMaster one posted connection carries every later ssh."""
    beside.post(name, "--dial", f"tcp:127.0.0.1:{shore.port}", "--until", "opens=1")
    config = MASTER.replace("~/.ssh", str(short_tmp))
    for _ in range(3):
        said = ssh(beside, shore, short_tmp, name, "gate", "echo hello", config=config)
        assert said[:2] == (0, "hello\n"), said
    assert ssh(beside, shore, short_tmp, name, "-O", "exit", "gate", config=config).status == 0


def test_bytes_copied(beside: Beside, shore: Shore, short_tmp: Path, name: str) -> None:
    """Without ProxyUseFdpass `pagsrv connect` carries them; fdpass says what is wrong."""
    beside.post(name, "--dial", f"tcp:127.0.0.1:{shore.port}", "--until", "opens=1")
    wrong = COPIED.replace("connect gate", "fdpass gate")
    said = ssh(beside, shore, short_tmp, name, "gate", "true", config=wrong)
    assert said.status == 255
    assert "stdout is no connected Unix socket" in said.err
    said = ssh(beside, shore, short_tmp, name, "gate", "echo hello", config=COPIED)
    assert said[:2] == (0, "hello\n"), said


def test_nothing_is_opened_where_nothing_can_be_passed(beside: Beside, name: str) -> None:
    """Not into a pipe or nothing, nor to a socket nobody is at; the one open is still there."""
    beside.post(name, "--open", "/etc/passwd", "--until", "opens=1")
    for words in (f"pagsrv fdpass {name}", f"pagsrv fdpass {name} >&-"):
        assert beside.run("sh", "-c", words).status == 2
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as alone:
        for end in (tcp, alone):
            process = beside.start("pagsrv", "fdpass", name, stdout=end, stderr=subprocess.PIPE)
            assert process.wait(SECONDS) == 2
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert beside.start("pagsrv", "fdpass", name, stdout=theirs).wait(SECONDS) == 0
        with scm.receive_blocking(ours, stream=True) as packet:
            assert packet.data == b"\0"
            (fd,) = packet.take()
            with fd.to_file() as file:
                assert b"root" in file.read()


def test_what_cannot_be_passed_after_all(beside: Beside, name: str) -> None:
    """A socket with no room that may not be waited for: status 1, and the reason."""
    beside.post(name, "--open", "/etc/passwd")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while theirs.send(bytes(65536)):
                pass
        end = subprocess.PIPE
        process = beside.start("pagsrv", "fdpass", name, stdout=theirs, stderr=end)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.wait(SECONDS) == 1
    assert f"pagsrv: {name} was opened and cannot be passed over stdout: Resource" in said
