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
import logging
import os
import re
import resource
import select
import signal
import socket
import stat
import struct
import time
from pathlib import Path
from typing import NoReturn

import gssapi
from gssapi.raw.misc import GSSError

import pagsrv

SECONDS = 20  # for one client, a KDC that does not answer included
CLIENTS = 64  # at once; further ones wait in the kernel's queue
PER_UID = 8  # of them; further ones are refused
CCACHE_BYTES = 1 << 20
MEMORY_BYTES = 1 << 29  # of address space, for a client's process

_SERVICE = re.compile(rb"([A-Za-z0-9_.-]{1,64}@[A-Za-z0-9_.:-]{1,255})\r?\n")
_KRB5 = gssapi.MechType.kerberos
_log = logging.getLogger("gssd")

Clients = dict[int, tuple[socket.socket, float]]  # by the pidfd; until when (monotonic)


def peer(client: socket.socket) -> tuple[int, int]:
    """The uid and gid of *client*, as it connected (SO_PEERCRED, unix(7))."""
    return struct.unpack("4xII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[:2]


def be_child(client: socket.socket, entry: str, seconds: int) -> NoReturn:
    """Answer *client*, holding nothing of the others', and end: a child never leaves the fork."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(seconds)
        os.closerange(3, client.fileno())
        os.closerange(client.fileno() + 1, 1 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        said = answer(client, entry)
        what = said.decode().strip() if said.startswith(b"ERR") else "served"
        _log.info("uid %d: %s", peer(client)[0], what)
        client.sendall(said)
        status = 0
    except OSError as error:
        _log.info("a client is lost: %s", error)
    except BaseException:  # noqa: BLE001 -- of whatever kind
        _log.exception("a bug of ours")
    finally:
        os._exit(status)


def answer(client: socket.socket, entry: str) -> bytes:
    """The line for *client*: the token it asked for, or why there is none."""
    try:
        asked = service(client)
        ccache = copied(credentials(client, entry), *peer(client))
        return b"OK %s\n" % base64.b64encode(token(ccache, asked))
    except pagsrv.PagsrvError as error:
        why = str(error)
    except GSSError as error:
        reasons = " ".join(error.get_all_statuses(error.min_code, is_maj=False))
        why = f"Kerberos gives no token: {reasons}"
    return b"ERR %s\n" % " ".join(why.split()).encode()


def service(client: socket.socket) -> str:
    """The service *client* asks for, as SERVICE@HOST: one line, and nothing else is read of it."""
    asked = _SERVICE.match(client.makefile("rb").readline(400))
    if asked is None:
        raise pagsrv.PagsrvError("ask with one line, SERVICE@HOST, as in host@files.example.org")
    return asked[1].decode()


def credentials(client: socket.socket, entry: str) -> pagsrv.Fd:
    """What is posted as *entry* in the session of *client*, else in its PAG; now the caller's.

    Never that of its user: the sessions of one uid are what is told apart here.
    """
    with pagsrv.connect(prove=False) as board:
        who = board.whois(client)
        scopes = [fact.value for fact in (who.session, who.pag) if fact.value is not None]
        for scope in scopes:
            with contextlib.suppress(pagsrv.NoEntry):
                return board.open(entry, scope, on_behalf_of=client)
    if scopes:
        raise pagsrv.NoEntry(f"nothing is posted as {entry} in {' or '.join(scopes)}; "
                             "log in to Kerberos there and post the credentials cache")  # fmt: skip
    raise pagsrv.NoSession(f"you are in no login session that could be shown ({who.session.why}), "
                           f"and in no PAG ({who.pag.why})")  # fmt: skip


def copied(posted: pagsrv.Fd, uid: int, gid: int) -> int:
    """A memfd with what *posted*, closed now, holds; this process is *uid* from now on.

    So what a user posted is parsed without root's rights, and the user cannot look in: a change
    of uid makes the process undumpable (prctl(2)). Kerberos would wait for a lock on the file
    that the user may hold, and add the service's ticket to it. pread(2) moves no shared offset.
    """
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if not stat.S_ISREG(os.fstat(posted.fileno()).st_mode):
        raise pagsrv.PagsrvError("what is posted is no regular file, as a credentials cache is")
    ccache, size = os.memfd_create("ccache"), 0
    with posted:
        while chunk := os.pread(posted.fileno(), CCACHE_BYTES, size):
            size += os.write(ccache, chunk)
            if size > CCACHE_BYTES:
                raise pagsrv.PagsrvError(f"what is posted is larger than {CCACHE_BYTES} bytes")
    return ccache


def token(ccache: int, asked: str) -> bytes:
    """The first token of a context with the service *asked*, by the credentials in *ccache*.

    The store says where from: KRB5CCNAME belongs to the whole process. Without a keytab
    in it Kerberos would log in from the client keytab of the uid, for any session.
    """
    store: dict[bytes | str, bytes | str] = {"ccache": f"FILE:/proc/self/fd/{ccache}"}
    store["client_keytab"] = "MEMORY:none"
    held = gssapi.Credentials(usage="initiate", mechs=[_KRB5], store=store)
    name = gssapi.Name(asked, gssapi.NameType.hostbased_service)
    # Nobody will hear a second token, so none is asked for: no mutual authentication.
    flags = int(gssapi.RequirementFlag.replay_detection)
    context = gssapi.SecurityContext(name=name, creds=held, mech=_KRB5, flags=flags)
    made: bytes | None = context.step()
    if not made or not context.complete:
        raise pagsrv.PagsrvError("Kerberos wants more than one token for this service")
    return made


def serve(listener: socket.socket, ending: list[int], entry: str, seconds: int) -> None:
    """Give who connects a process each, until something is in *ending*; wait for none of them."""
    clients: Clients = {}
    while not ending:
        door = [listener.fileno()] if len(clients) < CLIENTS else []
        ready, _, _ = select.select([*door, *clients], [], [], 1)
        for pidfd in clients.keys() & ready:
            sock, end = clients.pop(pidfd)
            failed = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)
            late = f"it took longer than {seconds} s" if time.monotonic() >= end else "it failed"
            refuse(sock, late if failed and failed.si_status else "")
        if listener.fileno() in ready:
            with contextlib.suppress(OSError):  # it has left again
                admit(listener.accept()[0], clients, entry, seconds)
        for pidfd, (_, end) in clients.items():
            if time.monotonic() > end + 1:  # its alarm did not: its uid may have stopped it
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    for pidfd, (sock, _) in clients.items():
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        refuse(sock, "this door is closed")


def admit(sock: socket.socket, clients: Clients, entry: str, seconds: int) -> None:
    """Give *sock* a process, and its place among the *clients*."""
    uid, end, pid, why = peer(sock)[0], time.monotonic() + seconds, -1, ""
    if sum(peer(other)[0] == uid for other, _ in clients.values()) >= PER_UID:
        why = f"uid {uid} has {PER_UID} requests under way already"
    else:
        try:
            pid = os.fork()
        except OSError as error:
            why = f"there is no room for another process: {error.strerror}"
    if pid == 0:
        be_child(sock, entry, seconds)
    if why:
        refuse(sock, why)
    else:
        clients[os.pidfd_open(pid)] = sock, end


def refuse(sock: socket.socket, why: str) -> None:
    """Say *why*, if anything, to who listens at *sock*, and close it."""
    if why:
        _log.info("uid %d: ERR %s", peer(sock)[0], why)
        with contextlib.suppress(OSError):
            sock.send(f"ERR {why}\n".encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    sock.close()


def main() -> None:
    """Serve in the foreground, until SIGTERM or SIGINT."""
    logging.basicConfig(format="gssd: %(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(prog="pagsrv-gssd", description=str(__doc__).split("\n")[0])
    parser.add_argument("--socket", default="/run/pagsrv-gssd", help="where to listen")
    parser.add_argument("--entry", default="krb5cc", help="the name credentials are posted as")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for one client, at most")
    told = parser.parse_args()
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ending.append(number))
    if (old := Path(told.socket)).is_socket():
        old.unlink()
    with socket.create_server(told.socket, family=socket.AF_UNIX, backlog=128) as listener:
        os.chmod(told.socket, 0o666)  # noqa: S103 -- whoever asks, by the broker's word
        listener.setblocking(False)
        if where := os.environ.get("NOTIFY_SOCKET"):  # sd_notify(3)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.sendto(b"READY=1", "\0" + where[1:] if where[0] == "@" else where)
        serve(listener, ending, told.entry, told.seconds)
        os.unlink(told.socket)


if __name__ == "__main__":
    main()
