# SPDX-License-Identifier: MIT
"""gssd as a process of its own, ready when it is handed out, gone afterwards.

The law: as for a broker (tests/running.py), whose way of waiting it shares. It refuses to
know who its clients are.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.gssd.realm import Realm
from tests.running import SECONDS, Running, wait_ready

ROOT = Path(__file__).resolve().parent.parent.parent
GSSD = ROOT / "contrib" / "gssd" / "gssd.py"


class Gssd(Running):
    """A gssd that answers at *socket*, for services of *kerberos*."""

    def __init__(
        self, process: subprocess.Popen[bytes], top: Path, log: Path, kerberos: Realm
    ) -> None:
        super().__init__(process, top, log)
        self.socket = str(top / "gssd")
        self._kerberos = kerberos

    def initiator(self, token: str) -> str:
        """Whose credentials made *token*: what the service finds out with its own key."""
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parent / "acceptor.py")],
            env=self._kerberos.environment, cwd=ROOT, input=token, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def running_gssd(
    top: Path,
    kerberos: Realm,
    board: str,
    options: Sequence[str] = (),
    command: Sequence[str] = (sys.executable, str(GSSD)),
) -> Iterator[Gssd]:
    """A gssd that listens beneath *top* and asks the broker in the directory *board*."""
    log = top / "log"
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with heard, log.open("wb") as errors:
        heard.bind(str(top / "notify"))
        process = subprocess.Popen(
            [*command, "--socket", str(top / "gssd"), *options],
            env=kerberos.environment
            | {"PAGSRV_DIR": board, "NOTIFY_SOCKET": str(top / "notify"), "PYTHONPATH": str(ROOT)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
        gssd = Gssd(process, top, log, kerberos)
        try:
            wait_ready(heard, process.pid, gssd)
            yield gssd
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0, gssd.log
            assert "Traceback" not in gssd.log, gssd.log
        finally:
            process.kill()
            process.wait(SECONDS)
