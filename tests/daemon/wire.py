# SPDX-License-Identifier: MIT
"""A client of the broker written by hand, from docs/reference/protocol.md alone.

The law: JSON, sockets and keyctl, and none of our own client; what it sends may be as
wrong as a test wants it. It refuses to know what a right answer is.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import termios
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import ioctl
from typing import Any, NamedTuple, Self

from pagsrv.kernel import keys
from pagsrv.kernel.fd import Fd

SECONDS = 15
"""How long anything may take before the test fails: a deadline, never a pause."""

BOARD = "org.pagsrv.Board."
PROOF_MASK = 0x0F030000
_READ = 1 << 18
_ROOM = socket.CMSG_SPACE(253 * 4)
_SEND = socket.MSG_NOSIGNAL

Parameters = dict[str, Any]


class Said(Exception):
    """An error reply: *error* is its name without the board's interface before it."""

    def __init__(self, error: str, parameters: Parameters) -> None:
        super().__init__(error, parameters)
        self.error = error
        self.message: str = parameters.get("message", "")
        self.parameters = parameters


class Answer(NamedTuple):
    """One reply; whoever gets it closes *fds*."""

    parameters: Parameters
    error: str
    continues: bool
    fds: list[Fd]

    def fine(self) -> Parameters:
        """The parameters; Said if it is an error, and descriptors closed where none belong."""
        for fd in self.fds:
            fd.close()
        if self.error:
            raise Said(self.error, self.parameters)
        return self.parameters


def call(method: str, parameters: Parameters | None = None, **flags: bool) -> bytes:
    """One call's bytes; a bare *method* is the board's."""
    name = method if "." in method else BOARD + method
    return json.dumps({"method": name, "parameters": parameters or {}, **flags}).encode()


class Client:
    """A connection to the broker at *dir*, by SEQPACKET or, with *stream*, by STREAM."""

    def __init__(self, dir: str, *, stream: bool = False) -> None:  # noqa: A002 -- as --dir
        kind = socket.SOCK_STREAM if stream else socket.SOCK_SEQPACKET
        self.stream = stream
        self.sock = socket.socket(socket.AF_UNIX, kind)
        self.sock.settimeout(SECONDS)
        self._whole: deque[tuple[bytes, list[Fd]]] = deque()
        self._half = b""
        self._fds: list[Fd] = []
        try:
            self.sock.connect(os.path.join(dir, "varlink" if stream else "board"))
        except BaseException:
            self.sock.close()
            raise

    # ── out ──

    def push(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send *data* as it is, with *fds* beside it."""
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]
        self.sock.sendmsg([data], beside if fds else [], _SEND)

    def ask(
        self,
        method: str,
        parameters: Parameters | None = None,
        fds: Sequence[int] = (),
        **flags: bool,
    ) -> None:
        """Send one call and read nothing."""
        self.push(call(method, parameters, **flags) + (b"\0" if self.stream else b""), fds)

    def unheard(self) -> int:
        """How much of what was sent the broker has not read yet (unix(7), SIOCOUTQ)."""
        (size,) = struct.unpack("i", ioctl(self.sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))
        return int(size)

    # ── in ──

    def hear(self) -> Answer:
        """The next reply; EOFError when the broker has hung up."""
        data, fds = self._message() if self.stream else self._packet()
        told = json.loads(data)
        error = told.get("error", "").removeprefix(BOARD).removeprefix("org.varlink.service.")
        return Answer(told.get("parameters") or {}, error, told.get("continues", False), fds)

    def _packet(self) -> tuple[bytes, list[Fd]]:
        try:
            data, beside, flags, _ = self.sock.recvmsg(_READ, _ROOM, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # it did not read all we sent; what it said lies behind
            data, beside, flags, _ = self.sock.recvmsg(_READ, _ROOM, socket.MSG_CMSG_CLOEXEC)
        fds = [
            Fd(number)
            for level, kind, payload in beside
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            for (number,) in struct.iter_unpack("i", payload)
        ]
        assert not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)
        if not data:
            raise EOFError
        return data, fds

    def _message(self) -> tuple[bytes, list[Fd]]:
        """The kernel ends a read with the piece that brought descriptors: they are its last's."""
        while not self._whole:
            data, fds = self._packet()
            *wholes, self._half = (self._half + data).split(b"\0")
            for message in wholes:
                last = message is wholes[-1] and not self._half
                self._whole.append((message, [*self._fds, *(fds if last else ())]))
                self._fds = []
            self._fds += fds if self._half else []
        return self._whole.popleft()

    def gone(self) -> bool:
        """Whether the broker has hung up, everything else it said being read first."""
        try:
            while True:
                self.hear().fine()
        except Said:
            return self.gone()
        except (EOFError, ConnectionResetError):
            return True

    # ── both ──

    def talk(
        self,
        method: str,
        parameters: Parameters | None = None,
        fds: Sequence[int] = (),
        **flags: bool,
    ) -> Answer:
        """One call and its answer, whatever it is; a broker that hung up may have left one."""
        with suppress(BrokenPipeError):
            self.ask(method, parameters, fds, **flags)
        return self.hear()

    def do(self, method: str, fds: Sequence[int] = (), /, **parameters: object) -> Parameters:
        """One call; the parameters of its answer, or Said."""
        return self.talk(method, parameters, fds).fine()

    def refusal(self, method: str, fds: Sequence[int] = (), /, **parameters: object) -> str:
        """One call; the name of the error it is answered with, '' for none."""
        try:
            self.do(method, fds, **parameters)
        except Said as said:
            return said.error
        return ""

    def open(self, name: str, method: str = "Open", /, **parameters: object) -> Fd:
        """The descriptor of *name*, the caller's."""
        answer = self.talk(method, {"name": name, **parameters})
        if answer.error or len(answer.fds) != 1:
            answer.fine()
            raise AssertionError(f"{len(answer.fds)} descriptors came")
        assert answer.parameters == {"fd": 0}
        return answer.fds[0]

    def listed(self, **parameters: object) -> list[Parameters]:
        """Every entry of one List."""
        self.ask("List", parameters, more=True)
        found: list[Parameters] = []
        while True:
            answer = self.hear()
            found += answer.fine()["entries"]
            if not answer.continues:
                return found

    # ── proof ──

    def attach(self, *scopes: str, changes: bool = True) -> list[str]:
        """Attach for *scopes* (none: all), prove the session if asked to; the scopes proved."""
        told = self.do("Attach", changes=changes, scopes=scopes or None)
        if told.get("nonce"):
            ring = keys.session_ring()
            write_proof(told, ring)
            told = self.do("Prove", ring=ring)
        return [one["scope"] for one in told["scopes"]]

    def close(self) -> None:
        """Hang up, dropping what was not read."""
        for _, fds in [*self._whole, (b"", self._fds)]:
            for fd in fds:
                fd.close()
        self._whole.clear()
        self._fds = []
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def own_inode() -> int:
    """The pidfs inode of this process."""
    pidfd = os.pidfd_open(os.getpid())
    try:
        return os.fstat(pidfd).st_ino
    finally:
        os.close(pidfd)


def proof(told: Parameters, ring: int, inode: int) -> bytes:
    """The payload that answers the nonce of an Attach reply, *told*."""
    fields = ("pagsrv-proof-1", told["nonce"], inode, ring, told["uid"], told["broker"])
    return hashlib.sha256("\n".join(map(str, fields)).encode()).hexdigest().encode()


def write_proof(told: Parameters, ring: int) -> int:
    """Put our proof into *ring*; the key's serial."""
    serial = keys.add(f"pagsrv:proof:{told['broker']}", proof(told, ring, own_inode()), ring)
    if keys.describe(serial).mask != PROOF_MASK:
        keys.set_mask(serial, PROOF_MASK)
    return serial


@contextmanager
def clients(dir: str, number: int, *, stream: bool = False) -> Iterator[list[Client]]:  # noqa: A002
    """Several connections, closed at the end."""
    made: list[Client] = []
    try:
        made += [Client(dir, stream=stream) for _ in range(number)]
        yield made
    finally:
        for client in made:
            client.close()


def memory(text: bytes) -> Fd:
    """A memfd that holds *text*, its offset at the beginning."""
    fd = Fd(os.memfd_create("test", os.MFD_CLOEXEC))
    os.write(fd.fileno(), text)
    os.lseek(fd.fileno(), 0, os.SEEK_SET)
    return fd


def text_of(fd: Fd) -> bytes:
    """What the memfd *fd* holds; closes it."""
    with fd:
        return os.pread(fd.fileno(), 1 << 16, 0)


def post(client: Client, name: str, text: bytes = b"text", **parameters: object) -> Parameters:
    """Post a memfd that holds *text*; the entry."""
    with memory(text) as fd:
        entry: Parameters = client.do(
            "Post", [fd.fileno()], **{"name": name, "fd": 0, **parameters}
        )["entry"]
    return entry
