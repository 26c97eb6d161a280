# SPDX-License-Identifier: MIT
"""Who is measured against whom, and what the issue of it is: the contests and the rows.

The law: the contenders of one contest are measured in turn, round by round,
so that what disturbs the machine disturbs all of them; a row only divides two
of their medians.  It refuses to know how a figure is had or printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from house import House, within
from load import entry_name
from tools import CHECKOUT, FAST_REQUIREMENT, HERE, PYTHON

FEW, SOME, MANY = 10, 1000, 10_000
BATCH = 64
IDLE = 240
JOBS = 4


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work: *command* tells the process that does it once started."""

    name: str
    command: Callable[[House, float], list[str]]
    figure: str = "p50"
    per: int = 1
    environment: Callable[[House], dict[str, str]] = field(default=lambda _: {})


@dataclass(frozen=True, slots=True)
class Row:
    """One ratio of the table: *ours* over *theirs*, both names of contenders.

    *bound* is of the ratio, *most* of ours alone, in nanoseconds.
    """

    title: str
    ours: str
    theirs: str
    bound: float | None = None
    least: bool = False
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Contest:
    """Contenders that do the same work, and the rows made of them."""

    key: str
    contenders: tuple[Contender, ...]
    rows: tuple[Row, ...]


def client(mode: str, house: House, path: Path, seconds: float, *options: object) -> list[str]:
    """The C client of the broker and the floor."""
    program = str(house.tools.program("client"))
    return [program, mode, str(path), "-t", str(seconds), *map(str, options)]


def broker_c(
    name: str, mode: str, entries: int, *options: object, figure: str = "p50"
) -> Contender:
    """Our broker, asked by the C client."""

    def command(house: House, seconds: float) -> list[str]:
        board = house.broker(entries) / "board"
        return client(mode, house, board, seconds, "-n", entries, *options)

    return Contender(name, command, figure)


def broker_python(name: str, mode: str, entries: int = SOME, per: int = 1) -> Contender:
    """Our broker, asked by our Python client."""

    def command(house: House, seconds: float) -> list[str]:
        directory = house.broker(entries)
        return [
            str(PYTHON), str(HERE / "board.py"), mode, str(directory), str(entries), str(seconds)
        ]  # fmt: skip

    return Contender(name, command, per=per)


def holder(name: str, mode: str, entries: int, *options: object, figure: str = "p50") -> Contender:
    """s6-fdholderd, asked through its library."""

    def command(house: House, seconds: float) -> list[str]:
        path = house.s6(entries)
        arguments = [mode, str(path), "-t", str(seconds), "-n", str(entries)]
        return [str(house.tools.program("s6")), *arguments, *map(str, options)]

    return Contender(name, command, figure)


def floor(house: House, seconds: float) -> list[str]:
    """The floor, asked by the C client."""
    return client("floor", house, house.floor(SOME), seconds, "-n", SOME)


def bus_c(house: House, seconds: float) -> list[str]:
    """D-Bus, sd-bus on both sides."""
    address = house.bus("sd-bus")
    return [str(house.tools.program("bus")), "open", address, "-t", str(seconds)]


def bus_fast(name: str, way: str) -> Contender:
    """D-Bus, dbus-fast on both sides, called by *way*: a proxy or a message made by hand."""

    def command(house: House, seconds: float) -> list[str]:
        address = house.bus("dbus-fast")
        python = house.tools.environment(FAST_REQUIREMENT)
        return [str(python), str(HERE / "fast.py"), way, address, str(seconds)]

    return Contender(name, command)


def spawn(name: str, *words: str) -> Contender:
    """A whole command of our environment, from start to exit, with the broker's directory set."""

    def command(house: House, seconds: float) -> list[str]:
        return [str(house.tools.program("client")), "spawn", str(seconds), *words]

    def environment(house: House) -> dict[str, str]:
        return {"PAGSRV_DIR": str(house.broker(SOME))}

    return Contender(name, command, environment=environment)


def retrieve(house: House, seconds: float) -> list[str]:
    """s6's own command, for comparison."""
    path = str(house.s6(SOME))
    words = ["s6-fdholder-retrieve", path, entry_name(0), "true"]
    return [str(house.tools.program("client")), "spawn", str(seconds), *words]


def memory(name: str, key: Callable[[House], Path]) -> Contender:
    """The resident memory of a process; measured by us, so there is no command."""

    def command(house: House, _: float) -> list[str]:
        return ["memory", str(house.memory(key(house)))]

    return Contender(name, command, "bytes")


OPEN = Contest(
    "open",
    (
        broker_c("pagsrv, C client", "board", SOME),
        holder("s6", "open", SOME),
        Contender("C floor", floor),
        broker_python("pagsrv, Python both", "open"),
        Contender("D-Bus, C both", bus_c),
        bus_fast("D-Bus, dbus-fast both", "proxy"),
        bus_fast("D-Bus, dbus-fast by hand", "message"),
    ),
    (
        Row("open, C client / s6", "pagsrv, C client", "s6", 0.85),
        Row("open, C client / C floor", "pagsrv, C client", "C floor", 1.35),
        Row("open, Python both / s6", "pagsrv, Python both", "s6", 1.1),
        Row("open, Python both / D-Bus C both", "pagsrv, Python both", "D-Bus, C both", 0.42),
        Row("open, Python both / dbus-fast both", "pagsrv, Python both",
            "D-Bus, dbus-fast both", 0.13),
        Row("the same, messages made by hand", "pagsrv, Python both", "D-Bus, dbus-fast by hand"),
    ),
)  # fmt: skip

ENTRIES = Contest(
    "entries",
    (
        broker_c("pagsrv, 10", "board", FEW),
        broker_c("pagsrv, 10,000", "board", MANY, "-k", FEW),
        broker_c("pagsrv, 10,000, each in turn", "board", MANY),
        holder("s6, 10", "open", FEW),
        holder("s6, 10,000", "open", MANY, "-k", FEW),
        holder("s6, 10,000, each in turn", "open", MANY),
    ),
    (
        Row("10,000 entries / 10", "pagsrv, 10,000", "pagsrv, 10", 1.05),
        Row("the same of s6", "s6, 10,000", "s6, 10"),
        Row("10,000, each in turn / 10", "pagsrv, 10,000, each in turn", "pagsrv, 10"),
        Row("the same of s6", "s6, 10,000, each in turn", "s6, 10"),
    ),
)

QUIET = Contest(
    "idle",
    (
        broker_c("pagsrv, none idle", "board", SOME),
        broker_c("pagsrv, 240 idle", "board", SOME, "-i", IDLE),
        holder("s6, none idle", "open", SOME),
        holder("s6, 240 idle", "open", SOME, "-i", IDLE),
    ),
    (
        Row("240 idle connections / none", "pagsrv, 240 idle", "pagsrv, none idle", 1.05),
        Row("the same of s6", "s6, 240 idle", "s6, none idle"),
        Row("240 idle connections / s6", "pagsrv, 240 idle", "s6, 240 idle"),
    ),
)

THROUGHPUT = Contest(
    "throughput",
    (
        broker_c("pagsrv, 4 clients", "board", SOME, "-j", JOBS, figure="rate"),
        holder("s6, 4 clients", "open", SOME, "-j", JOBS, figure="rate"),
    ),
    (
        Row("throughput, 4 clients / s6", "pagsrv, 4 clients", "s6, 4 clients", 1.1, least=True),
    ),
)  # fmt: skip


def untold(contender: Contender) -> Contender:
    """*contender*, where the kernel tells nobody of sessions."""

    def command(house: House, seconds: float) -> list[str]:
        house.untold()
        return contender.command(house, seconds)

    return replace(contender, command=command)


def told(contender: Contender) -> Contender:
    """*contender*, told of sessions by the kernel."""

    def command(house: House, seconds: float) -> list[str]:
        return within(house.told(None), contender.command(house, seconds))

    return replace(contender, command=command)


def asked(name: str, mode: str) -> Contender:
    """A question of a held connection, asked in C."""

    def command(house: House, seconds: float) -> list[str]:
        return [str(house.tools.program("peer")), mode, "-", "-t", str(seconds)]

    return Contender(name, command, per=BATCH)


def library(name: str, mode: str, held: int = FEW) -> Contender:
    """The same asked by our library, in a process that holds so many descriptors."""

    def command(house: House, seconds: float) -> list[str]:
        house.told(None)
        return [str(PYTHON), str(HERE / "peer.py"), mode, str(held), str(seconds)]

    return Contender(name, command)


def told_connect(name: str, entries: int) -> Contender:
    """Connect and open in a session that the kernel tells a broker of so many entries."""

    def command(house: House, seconds: float) -> list[str]:
        directory = house.told_broker(entries)
        return [
            str(PYTHON), str(HERE / "board.py"), "connect-session", str(directory), str(FEW),
            str(seconds),
        ]  # fmt: skip

    return told(Contender(name, command))


def beside(title: str, mode: str) -> tuple[tuple[Contender, Contender], Row]:
    """A getsockopt(2) of somebody else's, with the program attached and without."""
    without, attached = f"{title}, without", f"{title}, attached"
    pair = (untold(asked(without, mode)), told(asked(attached, mode)))
    return pair, Row(f"{title}, with SO_PEERKEYRING attached / without", attached, without)


CONNECT = Contest(
    "connect",
    (
        # At a broker of its own: what it posts would void the answers that stand for the others.
        untold(broker_python("pagsrv, with proof", "connect-session", FEW)),
        untold(broker_python("pagsrv, without", "connect")),
        broker_c("pagsrv, C client", "connect", SOME),
        holder("s6, rules directory", "connect", SOME),
    ),
    (
        Row("connect + proof + open / s6", "pagsrv, with proof", "s6, rules directory", 1.8),
        Row("connect + open, no session / s6", "pagsrv, without", "s6, rules directory", 0.8),
        Row("the same, C client / s6", "pagsrv, C client", "s6, rules directory"),
    ),
)

OTHERS = [
    beside("SO_PEERCRED", "cred"), beside("SO_COOKIE", "cookie"),
    beside("SO_ERROR of TCP", "error"), beside("TCP_INFO", "tcpinfo"),
]  # fmt: skip

KERNEL = Contest(
    "kernel",
    (
        told(asked("SO_PEERKEYRING", "keyring")),
        told(library("session of whois", "session")),
        told(library("session, 10,000 held", "session", MANY)),
        told(library("whois", "whois")),
        asked("sd_peer_get_session", "logind"),
        asked("/proc/PID/cgroup", "cgroup"),
        library("iterator", "iterator"),
        library("iterator, 10,000 held", "iterator", MANY),
        told_connect("pagsrv, told", SOME),
        told_connect("pagsrv, told, 10", FEW),
        told_connect("pagsrv, told, 10,000", MANY),
        told(holder("s6, rules directory", "connect", SOME)),
        *(contender for pair, _ in OTHERS for contender in pair),
    ),
    (
        Row("session of whois / sd_peer_get_session", "session of whois",
            "sd_peer_get_session", most=5000),
        Row("the same / reading /proc/PID/cgroup", "session of whois", "/proc/PID/cgroup"),
        Row("the bare getsockopt in C / sd_peer_get_session", "SO_PEERKEYRING",
            "sd_peer_get_session"),
        Row("all of whois / sd_peer_get_session", "whois", "sd_peer_get_session", most=60_000),
        Row("session of whois, 10,000 held fds / 10", "session, 10,000 held",
            "session of whois", 1.05),
        Row("the same by the iterator", "iterator, 10,000 held", "iterator", 1.05),
        Row("connect + kernel proof + open / s6", "pagsrv, told", "s6, rules directory", 0.8),
        Row("the same, broker of 10,000 held fds / 10", "pagsrv, told, 10,000",
            "pagsrv, told, 10", 1.05),
        *(row for _, row in OTHERS),
    ),
)  # fmt: skip

BATCHED = Contest(
    "many",
    (
        broker_python("pagsrv, OpenMany", "many", per=BATCH),
        holder("s6, one by one", "open", SOME),
    ),
    (Row("OpenMany of 64, per fd / s6", "pagsrv, OpenMany", "s6, one by one", 1 / 12),),
)

BENEATH = Contest(
    "beneath",
    (broker_python("pagsrv, beneath", "beneath", FEW), broker_python("pagsrv", "open", FEW)),
    (Row("open beneath a directory / open", "pagsrv, beneath", "pagsrv"),),
)

LIST = Contest(
    "list",
    (
        broker_c("pagsrv, names", "names", MANY),
        broker_c("pagsrv, metadata", "entries", MANY),
        holder("s6", "names", MANY),
    ),
    (
        Row("list of 10,000 names / s6", "pagsrv, names", "s6", 0.6),
        Row("the same with metadata / s6", "pagsrv, metadata", "s6", 20),
    ),
)

MEMORY = Contest(
    "memory",
    (
        memory("pagsrv, 10,000", lambda house: house.broker(MANY)),
        memory("s6, 10,000", lambda house: house.s6(MANY)),
    ),
    (Row("memory, 10,000 entries / s6", "pagsrv, 10,000", "s6, 10,000", 5),),
)


def in_session(contender: Contender) -> Contender:
    """*contender*, in a session of its own: each of its commands proves it by possession."""

    def command(house: House, seconds: float) -> list[str]:
        return ["keyctl", "session", "-", *contender.command(house, seconds)]

    return untold(replace(contender, command=command))


def told_spawn(name: str, *words: str) -> Contender:
    """A whole command in a session of its own, at a broker that the kernel tells of it."""

    def command(house: House, seconds: float) -> list[str]:
        words_of_it = [str(house.tools.program("client")), "spawn", str(seconds), *words]
        return ["keyctl", "session", "-", *words_of_it]

    def environment(house: House) -> dict[str, str]:
        return {"PAGSRV_DIR": str(house.told_broker(SOME))}

    return told(Contender(name, command, environment=environment))


PAGSRV = str(CHECKOUT / ".venv" / "bin" / "pagsrv")
NATIVE = f"{PAGSRV}-open"
COMMAND = Contest(
    "command",
    (
        spawn("pagsrv open", PAGSRV, "open", entry_name(0), "--", "true"),
        spawn("pagsrv open, ten", PAGSRV, "open", *map(entry_name, range(10)), "--", "true"),
        spawn("pagsrv-open", NATIVE, entry_name(0), "--", "true"),
        in_session(spawn("pagsrv-open, with proof", NATIVE, entry_name(0), "--", "true")),
        told_spawn("pagsrv-open, told", NATIVE, entry_name(0), "--", "true"),
        spawn("true", "true"),
        spawn("python -c pass", str(PYTHON), "-c", "pass"),
        Contender("s6-fdholder-retrieve", retrieve),
    ),
    (
        Row("pagsrv open / python -c pass", "pagsrv open", "python -c pass", 4),
        Row("ten names in one call / one", "pagsrv open, ten", "pagsrv open", 1.1),
        Row("pagsrv open / s6-fdholder-retrieve", "pagsrv open", "s6-fdholder-retrieve"),
        Row("pagsrv-open / s6-fdholder-retrieve", "pagsrv-open", "s6-fdholder-retrieve", 0.7),
        Row("the same with proof of possession", "pagsrv-open, with proof", "s6-fdholder-retrieve"),
        Row(
            "the same where the kernel tells the session",
            "pagsrv-open, told",
            "s6-fdholder-retrieve",
            0.7,
        ),
        Row("true / s6-fdholder-retrieve", "true", "s6-fdholder-retrieve"),
    ),
)

CONTESTS = (
    MEMORY, OPEN, ENTRIES, QUIET, THROUGHPUT, CONNECT, KERNEL, BATCHED, BENEATH, LIST, COMMAND,
)  # fmt: skip
"""In the order of the table; memory first, before lists have grown anybody's buffers."""

CPU = max(os.sched_getaffinity(0))
"""The one processor of everything: on two, waking the other one is all that is measured."""
