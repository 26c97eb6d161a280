# SPDX-License-Identifier: MIT
"""One connection of a program with an event loop: attached, proved, many calls under way.

The law: answers belong to calls in the order of sending; whoever gave up waiting keeps
its place in that order, and the descriptors of its late answer are closed. A call not
yet sent is given up whole. It refuses to know the messages: a Call brings its own
reader.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Sequence
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from pagsrv.client import conversation, line, where
from pagsrv.client.conversation import Attachment, Call, Line
from pagsrv.client.proving import wanted
from pagsrv.errors import NoBroker, PagsrvError, Refused
from pagsrv.kernel.fd import Fd

if TYPE_CHECKING:
    from _socket import socket

    from pagsrv.client.proving import Session

T = TypeVar("T")
_Future = asyncio.Future[Any]


class _Unsent(NamedTuple):
    """A packet that the socket had no room for, with duplicates of its descriptors."""

    packet: bytes
    fds: list[Fd]
    future: _Future

    def close(self) -> None:
        for fd in self.fds:
            fd.close()


def discard(result: object) -> None:
    """Close the descriptors of a result that nobody waits for any more."""
    for one in result if isinstance(result, list) else [result]:
        if isinstance(one, Fd):
            one.close()


class Pipeline:
    """A connected socket, owned, served by the running loop; made by `dial`."""

    def __init__(
        self,
        sock: socket,
        dir: str,  # noqa: A002 -- the option is called --dir
        scopes: Sequence[str] | None,
        *,
        prove: bool,
    ) -> None:
        """Own *sock*, connected and not blocking."""
        self.dir = dir
        self.attachment: Attachment | None = None
        self.session: Session | None = None
        self._scopes = None if scopes is None else list(scopes)
        self._prove = prove
        self._words: list[str] | None = None
        self._changes = False
        self._announcing = asyncio.Lock()
        self._ended = ""
        self._line: Line[_Future] = Line()
        self._unsent: deque[_Unsent] = deque()
        self._loop = asyncio.get_running_loop()
        self._sock: socket | None = sock
        self._loop.add_reader(sock.fileno(), self._readable)

    # ── the connection ──

    def connected(self) -> socket:
        """The socket, still ours; ValueError once closed, NoBroker if that was not by close()."""
        if self._sock is None:
            raise NoBroker(self._ended) if self._ended else ValueError("this board is closed")
        return self._sock

    def close(self, why: PagsrvError | None = None) -> None:
        """Hang up; whoever waits is told *why*, or that the board was closed."""
        if self._sock is None:
            return
        sock = self.detach()
        sock.close()
        self._ended = "" if why is None else str(why)
        for future in self._line.over():
            if not future.done():
                future.set_exception(why or ValueError("this board was closed"))

    def detach(self) -> socket:
        """The socket, now the caller's; nothing is read from it or sent to it here any more."""
        sock = self.connected()
        self._sock = None
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())
        for unsent in self._unsent:
            unsent.close()
        self._unsent.clear()
        return sock

    async def another(self) -> Pipeline:
        """A connection of the same kind to the same broker, attached, the caller's."""
        return await dial(self.dir, self._scopes, prove=self._prove, changes=False)

    # ── attach ──

    async def attach(self, *, changes: bool) -> None:
        """Attach, and prove what can be proved; once more if called again."""
        if self._words is None:
            self._words, self.session = wanted(self._scopes, prove=self._prove)
        flow = conversation.attaching(self._words, self.session, changes=changes)
        self.attachment = await self._run(flow)
        self._changes = changes

    async def _run(self, flow: Generator[Call[Any], Any, T]) -> T:
        """Make the calls that *flow* wants, one after the other."""
        step, told = flow.send, None
        try:
            while True:
                call = step(told)
                try:
                    step, told = flow.send, await self._exchange(call)
                except Refused as refused:
                    step, told = flow.throw, refused
        except StopIteration as done:
            return cast("T", done.value)

    async def do(self, call: Call[T]) -> T:
        """Make *call*, announcing changes first if it is the first to make any."""
        if call.changes and not self._changes:
            async with self._announcing:
                if not self._changes:
                    await self.attach(changes=True)
        return await self._exchange(call)

    # ── one call ──

    async def _exchange(self, call: Call[T]) -> T:
        future = self._loop.create_future()
        self._start(call, future)
        try:
            return cast("T", await future)
        except asyncio.CancelledError:
            if not future.cancelled():
                # The answer was there already, and would have been handed over next.
                if future.exception() is None:
                    discard(future.result())
            else:
                self._give_up(future)
            raise

    def _give_up(self, future: _Future) -> None:
        """What is not sent yet need not be; to what is, the answer still comes."""
        for unsent in self._unsent:
            if unsent.future is future:
                self._unsent.remove(unsent)
                self._line.unasked(future)
                unsent.close()
                return

    def _start(self, call: Call[Any], future: _Future) -> None:
        line.check(call.packet, call.fds)
        sock = self.connected()
        if not self._unsent:
            try:
                line.send(sock, call.packet, call.fds)
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                self._line.asked(call, future)  # what the broker said last is still to be read
                return
            else:
                self._line.asked(call, future)
                return
        self._later(call, future)

    def _later(self, call: Call[Any], future: _Future) -> None:
        sock = self.connected()
        unsent = _Unsent(call.packet, [], future)
        try:
            for number in call.fds:
                unsent.fds.append(Fd(fcntl(number, F_DUPFD_CLOEXEC, 0)))
        except BaseException:
            unsent.close()
            raise
        self._unsent.append(unsent)
        self._line.asked(call, future)
        self._loop.add_writer(sock.fileno(), self._writable)

    def _writable(self) -> None:
        sock = self.connected()
        while self._unsent:
            unsent = self._unsent[0]
            try:
                line.send(sock, unsent.packet, [fd.fileno() for fd in unsent.fds])
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                break  # the reader finds out
            except OSError as error:
                self._line.unasked(unsent.future)
                unsent.future.set_exception(error)
            self._unsent.popleft().close()
        self._loop.remove_writer(sock.fileno())

    def _readable(self) -> None:
        try:
            with line.receive(self.connected()) as packet:
                answered = self._line.answered(packet)
        except BlockingIOError:
            return
        except line.Lost as lost:
            _settle(self._line.lost(), None, lost)
            return
        except (EOFError, ConnectionResetError):
            self.close(NoBroker(line.hung_up(self.dir)))
            return
        except PagsrvError as error:
            self.close(error)
            return
        except BaseException:
            self.close(NoBroker(line.given_up(self.dir)))
            raise
        if answered is not None:
            _settle(*answered)


def _settle(future: _Future | None, result: object, error: PagsrvError | None) -> None:
    if future is None or future.done():
        discard(result)
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


async def dial(
    dir: str | None,  # noqa: A002 -- the option is called --dir
    scopes: Sequence[str] | None,
    *,
    prove: bool,
    changes: bool,
) -> Pipeline:
    """Connect and attach; the Pipeline is the caller's."""
    sock, found = await _connected(dir)
    try:
        pipeline = Pipeline(sock, found, scopes, prove=prove)
    except BaseException:
        sock.close()
        raise
    try:
        await pipeline.attach(changes=changes)
    except BaseException:
        pipeline.close()
        raise
    return pipeline


async def _connected(dir: str | None) -> tuple[socket, str]:  # noqa: A002 -- as above
    try:
        return where.dial(dir, blocking=False)
    except BlockingIOError:
        # No room in the broker's queue. connect(2) of unix(7) does not tell an event loop when
        # there is, so that a thread has to wait for it.
        waiting = asyncio.get_running_loop().run_in_executor(None, where.dial, dir)
    try:
        sock, found = await asyncio.shield(waiting)
    except asyncio.CancelledError:
        waiting.add_done_callback(_hang_up)
        raise
    sock.setblocking(False)
    return sock, found


def _hang_up(late: asyncio.Future[tuple[socket, str]]) -> None:
    if late.exception() is None:
        late.result()[0].close()
