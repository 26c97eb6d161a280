# SPDX-License-Identifier: MIT
"""A broker of its own process, for tests: ready when it is handed out, gone afterwards.

The law: its readiness is what it tells by NOTIFY_SOCKET (sd_notify(3)), and nobody waits
by the clock; at the end it is asked to stop and must do so with status 0. It refuses to
know what is done with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.anybody import bare_environment

SECONDS = 20
"""How long anything may take before the test fails: a deadline, never a pause."""


POSSESSION = ("possession",)
KERNEL = ("peerkeyring", "possession")
ITERATOR = ("iterator",)


class Running:
    """A broker that answers at *dir*; *pid* is its process."""

    def __init__(self, process: subprocess.Popen[bytes], dir: Path, log: Path) -> None:  # noqa: A002
        self.process = process
        self.dir = str(dir)
        self.pid = process.pid
        self._log = log

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return self._log.read_text(errors="replace")

    def descriptors(self) -> int:
        """How many descriptors it holds; only root may ask, since it is not dumpable."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def kill(self) -> None:
        """End it at once, as a crash would; it is gone when this returns."""
        self.process.kill()
        self.process.wait(SECONDS)


@contextmanager
def running_broker(
    tmp: Path,
    *,
    argv: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    use: Sequence[str] | None = POSSESSION,
    config: str = "",
    **popen: Any,  # noqa: ANN401 -- Popen's own
) -> Iterator[Running]:
    """A broker with its directory in *tmp*, a short path; *popen* goes to Popen (user, group …).

    *argv* replaces `python -m pagsrv.daemon`; `--dir` and `--config` are added to it. The file is
    *config*, and the ways to *use*: None for a broker's own, which depend on the machine.
    """
    where, log, notify, file = tmp / "b", tmp / "log", tmp / "notify", tmp / "broker.toml"
    proofs = "" if use is None else f"[proofs]\nuse = {json.dumps(use)}\n"
    file.write_text(f"{config}\n{proofs}")
    words = ["--dir", str(where), "--config", str(file)]
    told = {**(bare_environment() if env is None else env), "NOTIFY_SOCKET": str(notify)}
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with heard, log.open("wb") as errors:
        heard.bind(str(notify))
        os.chmod(notify, 0o666)  # noqa: S103 -- the broker may be another uid's
        process = subprocess.Popen(
            [*(argv or (sys.executable, "-m", "pagsrv.daemon")), *words], env=told,
            cwd=popen.pop("cwd", Path(__file__).parent.parent),
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, **popen,
        )  # fmt: skip
        broker = Running(process, where, log)
        try:
            wait_ready(heard, process.pid, broker)
            yield broker
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(SECONDS) == 0, broker.log
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(SECONDS)
            notify.unlink()


def wait_ready(heard: socket.socket, pid: int, broker: Running) -> None:
    """Return when READY=1 comes; fail if the process ends before that, or SECONDS pass."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(heard, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while ready := dict(poll.poll(SECONDS * 1000)):
            if heard.fileno() in ready and b"READY=1" in heard.recv(4096).split(b"\n"):
                return
            assert pidfd not in ready, f"the broker ended before it was ready:\n{broker.log}"
        raise AssertionError(f"the broker was not ready in {SECONDS} s:\n{broker.log}")
    finally:
        os.close(pidfd)
