# SPDX-License-Identifier: MIT
"""Who speaks over a connection, and who may reach into the broker's process.

The law: changes are taken from the process that connected alone, and the broker's
descriptors are nobody else's, though the thief has its uid.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from tests.actors import Actor, held
from tests.anybody import OTHER_UID, Anybody
from tests.conftest import identity
from tests.daemon import members
from tests.daemon.conftest import House
from tests.daemon.waiting import exited
from tests.daemon.wire import SECONDS, Client, call, memory, post, text_of
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel

_SYS_PIDFD_GETFD = 438  # asm-generic/unistd.h
_PR_SET_DUMPABLE = 4  # linux/prctl.h


# ---- who speaks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["seqpacket", "stream"])
def test_child_may_look_and_not_change(house: House, name: str, stream: bool) -> None:  # noqa: FBT001
    """A forked process that inherited the connection: opens, and is Denied every change."""
    with Client(house.dir, stream=stream) as client:
        client.attach("user")
        post(client, name, scope="user")
        (told,) = members.crowd(1, _change_all, client, name)
        assert told == "Denied " * 9
        # The connection is its own still.
        client.do("SetTimeout", name=name, seconds=100)
        client.do("Remove", name=name)


def _change_all(client: Client, name: str) -> str:
    text_of(client.open(name))
    with memory(b"") as fd:
        sent = [fd.fileno()]
        errors = [client.refusal("Post", sent, name=name, fd=0, scope="user", replace=True)]
    calls: dict[str, dict[str, str | int]] = {
        "Post": {},
        "Take": {},
        "Remove": {},
        "Rename": {"to": name + "2"},
        "SetMask": {"mask": "3f3f3f3f"},
        "SetTimeout": {"seconds": 1},
        "Grant": {"to": "user:1"},
        "Ungrant": {"from": "user:1"},
    }
    errors += [client.refusal(method, name=name, **more) for method, more in calls.items()]
    return "".join(f"{error} " for error in errors)


def test_process_given_the_connection(house: House, name: str) -> None:
    """Sent over by SCM_RIGHTS to a process of the same uid: as the child."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Actor() as other, Client(house.dir) as client:
        client.attach("user")
        post(client, name, scope="user")
        other(_keep, theirs.fileno())
        socket.send_fds(ours, [b"x"], [client.sock.fileno()])
        assert other(_use_what_came, name) == ["Denied", "Denied", ""]
        assert client.refusal("Remove", name=name) == ""


def _keep(fd: int) -> None:
    held["pair"] = socket.socket(fileno=os.dup(fd))


def _use_what_came(name: str) -> list[str]:
    _, fds, _, _ = socket.recv_fds(held["pair"], 1, 1)
    client = Client.__new__(Client)
    client.stream = False
    client.sock = socket.socket(fileno=fds[0])
    client.sock.settimeout(SECONDS)
    errors = [client.refusal(method, name=name) for method in ("Remove", "Take")]
    errors.append(client.refusal("Stat", name=name))
    client.sock.close()
    return errors


@pytest.mark.parametrize("first", [True, False], ids=["ours first", "theirs first"])
def test_message_of_two_senders(house: House, name: str, first: bool) -> None:  # noqa: FBT001
    """Half of it by the process that connected, half by its child: nobody's change."""
    with Client(house.dir, stream=True) as client:
        client.attach("user")
        post(client, name, scope="user")
        message = call("Remove", {"name": name}) + b"\0"
        halves = [message[:30], message[30:]]
        if first:
            client.push(halves[0])
        members.crowd(1, _push, client, halves[1] if first else halves[0])
        if not first:
            client.push(halves[1])
        assert client.hear().error == "Denied"
        # Not even the end of it alone.
        client.push(message[:-1])
        members.crowd(1, _push, client, b"\0")
        assert client.hear().error == "Denied"
        assert client.refusal("Remove", name=name) == ""


def _push(client: Client, data: bytes) -> str:
    client.push(data)
    return ""


def test_sender_that_is_gone(house: House, name: str) -> None:
    """A child that sent and ended before the broker looked is not taken for its parent."""
    with Client(house.dir) as client:
        client.attach("user")
        post(client, name, scope="user")
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                client.push(call("Remove", {"name": name}))
                os._exit(0)
            exited(pid)
        assert {client.hear().error for _ in range(20)} == {"Denied"}
        assert client.refusal("Remove", name=name) == ""


# ---- who reaches in ------------------------------------------------------------------------------


@pytest.fixture
def robbed(short_tmp: Path, anybody_python: Anybody) -> Iterator[tuple[Running, Actor]]:
    """A broker of some uid but root's, and a thief of that uid in a session of its own."""
    uid = OTHER_UID if os.geteuid() == 0 else os.geteuid()
    short_tmp.chmod(0o777)
    argv = (*anybody_python.argv, "-m", "pagsrv.daemon")
    with (
        Actor(uid if os.geteuid() == 0 else None) as thief,
        running_broker(
            short_tmp, argv=argv, env=anybody_python.env, cwd="/", **identity(uid)
        ) as broker,
    ):
        yield broker, thief


def _steal(pid: int) -> list[str]:
    """Every way we know to another process's descriptors; those that the kernel let us go."""
    found = []
    with Fd(os.pidfd_open(pid)) as pidfd:
        for number in range(30):
            stolen = libc().syscall(_SYS_PIDFD_GETFD, pidfd.fileno(), number, 0)
            if stolen >= 0:
                os.close(stolen)
                found.append(f"pidfd_getfd {number}")
    with suppress(PermissionError):
        found += [f"/proc/PID/fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
    for path in ("fd/0", "mem", "environ", "maps", "root", "cwd", "exe"):
        try:
            os.close(os.open(f"/proc/{pid}/{path}", os.O_RDONLY))
        except OSError:
            continue
        found.append(path)
    return found


def _plain_child() -> int:
    """A process like the broker that has done nothing for itself."""
    read, write = os.pipe()
    hear, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # the actor is not: it was root once
        os.write(told, b"x")
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    os.close(told)
    os.read(hear, 1)
    os.close(hear)
    held["plain"] = write
    held["plain pid"] = pid
    return pid


def _end_plain_child() -> None:
    os.close(held["plain"])
    exited(held["plain pid"])


def test_broker_is_not_robbed(robbed: tuple[Running, Actor]) -> None:
    """H5: a process of its own uid takes nothing out of it, entries and listeners alike."""
    broker, thief = robbed
    scopes = thief(members.join, broker.dir)
    thief(members.put, "precious", b"precious", scope="user")
    assert any(scope.startswith("session:") for scope in scopes)
    assert thief(_steal, broker.pid) == []
    assert thief(members.do, "Health")["dumpable"] is False
    # The same thief does rob a process that has not seen to it: the test would notice.
    if thief(_yama) == 0:
        assert thief(_steal, thief(_plain_child))
        thief(_end_plain_child)


def _yama() -> int:
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return 0
