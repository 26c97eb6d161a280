# SPDX-License-Identifier: MIT
"""Anything at all, thrown at the real broker: calls of every method with fields of every sort.

The law: each is answered or hung up upon, nobody else notices, and nothing of it is a bug
of ours. The same in every run: what fails once fails again.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack

import pytest

from pagsrv.kernel import keys
from pagsrv.kernel.fd import Fd
from pagsrv.messages import REQUESTS
from tests.actors import Actor
from tests.daemon import members
from tests.daemon.conftest import descriptors
from tests.daemon.waiting import until
from tests.daemon.wire import Client, Parameters, call, memory
from tests.running import Running

pytestmark = pytest.mark.kernel

TURNS = 2500
NAMES = [*"abcabcabcabc", "mine", "user:0/a", "session:1/a", "", "/", "é", "x" * 255]
SCOPES = [
    "user",
    "user",
    "session",
    "session",
    "pag",
    "user",
    "session:1",
    "user:0",
    "pag:1090519041",
    "world",
    "",
]
CONDITIONS = [
    "exit",
    "exit=1",
    "leader",
    "lease",
    "hup",
    "ttl=0.01",
    "opens=1",
    "opens=2",
    "x",
    "exec",
    "setsid=1",
    "uid",
    "orphan",
]
ODD = [
    None,
    True,
    0,
    1,
    -1,
    3,
    2**31,
    2**63,
    1e300,
    0.5,
    "",
    "a",
    "\ud7ff",
    [],
    ["a"],
    {},
    {"a": 1},
]

FIELDS: dict[str, list[object]] = {
    "name": [*NAMES],
    "to": [*NAMES, *SCOPES],
    "from": [*SCOPES],
    "scope": [None, *SCOPES],
    "names": [["a"], ["a", "b"], ["a"] * 253, ["c", "a", "c"]],
    "scopes": [None, ["user"], ["session"], ["pag", "user"], ["session:5"]],
    "fd": [0, 0, 0, 1, None],
    "until": [None, *([{"cond": one}] for one in CONDITIONS), [{"cond": "exit", "fd": 0}],
              [{"cond": "exit", "fd": 1}, {"cond": "leader", "fd": 2}], [{"cond": "lease"}] * 2],
    # Possessors keep their rights, so that the test can clear the board.
    "mask": ["3f3f3f3f", "3f000000", "3f010000", "alswrv" * 4, "alswrv" + "-" * 18],
    "labels": [None, {}, {"k": "v"}, {"k": "v" * 256}],
    "seconds": [0, 0.01, 5, 1e9],
    "timeout": [0, 0.01],
    "expect": [None, None, None, 5],
    "replace": [None, True],
    "changes": [True, None],
    "ring": [1, 5, -3],
    "interface": ["org.pagsrv.Board", "org.varlink.service", "x"],
}  # fmt: skip
UNANSWERED = ("Wait", "Watch", "Attach")


def _parameters(luck: random.Random, method: str) -> Parameters:
    kind = next(one for one in REQUESTS if method == one.METHOD)
    fields = [name.rstrip("_") for name in kind.__struct_fields__]
    chosen: Parameters = {
        name: luck.choice(FIELDS.get(name, ODD)) for name in fields if luck.random() < 0.85
    }
    if luck.random() < 0.05 and fields:
        chosen[luck.choice(fields)] = luck.choice(ODD)
    return chosen


def _beside(luck: random.Random, parameters: Parameters, made: list[Fd]) -> list[int]:
    """As many descriptors as the message names, as a rule."""
    until = parameters.get("until")
    ends = until if isinstance(until, list) else []
    named = [parameters.get("fd"), *(end.get("fd") for end in ends if isinstance(end, dict))]
    number = len([one for one in named if isinstance(one, int)])
    if luck.random() < 0.05:
        number = luck.choice([0, 1, 2, 253])
    return [luck.choice(made).fileno() for _ in range(number)]


def _sorts() -> list[Fd]:
    ours, theirs = socket.socketpair()
    theirs.close()
    return [memory(b"x"), Fd(os.pidfd_open(os.getpid())), Fd(ours.detach()),
            *map(Fd, os.pipe())]  # fmt: skip


def _throw(client: Client, luck: random.Random, made: list[Fd]) -> bool:
    """One call, and whatever comes back; whether the connection can be used further."""
    method = luck.choice(REQUESTS).METHOD
    parameters = _parameters(luck, method)
    flags = {flag: True for flag in ("more", "oneway") if luck.random() < 0.05}
    if method.endswith(".List"):
        flags["more"] = True
    data = call(method, parameters, **flags)
    if luck.random() < 0.03:
        spot = luck.randrange(len(data))
        data = data[:spot] + bytes([luck.randrange(256)]) + data[spot + 1 :]
    try:
        client.push(data + (b"\0" if client.stream else b""), _beside(luck, parameters, made))
        if flags.get("oneway") or method.endswith(UNANSWERED):
            return not method.endswith(UNANSWERED)
        client.sock.settimeout(5)
        answer = client.hear()
    except (EOFError, PermissionError, ConnectionError):
        return False
    except TimeoutError:
        raise AssertionError(f"no answer to {data!r} {client.stream}") from None
    for fd in answer.fds:
        fd.close()
    return answer.error != "ProtocolError"


def _session(dir: str, seed: int) -> None:  # noqa: A002
    """Throw calls at the broker, over as many connections as it takes."""
    luck = random.Random(seed)  # noqa: S311 -- a test that repeats itself
    made = _sorts()
    with ExitStack() as kept:
        for fd in made:
            kept.enter_context(fd)
        clients = [kept.enter_context(ExitStack()) for _ in range(3)]
        used: list[Client | None] = [None] * len(clients)
        for _ in range(TURNS):
            place = luck.randrange(len(clients))
            client = used[place]
            if client is None:
                clients[place].close()
                client = clients[place].enter_context(Client(dir, stream=luck.random() < 0.5))
                if luck.random() < 0.9:
                    client.attach(*(("user",) if luck.random() < 0.5 else ()))
            used[place] = client if _throw(client, luck, made) else None


@pytest.mark.parametrize("seed", range(2))
def test_anything(broker: Running, seed: int) -> None:
    """Over three connections at once, by a member of one session; another looks on unmoved."""
    with Actor() as thrower, Actor() as innocent:
        innocent(members.join, broker.dir)
        entry = innocent(members.put, "mine", b"in peace")
        held = descriptors(broker.pid)
        thrower(_session, broker.dir, seed)
        assert innocent(members.read, "mine") == b"in peace"
        assert (
            innocent(members.do, "Stat", name="mine")["entry"]["generation"]
            == (entry["generation"])
        )
        for left in innocent(members.listed, all=True):
            if left["name"] != "mine":
                error = innocent(members.refusal, "Remove", name=f"{left['scope']}/{left['name']}")
                assert error in ("", "NoEntry", "Denied")
        thrower(_end_ring)
        until(
            lambda: descriptors(broker.pid) <= held,
            lambda: innocent(members.do, "Health"),
            "the broker closes what it was sent",
        )
        assert "bug" not in broker.log, broker.log
        assert "Traceback" not in broker.log, broker.log


def _end_ring() -> None:
    keys.revoke(keys.session_ring())
