# SPDX-License-Identifier: MIT
"""Root's part: whoever connects gets an iterator over its own file table, or its own session.

The law: what is given shows its reader the reader's own sockets, or who is in the reader's own
session, whoever that is by then; nobody who asks is waited for. It refuses to know what the
iterator is read for.
"""

from __future__ import annotations

import socket
import time
from errno import ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO
from typing import TYPE_CHECKING, NoReturn, Self

from pagsrv.errors import PagsrvError
from pagsrv.kernel.bpf import OBJECT, Program
from pagsrv.kernel.iterlink import LINK, TEXT_BYTES
from pagsrv.kernel.peer import identify
from pagsrv.kernel.process import is_alive
from pagsrv.kernel.scm import ancillary

if TYPE_CHECKING:
    from types import TracebackType

    from pagsrv.kernel.fd import Fd

_PAUSE = 0.1  # seconds until there may be descriptors or memory again
_PASSING = (ECONNABORTED, EPROTO)
_SCARCE = (EMFILE, ENFILE, ENOBUFS, ENOMEM)


class Giver:
    """Gives iterators over sockets; owns the loaded program. BpfFault where it cannot be loaded."""

    PROGRAM = "peers"

    def __init__(self, path: str = OBJECT) -> None:
        self._program = Program(self.PROGRAM, path)

    def serve(self, listener: socket.socket) -> NoReturn:
        """Give to everybody who connects, one after the other; *listener* blocks, SEQPACKET.

        It outlives what passes: who has left before its turn, a machine short of descriptors.
        """
        while True:
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if error.errno in _SCARCE:
                    time.sleep(_PAUSE)
                elif error.errno not in _PASSING:
                    raise
                continue
            with sock:
                self.give(sock)

    def give(self, sock: socket.socket) -> None:
        """Send the peer of *sock* its iterator, or the sentence why it gets none; never waits."""
        try:
            with self._iterator_for(sock) as link:
                sock.sendmsg([LINK], ancillary([link.fileno()]), socket.MSG_DONTWAIT)
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
            link = self._attached(facts.pid)
            if is_alive(facts.pidfd):
                return link
            link.close()
        raise PagsrvError("the process that connected has exited")

    def _attached(self, pid: int) -> Fd:
        return self._program.attach_iterator(pid=pid)

    @staticmethod
    def _say(sock: socket.socket, sentence: str) -> None:
        try:
            sock.send(sentence.encode()[:TEXT_BYTES], socket.MSG_DONTWAIT)
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


class MateGiver(Giver):
    """The same over the tasks in the reader's session."""

    PROGRAM = "mates"

    def _attached(self, pid: int) -> Fd:  # noqa: ARG002 -- it is the reader who is compared with
        return self._program.attach_iterator()


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
