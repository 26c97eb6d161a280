# SPDX-License-Identifier: MIT
"""What posted sockets are, for whoever asks: looked at anew, outside the loop.

The law: a socket has one question out at a time, which answers all who ask meanwhile; the
thread that asks has a descriptor of its own and closes it. A socket that hangs is said to,
and not asked again until it answers. It refuses to know rights: the board has judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pagsrv.daemon.closing import closer
from pagsrv.effects import Answer, Look
from pagsrv.kernel.fd import Fd
from pagsrv.sockets import SocketView

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon

_HUNG = (
    "the kernel has not answered in time: whoever has the socket keeps it busy, or the broker has "
    "too much else to ask"
)


class _Socket:
    """The question what a socket is; owns *fd* until it is asked, or dropped."""

    def __init__(self, fd: Fd, uid: int) -> None:
        self.uid = uid
        self._fd = fd

    def run(self) -> SocketView:
        """Look at it."""
        from pagsrv.kernel import sockets  # noqa: PLC0415 -- see Sockets.look

        with self._fd as fd:
            try:
                return sockets.look(fd)
            except OSError as error:
                return sockets.named(fd, f"the kernel does not say: {error.strerror}")

    def drop(self) -> None:
        """It may be the last descriptor of a socket that lingers."""
        closer.close(self._fd.detach())


class Sockets:
    """Answers to Stat of entries that are sockets."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._asked: dict[Fd, list[Callable[[SocketView | None], None]]] = {}
        """Who waits for each; nobody any more, if it hangs."""

    def look(self, effect: Look[Fd]) -> None:
        """Carry out *effect*: answer it once the socket has been looked at."""
        from pagsrv.kernel import sockets  # noqa: PLC0415 -- most brokers are never asked

        connection = self._daemon.connections.get(effect.to)
        if connection is None:
            return
        handle = effect.handle
        # Now, since the entry may be gone by the time it is needed.
        little = sockets.named(handle, _HUNG)

        def answer(view: SocketView | None) -> None:
            effect.reply.entry.socket = view or little
            if not connection.closed:
                connection.guard(lambda: connection.answer(Answer(effect.to, effect.reply)))

        waiting = self._asked.get(handle)
        if not connection.awaiting:
            answer(None)  # oneway: it is swallowed
        elif waiting is None:
            self._ask(handle, effect.reply.entry.owner.uid, answer)
        elif waiting:
            waiting.append(answer)
        else:
            answer(None)

    def _ask(self, handle: Fd, uid: int, answer: Callable[[SocketView | None], None]) -> None:
        try:
            own = self._daemon.second(handle)
        except OSError:
            answer(None)
            return
        waiting = self._asked[handle] = [answer]

        def tell(view: object) -> None:
            told, waiting[:] = waiting[:], []
            for one in told:
                one(view if isinstance(view, SocketView) else None)

        def done(view: object) -> None:
            del self._asked[handle]
            tell(view)

        self._daemon.elsewhere.ask(_Socket(own, uid), done, lambda: tell(None))
