# SPDX-License-Identifier: MIT
"""The broker's directory: made or checked, locked, with the id and the sockets in it.

The law: a directory that another uid could write to is refused; one broker has
it at a time; what is bound here is unlinked only while it is still ours. It
refuses to know what is spoken over the sockets.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat

from pagsrv.daemon.config import BadConfig
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.peer import prepare_listener

ID_DIGITS = 32
BACKLOG = 4096
SOCKETS = {"board": socket.SOCK_SEQPACKET, "varlink": socket.SOCK_STREAM}
_PATH_BYTES = 107
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Directory:
    """The broker's directory, locked until `close`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._bound: dict[str, tuple[int, int]] = {}
        root = os.getuid() == 0
        self._file_mode, self._socket_umask = (0o644, 0o111) if root else (0o600, 0o177)
        self._make(0o755 if root else 0o700)
        self._lock, self.broker = self._read_id()

    def _make(self, mode: int) -> None:
        try:
            os.mkdir(self.path, mode)
            os.chmod(self.path, mode)
        except FileExistsError:
            pass
        except OSError as error:
            raise BadConfig(f"{self.path} cannot be made: {error.strerror}; give --dir") from None
        found = os.lstat(self.path)
        if not stat.S_ISDIR(found.st_mode):
            raise BadConfig(f"{self.path} is no directory; remove it or give another --dir")
        if found.st_uid != os.getuid():
            raise BadConfig(f"{self.path} belongs to uid {found.st_uid}; give a --dir of your own")
        if found.st_mode & _OTHERS_WRITE:
            raise BadConfig(f"{self.path} may be written by others: chmod go-w it, or give a --dir")

    def _read_id(self) -> tuple[Fd, str]:
        path = os.path.join(self.path, "id")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            lock = Fd(os.open(path, flags, self._file_mode))
            try:
                return lock, self._id_in(lock)
            except BaseException:
                lock.close()
                raise
        except OSError as error:
            raise BadConfig(
                f"{path} is of no use: {error.strerror}; remove it, or give another --dir"
            ) from None

    def _id_in(self, lock: Fd) -> str:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadConfig(
                f"another broker runs at {self.path}; stop it, or give another --dir"
            ) from None
        told = os.pread(lock.fileno(), ID_DIGITS + 2, 0).decode("ascii", "replace").strip()
        if not told:
            told = os.urandom(ID_DIGITS // 2).hex()
            os.pwrite(lock.fileno(), f"{told}\n".encode(), 0)
            os.fchmod(lock.fileno(), self._file_mode)
        if len(told) != ID_DIGITS or set(told) - set("0123456789abcdef"):
            raise BadConfig(f"{self.path}/id holds no broker id (32 hex digits); remove it")
        return told

    def listen(self) -> dict[str, socket.socket]:
        """Both sockets, bound and listening, now the caller's."""
        made: dict[str, socket.socket] = {}
        try:
            for name in SOCKETS:
                made[name] = self._listen(name)
        except BaseException:
            for sock in made.values():
                sock.close()
            raise
        return made

    def _listen(self, name: str) -> socket.socket:
        path = os.path.join(self.path, name)
        if len(os.fsencode(path)) > _PATH_BYTES:
            raise BadConfig(
                f"{path} is too long for a socket's address ({_PATH_BYTES} bytes): give a shorter "
                "--dir"
            )
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        except OSError as error:
            raise BadConfig(
                f"{path} is in the way: {error.strerror}; remove it, or give another --dir"
            ) from None
        sock = socket.socket(socket.AF_UNIX, SOCKETS[name] | socket.SOCK_CLOEXEC)
        try:
            prepare_listener(sock)
            before = os.umask(self._socket_umask)
            try:
                sock.bind(path)
            finally:
                os.umask(before)
            sock.listen(BACKLOG)
            found = os.lstat(path)
        except BaseException:
            sock.close()
            raise
        self._bound[name] = (found.st_dev, found.st_ino)
        return sock

    def displaced(self) -> list[str]:
        """The sockets that are not at their place any more: removed, or another's there now."""
        return [name for name, ours in self._bound.items() if self._at(name) != ours]

    def _at(self, name: str) -> tuple[int, int] | None:
        try:
            found = os.lstat(os.path.join(self.path, name))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Unlink the sockets that are still ours and let the next broker in."""
        for name, ours in self._bound.items():
            if self._at(name) == ours:
                os.unlink(os.path.join(self.path, name))
        self._bound.clear()
        self._lock.close()


def adopt(fds: list[Fd]) -> dict[str, socket.socket]:
    """Sockets by activation, told apart by SO_TYPE, the caller's; BadConfig closes them all."""
    made: dict[str, socket.socket] = {}
    try:
        for fd in fds:
            _adopt(fd, made)
    except BaseException:
        for sock in made.values():
            sock.close()
        for fd in fds:
            fd.close()
        raise
    return made


def _adopt(fd: Fd, made: dict[str, socket.socket]) -> None:
    kinds = {kind: name for name, kind in SOCKETS.items()}
    try:
        sock = socket.socket(fileno=fd.fileno())
    except OSError:
        raise BadConfig("a descriptor passed by LISTEN_FDS is no socket") from None
    fd.detach()
    prepare_listener(sock)
    name = kinds.get(sock.type)
    if sock.family != socket.AF_UNIX or name is None or name in made:
        sock.close()
        raise BadConfig(
            "LISTEN_FDS must pass one SEQPACKET and one STREAM Unix socket, in any order"
        )
    # listen(2) once more, so that clients see this process as their peer, not its maker.
    sock.listen(BACKLOG)
    made[name] = sock
