# SPDX-License-Identifier: MIT
"""Fd: a file descriptor with exactly one owner.

The law: a descriptor is closed once, by whoever owns it, on every path; giving it
away is a verb (detach, to_file, to_socket), and a descriptor made here is
close-on-exec. It refuses to know what the descriptor is.
"""

from __future__ import annotations

import os
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import socket
    from types import TracebackType

_CLOSED = -1


class Fd:
    """An owned file descriptor, closed by `with`, by close(), or at the latest by the collector.

    Making one takes ownership: nobody else may close the number afterwards. A
    collected Fd that is still open is a bug of its owner and says so by
    ResourceWarning.

        with board.open("db") as fd:
            os.read(fd.fileno(), 100)

        sock = board.open("db").to_socket()   # the socket owns it now
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        """Own the open descriptor *fd*; ValueError if it cannot be one."""
        if fd < 0:
            self._fd = _CLOSED
            raise ValueError(f"{fd} is no file descriptor")
        self._fd = fd

    @property
    def closed(self) -> bool:
        """Whether it was closed or given away."""
        return self._fd < 0

    def fileno(self) -> int:
        """The number, still ours; ValueError once it is closed or given away."""
        if self._fd < 0:
            raise ValueError("this descriptor is closed or was given away")
        return self._fd

    def detach(self) -> int:
        """The number, now the caller's to close; ValueError if it is not here any more."""
        number = self.fileno()
        self._fd = _CLOSED
        return number

    def dup(self) -> Self:
        """A second descriptor of the same open file, the caller's; OSError as fcntl(2)."""
        return type(self)(fcntl(self.fileno(), F_DUPFD_CLOEXEC, 0))

    def close(self) -> None:
        """Close it now; nothing happens if it is closed or given away."""
        number, self._fd = self._fd, _CLOSED
        if number >= 0:
            os.close(number)

    def to_file(self, mode: str = "rb", buffering: int = -1) -> IO[Any]:
        """A file object that owns the descriptor, as open() with *mode* makes it.

        A wrong mode leaves the descriptor here; an error of the kernel (OSError)
        closes it.
        """
        return open(str(self), mode, buffering, opener=lambda _path, _flags: self.detach())

    def to_socket(self) -> socket.socket:
        """A socket object that owns the descriptor; OSError (it stays here) if it is no socket."""
        import socket  # noqa: PLC0415 -- costs milliseconds that a command without sockets saves

        sock = socket.socket(fileno=self.fileno())
        self._fd = _CLOSED
        return sock

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
        if self._fd >= 0:
            try:
                import warnings  # noqa: PLC0415 -- only a bug pays for it

                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            finally:
                self.close()

    def __repr__(self) -> str:
        return "<Fd closed>" if self._fd < 0 else f"<Fd {self._fd}>"
