# SPDX-License-Identifier: MIT
"""What a user does in a login session: log in to Kerberos, post the cache, ask for a token.

The law: these run in an actor, with its uid, its session keyring and its groups, and say
to gssd nothing but the service's name. It refuses to know how gssd finds out the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pagsrv
from tests.actors import Actor, held
from tests.gssd.realm import NAME, SERVICE
from tests.running import SECONDS

ALICE = "alice"
ADMIN = "alice/admin"
PASSWORD = "a password"  # noqa: S105 -- of a realm that lives for one test
F_OFD_SETLK = 37  # asm-generic/fcntl.h; the fcntl module has no name for it before 3.12

Ask = Callable[[Actor, str], str]
"""Ask as one kind of client, in the actor, at this socket: the whole answer."""


def full(principal: str) -> str:
    """The principal with its realm, as a service sees it."""
    return f"{principal}@{NAME}"


def kinit(environment: Mapping[str, str], principal: str, folder: str) -> int:
    """Log in; the cache, open for reading and without a name any more, now the caller's."""
    path = f"{folder}/ccache-{os.getpid()}"
    subprocess.run(
        ["kinit", "-c", f"FILE:{path}", principal], env=environment, input=f"{PASSWORD}\n",
        stdout=subprocess.DEVNULL, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip
    cache = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.unlink(path)
    return cache


def log_in(
    environment: Mapping[str, str], principal: str, folder: str, board: str, scope: str = "session"
) -> None:
    """Log in as *principal*, and post the cache in *scope* for whoever is in it."""
    cache = kinit(environment, principal, folder)
    post(board, cache, scope)
    os.close(cache)


def log_in_and_hold(
    environment: Mapping[str, str], principal: str, folder: str, board: str
) -> bytes:
    """As log_in(), and keep the cache: moved into, and its file locked; what is in it."""
    cache = kinit(environment, principal, folder)
    post(board, cache, "session")
    content = os.pread(cache, 1 << 20, 0)
    os.lseek(cache, 7, os.SEEK_SET)
    lock = os.open(f"/proc/self/fd/{cache}", os.O_RDWR | os.O_CLOEXEC)
    fcntl.fcntl(lock, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    held["cache"], held["lock"] = cache, lock
    return content


def look_at_held() -> tuple[int, bytes]:
    """Where log_in_and_hold's descriptor stands, and what the file holds."""
    return os.lseek(held["cache"], 0, os.SEEK_CUR), os.pread(held["cache"], 1 << 20, 0)


def post(board: str, fd: int, scope: str) -> None:
    """Post *fd* as the credentials cache of *scope*."""
    with pagsrv.connect(board) as connection:
        connection.post("krb5cc", fd, scope=scope)


def post_bytes(board: str, content: bytes, size: int = 0) -> None:
    """Post a file with *content*, and zeros up to *size*, as the session's credentials cache."""
    file = os.memfd_create("no-ccache")
    os.ftruncate(file, size)
    os.pwrite(file, content, 0)
    post(board, file, "session")
    os.close(file)


def post_pipe(board: str) -> None:
    """Post the reading end of a pipe as the session's credentials cache."""
    reading, writing = os.pipe()
    post(board, reading, "session")
    os.close(reading)
    held["pipe"] = writing


def run(argv: Sequence[str], said: str) -> tuple[int, str, str]:
    """Run *argv* with *said* as its input: status, output and complaints."""
    done = subprocess.run(
        argv, input=said, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.returncode, done.stdout, done.stderr


def say(gssd: str, said: bytes) -> str:
    """Say exactly *said* to gssd and no more; what it answers."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(SECONDS)
        sock.connect(gssd)
        with contextlib.suppress(ConnectionError):  # it need not hear us out
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
        return heard(sock)


def heard(sock: socket.socket) -> str:
    """All that comes until the other end closes."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):  # so it ends where we were not heard out
        while more := sock.recv(1 << 16):
            answer += more
    return answer.decode()


def connect_silently(gssd: str, times: int) -> None:
    """Connect that often, and say nothing."""
    held["silent"] = [socket.socket(socket.AF_UNIX) for _ in range(times)]
    for sock in held["silent"]:
        sock.settimeout(SECONDS)
        sock.connect(gssd)


def ask_silently(gssd: str) -> None:
    """Ask for a token, and leave the answer for hear()."""
    connect_silently(gssd, 1)
    held["silent"][0].sendall(f"{SERVICE}\n".encode())


def hear() -> list[str]:
    """What was answered on each of the silent connections, all ended with it."""
    answers = [heard(sock) for sock in held["silent"]]
    for sock in held.pop("silent"):
        sock.close()
    return answers


def hang_up() -> list[str]:
    """Say that nothing more will come on the silent connections; what was answered on each."""
    for sock in held["silent"]:
        sock.shutdown(socket.SHUT_WR)
    return hear()


def by_c(client: str, actor: Actor, gssd: str) -> str:
    """The client in C."""
    status, out, err = actor(run, [client, gssd, SERVICE], "")
    assert (status, bool(out), bool(err)) in [(0, True, False), (1, False, True)], (status, err)
    return f"OK {out}" if status == 0 else err


def by_socat(actor: Actor, gssd: str) -> str:
    """A line of shell."""
    argv = ["socat", "-t", str(SECONDS), "-", f"UNIX-CONNECT:{gssd}"]
    status, out, err = actor(run, argv, f"{SERVICE}\n")
    assert (status, err) == (0, "")
    return out


def both(c_client: str) -> tuple[Ask, Ask]:
    """Both kinds of client."""
    return partial(by_c, c_client), by_socat
