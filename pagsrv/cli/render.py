# SPDX-License-Identifier: MIT
"""Everything the command says on stdout: text for people, JSON for programs.

The law: the only writer to stdout, one line at a time and at once; text that
others chose (names, labels, what a process calls itself) is shown with its control
characters escaped; colours go to a terminal only. It refuses to know what is said.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from errno import EAGAIN, EPIPE
from typing import TYPE_CHECKING

from pagsrv.errors import PagsrvError

if TYPE_CHECKING:
    from msgspec import Struct

_OUT, _ERR = 1, 2
_BOLD, _RED, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"
_DAY, _HOUR, _MINUTE = 86400, 3600, 60


class Closed(PagsrvError):
    """Nobody reads stdout any more: the command ends and says nothing."""

    status = 128 + 13  # as if SIGPIPE had ended it (signal(7)), which Python ignores


class Unwritable(PagsrvError):
    """Stdout takes nothing: a full disk, a descriptor that is not open."""


def guard() -> None:
    """Keep the numbers of stdout and stderr from the next socket, where they are closed."""
    for number in (_OUT, _ERR):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number, inheritable=False)
                os.close(nowhere)


def write(text: str) -> None:
    """Write *text* whole; Closed or Unwritable if that cannot be."""
    data = memoryview(text.encode("utf-8", "backslashreplace"))
    while data:
        try:
            data = data[os.write(_OUT, data) :]
        except OSError as error:
            if error.errno == EAGAIN:
                _wait_for_room()
                continue
            if error.errno == EPIPE:
                raise Closed("nobody reads stdout") from None
            raise Unwritable(f"stdout cannot be written to: {error.strerror}") from None


def _wait_for_room() -> None:
    """Wait until stdout takes more: whoever shares it may have made it non-blocking."""
    from select import POLLOUT, poll  # noqa: PLC0415 -- hardly ever

    watch = poll()
    watch.register(_OUT, POLLOUT)
    watch.poll()


def line(text: str = "") -> None:
    """Write one line."""
    write(f"{text}\n")


def as_json(value: Struct | dict[str, object]) -> None:
    """Write *value* as one JSON object on one line."""
    from msgspec.json import encode  # noqa: PLC0415 -- many commands write none

    write(encode(value).decode() + "\n")


def plain(text: str) -> str:
    """*text* on one line and without control characters, each shown as its escape."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode()
                   for one in text)  # fmt: skip


def colourful() -> bool:
    """Whether colours are wanted: a terminal, and NO_COLOR is not set (no-color.org)."""
    return (
        not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        and os.isatty(_OUT)
    )  # fmt: skip


def bold(text: str) -> str:
    """*text* as a heading, on a terminal."""
    return f"{_BOLD}{text}{_PLAIN}" if colourful() else text


def red(text: str) -> str:
    """*text* as something amiss, on a terminal."""
    return f"{_RED}{text}{_PLAIN}" if colourful() else text


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write *rows* in columns under *header*; the last column is as wide as it is."""
    shown = [tuple(header), *(tuple(plain(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)][:-1]
    for number, row in enumerate(shown):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        text = "  ".join([*cells, row[-1]]).rstrip()
        line(text if number else bold(text))


def pairs(told: Iterable[tuple[str, str]]) -> None:
    """Write what is told about one thing, a line each."""
    told = list(told)
    width = max((len(key) for key, _ in told), default=0)
    for key, value in told:
        line(f"{bold(key.ljust(width))}  {plain(value)}".rstrip())


def age(seconds: float) -> str:
    """A length of time, as one number and its unit: s, m, h or d."""
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
