# SPDX-License-Identifier: MIT
"""Clients of a web server that ask and ask again, each time over a new connection.

The law: what became of every single request is counted: answered, by which text; refused;
or hung up on without an answer. It refuses to know who answers.
"""

from __future__ import annotations

import socket
from collections import Counter
from threading import Condition, Event, Thread
from typing import Self

from tests.running import SECONDS

_CLIENTS = 4
_MOST = 100_000
REFUSED, UNANSWERED = "(refused)", "(hung up on)"


class Load:
    """Clients of 127.0.0.1:*port*, from `with` on; *answers* counts what they were told."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[str] = Counter()
        self._address = ("127.0.0.1", port)
        self._changed = Condition()
        self._enough = Event()
        self._clients = [Thread(target=self._run) for _ in range(_CLIENTS)]

    def wait(self, text: str, more: int) -> None:
        """Return when *text* has been answered *more* times from now on."""
        with self._changed:
            wanted = self.answers[text] + more
            assert self._changed.wait_for(lambda: self.answers[text] >= wanted, SECONDS), (
                f"no {more} more answers {text!r} in {SECONDS} s: {self.answers}"
            )

    def _run(self) -> None:
        for _ in range(_MOST // _CLIENTS):
            if self._enough.is_set():
                return
            text = self._ask()
            with self._changed:
                self.answers[text] += 1
                self._changed.notify_all()

    def _ask(self) -> str:
        reply = b""
        try:
            with socket.create_connection(self._address, SECONDS) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                while piece := sock.recv(4096):
                    reply += piece
        except ConnectionRefusedError:
            return REFUSED
        except ConnectionResetError:
            pass  # whatever came before counts
        head, blank, body = reply.partition(b"\r\n\r\n")
        if not reply:
            return UNANSWERED
        return body.decode() if blank and b" 200 " in head else f"(garbled) {reply!r}"

    def __enter__(self) -> Self:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for client in self._clients:
            client.join(2 * SECONDS)
