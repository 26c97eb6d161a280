# SPDX-License-Identifier: MIT
"""Values as a person reads them: ages, countdowns, masks, who a namespace keeps out.

The law: pure text, never markup; what others chose (names, labels, what a process calls
itself) has its control characters and its invisible ones escaped. A mark is a symbol
beside a word, so that nothing is told by colour alone; on a terminal without the symbols
it is ASCII. It refuses to know widths and colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pagsrv.masks import LETTERS, parse_mask

if TYPE_CHECKING:
    from pagsrv.messages import EntryView

_DAY, _HOUR, _MINUTE = 86400, 3600, 60
_THOUSAND = 1000


class Marks(NamedTuple):
    """The symbols of one kind of terminal."""

    isolated: str
    linkable: str
    none: str
    unknown: str
    live: str
    lost: str
    alive: str
    gone: str
    up: str
    down: str
    ellipsis: str
    dash: str
    full: str
    empty: str
    guest: str
    dot: str


UNICODE = Marks(
    isolated="◆", linkable="◇", none="·", unknown="?", live="●", lost="○", alive="●", gone="✗",
    up="▲", down="▼", ellipsis="…", dash="-", full="█", empty="░", guest="↪", dot="·",
)  # fmt: skip
ASCII = Marks(
    isolated="#", linkable="o", none="-", unknown="?", live="*", lost="x", alive="*", gone="x",
    up="^", down="v", ellipsis="~", dash="-", full="#", empty=".", guest=">", dot="-",
)  # fmt: skip


def drawable(text: str, marks: Marks) -> str:
    """*text* as far as the terminal has letters for it; the others as their escapes."""
    return text if marks is UNICODE or text.isascii() else text.encode(
        "ascii", "backslashreplace"
    ).decode()  # fmt: skip


def plain(text: str) -> str:
    """*text* on one line, with what is not printable shown as its escape."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )


def age(seconds: float) -> str:
    """A length of time, as one number and its unit: s, m, h or d."""
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def left(seconds: float) -> str:
    """What is left of a time: 0:07, 12:30, 3h05m, 2d."""
    whole = max(0, int(seconds))
    if whole >= _DAY:
        return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"
    if whole >= _HOUR:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _MINUTE}:{whole % _MINUTE:02}"


def number(value: float) -> str:
    """A count in at most five characters: 9999, 12.3k, 4.5M."""
    for unit, size in (("G", _THOUSAND**3), ("M", _THOUSAND**2), ("k", _THOUSAND)):
        if value >= 10 * size or (value >= size and unit != "k"):
            return (
                f"{value / size:.1f}{unit}" if value < 99.95 * size else f"{value / size:.0f}{unit}"
            )
    return f"{value:.0f}"


def bytes_of(value: float) -> str:
    """A number of bytes: 512 B, 3.2 KiB."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def microseconds(value: float) -> str:
    """A short time: 12 µs, 3.4 ms."""
    return f"{value:.0f} us" if value < _THOUSAND else f"{value / _THOUSAND:.1f} ms"


def short_mask(mask: str) -> str:
    """The four bytes of a mask, each as the letters it has: alswrv/v/-/-."""
    parts = (mask[at : at + 6].replace("-", "") for at in range(0, 24, 6))
    return "/".join(part or "-" for part in parts)


_WHO = ("whoever possesses the scope", "the same user", "the same group", "everybody else")
_RIGHTS = {
    "a": "change and remove", "l": "grant", "s": "find by name", "w": "replace", "r": "open",
    "v": "see",
}  # fmt: skip


def explained(mask: str) -> list[tuple[str, str, str]]:
    """A mask, a line for each of the four: who, the six letters, what they let one do."""
    told = []
    for place, who in enumerate(_WHO):
        letters = mask[6 * place : 6 * place + 6]
        may = ", ".join(_RIGHTS[one] for one in letters if one in _RIGHTS)
        told.append((who, letters, may or "nothing"))
    return told


def is_mask(text: str) -> bool:
    """Whether *text* is a mask, in letters or digits."""
    try:
        parse_mask(text)
    except ValueError:
        return False
    return True


def rights_of(letters: str) -> str:
    """Rights in words: `see, open`."""
    return ", ".join(_RIGHTS[one] for one in LETTERS if one in letters) or "nothing"


# ── of an entry ──


def badge(isolation: str | None, marks: Marks) -> tuple[str, str]:
    """How well a namespace keeps others out: symbol and word."""
    symbols = {"isolated": marks.isolated, "linkable": marks.linkable, "none": marks.none}
    if isolation not in symbols:
        return marks.unknown, "unknown"
    return symbols[isolation], isolation


def poster(entry: EntryView, marks: Marks) -> str:
    """Who posted it, and whether that process lives."""
    by = entry.poster
    if by is None:
        return marks.dash
    return f"{marks.alive if by.alive else marks.gone} {plain(by.comm)} {by.pid}"


def deadline(entry: EntryView) -> float | None:
    """When it ends by time, in seconds since 1970; None if it does not."""
    return entry.deadline


def next_end(entry: EntryView, now: float, marks: Marks) -> str:
    """What ends it next: a countdown if there is one, then what an event decides."""
    when = deadline(entry)
    others = [word for word in entry.until if not word.startswith("ttl=")]
    timed = [word for word in entry.until if word.startswith("ttl=")]
    told = [f"in {left(when - now)}"] if when is not None else timed
    told += [word for word in others if word != "revoked"] or (["revoked"] if others else [])
    if not told:
        return marks.dash
    return told[0] if len(told) == 1 else f"{told[0]} +{len(told) - 1}"


def where(entry: EntryView, marks: Marks) -> str:
    """Its peer or its path."""
    sock = entry.socket
    if sock is not None:
        if sock.peer_process is not None:
            by = sock.peer_process
            return f"{plain(by.comm) or 'process'} {by.pid}"
        if sock.peer or sock.local:
            return plain(sock.peer or f"at {sock.local}")
    return plain(entry.path) if entry.path else marks.dash


def command(scope: str, entry: str) -> str:
    """The command that opens an entry, for a shell."""
    name = f"{scope}/{entry}"
    safe = all(one.isalnum() or one in "/:._-@%+=" for one in name)
    quoted = name if safe else "'" + name.replace("'", "'\\''") + "'"
    return f"pagsrv open {quoted} -- "
