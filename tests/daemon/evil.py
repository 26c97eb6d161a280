# SPDX-License-Identifier: MIT
"""What peers do that nobody should: bad messages, and a false broker.

Each bad message stands with what has to become of it; the false broker stands between a
victim and the true one.

The law: data and moves; a test brings them to a broker and looks after the innocent. It
refuses to know whether the broker bore it.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct

from pagsrv.kernel.libc import libc
from tests.actors import held
from tests.daemon.wire import SECONDS, Client, Parameters, call

_NEWUSER, _NEWPID = 0x10000000, 0x20000000  # linux/sched.h
_SYS_CLONE3 = 435  # asm-generic/unistd.h
_CLONE_ARGS = struct.Struct("11Q")  # struct clone_args of linux/sched.h, up to cgroup

MESSAGE_BYTES = 65536

_OPEN = "org.pagsrv.Board.Open"


def _raw(parameters: str, method: str = "Open") -> bytes:
    return f'{{"method":"org.pagsrv.Board.{method}","parameters":{parameters}}}'.encode()


HUGE = "9" * 5000

MALFORMED: dict[str, bytes] = {
    "no json": b"hello",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "cut short": b'{"method":"org.pagsrv.Board.Health"',
    "two calls": call("Health") + call("Health"),
    "a NUL": b"\0",
    "NULs": b"\0" * MESSAGE_BYTES,
    "spaces": b" " * 100,
    "not utf-8": b'{"method":"\xff\xfe"}',
    "not utf-8 in a name": b'{"method":"org.pagsrv.Board.Open","parameters":{"name":"\xff"}}',
    "half a surrogate": b'{"method":"org.pagsrv.Board.Open","parameters":{"name":"\\ud800"}}',
    "half a surrogate as method": b'{"method":"\\udfff"}',
    "nan": b'{"method":"org.pagsrv.Board.Wait","parameters":{"name":"x","timeout":NaN}}',
    "deep lists": b'{"method":"a.b","parameters":' + b"[" * 60000,
    "deep objects": b'{"method":"a.b","parameters":' + b'{"a":' * 12000,
    "deep and closed": b'{"method":"org.pagsrv.Board.Open","parameters":{"name":'
    + b"[" * 30000 + b"]" * 30000 + b"}}",
    "huge fd": _raw(f'{{"name":"x","fd":{HUGE}}}', "Post"),
    "huge ring": _raw(f'{{"ring":{HUGE}}}', "Prove"),
    "huge ring below 0": _raw(f'{{"ring":-{HUGE}}}', "Prove"),
    "huge generation": _raw(f'{{"name":"x","expect":{HUGE}}}', "Remove"),
    "large generation": _raw(f'{{"name":"neighbour","expect":{HUGE[:4000]}}}', "Remove"),
    "huge float": _raw(f'{{"name":"x","seconds":{HUGE}.0}}', "SetTimeout"),
    "deep envelope": b'{"method":"a.b","more":' + b"[" * 30000 + b"]" * 30000 + b"}",
}  # fmt: skip
"""Hung up after one error reply at most; what is JSON after all may be just refused."""

REFUSED: dict[str, tuple[bytes, str]] = {
    "no method": (b"{}", "InvalidParameter"),
    "method is a number": (b'{"method":7}', "InvalidParameter"),
    "no interface": (b'{"method":"Open"}', "InterfaceNotFound"),
    "empty method": (b'{"method":""}', "InterfaceNotFound"),
    "another interface": (b'{"method":"org.example.Board.Open"}', "InterfaceNotFound"),
    "unknown method": (b'{"method":"org.pagsrv.Board.Steal"}', "MethodNotFound"),
    "unknown flag": (b'{"method":"org.pagsrv.Board.Health","force":true}', "InvalidParameter"),
    "upgrade": (call("Health", upgrade=True), "InvalidParameter"),
    "unknown field": (call("Open", {"name": "x", "force": True}), "InvalidParameter"),
    "missing field": (call("Open"), "InvalidParameter"),
    "parameters are a list": (_raw("[]"), "InvalidParameter"),
    "name is a number": (call("Open", {"name": 7}), "InvalidParameter"),
    "scope is a list": (call("Open", {"name": "x", "scope": ["user"]}), "InvalidParameter"),
    "scope is unknown": (call("Open", {"name": "x", "scope": "world"}), "InvalidParameter"),
    "scope is huge": (call("Open", {"name": "x", "scope": "user:" + HUGE}), "InvalidParameter"),
    "scope twice": (call("Open", {"name": "user:1/x", "scope": "user:2"}), "InvalidParameter"),
    "fd is a float": (_raw('{"name":"x","fd":0.5}', "Post"), "InvalidParameter"),
    "fd is a word": (_raw('{"name":"x","fd":"0"}', "Post"), "InvalidParameter"),
    "seconds are huge": (_raw('{"name":"neighbour","seconds":1e300}', "SetTimeout"),
                         "InvalidParameter"),
    "seconds are below 0": (call("SetTimeout", {"name": "x", "seconds": -1}), "InvalidParameter"),
    "timeout is below 0": (call("Wait", {"name": "x", "timeout": -1}), "InvalidParameter"),
    "prove unasked": (call("Prove", {"ring": 5}), "NoSession"),
    "prove ring 0": (call("Prove", {"ring": 0}), "NoSession"),
    "prove ring -3": (call("Prove", {"ring": -3}), "NoSession"),
    "prove the largest": (call("Prove", {"ring": 2**63 - 1}), "NoSession"),
    "too many scopes": (call("Attach", {"scopes": ["user"] * 17}), "InvalidParameter"),
    "attach without a reply": (call("Attach", oneway=True), ""),
    "watch without more": (call("Watch"), "ExpectedMore"),
    "list without more": (call("List"), "ExpectedMore"),
    "no names": (call("OpenMany", {"names": []}), "InvalidParameter"),
    "too many names": (call("OpenMany", {"names": ["x"] * 254}), "InvalidParameter"),
    "mask too short": (call("SetMask", {"name": "x", "mask": "3f3f"}), "InvalidParameter"),
    "mask of other letters": (call("SetMask", {"name": "x", "mask": "x" * 24}),
                              "InvalidParameter"),
    "mask too wide": (call("SetMask", {"name": "x", "mask": "ffffffff"}), "InvalidParameter"),
    "interface unknown": (
        call("org.varlink.service.GetInterfaceDescription", {"interface": "../../etc/passwd"}),
        "InterfaceNotFound",
    ),
}  # fmt: skip
"""Refused with that error; the connection lives."""

NAMES: dict[str, str] = {
    "empty": "",
    "dot": ".",
    "dots": "..",
    "slash": "/a",
    "leading slash": "/etc/passwd",
    "NUL": "a\0b",
    "newline": "a\nb",
    "escape": "\x1b[2J",
    "C1 control": "a\x9bb",
    "256 bytes": "a" * 256,
    "256 bytes of two": "é" * 128,
    "a scope": "session:7",
    "a scope in another": "user:1/session:7",
}
"""Names that no entry can have."""

CONDITIONS: dict[str, str] = {
    "unknown": "sunset",
    "empty": "",
    "exec of another's number": "exec=1",
    "uid of no process": "uid=2147483647",
    "orphan": "orphan",
    "ttl of nothing": "ttl",
    "ttl 0": "ttl=0",
    "ttl nan": "ttl=nan",
    "ttl inf": "ttl=inf",
    "ttl of ages": "ttl=1e300",
    "opens 0": "opens=0",
    "opens a half": "opens=0.5",
    "opens below 0": "opens=-1",
    "opens huge": "opens=" + HUGE,
    "hup=1": "hup=1",
    "exit of another's number": "exit=1",
    "exit of no process": "exit=2147483647",
    "hup of a memfd": "hup",
}
"""End conditions that a Post of a memfd is refused for."""

LABELS: dict[str, dict[str, object]] = {
    "too many": {str(number): "x" for number in range(17)},
    "long key": {"k" * 65: "x"},
    "empty key": {"": "x"},
    "long value": {"k": "v" * 257},
    "escape": {"k": "\x1b[2J"},
    "a number": {"k": 7},
}
"""Labels that a Post is refused for."""


def oversized() -> bytes:
    """A right call, one byte longer than a message may be."""
    bare = json.dumps({"method": _OPEN, "parameters": {"name": ""}})
    name = "x" * (MESSAGE_BYTES + 1 - len(bare))
    return json.dumps({"method": _OPEN, "parameters": {"name": name}}).encode()


# ---- the false broker, in an actor ---------------------------------------------------------------


def listen(dir: str) -> None:  # noqa: A002
    """Listen at *dir* as if we were the broker there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(f"{dir}/board")
    sock.listen()
    sock.settimeout(SECONDS)
    held["listener"] = sock


def connect(dir: str) -> None:  # noqa: A002
    """Connect to the true broker."""
    held["true"] = Client(dir)


def accept() -> None:
    """Take the victim's connection."""
    held["victim"], _ = held["listener"].accept()
    held["victim"].settimeout(SECONDS)


def pass_on() -> str:
    """The victim's next call to the true broker, and its answer back; the answer's error."""
    true: Client = held["true"]
    true.push(held["victim"].recv(1 << 17))
    raw = true.sock.recv(1 << 17)
    held["victim"].send(raw)
    error: str = json.loads(raw).get("error", "")
    return error.rpartition(".")[2]


def scopes() -> list[Parameters]:
    """What the true broker takes us for."""
    true: Client = held["true"]
    found: list[Parameters] = true.do("WhoAmI")["scopes"]
    return found


def close() -> None:
    """Leave the place."""
    held["listener"].close()


def impersonate(dir: str, pid: int) -> str:  # noqa: A002
    """Connect to the true broker from a process that has *pid* in a pid namespace of its own.

    What it says of itself; 'no …' where the kernel does not let us.
    """
    ours, theirs = socket.socketpair()
    ours.settimeout(SECONDS)
    first = os.fork()
    if first == 0:
        _in_namespace(dir, pid, theirs)
        os._exit(0)
    theirs.close()
    told, fds, _, _ = socket.recv_fds(ours, 100, 1)
    os.waitpid(first, 0)
    if fds:
        held["true"] = client = Client.__new__(Client)
        client.stream = False
        client.sock = socket.socket(fileno=fds[0])
        client.sock.settimeout(SECONDS)
    ours.close()
    return told.decode()


def _in_namespace(dir: str, pid: int, told: socket.socket) -> None:  # noqa: A002
    if libc().unshare(_NEWUSER | _NEWPID):
        told.send(b"no user and pid namespace")
        return
    init = os.fork()
    if init:
        os.waitpid(init, 0)
        return
    # The first process of the namespace may choose the number of the next (clone3, set_tid).
    number = ctypes.c_int(pid)
    fields = (0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(number), 1, 0)
    arguments = ctypes.create_string_buffer(_CLONE_ARGS.pack(*fields), _CLONE_ARGS.size)
    child = libc().syscall(_SYS_CLONE3, arguments, _CLONE_ARGS.size)
    if child == 0:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(f"{dir}/board")
            socket.send_fds(told, [str(os.getpid()).encode()], [sock.fileno()])
    elif child < 0:
        told.send(b"no clone3 with set_tid")
    else:
        os.waitpid(child, 0)
    os._exit(0)
