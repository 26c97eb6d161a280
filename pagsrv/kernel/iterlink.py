# SPDX-License-Identifier: MIT
"""The second choice, without cgroup v2: an iterator over file tables, read by a child process.

The law: an iterator is never pinned; answers are told by socket cookie and never by number,
and read to their end. The child holds nothing but the socket asked about. It is a process
and not a thread with a table of its own: whatever the collector closes in such a thread, it
closes in the wrong table. It refuses to judge what is answered.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Self

from pagsrv.errors import PagsrvError
from pagsrv.kernel.bpf import BpfFault, Program, read_iterator
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.peer import identify
from pagsrv.kernel.peerkeyring import PeerKeyring, parse
from pagsrv.kernel.scm import ancillary, receive_blocking

if TYPE_CHECKING:
    from types import TracebackType

    from pagsrv.kernel.asking import Askable

PATH = "/run/pagsrv/peerkeyring"
"""Where the giver listens, for anybody: it shows a process nothing but its own sockets' peers."""

SO_COOKIE = 57  # asm-generic/socket.h
_COOKIE_BYTES = 8
_RECORD_BYTES = 80  # struct peerkeyring (contrib/c/peerkeyring.h), which follows the cookie
_PATIENCE = 0.5  # seconds for an answer; it takes some hundred microseconds
_BEGINNING = 2.0  # seconds for the iterator
LINK = b"link"
"""What comes beside an iterator; any other text is why there is none."""

TEXT_BYTES = 512
_ANSWER, _NONE = b"answer", b"none"


class Asker:
    """The broker's part; owns a child process, which ends with it. BpfFault: there is none.

    To be made, as far as can be chosen, before descriptors are held and threads are started;
    by a process that is not dumpable any more, as its child is then: who could trace the child
    could answer for it. *itself*: the child makes its iterator by its own rights if it has them.
    """

    def __init__(self, path: str = PATH, *, itself: bool = False, wait: bool = True) -> None:
        try:
            self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise BpfFault(f"there is no descriptor to be had: {error}") from error
        self.ready = False
        self._pid = 0
        with theirs:
            try:
                self._pid = os.fork()
            except OSError as error:
                self._sock.close()
                raise BpfFault(f"there is no process to be had: {error}") from error
            if self._pid == 0:
                _child(theirs, path, itself=itself)
        try:
            if wait:
                self.begin()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The child's process id, 0 once it has been waited for."""
        return self._pid

    def begin(self, *, wait: bool = True) -> None:
        """Set `ready` if the child has its iterator by now; BpfFault if it gets none, and why.

        With *wait* as long as that may take. Before it is ready nothing can be asked.
        """
        self._sock.settimeout(_BEGINNING if wait else 0)
        try:
            word = self._receive()
        except BlockingIOError:
            return
        if word != LINK:
            raise BpfFault(word.decode("utf-8", "replace"))
        self._sock.settimeout(_PATIENCE)
        self.ready = True

    def lives(self) -> bool:
        """Whether the child runs still."""
        try:
            if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
                self._pid = 0
        except ChildProcessError:
            self._pid = 0  # who started us has children of ours reaped (SIGCHLD ignored)
        return self._pid != 0

    def ask(self, sock: Askable) -> PeerKeyring | None:
        """The session keyring of the peer of *sock*; None if it is no connected Unix socket.

        BpfFault if nobody answers any more: then this is to be closed.
        """
        try:
            self._sock.sendmsg([b"?"], ancillary([sock.fileno()]))
        except OSError as error:
            raise BpfFault(f"the process that reads the iterator is gone: {error}") from error
        answer = self._receive()
        if answer.startswith(_ANSWER):
            return parse(answer[len(_ANSWER) :])
        if answer == _NONE:
            return None
        raise BpfFault(answer.decode("utf-8", "replace"))

    def _receive(self) -> bytes:
        try:
            answer = self._sock.recv(TEXT_BYTES)
        except BlockingIOError:
            raise
        except OSError as error:
            # A late answer would be taken for the next question's.
            self._sock.close()
            raise BpfFault(f"the process that reads the iterator does not answer: {error}") from (
                error
            )
        if not answer:
            raise BpfFault("the process that reads the iterator has ended")
        return answer

    def end(self) -> bool:
        """End the child, without waiting; whether it has ended. To be called until it has."""
        self._sock.close()
        if self.lives():
            os.kill(self._pid, signal.SIGKILL)
        return not self.lives()

    def close(self) -> None:
        """End the child, and wait until it has."""
        if not self.end():
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# ---- the child -----------------------------------------------------------------------------------


def _child(channel: socket.socket, path: str, *, itself: bool) -> NoReturn:
    """Answer until the other end of *channel* is closed; holds nothing else, and never returns."""
    try:
        # What the parent left to the collector would close numbers that mean other things here.
        gc.disable()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        kept = channel.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        try:
            link = _link(path, channel, itself=itself)
        except PagsrvError as error:
            channel.send(str(error).encode()[:TEXT_BYTES])
        else:
            channel.send(LINK)
            while _turn(channel, link):
                pass
    finally:
        # Nothing of the parent's is to be run here on the way out: no handlers, no destructors.
        os._exit(0)


def _link(path: str, channel: socket.socket, *, itself: bool) -> Fd:
    """An iterator over our own file table that was seen to work, made here or given at *path*."""
    own = ""
    if itself:
        try:
            with Program("peers") as program:
                return _tried(program.attach_iterator(pid=os.getpid()), channel)
        except BpfFault as fault:
            own = f"{fault}; and "
    try:
        return _tried(_fetch(path), channel)
    except BpfFault as fault:
        raise BpfFault(f"{own}{fault}") from fault


def _tried(link: Fd, channel: socket.socket) -> Fd:
    cookie = _cookie(channel)
    if _find(read_iterator(link), cookie) is None:
        link.close()
        raise BpfFault("the iterator does not show what this process holds")
    return link


def _cookie(sock: socket.socket) -> bytes:
    # The kernel gives a socket its cookie when that is asked for, so before the reading.
    return sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, _COOKIE_BYTES)


def _fetch(path: str) -> Fd:
    """The iterator over our own file table, of root's helper that gives at *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(_BEGINNING)
        try:
            sock.connect(path)
            if identify(sock, process=False).uid != 0:
                raise BpfFault(f"what answers at {path} is not root's")
            packet = receive_blocking(sock)
        except OSError as error:
            raise BpfFault(f"nobody gives an iterator at {path}: {error}") from error
    with packet:
        if len(packet.fds) != 1 or packet.data != LINK:
            said = packet.data.decode("utf-8", "replace")
            raise BpfFault(said or f"what answers at {path} gives no iterator")
        return packet.take()[0]


def _turn(channel: socket.socket, link: Fd) -> bool:
    """Answer one question; False at the end of questions."""
    with receive_blocking(channel) as packet:
        if len(packet.fds) != 1:
            return False
        asked = packet.take()[0].to_socket()
    with asked:
        answer = _answer(asked, link)
    channel.send(answer)
    return True


def _answer(asked: socket.socket, link: Fd) -> bytes:
    try:
        cookie = _cookie(asked)
        found = _find(read_iterator(link), cookie)
    except (OSError, BpfFault) as error:
        return str(error).encode()[:TEXT_BYTES]
    return _NONE if found is None else _ANSWER + found


def _find(raw: bytes, cookie: bytes) -> bytes | None:
    """The record of the socket of that *cookie*; None if there is none."""
    step = _COOKIE_BYTES + _RECORD_BYTES
    for place in range(0, len(raw) - step + 1, step):
        if raw.startswith(cookie, place):
            return raw[place + _COOKIE_BYTES : place + step]
    return None
