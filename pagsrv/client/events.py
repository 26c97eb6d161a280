# SPDX-License-Identifier: MIT
"""The events of a watch, for a program that waits for them.

The law: it owns its connection, and the connection ends with it. It refuses to know
which events there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pagsrv import client

if TYPE_CHECKING:
    from types import TracebackType

    from pagsrv.client.channel import Channel
    from pagsrv.messages import EventView


class Events:
    """An endless iterator of events; close it, use `with`, or let it go.

    Asking for the next raises what the watch was refused with, or NoBroker when the
    broker is gone. For one thread at a time.
    """

    def __init__(self, channel: Channel, scope: str | None, *, initial: bool) -> None:
        """Own *channel*, and watch on it."""
        self._channel = channel
        self._call = client.calls.watch(scope, initial=initial)
        channel.send(self._call)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventView:
        return self._channel.exchange(self._call, sent=True)

    def fileno(self) -> int:
        """The connection's number, still ours: it is readable when there is an event."""
        return self._channel.connected().fileno()

    def close(self) -> None:
        """Stop watching; the iterator is over."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
