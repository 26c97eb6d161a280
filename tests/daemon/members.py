# SPDX-License-Identifier: MIT
"""What actors (tests/actors.py) do at a broker: each in its own session, over its own socket.

The law: one connection an actor, kept from one function to the next. It refuses to know
who is a member of what.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from tests.actors import held
from tests.daemon.waiting import exited
from tests.daemon.wire import Client, Parameters, post, text_of


def mine() -> Client:
    """The actor's connection."""
    client: Client = held["client"]
    return client


def join(dir: str, *scopes: str, changes: bool = True, stream: bool = False) -> list[str]:  # noqa: A002
    """Connect to the broker at *dir* and attach; the scopes proved."""
    leave()
    held["client"] = Client(dir, stream=stream)
    return mine().attach(*scopes, changes=changes)


def leave() -> None:
    """Hang up, if connected."""
    client = held.pop("client", None)
    if client is not None:
        client.close()


def do(method: str, **parameters: object) -> Parameters:
    """One call; Said for an error."""
    return mine().do(method, **parameters)


def refusal(method: str, **parameters: object) -> str:
    """One call; the error's name, '' for none. A descriptor that comes is closed."""
    return mine().refusal(method, **parameters)


def ask(method: str, more: bool = False, **parameters: object) -> None:  # noqa: FBT001, FBT002
    """One call, its answer left to `hear`."""
    mine().ask(method, parameters, more=more)


def hear() -> Parameters:
    """The next answer."""
    return mine().hear().fine()


def gone() -> bool:
    """Whether the broker has hung up on us."""
    return mine().gone()


def put(name: str, text: bytes = b"text", **parameters: object) -> Parameters:
    """Post a memfd holding *text*; the entry."""
    return post(mine(), name, text, **parameters)


def read(name: str, **parameters: object) -> bytes:
    """What the entry's memfd holds."""
    return text_of(mine().open(name, **parameters))


def seen(**parameters: object) -> list[str]:
    """The full names listed."""
    return [f"{entry['scope']}/{entry['name']}" for entry in mine().listed(**parameters)]


def listed(**parameters: object) -> list[Parameters]:
    """The entries listed."""
    return mine().listed(**parameters)


def crowd(number: int, function: Callable[..., str], *arguments: object) -> list[str]:
    """Fork *number* processes, let them run *function* all at once; what each returned."""
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    children = [_child(go_read, go_write, told_write, function, arguments) for _ in range(number)]
    for fd in (go_read, go_write, told_write):
        os.close(fd)
    told = b""
    while piece := os.read(told_read, 1 << 16):
        told += piece
    os.close(told_read)
    for pid in children:
        exited(pid)
    found = []
    while told:
        (size,) = struct.unpack_from("H", told)
        found.append(told[2 : 2 + size].decode())
        told = told[2 + size :]
    return found


def _child(
    go_read: int,
    go_write: int,
    told: int,
    function: Callable[..., str],
    arguments: tuple[object, ...],
) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(go_write)
        os.read(go_read, 1)  # ends for all of them when the last holder of go_write is gone
        answer = function(*arguments)
    except BaseException as error:  # noqa: BLE001 -- a child never leaves the fork
        answer = repr(error)
    raw = answer.encode()[:2000]
    os.write(told, struct.pack("H", len(raw)) + raw)
    os._exit(0)
