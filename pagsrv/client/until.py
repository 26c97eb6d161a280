# SPDX-License-Identifier: MIT
"""End conditions as a caller says them, with the pidfds that some of them need.

The law: a pidfd opened here is closed here, after the post, on every path. What a
condition means and whether there is one of that word is the broker's to say.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

from pagsrv.ends import NEED_PIDFD
from pagsrv.errors import InvalidParameter
from pagsrv.kernel.fd import Fd

if TYPE_CHECKING:
    from types import TracebackType

    from pagsrv.messages import Until


class HasFileno(Protocol):
    """A socket, a file, an Fd: whatever has a descriptor."""

    def fileno(self) -> int:
        """The descriptor's number."""


def number_of(fd: HasFileno | int) -> int:
    """The descriptor's number, still the caller's."""
    return fd if isinstance(fd, int) else fd.fileno()


Shown = HasFileno | int | None
"""What shows on whose behalf a call is made, a socket or a pidfd, the caller's; None: our own."""


def shown(behalf: Shown) -> list[int]:
    """The descriptor that goes with a call made on somebody's behalf; none on our own."""
    return [] if behalf is None else [number_of(behalf)]


class Ends:
    """The conditions of one post, each with the number of its pidfd; owns those it opened.

    A condition is a word (`exit`, `exit=PID`, `ttl=60` …) or an Until whose fd is the
    caller's own pidfd. InvalidParameter if the process named is not there.
    """

    def __init__(self, until: Sequence[str | Until]) -> None:
        self._opened: list[Fd] = []
        try:
            self.found = [self._look(one) for one in until]
        except BaseException:
            self.close()
            raise

    def _look(self, one: str | Until) -> tuple[str, int | None]:
        if not isinstance(one, str):
            return one.cond, one.fd
        kind, _, number = one.partition("=")
        if kind not in NEED_PIDFD or not (number.isascii() and number.isdigit()):
            return one, None
        try:
            pidfd = Fd(os.pidfd_open(int(number)))
        except (OSError, OverflowError, ValueError) as error:
            raise InvalidParameter(
                "until", f"{one[:40]}: there is no such process ({error})"
            ) from None
        self._opened.append(pidfd)
        return one, pidfd.fileno()

    def close(self) -> None:
        """Close what was opened here."""
        for pidfd in self._opened:
            pidfd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
