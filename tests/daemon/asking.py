# SPDX-License-Identifier: MIT
"""What actors (tests/actors.py) do who ask a broker about others, and those asked about.

The law: an asker has a door at which others connect, and shows the broker what it accepted
there; it keeps both from one function to the next. It refuses to know the right answers.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import NamedTuple

from pagsrv.kernel import keys
from pagsrv.kernel.libc import libc
from tests.actors import held
from tests.daemon.members import mine
from tests.daemon.waiting import exited
from tests.daemon.wire import Parameters, Said, memory, text_of
from tests.peers import Door

NEWPID, NEWUSER = 0x20000000, 0x10000000  # linux/sched.h


class Known(NamedTuple):
    """One fact, as it was told."""

    value: str | None
    evidence: str
    strength: str
    why: str


Answer = dict[str, Known]

# ---- the asker's ---------------------------------------------------------------------------------


def listen(path: str, *, stream: bool = False) -> None:
    """Have a door at *path* from now on, and nobody before it."""
    kind = socket.SOCK_STREAM if stream else socket.SOCK_SEQPACKET
    shut()
    held["door"] = Door(Path(path), kind)
    held["shown"] = []


def shut() -> None:
    """Close the door and whatever came in by it."""
    door = held.pop("door", None)
    if door is not None:
        door.listener.close()
        os.unlink(door.path)
    for sock in held.pop("shown", []):
        sock.close()


def accept() -> int:
    """Let the next one in; its number."""
    shown: list[socket.socket] = held["shown"]
    shown.append(held["door"].accept())
    return len(shown) - 1


def number_of(which: int) -> int:
    """The descriptor of the connection *which*."""
    sock: socket.socket = held["shown"][which]
    return sock.fileno()


def whois(which: int = -1) -> Answer:
    """What the broker knows of the peer of the connection *which*, the last by default."""
    return _answer([number_of(which)], fd=0)


def whois_process(pid: int) -> Answer:
    """What the broker knows of the process *pid*."""
    pidfd = os.pidfd_open(pid)
    try:
        return _answer([pidfd], pidfd=0)
    finally:
        os.close(pidfd)


def whois_child_that_exited() -> str:
    """The refusal for a process that has exited and was reaped."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    pidfd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    try:
        return mine().refusal("Whois", [pidfd], pidfd=0)
    finally:
        os.close(pidfd)


def _answer(fds: list[int], **parameters: object) -> Answer:
    told = mine().do("Whois", fds, **parameters)["facts"]
    return {
        one["fact"]: Known(one["value"], one["evidence"], one["strength"], one["why"])
        for one in told
    }


def flood(times: int) -> int:
    """So many questions in a row, none of the answers read before all are asked; how many came."""
    client, sock = mine(), number_of(-1)
    asked = heard = 0
    while heard < times:
        while asked < times and asked - heard < 30:
            client.ask("Whois", {"fd": 0}, [sock])
            asked += 1
        assert client.hear().fine()["facts"][0]["fact"] == "session"
        heard += 1
    return heard


def _odd(kind: str) -> list[socket.socket]:
    match kind:
        case "datagram":
            return list(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        case "unconnected":
            return [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)]
        case "listening":
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind("")
            listener.listen()
            return [listener]
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return [one, server.accept()[0]]


ODD = ("datagram", "unconnected", "listening", "tcp", "no socket")


def refused_odd(kind: str, method: str, parameter: str, **parameters: object) -> str:
    """Show what is no connected Unix socket; the parameter the broker complains about."""
    socks = [] if kind == "no socket" else _odd(kind)
    with memory(b"x") as fd:
        shown = socks[0].fileno() if socks else fd.fileno()
        answer = mine().talk(method, {parameter: 0, **parameters}, [shown])
    for sock in socks:
        sock.close()
    assert answer.error == "InvalidParameter", answer
    return str(answer.parameters["parameter"])


# ---- on behalf -----------------------------------------------------------------------------------


def for_it(method: str, which: int = -1, **parameters: object) -> Parameters:
    """One call on behalf of the peer of the connection *which*."""
    return mine().do(method, [number_of(which)], on_behalf_of=0, **parameters)


def refusal_for_it(method: str, which: int = -1, **parameters: object) -> str:
    """The same; the refusal's name."""
    try:
        for_it(method, which, **parameters)
    except Said as said:
        return said.error
    return ""


def read_for_it(name: str, which: int = -1, **parameters: object) -> bytes:
    """What the entry's memfd holds, opened on behalf of that peer."""
    call = {"name": name, "on_behalf_of": 0, **parameters}
    answer = mine().talk("Open", call, [number_of(which)])
    if answer.error:
        answer.fine()
    (fd,) = answer.fds
    return text_of(fd)


def post_for_it(
    name: str, text: bytes = b"text", which: int = -1, **parameters: object
) -> Parameters:
    """Post a memfd on behalf of that peer; the entry."""
    with memory(text) as fd:
        entry: Parameters = mine().do(
            "Post", [fd.fileno(), number_of(which)],
            name=name, fd=0, on_behalf_of=1, **parameters,
        )["entry"]  # fmt: skip
    return entry


def list_for_it(which: int = -1, *, names: bool = False, **parameters: object) -> list[str]:
    """The names of the entries listed for that peer."""
    call = {"on_behalf_of": 0, "names": names, **parameters}
    mine().ask("List", call, [number_of(which)], more=True)
    found: list[str] = []
    while True:
        answer = mine().hear()
        told = answer.fine()
        found += told["names"] if names else [one["name"] for one in told["entries"]]
        if not answer.continues:
            return found


# ---- those asked about ---------------------------------------------------------------------------


def connect(path: str, *, stream: bool = False) -> int:
    """Connect to the asker's door, and keep it; the serial of our session keyring."""
    kind = socket.SOCK_STREAM if stream else socket.SOCK_SEQPACKET
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.connect(path)
    held.setdefault("doors", []).append(sock)
    return keys.session_ring()


def new_session() -> int:
    """Join a new session keyring; its serial."""
    return keys.join_session()


def hand_on() -> int:
    """Give the connection to a process in a session of its own; that process."""
    pid = os.fork()
    if pid == 0:
        try:
            keys.join_session()
            held["doors"][-1].send(b"it is mine now")
            signal.pause()
        finally:
            os._exit(1)
    for sock in held.pop("doors"):
        sock.close()
    return pid


def put_down(pid: int) -> None:
    """End that process."""
    os.kill(pid, signal.SIGKILL)
    exited(pid)


def in_user_namespace(path: str) -> bool:
    """Connect from a user namespace of our own; False if there are none here."""
    if libc().unshare(NEWUSER):
        return False
    connect(path)
    return True


def connect_from_the_uids_ring(path: str) -> None:
    """Connect with the uid's own session keyring as ours, as every process of it could."""
    keys.describe(keys.USER_SESSION)
    keys.join_session(f"_uid_ses.{os.getuid()}")
    connect(path)


def revoke() -> None:
    """Revoke our session keyring."""
    keys.revoke(keys.session_ring())


def child_in_pid_namespace(path: str) -> int:
    """Connect from a child in a pid namespace of its own, which stays; its pid for us, or 0."""
    if libc().unshare(NEWPID):
        return 0
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            connect(path)
            os.write(told, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    assert os.read(ready, 1) == b"!"
    os.close(ready)
    return pid


def connect_and_exit(path: str) -> tuple[int, int]:
    """A child in a session of its own connects and is gone, reaped; its pid and its ring."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ring = keys.join_session()
            connect(path)
            os.write(told, str(ring).encode())
        finally:
            os._exit(0)
    os.close(told)
    ring = int(os.read(ready, 100))
    os.close(ready)
    exited(pid)
    return pid, ring


def child_with_pid(pid: int, tries: int = 200) -> bool:
    """A child of ours in a session of its own that has got just that *pid*, and stays.

    proc_sys_kernel(5): the next process gets the number after ns_last_pid, if it is free.
    """
    for _ in range(tries):
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(pid - 1))
        child = os.fork()
        if child == 0:
            try:
                keys.join_session()
                signal.pause()
            finally:
                os._exit(1)
        if child == pid:
            held["stays"] = child
            return True
        put_down(child)
    return False


def end_stay() -> None:
    """End the child that stays."""
    put_down(held.pop("stays"))
