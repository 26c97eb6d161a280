# SPDX-License-Identifier: MIT
"""What the kernel tells of a peer, asked by the library: `peer.py MODE HELD SECONDS`.

MODE is session (the facts of the session alone), whois (all of them) or iterator (the second
choice, without cgroup v2); HELD descriptors are open in the asking process meanwhile.
The law: asked of one connection that is held, as a server asks; its one line of JSON has
the keys of bench.h.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from board import measure

import pagsrv
from pagsrv.kernel import giver as kernel_giver
from pagsrv.kernel import iterlink, keys
from pagsrv.proofs import whois

GIVE_SECONDS = 5

Operation = Callable[[int], None]


@contextmanager
def connection() -> Iterator[socket.socket]:
    """A connection that another process made in a session of its own."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen()
            pid = os.fork()
            if pid == 0:
                keys.join_session()
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                    client.connect(path)
                    client.recv(1)
                os._exit(0)
            sock, _ = listener.accept()
    with sock:
        yield sock
    os.waitpid(pid, 0)


def session(sock: socket.socket) -> Operation:
    """The question, the judgement, and the facts made of it."""
    if next(whois.session(sock)).value is None:
        sys.exit("the kernel does not tell the session")

    def operation(_: int) -> None:
        list(whois.session(sock))

    return operation


def everything(sock: socket.socket) -> Operation:
    """As a server calls it."""

    def operation(_: int) -> None:
        pagsrv.whois(sock)

    return operation


@contextmanager
def asker() -> Iterator[iterlink.Asker]:
    """Whoever asks by the iterator; its child holds nothing of ours."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "giver")
        with (
            kernel_giver.Giver() as giver,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        ):
            listener.bind(path)
            listener.listen()
            # The child is forked before there is a thread: it connects to our queue, and waits.
            with asked_later(giver, listener), iterlink.Asker(path) as made:
                yield made


@contextmanager
def asked_later(giver: kernel_giver.Giver, listener: socket.socket) -> Iterator[None]:
    """Give once, from a process of its own."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(GIVE_SECONDS)
        with listener.accept()[0] as sock:
            giver.give(sock)
        os._exit(0)
    try:
        yield
    finally:
        os.waitpid(pid, 0)


def hold(held: int) -> None:
    """Keep *held* descriptors open."""
    for _ in range(held):
        os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def main() -> None:
    """Measure what argv asks for."""
    mode, held, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    if mode == "iterator":
        with asker() as made, connection() as sock:
            hold(held)
            if made.ask(sock) is None:
                sys.exit("the iterator does not show the socket")
            print(json.dumps(measure(lambda _: made.ask(sock), seconds)))
        return
    with connection() as sock:
        hold(held)
        operation = {"session": session, "whois": everything}[mode](sock)
        print(json.dumps(measure(operation, seconds)))


if __name__ == "__main__":
    main()
