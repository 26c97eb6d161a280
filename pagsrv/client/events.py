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

    Whatever is done on the board once `with` is entered is told. Entering, and asking for the
    next, raise what the watch was refused with, or NoBroker when the broker is gone. For one
    thread at a time.
    """

    def __init__(self, channel: Channel, scope: str | None, *, initial: bool) -> None:
        """Own *channel*, and watch on it."""
        self._channel = channel
        self._call = client.calls.watch(scope, initial=initial)
        self._stands = initial  # else the broker says `live`, which nobody asked us for
        channel.send(self._call)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventView:
        self._stand()
        return self._channel.exchange(self._call, sent=True)

    def _stand(self) -> None:
        if not self._stands:
            self._channel.exchange(self._call, sent=True)
            self._stands = True

    def fileno(self) -> int:
        """The connection's number, still ours: it is readable when there is an event."""
        self._stand()
        return self._channel.connected().fileno()

    def close(self) -> None:
        """Stop watching; the iterator is over."""
        self._channel.close()

    def __enter__(self) -> Self:
        try:
            self._stand()
        except BaseException:
            self.close()
            raise
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
