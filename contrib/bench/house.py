# SPDX-License-Identifier: MIT
"""The processes that are measured: the broker, the floor, s6-fdholderd, D-Bus.

The law: each is started at most once, on first use, with its entries in it,
and every one of them ends with the house, whatever happens.  It refuses to
know how anything is timed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import load
from tools import FAST_REQUIREMENT, HERE, PYTHON, Tools, UnmeasuredError, once

READY_SECONDS = 20.0
STOP_SECONDS = 5.0
S6_CONNECTIONS = 256
"""The most that s6-fdholderd takes (S6_FDHOLDER_MAX of s6/fdholder.h)."""

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""


class House:
    """Everything that runs; a context manager that leaves nothing behind."""

    def __init__(self, directory: Path, tools: Tools) -> None:
        self.directory = directory
        self.tools = tools
        self._stack = ExitStack()
        self._pids: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @once
    def told(self, _: None) -> Path:
        """A cgroup whose processes the kernel tells of sessions (SO_PEERKEYRING), and nobody else.

        Nothing is pinned: the program goes with this process, whatever becomes of it.
        """
        from pagsrv.errors import PagsrvError  # noqa: PLC0415 -- the environment may have none
        from pagsrv.kernel import bpf  # noqa: PLC0415

        try:
            with bpf.root_cgroup() as root:
                path = Path(f"/proc/self/fd/{root.fileno()}").resolve() / f"pagsrv-{os.getpid()}"
            path.mkdir()
            self._stack.callback(leave, path)
            program = self._stack.enter_context(bpf.Program("peerkeyring"))
            cgroup = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._stack.callback(os.close, cgroup)
            self._stack.enter_context(program.attach_cgroup(cgroup))
        except (PagsrvError, OSError) as error:
            msg = f"SO_PEERKEYRING is not to be had: {error}"
            raise UnmeasuredError(msg) from None
        return path

    def untold(self) -> None:
        """UnmeasuredError where the kernel tells everybody of sessions."""
        from pagsrv.kernel import peerkeyring  # noqa: PLC0415 -- as above

        if peerkeyring.answers():
            msg = "SO_PEERKEYRING is installed here; take it down for this (peerkeyring remove)"
            raise UnmeasuredError(msg)

    @once
    def broker(self, entries: int) -> Path:
        """The directory of a pagsrv broker with *entries* entries in the user scope."""
        return self._broker(self.directory / f"pagsrv-{entries}", entries, [])

    @once
    def told_broker(self, entries: int) -> Path:
        """The same of one that the kernel tells of sessions."""
        inside = within(self.told(None), [])
        return self._broker(self.directory / f"told-{entries}", entries, inside)

    def _broker(self, directory: Path, entries: int, inside: list[str]) -> Path:
        if not PYTHON.exists():
            msg = "needs .venv: run sh contrib/setup.sh"
            raise UnmeasuredError(msg)
        # Root's broker would make itself an iterator, and prove by that.
        config = directory.with_suffix(".toml")
        config.write_text('[proofs]\nuse = ["peerkeyring", "possession"]\n')
        command = [*inside, str(PYTHON), "-m", "pagsrv.daemon", "--dir", str(directory)]
        self._run([*command, "--config", str(config)], directory)
        self._await(directory, directory / "board", socket.SOCK_SEQPACKET)
        load.post(directory / "board", entries)
        return directory

    @once
    def floor(self, entries: int) -> Path:
        """The socket of the floor with *entries* entries."""
        path = self.directory / f"floor-{entries}"
        self._run([str(self.tools.program("floor")), str(path), str(entries)], path)
        self._await(path, path, socket.SOCK_SEQPACKET)
        return path

    @once
    def s6(self, entries: int) -> Path:
        """The socket of s6-fdholderd with a rules directory and *entries* descriptors."""
        client = self.tools.program("s6")
        path = self.directory / f"s6-{entries}"
        command = ["s6-fdholder-daemon", "-c", str(S6_CONNECTIONS), "-n", str(entries + 100)]
        self._run([*command, "-t", "0", "-i", str(self._rules()), str(path)], path)
        self._await(path, path, socket.SOCK_STREAM)
        subprocess.run([str(client), "load", str(path), "-n", str(entries)], check=True)
        return path

    def _rules(self) -> Path:
        rules = self.directory / "rules"
        env = rules / "uid" / str(os.geteuid()) / "env"
        env.mkdir(parents=True, exist_ok=True)
        (env.parent / "allow").touch()
        for name, value in (("LIST", "1"), ("STORE_REGEX", "^"), ("RETRIEVE_REGEX", "^")):
            (env / f"S6_FDHOLDER_{name}").write_text(value)
        return rules

    @once
    def bus(self, service: str) -> str:
        """The address of a bus of its own on which *service* (sd-bus, dbus-fast) answers."""
        if service == "sd-bus":
            command = [str(self.tools.program("bus"))]
        else:
            self.tools.program("bus")
            command = [str(self.tools.environment(FAST_REQUIREMENT)), str(HERE / "fast.py")]
        path = self.directory / f"bus-{service}"
        config = self.directory / f"bus-{service}.conf"
        config.write_text(BUS_CONFIG.format(path=path))
        daemon = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"]
        self._run([*daemon, "--nosyslog"], path)
        self._await(path, path, socket.SOCK_STREAM)
        address = f"unix:path={path}"
        answering = self._run([*command, "serve", address], config)
        if answering.stdout is None or answering.stdout.readline() != b"ready\n":
            raise UnmeasuredError(self._words(config))
        return address

    def memory(self, key: Path) -> float:
        """Resident memory of the process named *key*, in bytes."""
        for line in Path(f"/proc/{self._pids[key]}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return float(line.split()[1]) * 1024
        msg = "the process is gone"
        raise UnmeasuredError(msg)

    def _log(self, key: Path) -> Path:
        return self.directory / f"{key.name}.log"

    def _words(self, key: Path) -> str:
        lines = self._log(key).read_text(errors="replace").strip().splitlines()
        return f"{key.name} did not start: {lines[-1] if lines else 'no word from it'}"

    def _run(self, command: list[str], key: Path) -> subprocess.Popen[bytes]:
        """Start *command*, which ends with us even if we are killed (prctl(2), PDEATHSIG)."""
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "TERM", "--", *command]
        with self._log(key).open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        self._stack.callback(stop, process)
        self._pids[key] = process.pid
        return process

    def _await(self, key: Path, path: Path, kind: socket.SocketKind) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with socket.socket(socket.AF_UNIX, kind) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    gone = not Path(f"/proc/{self._pids[key]}/exe").exists()
                    if gone or time.monotonic() > deadline:
                        raise UnmeasuredError(self._words(key)) from None
                else:
                    return
            time.sleep(0.01)


def within(cgroup: Path, command: list[str]) -> list[str]:
    """*command*, to be run in *cgroup*."""
    return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(cgroup), *command]


def leave(cgroup: Path) -> None:
    """Take *cgroup* down, once its processes are gone; they may take a moment to be."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            cgroup.rmdir()
        except OSError:
            time.sleep(0.01)
        else:
            return


def stop(process: subprocess.Popen[bytes]) -> None:
    """End *process*, by force if it does not listen."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
