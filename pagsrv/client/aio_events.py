# SPDX-License-Identifier: MIT
"""The events of a watch, for a program with an event loop.

The law: one packet is read for each event asked for, so that a slow reader is slow at
the broker, which counts what it drops, and not here, where nobody would. It refuses to
know which events there are.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from pagsrv.client import calls, line
from pagsrv.errors import NoBroker, PagsrvError

if TYPE_CHECKING:
    from _socket import socket
    from types import TracebackType

    from pagsrv.client.pipeline import Pipeline
    from pagsrv.messages import EventView


class Events:
    """An endless asynchronous iterator of events, on a connection of its own.

    It begins with the first event asked for, or on entering by `async with`: whatever is done
    on the board after that is told. For one task at a time; one that is cancelled while it
    waits loses no event. What the watch was refused with is raised there too, and NoBroker
    when the broker is gone.
    """

    def __init__(self, pipeline: Pipeline, scope: str | None, *, initial: bool) -> None:
        """Watch on a connection like *pipeline*, which stays its owner's."""
        self._like = pipeline
        self._call = calls.watch(scope, initial=initial)
        self._stands = initial  # else the broker says `live`, which nobody asked us for
        self._sock: socket | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._over = False

    async def _begin(self) -> None:
        own = await self._like.another()
        try:
            line.send(own.connected(), self._call.packet, ())
        except BaseException:
            own.close()
            raise
        sock = own.detach()
        if self._over:  # closed meanwhile
            sock.close()
        else:
            self._sock = sock

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventView:
        if self._sock is None and not self._over:
            await self._begin()
        await self._stand()
        return await self._next()

    async def _stand(self) -> None:
        if not self._stands:
            await self._next()
            self._stands = True

    async def _next(self) -> EventView:
        while self._sock is not None:
            try:
                with line.receive(self._sock) as packet:
                    return calls.read_event(packet)
            except BlockingIOError:
                await self._readable(self._sock)
            except (EOFError, ConnectionResetError):
                await self.close()
                raise NoBroker(line.hung_up(self._like.dir)) from None
            except PagsrvError:
                await self.close()
                raise
        raise StopAsyncIteration

    async def _readable(self, sock: socket) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        loop.add_reader(sock.fileno(), self._wake)
        try:
            await self._waiting
        finally:
            self._wake()

    def _wake(self) -> None:
        """Look again; a reader stays with the loop only while somebody waits."""
        waiting, self._waiting = self._waiting, None
        if waiting is None or self._sock is None:
            return
        waiting.get_loop().remove_reader(self._sock.fileno())
        if not waiting.done():
            waiting.set_result(None)

    async def close(self) -> None:
        """Stop watching; the iterator is over, for a task that waits for the next event too."""
        self._over = True
        self._wake()
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    async def __aenter__(self) -> Self:
        await self._begin()
        try:
            with suppress(StopAsyncIteration):  # closed meanwhile
                await self._stand()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if self._sock is not None:
            self._sock.close()
