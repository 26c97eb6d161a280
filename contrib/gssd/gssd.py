# SPDX-License-Identifier: MIT
r"""gssd: a GSSAPI token for whoever asks, made with the credentials of their login session.

    printf 'host@files.example.org\n' | socat -t 20 - UNIX-CONNECT:/run/pagsrv-gssd

The law: whose credentials they are is what the broker knows of the socket, and nothing
that came over it. Each client has a process of its own, which becomes the client's uid
before it looks into what was posted, and ends by its deadline. It refuses to know what for.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import re
import resource
import select
import signal
import socket
import stat
import struct
import sys
import time
import traceback
from typing import NamedTuple, NoReturn

import gssapi
from gssapi.raw.misc import GSSError

import pagsrv

SECONDS = 20  # for one client, a KDC that does not answer included
CLIENTS = 64  # at once; further ones wait in the kernel's queue
PER_UID = 8  # of them; further ones are refused
LINE_BYTES = 400
CCACHE_BYTES = 1 << 20
MEMORY_BYTES = 1 << 29  # of address space, for a client's process

_SERVICE = re.compile(rb"([A-Za-z0-9_.-]{1,64}@[A-Za-z0-9_.:-]{1,255})\r?\n")
_KRB5 = gssapi.MechType.kerberos
_UCRED = struct.Struct("iII")  # struct ucred, unix(7)
_ENDING = (signal.SIGTERM, signal.SIGINT)


class Sorry(Exception):
    """No token, and the sentence that says why."""


# ---- one client, in a process of its own ---------------------------------------------------------


def answer(client: socket.socket, entry: str) -> bytes:
    """The line for *client*: the token it asked for, or why there is none."""
    try:
        asked = service(client)
        with credentials(client, entry) as posted:
            become_peer(client)
            ccache = copied(posted)
        return b"OK %s\n" % base64.b64encode(token(ccache, asked))
    except (Sorry, pagsrv.PagsrvError) as error:
        return b"ERR %s\n" % " ".join(str(error).split()).encode()
    except GSSError as error:
        reasons = " ".join(error.get_all_statuses(error.min_code, is_maj=False)).split()
        return b"ERR Kerberos gives no token: %s\n" % " ".join(reasons).encode()


def credentials(client: socket.socket, entry: str) -> pagsrv.Fd:
    """The entry of the session of *client*, else of its PAG; now the caller's.

    Never that of its user: the sessions of one uid are what is told apart here.
    """
    with pagsrv.connect(prove=False) as board:
        who = board.whois(client)
        scopes = [fact.value for fact in (who.session, who.pag) if fact.value is not None]
        for scope in scopes:
            with contextlib.suppress(pagsrv.NoEntry):
                return board.open(entry, scope, on_behalf_of=client)
    if scopes:
        raise Sorry(f"nothing is posted as {entry} in {' or '.join(scopes)}; "
                    "log in to Kerberos there and post the credentials cache")  # fmt: skip
    raise Sorry(f"you are in no login session that could be shown ({who.session.why}), "
                f"and in no PAG ({who.pag.why})")  # fmt: skip


def peer(client: socket.socket) -> tuple[int, int]:
    """The uid and gid of *client*, as it connected (SO_PEERCRED, unix(7))."""
    told = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return _UCRED.unpack(told)[1:]


def become_peer(client: socket.socket) -> None:
    """Be the client's uid for good, where we are root: what it posted is parsed without rights.

    A change of uid makes the process undumpable too (prctl(2)), so the client cannot look in.
    """
    uid, gid = peer(client)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def copied(posted: pagsrv.Fd) -> int:
    """The number of a memfd with what *posted* holds, for this process to end with.

    Kerberos would wait for a lock that whoever posted it may hold, and add the service's
    ticket to the file even if it was posted for reading. pread(2) moves no shared offset.
    """
    if not stat.S_ISREG(os.fstat(posted.fileno()).st_mode):
        raise Sorry("what is posted is no regular file, as a credentials cache is")
    ccache = os.memfd_create("ccache")
    size = 0
    while chunk := os.pread(posted.fileno(), CCACHE_BYTES, size):
        size += os.write(ccache, chunk)
        if size > CCACHE_BYTES:
            raise Sorry(f"what is posted is larger than {CCACHE_BYTES} bytes")
    return ccache


def service(client: socket.socket) -> str:
    """The service *client* asks for, as SERVICE@HOST: one line, and nothing else is read of it."""
    line = b""
    while b"\n" not in line and len(line) <= LINE_BYTES:
        more = client.recv(LINE_BYTES)
        if not more:
            break
        line += more
    asked = _SERVICE.match(line)
    if asked is None:
        raise Sorry("ask with one line, SERVICE@HOST, as in host@files.example.org")
    return asked[1].decode()


def token(ccache: int, asked: str) -> bytes:
    """The first token of a context with the service *asked*, by the credentials in *ccache*.

    The store says where from: KRB5CCNAME belongs to the whole process. Without a keytab
    in it Kerberos would log in from the client keytab of the uid, for any session.
    """
    store: dict[bytes | str, bytes | str] = {
        "ccache": f"FILE:/proc/self/fd/{ccache}",
        "client_keytab": "MEMORY:none",
    }
    held = gssapi.Credentials(usage="initiate", mechs=[_KRB5], store=store)
    name = gssapi.Name(asked, gssapi.NameType.hostbased_service)
    # Nobody will hear a second token, so none is asked for: no mutual authentication.
    flags = int(gssapi.RequirementFlag.replay_detection)
    context = gssapi.SecurityContext(name=name, creds=held, mech=_KRB5, flags=flags)
    made: bytes | None = context.step()
    if not made or not context.complete:
        raise Sorry("Kerberos wants more than one token for this service")
    return made


# ---- the door ------------------------------------------------------------------------------------


class Client(NamedTuple):
    """A client being served, by the process *pid*, until *end* at most (monotonic seconds)."""

    sock: socket.socket
    uid: int
    pid: int
    end: float


class Door:
    """Lets clients in, each to a process of its own; it reads nothing of theirs."""

    def __init__(self, listener: socket.socket, entry: str, seconds: int) -> None:
        self._listener = listener
        self._entry = entry
        self._seconds = seconds
        self._clients: dict[int, Client] = {}

    def serve(self) -> NoReturn:
        """Until a signal."""
        while True:
            poll = select.poll()
            for pidfd in self._clients:
                poll.register(pidfd, select.POLLIN)
            if len(self._clients) < CLIENTS:
                poll.register(self._listener, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(self._end_late())]
            for pidfd in self._clients.keys() & ready:
                os.close(pidfd)
                self._finish(self._clients.pop(pidfd))
            if self._listener.fileno() in ready:
                self._admit()

    def _end_late(self) -> float | None:
        """End whom its own alarm did not; the milliseconds until that is to be looked at again.

        A process has its client's uid in the end, and whoever has that may stop it (kill(2)).
        """
        now = time.monotonic()
        for client in self._clients.values():
            if client.end <= now:
                os.kill(client.pid, signal.SIGKILL)
        ends = [client.end for client in self._clients.values() if client.end > now]
        return (min(ends) - now) * 1000 + 1 if ends else None

    def _admit(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # it has left again
        uid, _ = peer(sock)
        if sum(client.uid == uid for client in self._clients.values()) >= PER_UID:
            refuse(sock, f"uid {uid} has {PER_UID} requests under way already")
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # our way to end is not the child's
        try:
            pid = os.fork()
            if pid == 0:
                self._be_child(sock)
        except OSError as error:
            refuse(sock, f"there is no room for another process: {error.strerror}")
        else:
            end = time.monotonic() + self._seconds + 1
            self._clients[os.pidfd_open(pid)] = Client(sock, uid, pid, end)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def _be_child(self, sock: socket.socket) -> NoReturn:
        """Answer *sock*, holding nothing of other clients, and end; never returns."""
        status = 1
        try:
            for number in _ENDING:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            signal.alarm(self._seconds)
            self._listener.close()
            for pidfd, other in self._clients.items():
                os.close(pidfd)
                other.sock.close()
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            said = answer(sock, self._entry)
            say(f"uid {peer(sock)[0]}: {'served' if said.startswith(b'OK') else said.decode()}")
            sock.sendall(said)
            status = 0
        except OSError as error:
            say(f"a client is lost: {error}")
        except BaseException:  # noqa: BLE001 -- a child never leaves the fork
            traceback.print_exc()
        finally:
            os._exit(status)

    def _finish(self, client: Client) -> None:
        _, status = os.waitpid(client.pid, 0)
        if status == 0:
            client.sock.close()
        else:
            late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
            late = late or time.monotonic() >= client.end
            refuse(client.sock, f"it took longer than {self._seconds} s" if late else "it failed")

    def close(self) -> None:
        """End what is under way, and wait for none of it: a posted file may hold its reader."""
        for client in self._clients.values():
            os.kill(client.pid, signal.SIGKILL)
            refuse(client.sock, "this door is closed")


def refuse(sock: socket.socket, why: str) -> None:
    """Say *why* if the client listens, and close *sock*."""
    with contextlib.suppress(OSError):
        sock.send(f"ERR {why}\n".encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    sock.close()


def say(what: str) -> None:
    """One line for the log, which is stderr."""
    print(f"gssd: {what.strip()}", file=sys.stderr, flush=True)


def notify(what: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3))."""
    if where := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(what.encode(), "\0" + where[1:] if where[0] == "@" else where)


def main() -> int:
    """Serve in the foreground, until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="pagsrv-gssd", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--socket", default="/run/pagsrv-gssd", help="where to listen")
    parser.add_argument("--entry", default="krb5cc", help="the name credentials are posted as")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for one client, at most")
    told = parser.parse_args()
    for number in _ENDING:
        signal.signal(number, lambda *_: sys.exit(0))
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(told.socket).st_mode):
            os.unlink(told.socket)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(told.socket)
        os.chmod(told.socket, 0o666)  # noqa: S103 -- whoever asks, by the broker's word
        listener.listen(128)
        listener.setblocking(False)
        door = Door(listener, told.entry, told.seconds)
        try:
            notify("READY=1")
            door.serve()
        finally:
            door.close()
            os.unlink(told.socket)


if __name__ == "__main__":
    sys.exit(main())
