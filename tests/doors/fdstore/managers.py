# SPDX-License-Identifier: MIT
"""Service managers with a store of descriptors: the real one, and a plain receiver.

The real one is `systemd --user` of any uid in process and mount namespaces of its own, without
D-Bus, in control groups of its own. The law: what is handed out is ready, and everything it
started and made is gone afterwards. It refuses to know what is stored.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pagsrv.kernel import scm
from pagsrv.kernel.fd import Fd
from tests.anybody import Anybody, bare_environment, in_place
from tests.running import SECONDS, wait_ready

SYSTEMD = "/usr/lib/systemd/systemd"

_GROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")
"""Where a hierarchy's root may be (cgroups(7)), that systemd uses: of v2, or of both versions."""

_UNSHARE = (
    "unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "sh", "-c",
)  # fmt: skip
_SHELL = """
for group in {groups}; do echo 0 >$group/cgroup.procs || exit 1; done
mount -t tmpfs none /run && mkdir -p /run/systemd/system || exit 1
own='setpriv --reuid={uid} --regid={uid} --clear-groups'
$own {systemd} --user --unit=nothing.target </dev/null >>{log} 2>&1 &
manager=$!
while read -r line; do ( eval "$own $line" ) 2>&1; status=$?; echo; echo "status $status"; done
"""
_SERVICE = """
[Unit]
DefaultDependencies=no
[Service]
Type=notify
NotifyAccess=all
FileDescriptorStoreMax={most}
WorkingDirectory=/
{environment}
ExecStart={python} -m pagsrv fdstore import --scope user -- sh -c '\\
    echo "$$LISTEN_FDNAMES" >>{started}; systemd-notify --ready; exec sleep infinity'
ExecReload={python} -m pagsrv fdstore $WORDS
EnvironmentFile=-{words}
"""


class Log(NamedTuple):
    """What wait_ready() shows if it comes to nothing."""

    path: Path

    @property
    def log(self) -> str:
        """What the manager has said."""
        return self.path.read_text(errors="replace")


class Manager:
    """The real one; keep.service imports as it starts, and exports as it is reloaded."""

    def __init__(self, shell: subprocess.Popen[str], place: Path) -> None:
        self._shell = shell
        self._place = place

    def systemctl(self, *words: str) -> str:
        """Run systemctl, which has to succeed; what it says."""
        return self.run(f"systemctl --user {shlex.join(words)}")

    def run(self, line: str) -> str:
        """Run a command beside the manager, whose process is $manager; it has to succeed."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{line}\n")
        self._shell.stdin.flush()
        said = ""
        while not (line := self._shell.stdout.readline()).startswith("status "):
            assert line, "the shell has ended"
            said += line
        assert line == "status 0\n", said + (self._place / "log").read_text()
        return said.strip()

    def export(self, *words: str) -> None:
        """Have the service run `pagsrv fdstore export`."""
        (self._place / "words").write_text(f"WORDS={shlex.join(['export', *words])}\n")
        self.systemctl("reload", "keep.service")

    def stored(self) -> int:
        """How many descriptors the service has in the store."""
        return int(self.systemctl("show", "-P", "NFileDescriptorStore", "keep.service"))

    def restart(self) -> list[str]:
        """Start the service anew; the names that it was given."""
        self.systemctl("restart", "keep.service")
        return sorted((self._place / "started").read_text().splitlines()[-1].split(":"))


class Whose(NamedTuple):
    """The uid of a manager, and how Python runs as it."""

    uid: int
    way: Anybody


ROOTS = Whose(0, in_place())


def _place(place: Path, env: Mapping[str, str], most: int, whose: Whose) -> Path:
    """Make *place* with the units of a manager, and a runtime directory for it."""
    (place / "rt").mkdir(parents=True, mode=0o700)
    (place / "units").mkdir()
    (place / "units" / "nothing.target").write_text("[Unit]\nDefaultDependencies=no\n")
    told = "\n".join(
        f'Environment="{name}={value}"' for name, value in (whose.way.env | env).items()
    )
    (place / "units" / "keep.service").write_text(_SERVICE.format(
        most=most, environment=told, python=whose.way.argv[0], started=place / "started",
        words=place / "words",
    ))  # fmt: skip
    for each in (place, *place.rglob("*")):
        os.chown(each, whose.uid, whose.uid)
    return place


def _check() -> None:
    """Skip where no manager can be run, with the reason."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a service manager namespaces of its own")
    if not os.path.exists(SYSTEMD) or shutil.which("unshare") is None:
        pytest.skip("systemd is not installed: contrib/setup.sh names the packages")
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"cannot be tried here: no namespaces are to be had: {tried.stderr.strip()}")


@contextmanager
def real_manager(
    tmp: Path, env: Mapping[str, str], most: int = 700, whose: Whose = ROOTS
) -> Iterator[Manager]:
    """A manager of services, and keep.service, started, with *env* and room for *most*."""
    _check()
    place = _place(tmp / "manager", env, most, whose)
    log, notify = place / "log", place / "notify"
    mine = bare_environment() | {
        "XDG_RUNTIME_DIR": str(place / "rt"), "SYSTEMD_UNIT_PATH": str(place / "units"),
        "SYSTEMD_LOG_TARGET": "console", "NOTIFY_SOCKET": str(notify), "HOME": str(place),
    }  # fmt: skip
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard,
        _own_groups(tmp.name, whose.uid) as groups,
    ):
        script = _SHELL.format(
            systemd=SYSTEMD, log=shlex.quote(str(log)), groups=" ".join(groups), uid=whose.uid
        )
        heard.bind(str(notify))
        os.chmod(notify, 0o666)  # noqa: S103 -- the manager may be another uid's
        log.touch()
        shell = subprocess.Popen(
            [*_UNSHARE, script], env=mine, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            wait_ready(heard, shell.pid, Log(log))  # type: ignore[arg-type]  # it has a log, too
            manager = Manager(shell, place)
            manager.systemctl("start", "keep.service")
            yield manager
        finally:
            # Its shell is the first process there: it ends once everything has ended with it.
            try:
                shell.communicate("", timeout=SECONDS)
            finally:
                shell.kill()
                shell.wait()


@contextmanager
def _own_groups(name: str, uid: int) -> Iterator[list[str]]:
    """A control group *name* of *uid*'s in each hierarchy, removed with what was made in it."""
    roots = [root for root in _GROUPS if os.path.exists(f"{root}/cgroup.procs")]
    groups = [f"{root}/{name}" for root in roots]
    try:
        try:
            for group in groups:
                os.mkdir(group)
                for each in (group, *(f"{group}/{file}" for file in os.listdir(group))):
                    os.chown(each, uid, uid)
        except OSError as error:
            pytest.skip(f"cannot be tried here: no control group is to be had: {error.strerror}")
        yield groups
    finally:
        for group in groups:
            for place, _, _ in os.walk(group, topdown=False):
                os.rmdir(place)


class Keeper:
    """A receiver that follows sd_notify(3): FDSTORE, FDSTOREREMOVE and BARRIER."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.kept: list[tuple[str, Fd]] = []
        self.said: list[str] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.path)
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def names(self) -> list[str]:
        """What it has, by name."""
        return sorted(name for name, _ in self.kept)

    def close(self) -> None:
        """End it, and close what it has."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"END=1", self.path)
        self._thread.join(SECONDS)
        self._sock.close()
        for _, fd in self.kept:
            fd.close()

    def _work(self) -> None:
        while True:
            with scm.receive_blocking(self._sock, 4096) as packet:
                told = dict(line.split("=", 1) for line in packet.data.decode().split("\n"))
                if "END" in told:
                    return
                if "BARRIER" in told:
                    continue
                self.said.append(packet.data.decode())
                name = told.get("FDNAME", "stored")
                if "FDSTOREREMOVE" in told:
                    for one in [one for one in self.kept if one[0] == name]:
                        one[1].close()
                        self.kept.remove(one)
                if "FDSTORE" in told:
                    self.kept += [(name, fd) for fd in packet.take()]


@contextmanager
def keeper(tmp: Path) -> Iterator[Keeper]:
    """A receiver at a socket in *tmp*."""
    found = Keeper(tmp / "keeper")
    try:
        yield found
    finally:
        found.close()
