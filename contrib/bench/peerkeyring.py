# SPDX-License-Identifier: MIT
"""What SO_PEERKEYRING costs: whoever asks it, and everybody else.

    .venv/bin/python contrib/bench/peerkeyring.py      (root)

The law: medians of one run, the same calls without it, with it and without it again;
nothing is left attached. It is the whole machine's for as long as this runs.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from pagsrv.kernel import keys, peerkeyring
from pagsrv.kernel.libc import libc
from pagsrv.proofs.kernel import judge

ROUNDS, CALLS = 15, 20000
SO_PEERCRED, SO_COOKIE, TCP_INFO = 17, 57, 11

Call = Callable[[], object]


def microseconds(call: Call) -> float:
    """The median round's time of one *call*."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter() - begun) / CALLS * 1e6)
    return statistics.median(rounds)


def others(unix: socket.socket, inet: socket.socket) -> dict[str, Call]:
    """Calls that have nothing to do with it."""
    return {
        "SO_PEERCRED": lambda: unix.getsockopt(socket.SOL_SOCKET, SO_PEERCRED, 12),
        "SO_COOKIE": lambda: unix.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8),
        "SO_ERROR, TCP": lambda: inet.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        "TCP_INFO": lambda: inet.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 232),
    }


def questions(unix: socket.socket) -> dict[str, Call]:
    """The question, as C and as Python ask it, and with the judgement."""
    return {
        "the bare getsockopt": lambda: unix.getsockopt(0x50414753, 1, 256),
        "peerkeyring.ask()": lambda: peerkeyring.ask(unix),
        "ask() and judge()": lambda: judge(peerkeyring.ask(unix), 0.0),
    }


def measure(directory: str) -> None:
    """Measure everything, installing in *directory* for the time it takes."""
    keys.join_session()
    one, other = socket.socketpair(socket.AF_UNIX)
    with (
        one,
        other,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as inet,
    ):
        calls = others(one, inet)
        before = {name: microseconds(call) for name, call in calls.items()}
        peerkeyring.install(directory)
        try:
            during = {name: microseconds(call) for name, call in calls.items()}
            asked = {name: microseconds(call) for name, call in questions(one).items()}
        finally:
            peerkeyring.remove(directory)
        after = {name: microseconds(call) for name, call in calls.items()}
    print(f"{'microseconds':<22}{'without':>9}{'with':>9}{'more':>9}")
    for name in calls:
        without = (before[name] + after[name]) / 2
        print(f"{name:<22}{without:9.2f}{during[name]:9.2f}{during[name] - without:+9.2f}")
    for name, figure in asked.items():
        print(f"{name:<22}{'':>9}{figure:9.2f}")


def main() -> int:
    """Measure in a bpf file system of our own; exit status 3 if it cannot be."""
    with tempfile.TemporaryDirectory() as mount:
        if libc().mount(b"bpf", os.fsencode(mount), b"bpf", 0, None):
            print("only root can measure this", file=sys.stderr)
            return 3
        try:
            measure(os.path.join(mount, "pagsrv"))
        finally:
            libc().umount2(os.fsencode(mount), 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
