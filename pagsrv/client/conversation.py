# SPDX-License-Identifier: MIT
"""The conversation with a broker: calls in order, answers in the same order.

A Call is its packet, the descriptors that go with it, and how its answer is read;
`attaching` is the one flow of several calls. The law: no I/O, and every descriptor
that comes is moved into a result or left in its Packet, whose owner closes it. The
calls of a command that opens names are written and recognised here byte for byte;
whatever looks otherwise than our own broker writes it goes to the codec. It refuses
to know sockets and keyrings.
"""

from __future__ import annotations

from _json import encode_basestring
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast

from pagsrv import client
from pagsrv.errors import InvalidParameter, NoSession, ProtocolError, Refused
from pagsrv.kernel.fd import Fd

if TYPE_CHECKING:
    from pagsrv.kernel.scm import Packet

T = TypeVar("T")

MORE: Final = object()
"""What a Call's reader says when the answer goes on in another packet."""

OPENED = b'{"parameters":{"fd":0}}'
"""The answer to Open and Take, as our broker writes it."""

_usual: dict[int, bytes] = {}  # at most one for each number of descriptors a message carries

_CALL = b'{"method":"org.pagsrv.Board.%s","parameters":{%s}}'
_END = b"}}"
_HEX = frozenset(b"0123456789abcdef")
_PROOF_TRIES = 4
"""A nonce dies after 250 ms if others wait behind it: on a busy machine that happens."""


class Call(Generic[T]):
    """One call: *packet* to send with *fds* (the caller's still), and how the answer is read.

    *read* takes a Packet and gives the result, or MORE; it raises what the broker
    refused with, or ProtocolError for what is no answer. *changes* says whether the
    connection has to announce changes first.
    """

    __slots__ = ("changes", "fds", "packet", "read")

    def __init__(
        self,
        packet: bytes,
        read: Callable[[Packet], object],
        fds: Sequence[int] = (),
        *,
        changes: bool = False,
    ) -> None:
        self.packet = packet
        self.read = read
        self.fds = fds
        self.changes = changes


class Line(Generic[T]):
    """Calls sent and not yet answered, each with the caller's token, for a face that pipelines."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Call[Any], T]] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    def asked(self, call: Call[Any], token: T) -> None:
        """*call* has been sent, or its turn to be sent is fixed."""
        self._calls.append((call, token))

    def unasked(self, token: T) -> None:
        """The call of *token* was not sent after all."""
        self._calls = deque(pair for pair in self._calls if pair[1] is not token)

    def answered(self, packet: Packet) -> tuple[T, object, Refused | None] | None:
        """Whose answer *packet* is, and the result or refusal; None while it goes on.

        ProtocolError if it is nobody's, or no answer: the conversation is over then.
        """
        if not self._calls:
            raise ProtocolError("the broker answered a call that nobody made")
        call, token = self._calls[0]
        try:
            result = call.read(packet)
        except Refused as refused:
            self._calls.popleft()
            return token, None, refused
        if result is MORE:
            return None
        self._calls.popleft()
        return token, result, None

    def lost(self) -> T | None:
        """Whose answer it was that could not be received whole; None if nobody waited."""
        return self._calls.popleft()[1] if self._calls else None

    def over(self) -> list[T]:
        """Everybody who waits still; nobody does afterwards."""
        tokens = [token for _, token in self._calls]
        self._calls.clear()
        return tokens


# ── words ──


def _text(value: str, parameter: str) -> bytes:
    try:
        return encode_basestring(value).encode()
    except UnicodeEncodeError:
        raise InvalidParameter(parameter, f"{value!r} is not UTF-8") from None


def _list(values: Sequence[str], parameter: str) -> bytes:
    try:
        return ("[" + ",".join(map(encode_basestring, values)) + "]").encode()
    except UnicodeEncodeError:
        raise InvalidParameter(parameter, f"not all of the {parameter} are UTF-8") from None


def named(method: bytes, name: str, scope: str | None) -> bytes:
    """The packet of a call that takes a name, and a scope if one is said."""
    said = b'"name":' + _text(name, "name")
    if scope is not None:
        said += b',"scope":' + _text(scope, "scope")
    return _CALL % (method, said)


# ── open ──


def opening(
    name: str, scope: str | None, proved: tuple[str, ...] = (), access: str | None = None
) -> bytes:
    """The packet of Open; *proved* are the kinds of scopes that it counts on, if it does."""
    packet = named(b"Open", name, scope)
    if access is not None:
        packet = packet.removesuffix(_END) + b',"access":' + _text(access, "access") + _END
    if proved:
        packet = packet.removesuffix(_END) + b',"proved":' + _list(proved, "proved") + _END
    return packet


def one_fd(packet: Packet) -> Fd:
    """The one descriptor of an answer to Open or Take, the caller's."""
    if packet.data == OPENED and len(packet.fds) == 1:
        return packet.take()[0]
    return client.calls.read_fd(packet)


def open_one(name: str, scope: str | None, access: str | None = None) -> Call[Fd]:
    """Open."""
    return Call(opening(name, scope, (), access), one_fd)


def take_one(name: str, scope: str | None) -> Call[Fd]:
    """Take."""
    return Call(named(b"Take", name, scope), one_fd, changes=True)


def open_many(names: Sequence[str], access: str | None = None) -> Call[list[Fd]]:
    """OpenMany."""
    return _many(b"OpenMany", names, access, changes=False)


def take_many(names: Sequence[str]) -> Call[list[Fd]]:
    """TakeMany."""
    return _many(b"TakeMany", names, None, changes=True)


def _many(
    method: bytes, names: Sequence[str], access: str | None, *, changes: bool
) -> Call[list[Fd]]:
    count = len(names)

    def read(packet: Packet) -> list[Fd]:
        if len(packet.fds) == count and packet.data == _opened(count):
            return packet.take()
        return client.calls.read_fds(packet, count)

    said = b'"names":' + _list(names, "names")
    if access is not None:
        said += b',"access":' + _text(access, "access")
    return Call(_CALL % (method, said), read, changes=changes)


def _opened(count: int) -> bytes:
    """The answer to OpenMany with that many names, as our broker writes it."""
    usual = _usual.get(count)
    if usual is None:
        indices = b",".join(map(b"%d".__mod__, range(count)))
        usual = _usual[count] = b'{"parameters":{"fds":[' + indices + b"]}}"
    return usual


# ── attach ──


class Attachment:
    """What Attach and Prove were answered with, the parts that matter at once taken out."""

    __slots__ = ("answer", "broker", "nonce", "proved", "uid")

    @property
    def told(self) -> bool:
        """Whether the kernel told the broker our session, and nobody had to prove it."""
        return _TOLD in self.answer

    def __init__(self, broker: str, uid: int, nonce: str | None, answer: bytes) -> None:
        self.broker = broker
        self.uid = uid
        self.nonce = nonce
        self.answer = answer
        """The whole answer to Attach, still encoded."""
        self.proved: bytes | None = None
        """The whole answer to Prove; None if nothing was proved by possession this time."""


class Prover(Protocol):
    """Whoever can answer a nonce; *hopeless* when trying again would change nothing."""

    hopeless: bool

    def answer(self, nonce: str, uid: int, broker: str) -> int:
        """Do what the nonce asks for, if possible, and say the ring for Prove."""


def attach(words: Sequence[str] | None, *, changes: bool) -> Call[Attachment]:
    """Attach."""
    said = b"" if words is None else b'"scopes":' + _list(words, "scopes")
    if changes:
        said += b',"changes":true' if said else b'"changes":true'
    return Call(_CALL % (b"Attach", said), _attached)


_HEAD = b'{"parameters":{"broker":"'
_UID = b'","uid":'
_LIMITS = b',"limits":{'
_NONCE = b',"nonce":'
_TAIL = b"}}"
_TOLD = b'"proof":"kernel"'
_NO_SESSION = b'{"error":"org.pagsrv.Board.NoSession",'


def _attached(packet: Packet) -> Attachment:
    """Our own broker's answer by its shape; any other by the codec."""
    data = packet.data
    if data.startswith(_HEAD) and data.endswith(_TAIL) and not packet.fds:
        broker, found, rest = data[len(_HEAD) :].partition(_UID)
        uid = rest.partition(_LIMITS)[0]
        nonce = rest[:-2].rpartition(_NONCE)[2]
        secret = nonce[1:-1]
        plain = nonce == b"null" or (nonce == b'"' + secret + b'"' and _HEX.issuperset(secret))
        if found and _HEX.issuperset(broker) and uid.isdigit() and plain:
            said = None if nonce == b"null" else secret.decode()
            return Attachment(broker.decode(), int(uid), said, data)
    return client.calls.read_attached(packet)


def prove(ring: int) -> Call[bytes]:
    """Prove; the answer stays encoded."""
    return Call(_CALL % (b"Prove", b'"ring":%d' % ring), _proved)


def _proved(packet: Packet) -> bytes:
    if packet.data.startswith(_NO_SESSION):
        raise NoSession("the session was not proved; whoami says why")
    if not packet.data.startswith(b'{"parameters":{"scopes":[') or packet.fds:
        client.calls.read_proved(packet.data, packet)
    return packet.data


def attaching(
    words: Sequence[str] | None, prover: Prover | None, *, changes: bool
) -> Generator[Call[Any], Any, Attachment]:
    """Attach and, where a nonce comes, Prove: yields the calls, is sent their results.

    A proof that fails though the session is there was overtaken by another's, and is
    tried again; one that fails for good leaves the scopes that were proved without it.
    """
    for _ in range(_PROOF_TRIES):
        attached = cast("Attachment", (yield attach(words, changes=changes)))
        if attached.nonce is None or prover is None:
            break
        # Even without a proof to show, so that who waits for this turn need not wait it out.
        ring = prover.answer(attached.nonce, attached.uid, attached.broker)
        try:
            attached.proved = cast("bytes", (yield prove(ring)))
            break
        except NoSession:
            if prover.hopeless:
                break
    return attached
