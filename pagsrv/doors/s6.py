# SPDX-License-Identifier: MIT
"""The s6 door: s6-fdholderd's protocol at a socket, one scope of the board behind it.

    python -m pagsrv.doors.s6 [--dir DIR] [--scope S] [--same-uid] SOCKET

The law: one thread; undumpable before the first descriptor could come in; a peer is served
only if the gate finds it in the scope; who breaks the protocol is hung up, and nobody
else notices. It ends when told to, and when the broker or the scope has ended. It
refuses to know the protocol's bytes and the board's calls.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import signal
import socket
import stat
import sys
from contextlib import ExitStack, suppress
from errno import EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM

from pagsrv.client.blocking import Board, connect
from pagsrv.doors.peers import Gate
from pagsrv.doors.s6_board import Shelf
from pagsrv.doors.s6_client import Client, HungUp
from pagsrv.errors import NoBroker, NoSession, PagsrvError
from pagsrv.kernel import manager
from pagsrv.kernel.listening import CannotServe, listen_at
from pagsrv.kernel.process import undumpable
from pagsrv.kernel.rights import confine
from pagsrv.names import Scope, parse_scope

_BACKLOG = 4096  # the kernel takes net.core.somaxconn if that is less (listen(2))
_CLIENTS, _STRANGERS = 256, 16
"""How many are connected at once; of those that are not served few, who shall be told so."""
_TOLD = 32
_SHORT = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
_SECOND = 1.0
_ERR = 2


class Door:
    """A listening socket, owned, and who came in by it; *gate* and *shelf* serve them."""

    def __init__(self, listener: socket.socket, board: Board, gate: Gate, shelf: Shelf) -> None:
        self._listener = listener
        self._board = board
        self._gate = gate
        self._shelf = shelf
        self._clients: dict[int, Client] = {}
        self._strangers = 0
        self._told: set[str] = set()
        self._epoll = select.epoll()
        listener.setblocking(False)
        self._epoll.register(listener, select.EPOLLIN)
        self._epoll.register(board.fileno(), select.EPOLLIN)

    def run(self, stop: socket.socket) -> None:
        """Serve until *stop* can be read; NoBroker if the broker hangs up."""
        self._epoll.register(stop, select.EPOLLIN)
        while True:
            ready = self._epoll.poll(_SECOND if self._full else None)
            self._listen(again=True)
            for number, _ in ready:
                if number == stop.fileno():
                    return
                if number == self._board.fileno():
                    raise NoBroker("the broker hung up: it was stopped, or the scope has ended")
                if number == self._listener.fileno():
                    self._accept()
                elif number in self._clients:
                    self._turn(self._clients[number])

    def close(self) -> None:
        """Hang up on everybody."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._epoll.close()
        self._listener.close()

    # ── who comes ──

    _full = False

    def _listen(self, *, again: bool) -> None:
        """Leave the listener alone while no connection is to be had, and a second at most."""
        if self._full is again:
            self._full = not again
            self._epoll.modify(self._listener, select.EPOLLIN if again else 0)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _SHORT:
                self._tell("no connection is taken for now", str(error.strerror))
                self._listen(again=False)
            elif error.errno not in (ECONNABORTED, EAGAIN):
                raise
            return
        why = self._gate.why_not(sock)
        if why:
            self._tell("a peer is not served", why)
        strangers = self._strangers + bool(why)
        if len(self._clients) >= _CLIENTS or strangers > _STRANGERS:
            sock.close()
            return
        self._strangers = strangers
        client = Client(sock, None if why else self._shelf.answer)
        self._clients[sock.fileno()] = client
        self._epoll.register(sock, client.wanted)

    def _turn(self, client: Client) -> None:
        number, wanted = client.sock.fileno(), client.wanted
        try:
            client.turn()
        except NoBroker:
            raise
        except (HungUp, PagsrvError, OSError) as error:
            if not isinstance(error, HungUp | ConnectionError):
                self._tell("a client is hung up", str(error))
            del self._clients[number]
            self._strangers -= not client.served
            client.close()  # epoll(7) forgets it
        else:
            if client.wanted != wanted:
                self._epoll.modify(number, client.wanted)

    def _tell(self, what: str, why: str) -> None:
        """Say it, once for each reason, and of some only: a peer shall not fill the log."""
        line = f"{what}: {why}"
        if line not in self._told and len(self._told) < _TOLD:
            self._told.add(line)
            say(line)


def say(sentence: str) -> None:
    """Write *sentence* to stderr, on one line."""
    with suppress(OSError):
        os.write(_ERR, f"pagsrv door: {sentence!s}\n".encode("utf-8", "backslashreplace"))


# ---- the scope -----------------------------------------------------------------------------------


def chosen(board: Board, word: str | None) -> Scope:
    """The scope that *word* means, or without one where a post goes; NoSession if not proved."""
    if word is None:
        word = board.whoami().default
        if word is None:
            raise NoSession(
                "there is no isolated scope to serve: begin a session with `pagsrv session`, or "
                "say --scope"
            )
    wanted = parse_scope(word)
    for proof in board.attached.scopes:
        scope = parse_scope(proof.scope)
        if isinstance(scope, Scope) and wanted in (scope, scope.kind):
            return scope
    raise NoSession(f"you are not proved in {word}; `pagsrv whoami` says why")


# ---- the socket ----------------------------------------------------------------------------------


def listen(path: str) -> socket.socket:
    """A socket at *path* that its owner alone may connect to, in the place of what is dead there.

    CannotServe if the directory is open to others, or somebody serves there.
    """
    directory = os.path.dirname(path) or "."
    try:
        seen = os.stat(directory)
    except OSError as error:
        raise CannotServe(f"{path} cannot be served at: {error.strerror}") from None
    if seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o022:
        raise CannotServe(
            f"{directory} is not yours alone: others could put a socket of their own in the place "
            "of this one; choose a directory that you own and nobody else may write to"
        )
    return listen_at(path, socket.SOCK_STREAM, 0o600, _BACKLOG)


# ---- the process ---------------------------------------------------------------------------------


def _guard() -> None:
    """Keep the numbers up to stderr's from the next socket, where they are closed."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= _ERR:
        pass
    os.close(number)


def _stopping(stack: ExitStack) -> socket.socket:
    """A socket that can be read once a signal asks us to end; the stack's."""
    ours, kernels = socket.socketpair()
    stack.enter_context(ours)
    stack.enter_context(kernels)
    for end in (ours, kernels):
        end.setblocking(False)
    stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(kernels.fileno()))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return ours


def _unlink(path: str, made: tuple[int, int]) -> None:
    """Remove the socket file, if it is still the one that was *made*."""
    with suppress(OSError):
        if _identity(path) == made:
            os.unlink(path)


def _identity(path: str) -> tuple[int, int]:
    seen = os.lstat(path)
    return seen.st_dev, seen.st_ino


def serve(told: argparse.Namespace) -> None:
    """Serve as *told*, until a signal comes."""
    # A dump is held whole while it is read from the board and until the client has it.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        stop = _stopping(stack)
        asked = None if told.scope is None else [told.scope]
        board = stack.enter_context(connect(told.dir, scopes=asked, changes=True))
        scope = chosen(board, told.scope)
        # After we are proved: the broker looks at us for a PAG. Before descriptors come in.
        undumpable()
        # A directory that one of a sandbox stores is posted by us, and would lend our rights.
        confine()
        gate = Gate(scope, board, same_uid=told.same_uid)
        gate.check()
        listener = listen(told.socket)
        door = Door(listener, board, gate, Shelf(board, scope))
        stack.callback(door.close)
        stack.callback(_unlink, told.socket, _identity(told.socket))
        whom = f" to every process of uid {os.geteuid()}" if told.same_uid else ""
        say(f"serving {scope} at {told.socket}{whom}")
        manager.notify(f"READY=1\nSTATUS=serving {scope} at {told.socket}")
        door.run(stop)


def main(argv: list[str]) -> int:
    """Run the door in the foreground; the exit status of the process."""
    words = argparse.ArgumentParser(prog="pagsrv door s6", allow_abbrev=False)
    words.add_argument("socket")
    words.add_argument("--dir")
    words.add_argument("--scope")
    words.add_argument("--same-uid", action="store_true")
    try:
        _guard()
        serve(words.parse_args(argv))
    except PagsrvError as error:
        say(str(error))
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
