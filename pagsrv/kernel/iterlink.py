# SPDX-License-Identifier: MIT
"""The second choice, without cgroup v2: root gives an iterator, a child of the asker's reads it.

    Giver      root's part: whoever connects gets an iterator over its own file table
    Asker      the broker's part: a child process that holds nothing but the socket asked about

The law: an iterator shows the file table of one process and is never pinned; answers are
told by socket cookie and never by number, and read to their end. The child is a process
and not a thread with a table of its own: whatever the collector closes in such a thread,
it closes in the wrong table. It refuses to judge what is answered.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from typing import TYPE_CHECKING, NoReturn, Self

from pagsrv.errors import PagsrvError
from pagsrv.kernel.bpf import OBJECT, BpfFault, Program, read_iterator
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.peer import identify
from pagsrv.kernel.peerkeyring import PeerKeyring, parse
from pagsrv.kernel.process import is_alive
from pagsrv.kernel.scm import ancillary, receive_blocking

if TYPE_CHECKING:
    from types import TracebackType

PATH = "/run/pagsrv/peerkeyring"
"""Where the giver listens, for anybody: it shows a process nothing but its own sockets' peers."""

SO_COOKIE = 57  # asm-generic/socket.h
_COOKIE_BYTES = 8
_RECORD_BYTES = 80  # struct peerkeyring (contrib/c/peerkeyring.h), which follows the cookie
_TEXT_BYTES = 512
_PATIENCE = 2.0  # seconds for an answer; it takes some forty microseconds
_LINK, _ANSWER, _NONE = b"link", b"answer", b"none"


class Giver:
    """Root's part; owns the loaded program. BpfFault where it cannot be loaded."""

    def __init__(self, path: str = OBJECT) -> None:
        self._program = Program("peers", path)

    def serve(self, listener: socket.socket) -> NoReturn:
        """Give to everybody who connects, one after the other; *listener* blocks, SEQPACKET."""
        while True:
            sock, _ = listener.accept()
            with sock:
                self.give(sock)

    def give(self, sock: socket.socket) -> None:
        """Send the peer of *sock* its iterator, or the sentence why it gets none; never waits."""
        try:
            with self._iterator_for(sock) as link:
                sock.sendmsg([_LINK], ancillary([link.fileno()]), socket.MSG_DONTWAIT)
        except PagsrvError as error:
            self._say(sock, str(error))
        except OSError:
            return  # it has left already

    def _iterator_for(self, sock: socket.socket) -> Fd:
        facts = identify(sock)
        if facts.pidfd is None:
            raise PagsrvError("the process that connected is gone, or the kernel has no pidfs")
        with facts.pidfd:
            # The kernel looks the number up in the process namespace of whoever reads.
            if not facts.pid or not _same_pid_namespace(facts.pid):
                raise PagsrvError("you are in another process namespace than this helper")
            link = self._program.attach_iterator(pid=facts.pid)
            if is_alive(facts.pidfd):
                return link
            link.close()
        raise PagsrvError("the process that connected has exited")

    @staticmethod
    def _say(sock: socket.socket, sentence: str) -> None:
        try:
            sock.send(sentence.encode()[:_TEXT_BYTES], socket.MSG_DONTWAIT)
        except OSError:
            return

    def close(self) -> None:
        """Give no more; what was given goes on."""
        self._program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _same_pid_namespace(pid: int) -> bool:
    """Whether *pid*, a number of ours, is the only one its process has (proc_pid_status(5))."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"NSpid:"):
                    return line.split()[1:] == [b"%d" % pid]
    except OSError:
        pass
    return False


class Asker:
    """The broker's part; owns a child process, which ends with it. BpfFault: nobody gives.

    To be made before descriptors are held and threads are started, by a process that is not
    dumpable any more, as its child is then.
    """

    def __init__(self, path: str = PATH) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = 0
        with theirs:
            try:
                self._pid = os.fork()
            except OSError as error:
                self._sock.close()
                raise BpfFault(f"there is no process to be had: {error}") from error
            if self._pid == 0:
                _child(theirs, path)
        self._sock.settimeout(_PATIENCE)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        word = self._receive()
        if word != _LINK:
            raise BpfFault(word.decode("utf-8", "replace"))

    def ask(self, sock: socket.socket) -> PeerKeyring | None:
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
            answer = self._sock.recv(_TEXT_BYTES)
        except OSError as error:
            # A late answer would be taken for the next question's.
            self._sock.close()
            raise BpfFault(f"the process that reads the iterator does not answer: {error}") from (
                error
            )
        if not answer:
            raise BpfFault("the process that reads the iterator has ended")
        return answer

    def close(self) -> None:
        """End the child, and wait until it has."""
        self._sock.close()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
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


def _child(channel: socket.socket, path: str) -> NoReturn:
    """Answer until the other end of *channel* is closed; holds nothing else, and never returns."""
    try:
        # What the parent left to the collector would close numbers that mean other things here.
        gc.disable()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        kept = channel.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        try:
            link = _fetch(path)
        except PagsrvError as error:
            channel.send(str(error).encode()[:_TEXT_BYTES])
        else:
            channel.send(_LINK)
            while _turn(channel, link):
                pass
    finally:
        # Nothing of the parent's is to be run here on the way out: no handlers, no destructors.
        os._exit(0)


def _fetch(path: str) -> Fd:
    """The iterator over our own file table, of whoever gives at *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(path)
            packet = receive_blocking(sock)
        except OSError as error:
            raise BpfFault(f"nobody gives an iterator at {path}: {error}") from error
    with packet:
        if len(packet.fds) != 1 or packet.data != _LINK:
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
        # The kernel gives a socket its cookie when that is asked for, so before the reading.
        cookie = asked.getsockopt(socket.SOL_SOCKET, SO_COOKIE, _COOKIE_BYTES)
        found = _find(read_iterator(link), cookie)
    except (OSError, BpfFault) as error:
        return str(error).encode()[:_TEXT_BYTES]
    return _NONE if found is None else _ANSWER + found


def _find(raw: bytes, cookie: bytes) -> bytes | None:
    """The record of the socket of that *cookie*; None if there is none."""
    step = _COOKIE_BYTES + _RECORD_BYTES
    for place in range(0, len(raw) - step + 1, step):
        if raw.startswith(cookie, place):
            return raw[place + _COOKIE_BYTES : place + step]
    return None
