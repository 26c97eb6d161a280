# SPDX-License-Identifier: MIT
"""A terminal: a shell in a session of its own, told one command after the other.

The law: commands come over the shell's own stdin, so that a shell started in it takes the
following ones; a command is over when its mark comes, and nobody waits longer than a
deadline. It refuses to know what is typed.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

SECONDS = 30
"""How long one command may take before the test fails: a deadline, never a pause."""

_JOIN = (
    "import os, sys; from pagsrv.kernel import keys; keys.join_session(); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
_MARK = "__said=$?; printf '\\036%d\\036' $__said; (exit $__said)\n"
_MARKED = re.compile(rb"\x1e(\d+)\x1e")


class Gone(Exception):
    """The shell has ended, or a command takes too long; the text is what was said until then."""


class Terminal:
    """A shell in a new anonymous session; *directory* is where it begins."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self._end, theirs = os.pipe()
        self._said = b""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _JOIN, "bash", "--norc", "--noprofile"],
                stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, cwd=directory, env=env,
                start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(self._end)
            raise
        finally:
            os.close(theirs)

    def type(self, command: str) -> tuple[int, str]:
        """Type *command*: its status, and what was said until it was over."""
        ends = self._process.stdin
        assert ends is not None
        with suppress(BrokenPipeError):
            ends.write(f"{command}\n{_MARK}".encode())
            ends.flush()
        deadline = time.monotonic() + SECONDS
        while (found := _MARKED.search(self._said)) is None:
            if not self._read(deadline):
                raise Gone(self._said.decode(errors="replace"))
        said, self._said = self._said[: found.start()], self._said[found.end() :]
        return int(found[1]), said.decode(errors="replace")

    def _read(self, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return False
        data = os.read(self._end, 65536)
        self._said += data
        return bool(data)

    def close(self) -> None:
        """End the shell as the end of its stdin does, then whatever it has left behind."""
        ends = self._process.stdin
        assert ends is not None
        with suppress(BrokenPipeError):
            ends.close()
        pidfd = os.pidfd_open(self._process.pid)
        try:
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            ended.poll(SECONDS * 1000)
            # It leads their group, whose number is not given away before wait().
            os.killpg(self._process.pid, signal.SIGKILL)
        finally:
            os.close(pidfd)
            self._process.wait()
            os.close(self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
