# SPDX-License-Identifier: MIT
"""A real sshd on loopback, with keys, a configuration and a known_hosts made for a test.

The law: whoever connects gets an sshd of its own (`sshd -i`, as inetd starts it), so that
nobody has to guess a port that is free; all of them are gone at the end. It refuses to know
what comes over a connection.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from threading import Thread
from typing import Self

import pytest

from tests.cli.command import SECONDS

_ROOM = Path("/run/sshd")
"""Root's sshd insists on it, for its chroot; Debian makes it when it starts the service."""

_SSHD = """\
HostKey {place}/host
AuthorizedKeysFile {place}/me.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
PrintMotd no
"""

_SSH = """\
IdentityFile {place}/me
IdentitiesOnly yes
IdentityAgent none
User {user}
UserKnownHostsFile {place}/known
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
BatchMode yes
"""


class Shore:
    """An sshd at tcp:127.0.0.1:*port*, and *config*, how ssh gets there as who we are."""

    def __init__(self, place: Path) -> None:
        self._sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
        if self._sshd is None:
            pytest.skip("there is no sshd (openssh-server)")
        try:
            account = pwd.getpwuid(os.geteuid())
        except KeyError:
            pytest.skip("cannot be tried here: sshd lets nobody in who has no account")
        if account.pw_shell.endswith(("/nologin", "/false")):
            pytest.skip(f"cannot be tried here: {account.pw_name} may not log in")
        self._makes_room = os.geteuid() == 0 and not _ROOM.exists()
        if self._makes_room:
            _ROOM.mkdir(mode=0o755)
        for key in ("host", "me"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / key)]
            subprocess.run(make, check=True, timeout=SECONDS)
        self._log = place / "log"
        self._settings = place / "sshd_config"
        self._settings.write_text(_SSHD.format(place=place))
        (place / "known").write_text(f"gate {(place / 'host.pub').read_text()}")
        self.config = _SSH.format(place=place, user=account.pw_name)
        self._children: list[subprocess.Popen[bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = Thread(target=self._accept)
        self._accepting.start()

    @property
    def log(self) -> str:
        """What every sshd has said so far."""
        return self._log.read_text(errors="replace")

    def _accept(self) -> None:
        with self._log.open("wb") as log:
            while True:
                try:
                    sock, _ = self._listener.accept()
                except OSError:
                    return  # close() has shut it down
                with sock:
                    argv = [self._sshd or "", "-i", "-e", "-f", str(self._settings)]
                    self._children.append(
                        subprocess.Popen(argv, stdin=sock, stdout=sock, stderr=log, cwd="/")
                    )

    def close(self) -> None:
        """End it all."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(SECONDS)
        self._listener.close()
        for child in self._children:
            child.kill()
            child.wait(SECONDS)
        if self._makes_room:
            _ROOM.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
