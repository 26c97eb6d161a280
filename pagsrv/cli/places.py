# SPDX-License-Identifier: MIT
"""What `pagsrv post` posts: a descriptor inherited, opened, dialled or listened on.

The law: all of it happens here, with the rights of whoever runs the command; what is
returned is the caller's and close-on-exec; an OSError becomes a sentence. It
refuses to know the board.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from errno import EACCES, EISDIR, ENXIO, EPERM, EROFS, ETXTBSY
from fcntl import F_GETFL, F_SETFL, fcntl
from typing import NamedTuple

from pagsrv.cli.fail import Usage
from pagsrv.errors import PagsrvError
from pagsrv.kernel.fd import Fd

_LARGEST = 0x7FFFFFFF
_PORTS, _PORT_DIGITS = 0xFFFF, 5
_BACKLOG = 4096  # the kernel takes net.core.somaxconn if that is less (listen(2))
_FLAGS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_MODES = (os.O_RDWR, os.O_RDONLY, os.O_WRONLY)
_NOT_SO = (EACCES, EROFS, EISDIR, EPERM, ETXTBSY)
"""open(2) refuses one access mode with these, and may permit another."""


class Unreachable(PagsrvError):
    """What is to be posted cannot be opened, dialled or listened on."""


class Place(NamedTuple):
    """An ADDR, taken apart: a path (unix), or a host and a port (tcp)."""

    text: str
    path: str = ""
    host: str = ""
    port: int = 0


def inherited(number: int) -> Fd:
    """A duplicate of descriptor *number*, as this command inherited it."""
    try:
        os.fstat(number if number <= _LARGEST else -1)
    except OSError:
        raise Usage(
            f"descriptor {number} is not open here: give it to this command, as in "
            f"`pagsrv post NAME --fd {number} {number}<FILE`",
            "post",
        ) from None
    return Fd(os.dup(number))


def opened(path: str) -> Fd:
    """*path*, for reading and writing, or as much of it as is permitted; blocking."""
    fault: OSError | None = None
    for mode in _MODES:
        try:
            # Not to wait for the other end of a FIFO, nor for a line of a terminal to rise.
            fd = Fd(os.open(path, mode | _FLAGS))
        except (OSError, ValueError) as error:
            if not isinstance(error, OSError):
                raise Usage(f"{path!r} is no path", "post") from None
            if fault is None or fault.errno in _NOT_SO:
                fault = error
            if error.errno not in _NOT_SO:
                break
        else:
            fcntl(fd.fileno(), F_SETFL, fcntl(fd.fileno(), F_GETFL) & ~os.O_NONBLOCK)
            return fd
    hint = "; it is a socket: say --dial" if fault is not None and fault.errno == ENXIO else ""
    why = "" if fault is None else fault.strerror
    raise Unreachable(f"{path} cannot be opened: {why}{hint}")


def parse_place(text: str) -> Place:
    """tcp:HOST:PORT or unix:PATH; Usage if it is neither."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest and "\0" not in rest:
        return Place(text, path=f"\0{rest[1:]}" if rest.startswith("@") else rest)
    host, colon, port = rest.rpartition(":")
    if kind == "tcp" and colon and port.isascii() and port.isdigit() and _fits(port):
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if bare == host and ":" in host:
            raise Usage(f"{text!r} is no address: put an IPv6 host in brackets", "post")
        return Place(text, host=bare, port=int(port))
    raise Usage(f"{text!r} is no address: say tcp:HOST:PORT or unix:PATH", "post")


def _fits(port: str) -> bool:
    return len(port) <= _PORT_DIGITS and int(port) <= _PORTS


def dialled(place: Place) -> Fd:
    """A stream connected to *place*."""
    if place.port == 0 and not place.path:
        raise Usage(f"{place.text!r} has no port to dial", "post")
    return _each(place, "dialled", _dial)


def listening(place: Place) -> Fd:
    """A socket that listens at *place*; a path is made, and not unlinked by anybody."""
    return _each(place, "listened on", _listen)


def _each(place: Place, verb: str, do: Callable[[socket.socket, object], None]) -> Fd:
    """The first of *place*'s addresses with which *do* works."""
    fault: OSError | None = None
    for family, address in _addresses(place, passive=verb != "dialled"):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            do(sock, address)
        except OSError as error:
            sock.close()
            fault = fault or error
        except BaseException:
            sock.close()
            raise
        else:
            return Fd(sock.detach())
    raise Unreachable(f"{place.text} cannot be {verb}: {_why(fault)}")


def _why(fault: OSError | None) -> str:
    return "it has no address" if fault is None else fault.strerror or str(fault)


def _addresses(place: Place, *, passive: bool) -> list[tuple[int, object]]:
    if place.path:
        return [(socket.AF_UNIX, place.path)]
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(
            place.host or None, place.port, type=socket.SOCK_STREAM, flags=flags
        )
    except (OSError, UnicodeError) as error:
        why = _why(error) if isinstance(error, OSError) else "that is no host name"
        raise Unreachable(f"{place.text}: {place.host} is not found: {why}") from None
    return [(family, address) for family, _, _, _, address in found]


def _dial(sock: socket.socket, address: object) -> None:
    sock.connect(address)  # type: ignore[arg-type]  # of the family getaddrinfo named


def _listen(sock: socket.socket, address: object) -> None:
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)  # type: ignore[arg-type]  # as above
    sock.listen(_BACKLOG)
