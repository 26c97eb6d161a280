# SPDX-License-Identifier: MIT
"""Asking a socket what may have to wait for its lock, while everybody else goes on.

The law: whoever has the socket may hold its lock for as long as it likes, so none of
this is for the daemon's loop; and Python's own getsockopt() would stop every other
thread meanwhile, as would making a socket object, so that all of it goes by ctypes. It
refuses to know what an answer means.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_INET, AF_INET6, AF_UNIX, inet_ntop
from typing import TYPE_CHECKING, Protocol, overload

from pagsrv.kernel.libc import libc

if TYPE_CHECKING:
    from pagsrv.kernel.fd import Fd

_INT = struct.Struct("i")
_FAMILY = struct.Struct("H")
_PORT = struct.Struct("!H")
_SCOPE = struct.Struct("I")
_ADDRESS_BYTES = 128  # struct sockaddr_storage (linux/socket.h)


class Askable(Protocol):
    """A socket as far as its options are asked for: a socket object, or an Asked."""

    def fileno(self) -> int:
        """The number, still its owner's."""

    @overload
    def getsockopt(self, level: int, option: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


class Asked:
    """A socket to be asked things; *fd* stays the caller's, and open until the answer is there."""

    __slots__ = ("_fd",)

    def __init__(self, fd: Fd) -> None:
        self._fd = fd.fileno()

    def fileno(self) -> int:
        """The number, still its owner's."""
        return self._fd

    @overload
    def getsockopt(self, level: int, option: int) -> int: ...
    @overload
    def getsockopt(self, level: int, option: int, size: int) -> bytes: ...
    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """What socket.getsockopt() says: a number, or at most *size* bytes; OSError likewise."""
        import ctypes  # noqa: PLC0415 -- see libc

        buffer = ctypes.create_string_buffer(size or _INT.size)
        length = ctypes.c_uint32(len(buffer))
        if libc().getsockopt(self._fd, level, option, buffer, ctypes.byref(length)):
            raise _error()
        raw: bytes = buffer.raw[: length.value]
        return raw if size else int(_INT.unpack(raw)[0])

    def name(self, *, peer: bool) -> str | None:
        """Its address, or that of its *peer*, in words; None if it has none.

        OSError as getsockname(2) and getpeername(2).
        """
        import ctypes  # noqa: PLC0415 -- see libc

        buffer = ctypes.create_string_buffer(_ADDRESS_BYTES)
        length = ctypes.c_uint32(len(buffer))
        call = libc().getpeername if peer else libc().getsockname
        if call(self._fd, buffer, ctypes.byref(length)):
            raise _error()
        return in_words(buffer.raw[: length.value])

    def queue(self, request: int) -> int:
        """The number that *request* of ioctl(2) answers with; OSError as that."""
        import ctypes  # noqa: PLC0415 -- see libc

        told = ctypes.c_int()
        if libc().ioctl(self._fd, ctypes.c_ulong(request), ctypes.byref(told)):
            raise _error()
        return told.value


def in_words(address: bytes) -> str | None:
    """A socket's address, struct sockaddr, in words; None for one that names nothing.

    HOST:PORT, [HOST]:PORT, a path, or @NAME for an abstract one (unix(7)).
    """
    family = _FAMILY.unpack_from(address)[0] if len(address) >= _FAMILY.size else 0
    rest = address[_FAMILY.size :]
    if family == AF_UNIX:
        if not rest.rstrip(b"\0"):
            return None
        if rest.startswith(b"\0"):
            return "@" + rest[1:].decode("utf-8", "surrogateescape")
        return rest.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    if family not in (AF_INET, AF_INET6):
        return None
    (port,) = _PORT.unpack_from(rest)
    if family == AF_INET:
        host = inet_ntop(AF_INET, rest[2:6])
        return f"{host}:{port}" if port or any(rest[2:6]) else None
    host = inet_ntop(AF_INET6, rest[6:22])
    (scope,) = _SCOPE.unpack_from(rest, 22)
    zone = f"%{scope}" if scope else ""
    return f"[{host}{zone}]:{port}" if port or any(rest[6:22]) else None


def _error() -> OSError:
    import ctypes  # noqa: PLC0415 -- see libc

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
