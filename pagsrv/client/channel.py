# SPDX-License-Identifier: MIT
"""One connection of a program that waits: attached, proved, one call at a time.

The law: the answer to a call is read before the next is sent; a call that was left in
the middle ends the connection, because its answer would be taken for the next one's.
It refuses to know the messages: a Call brings its own reader.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pagsrv.client import conversation, line, where
from pagsrv.client.conversation import MORE, Attachment, Call
from pagsrv.client.line import Beside
from pagsrv.client.proving import counted_on, wanted
from pagsrv.errors import NoBroker, Refused
from pagsrv.names import KINDS

if TYPE_CHECKING:
    from _socket import socket

    from pagsrv.client.proving import Session

T = TypeVar("T")

_DIRECTORIES = 64

_told: dict[str, bool] = {}
"""Whether the kernel told the broker of a directory our session, as of its last answer to Attach.

A hint that saves turns, and no more: what is done because of it says what it counts on.
"""
_asks: set[str] = set()
"""Directories whose broker was found to know our session after Attach only."""


def _note(directory: str, *, told: bool) -> None:
    if len(_told) >= _DIRECTORIES:
        _told.clear()
        _asks.clear()
    _told[directory] = told


class Channel:
    """A connected socket, owned, and what was proved on it."""

    def __init__(
        self,
        dir: str | None,  # noqa: A002 -- the option is called --dir
        scopes: Sequence[str] | None,
        *,
        prove: bool,
    ) -> None:
        """Connect; NoBroker, Denied."""
        self._scopes = None if scopes is None else list(scopes)
        self._prove = prove
        self._words: list[str] | None = None
        self.session: Session | None = None
        self._changes = False
        self._ended = ""
        self.attachment: Attachment | None = None
        self.counted_on: tuple[str, ...] = ()
        """The kinds of scopes that we have not asked for and count on; empty once attached."""
        self.packets: dict[Any, bytes] = {}
        """Packets of Open made before: they say what is counted on, too."""
        sock, self.dir = where.dial(dir)
        self.sock: socket | None = sock

    def close(self) -> None:
        """Hang up."""
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()

    def connected(self) -> socket:
        """The socket, still ours; ValueError once closed, NoBroker if that was not by close()."""
        if self.sock is None:
            raise NoBroker(self._ended) if self._ended else ValueError("this board is closed")
        return self.sock

    def give_up(self) -> None:
        """Close in the middle of a call."""
        self._ended = line.given_up(self.dir)
        self.close()

    def another(self) -> Channel:
        """A connection of the same kind to the same broker, the caller's.

        Attached whatever the scopes: the broker has accepted it then, and so reads what is said on
        it before what we say afterwards elsewhere, as a watch needs it.
        """
        channel = Channel(self.dir, self._scopes, prove=self._prove)
        try:
            channel.attach(changes=False)
        except BaseException:
            channel.close()
            raise
        return channel

    def begin(self, *, changes: bool) -> None:
        """Attach, where it says anything: every connection has its user scope by itself.

        Where the kernel tells the broker of sessions it has its session too. What is done without
        Attach says which of them it counts on, and is refused where the broker knows otherwise.
        """
        if not changes:
            told = _told.get(self.dir, False)
            self.counted_on = counted_on(self._scopes, prove=self._prove, told=told)
        if not self.counted_on:
            self.attach(changes=changes)

    def attach(self, *, changes: bool) -> None:
        """Attach, and prove what can be proved; once more if called again."""
        if self._words is None:
            self._words, self.session = wanted(self._scopes, prove=self._prove)
            if self.counted_on:
                # As of the connect: by now the calling thread may be in another session.
                self._words = list(KINDS if self._scopes is None else self._scopes)
        flow = conversation.attaching(self._words, self.session, changes=changes)
        self.attachment = self._run(flow)
        self._changes = changes
        self.counted_on = ()
        self.packets.clear()
        if self.session is not None:
            _note(self.dir, told=self.attachment.told and self.dir not in _asks)

    def recount(self) -> None:
        """Attach, because the broker refused what was counted on, and so has done nothing."""
        # With the user scope alone there was a session too many, with a session one too few.
        _note(self.dir, told="session" not in self.counted_on)
        if "session" in self.counted_on:
            _asks.add(self.dir)
        self.attach(changes=False)

    def _run(self, flow: Generator[Call[Any], Any, T]) -> T:
        """Make the calls that *flow* wants, one after the other."""
        step, told = flow.send, None
        try:
            while True:
                call = step(told)
                try:
                    step, told = flow.send, self.exchange(call)
                except Refused as refused:
                    step, told = flow.throw, refused
        except StopIteration as done:
            return cast("T", done.value)

    def do(self, call: Call[T]) -> T:
        """Make *call*, announcing changes first if it is the first to make any."""
        if self.counted_on or (call.changes and not self._changes):
            self.attach(changes=call.changes)
        return self.exchange(call)

    def exchange(
        self, call: Call[T], *, sent: bool = False, came: tuple[bytes, Beside, int] | None = None
    ) -> T:
        """Send *call*, unless it is *sent*, and read its answer; *came* is the first of it."""
        sock = self.connected()
        try:
            if not sent:
                self.send(call)
                sent = True
            while True:
                with line.receive(sock) if came is None else line.packet(*came) as packet:
                    came = None
                    result = call.read(packet)
                if result is not MORE:
                    return cast("T", result)
        except (Refused, line.Lost):
            raise
        except (EOFError, ConnectionResetError):
            self._ended = line.hung_up(self.dir)
            self.close()
            raise NoBroker(self._ended) from None
        except BaseException as error:
            # An OSError of sending has sent nothing.
            if sent or not isinstance(error, OSError):
                self.give_up()
            raise

    def send(self, call: Call[Any]) -> None:
        """Send *call* and no more; a broker that is gone may have left its reason to be read."""
        line.check(call.packet, call.fds)
        with suppress(BrokenPipeError, ConnectionResetError):
            line.send(self.connected(), call.packet, call.fds)
