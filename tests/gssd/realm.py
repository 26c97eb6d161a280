# SPDX-License-Identifier: MIT
"""A Kerberos realm of its own: a real MIT KDC on loopback, gone when it is left.

    with realm(directory) as kerberos:
        kerberos.add("alice", "secret")
        subprocess.run(["kinit", …], env=kerberos.environment)

The law: nothing of the machine's own Kerberos is read or written, no name is asked of
DNS, and the KDC is our child, which has said that it serves before anybody asks it. It
refuses to know what the tickets are for.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from tests.anybody import bare_environment
from tests.running import SECONDS

NAME = "BOARD.TEST"
HOST = "files.board.test"
SERVICE = f"host@{HOST}"
"""What a client names: a service on a host, as GSS-API writes it."""

TOOLS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")

_PORTS = 10  # tries: between our asking for a free port and the KDC's taking it, others may

# No name of the network is asked for: the host is as it is written, and its realm is ours.
_CLIENT = """\
[libdefaults]
    default_realm = {name}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    qualify_shortname = ""
    udp_preference_limit = 1
    default_ccache_name = FILE:{top}/nobody/%{{uid}}
    default_keytab_name = FILE:{top}/service.keytab
    default_client_keytab_name = FILE:{top}/nobody.keytab
[realms]
    {name} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    .board.test = {name}
"""
_KDC = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {name} = {{
        database_name = {top}/private/principal
        key_stash_file = {top}/private/stash
        acl_file = {top}/private/acl
        max_life = 1h
        supported_enctypes = aes256-cts-hmac-sha1-96:normal
    }}
[logging]
    kdc = STDERR
    admin_server = STDERR
    default = STDERR
"""


class Realm:
    """A realm being served; *environment* makes any uid's programs use it, and it alone."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.pid = 0
        self.keytab = top / "service.keytab"
        self.environment = bare_environment() | {
            "KRB5_CONFIG": str(top / "krb5.conf"),
            "KRB5RCACHEDIR": str(top / "private"),
        }
        self._own = self.environment | {"KRB5_KDC_PROFILE": str(top / "private" / "kdc.conf")}

    def configure(self, port: int) -> None:
        """Write what clients and the KDC read."""
        private = self.top / "private"
        private.mkdir(mode=0o700, exist_ok=True)
        words = {"name": NAME, "top": self.top, "port": port}
        (self.top / "krb5.conf").write_text(_CLIENT.format(**words))
        (self.top / "krb5.conf").chmod(0o644)
        (private / "kdc.conf").write_text(_KDC.format(**words))

    def run(self, argv: Sequence[str]) -> None:
        """Run one of the KDC's own tools; AssertionError with what it says, where it fails."""
        done = subprocess.run(
            argv, env=self._own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv[0]} ended with {done.returncode}:\n{done.stdout}"

    def add(self, principal: str, password: str) -> None:
        """Make a principal that can log in with *password*."""
        self.run(["kadmin.local", "-r", NAME, "addprinc", "-pw", password, principal])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile the KDC takes connections, and answers nobody."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def start(self) -> tuple[subprocess.Popen[str], _Voice]:
        """Start the KDC in the foreground; our child, and what it says."""
        process = subprocess.Popen(
            ["krb5kdc", "-n", "-r", NAME], env=self._own, cwd=self.top,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        return process, _Voice(process)


class _Voice:
    """Reads what the KDC says, to the end, so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._ready, self._told = socket.socketpair()
        self._process = process
        self._thread = Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        told = False
        for line in self._process.stderr or ():
            self.lines.append(line)
            if not told and "commencing operation" in line:
                self._told.send(b"!")
                told = True
        self._told.close()

    def serving(self) -> bool:
        """Whether it came to serve; False once it has ended without."""
        self._ready.settimeout(SECONDS)
        return self._ready.recv(1) == b"!"

    def close(self) -> None:
        """The process has ended: hear the rest."""
        self._thread.join(SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._ready.close()


@contextmanager
def realm(top: Path) -> Iterator[Realm]:
    """A realm served from beneath *top* (a path every uid may enter), with a service's keytab."""
    kerberos = Realm(top)
    kerberos.configure(free_port())
    kerberos.run(["kdb5_util", "create", "-r", NAME, "-s", "-P", "master"])
    service = f"host/{HOST}"
    kerberos.run(["kadmin.local", "-r", NAME, "addprinc", "-randkey", service])
    kerberos.run(["kadmin.local", "-r", NAME, "ktadd", "-k", str(kerberos.keytab), service])
    process, voice = _serve(kerberos)
    kerberos.pid = process.pid
    try:
        yield kerberos
    finally:
        process.kill()
        process.wait(SECONDS)
        voice.close()


def _serve(kerberos: Realm) -> tuple[subprocess.Popen[str], _Voice]:
    heard: list[str] = []
    for _ in range(_PORTS):
        process, voice = kerberos.start()
        if voice.serving():
            return process, voice
        process.kill()
        process.wait(SECONDS)
        voice.close()
        heard = voice.lines
        kerberos.configure(free_port())
    raise AssertionError(f"the KDC does not serve:\n{''.join(heard)}")


def free_port() -> int:
    """A port of loopback that was free for TCP and UDP a moment ago."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        try:
            udp.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
        return port


def missing_tools() -> list[str]:
    """Which of the KDC's tools are not on this machine."""
    places = bare_environment()["PATH"].split(":")
    return [t for t in TOOLS if not any(os.access(f"{p}/{t}", os.X_OK) for p in places)]
