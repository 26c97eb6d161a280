# SPDX-License-Identifier: MIT
"""Values as a broker would tell them, for the dashboard's tests.

The law: every field has a plain default, and a test says what it is about. It refuses to
know what is shown.
"""

from __future__ import annotations

import msgspec

from pagsrv.messages import (
    EntryView,
    EventView,
    Identity,
    ProofView,
    Vitals,
)
from pagsrv.people import ByView, Opener, Owner, Poster
from pagsrv.sockets import PeerProcess, SocketView, TcpView
from pagsrv.vitals import Activity, Budget, Latency, Leader, NamespaceView, Use
from pagsrv_tui.messages import Connected, Happened, Namespaced, Pulse, Shown, Told

WALL = 1_700_000_000.0
"""The clock of these tests: seconds since 1970."""


def some_entry(name: str, **fields: object) -> EntryView:
    """An entry of user:1000, or as *fields* say."""
    entry = EntryView(
        scope="user:1000", name=name, assigned=True, kind="socket", access="rw",
        mask="alswrv-----v------------", rights="alswrv", owner=Owner(1000, 1000),
        poster=Poster(4321, "server", True), until=(), generation=1, created=WALL - 3600,
        last_opened=None, opens=0, labels={}, granted_from=None,
    )  # fmt: skip
    return msgspec.structs.replace(entry, **fields)


def event_of(
    event: str, name: str, generation: int, *, scope: str = "user:1000", why: str = ""
) -> EventView:  # fmt: skip
    """An event of user:1000, by nobody."""
    return EventView(WALL, event, scope, name, generation, None, why)


def some_identity() -> Identity:
    """Uid 1000, proved in its user scope."""
    scopes = [ProofView("user:1000", "user", "none")]
    return Identity("/run/pagsrv", "00112233445566778899aabbccddeeff", 1000, None, scopes, [])


def some_vitals(**fields: object) -> Vitals:
    """A broker at rest."""
    vitals = Vitals(
        version="0.1.0", pid=1, uptime=10.0, dumpable=False, proofs=["user"], connections=1,
        namespaces=1, entries=1, watches=1, epoch=1, calls=1, opens=0, refusals=0, events_lost=0,
        unsupported={}, ways=[],
        budgets=[], activity=None,
    )  # fmt: skip
    return msgspec.structs.replace(vitals, **fields)


def some_namespace(scope: str, **fields: object) -> NamespaceView:
    """A namespace of uid 1000, isolated, in which nobody is."""
    space = NamespaceView(
        scope=scope, isolation="isolated", proof=None, uid=1000, entries=0, members=None,
        leader=None, since=WALL - 7200,
    )  # fmt: skip
    return msgspec.structs.replace(space, **fields)


def a_socket(**fields: object) -> SocketView:
    """A connected TCP socket."""
    sock = SocketView(
        family="inet", type="stream", protocol="tcp", state="established",
        local="192.0.2.7:40112", peer="192.0.2.9:5432", inode=58660, receive_queue=0,
        send_queue=1180,
        tcp=TcpView(rtt=412, rttvar=35, unacked=0, retransmits=2, bytes_sent=1180,
                    bytes_acked=1181, bytes_received=20480),
    )  # fmt: skip
    return msgspec.structs.replace(sock, **fields)


MINE, OTHER, PAG, USER = "session:8192", "session:771208543", "pag:1090519041", "user:1000"


def _entries() -> list[EntryView]:
    by = Opener(5001, 1000, "psql", WALL - 40, alive=True)
    left = Opener(4999, 1000, "", WALL - 400, alive=False)
    pipe = a_socket(family="unix", protocol=None, state="connected", local=None, peer=None,
                    tcp=None, peer_process=PeerProcess(4400, 1000, "agent", alive=True),
                    unknown={"inode": "the kernel does not tell it"})  # fmt: skip
    return [
        some_entry("app.log", scope=MINE, kind="file", access="w", path="/var/log/app.log",
                   until=("exit=4321", "revoked"), generation=4),
        some_entry("db", scope=MINE, until=("ttl=600", "revoked"), deadline=WALL + 301,
                   opens=1207, last_opened=WALL - 40, socket=a_socket(), openers=(by, left),
                   labels={"app": "demo", "env": "prod"}, generation=9),
        some_entry("later", scope=MINE, assigned=False, kind=None, access=None, poster=None,
                   until=("revoked",), generation=2),
        some_entry("talk", scope=MINE, until=("hup", "revoked"), socket=pipe, generation=11),
        some_entry("secret", scope=OTHER, rights="v", mask="alswrv-----v------------",
                   until=("revoked",), poster=Poster(777, "sshd", alive=False), generation=3),
        some_entry("token", scope=PAG, kind="memfd", access="r", until=("opens=3",), generation=5),
        some_entry("web", scope=USER, mask="alswrv--s-rv------------", generation=6,
                   socket=a_socket(state="listen", peer=None, waiting=3, backlog=128, tcp=None)),
        some_entry("日本 wide", scope=USER, rights="srv", granted_from=USER, generation=8),
    ]  # fmt: skip


def _past() -> list[EventView]:
    who = ByView(1000, 5001, "psql")
    return [
        EventView(WALL - 60, "posted", MINE, "db", 9, ByView(1000, 4321, "server"), ""),
        EventView(WALL - 40, "opened", MINE, "db", 9, who, ""),
        EventView(WALL - 30, "refused", OTHER, "secret", 3, who, "its mask gives you no read"),
        EventView(WALL - 20, "ended", USER, "old", 7, None, "ttl"),
        EventView(WALL - 10, "linkable", OTHER, "", 0, None, "it was linked into @u"),
    ]


def _pulses() -> list[Pulse]:
    use = Use(12, 1024)
    budget = Budget(1000, Use(3, 256), Use(15000, 16384), use, use, use, use)
    activity = Activity(Use(980, 1024), Latency(11.2, 18.0, 95.5, 4096),
                        {"possession": 12, "user": 40}, {"NoEntry": 3, "Denied": 1}, 2)  # fmt: skip
    return [
        Pulse(some_vitals(calls=1000 + 140 * n, opens=500 + 100 * n, uptime=7300.0,
                          budgets=[budget], activity=activity, events_lost=7,
                          unsupported={"exec": "it takes CAP_NET_ADMIN"}), float(n))
        for n in range(4)
    ]  # fmt: skip


def a_board() -> list[Told]:
    """A board with one of everything, told whole: two sessions, a PAG and a user."""
    entries = _entries()
    present = [Happened(event_of("present", one.name, one.generation, scope=one.scope))
               for one in entries]  # fmt: skip
    spaces = (
        some_namespace(MINE, proof="possession", members=2, leader=Leader(4000, "bash")),
        some_namespace(OTHER, isolation="linkable", since=WALL - 90000),
        some_namespace(PAG), some_namespace(USER, isolation="none", proof="user"),
    )  # fmt: skip
    return [
        Connected(some_identity()), *present, Happened(event_of("live", "", 0)),
        Shown(tuple(entries)), *map(Happened, _past()), *_pulses(), Namespaced(spaces),
    ]  # fmt: skip
