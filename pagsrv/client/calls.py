# SPDX-License-Identifier: MIT
"""Every other call: arguments to a Call, and answers to typed values by the codec.

The law: one function per method of org.pagsrv.Board, and an answer is believed only
if it is whole: the right type, the right number of descriptors. It refuses to
know sockets, and what any argument means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from pagsrv import codec
from pagsrv.client.conversation import MORE, Attachment, Call, one_fd
from pagsrv.client.identity import PeerIdentity
from pagsrv.client.until import Shown, number_of, shown
from pagsrv.errors import InvalidParameter, ProtocolError
from pagsrv.messages import (
    Attached,
    EntryReply,
    EntryView,
    EventView,
    Grant,
    Health,
    Identity,
    Known,
    List,
    Listed,
    ListedNames,
    ListedNamespaces,
    Namespaces,
    Open,
    Opened,
    OpenedMany,
    Post,
    Proved,
    Remove,
    Rename,
    Reply,
    Request,
    SetMask,
    SetTimeout,
    Stat,
    Ungrant,
    Until,
    Vitals,
    Wait,
    Walk,
    Walked,
    Watch,
    WhoAmI,
    Whois,
)
from pagsrv.vitals import NamespaceView

if TYPE_CHECKING:
    from collections.abc import Callable

    from pagsrv.client.until import HasFileno
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.scm import Packet

R = TypeVar("R", bound=Reply)
V = TypeVar("V")


# ── answers ──


def _read(packet: Packet, kind: type[R]) -> R:
    """A whole answer with no descriptor beside it."""
    answer = codec.decode_answer(packet.data)
    if answer.continues:
        raise ProtocolError("the broker promised more answers than the call has")
    if packet.fds:
        raise ProtocolError("the broker sent a descriptor that nobody asked for")
    return codec.decode_parameters(answer.parameters, kind)


def _entry(packet: Packet) -> EntryView:
    return _read(packet, EntryReply).entry


def _nothing(packet: Packet) -> None:
    _read(packet, Reply)


def _fds(packet: Packet, indices: list[int]) -> list[Fd]:
    if indices != list(range(len(packet.fds))):
        raise ProtocolError(
            f"the broker's answer speaks of descriptors {indices} and brought {len(packet.fds)}"
        )
    return packet.take()


def read_fd(packet: Packet) -> Fd:
    """The one descriptor of an answer to Open or Take, the caller's."""
    answer = codec.decode_answer(packet.data)
    return _fds(packet, [codec.decode_parameters(answer.parameters, Opened).fd])[0]


def read_fds(packet: Packet, count: int) -> list[Fd]:
    """The *count* descriptors of an answer to OpenMany, the caller's."""
    answer = codec.decode_answer(packet.data)
    indices = codec.decode_parameters(answer.parameters, OpenedMany).fds
    if len(indices) != count:
        raise ProtocolError(f"the broker answered {len(indices)} names where {count} were asked")
    return _fds(packet, indices)


def read_attached(packet: Packet) -> Attachment:
    """An answer to Attach, whoever wrote it."""
    told = _read(packet, Attached)
    return Attachment(told.broker, told.uid, told.nonce, packet.data)


def read_proved(data: bytes, packet: Packet | None = None) -> Proved:
    """An answer to Prove; *packet*, if given, may hold no descriptor."""
    if packet is not None:
        return _read(packet, Proved)
    return codec.decode_parameters(codec.decode_answer(data).parameters, Proved)


def told(attachment: Attachment) -> Attached:
    """All that Attach was answered, with the scopes that Prove added."""
    answer = codec.decode_answer(attachment.answer)
    attached = codec.decode_parameters(answer.parameters, Attached)
    attached.nonce = None  # used up, and nobody else's business
    if attachment.proved is not None:
        attached.scopes = read_proved(attachment.proved).scopes
    return attached


class _Joined(Generic[V]):
    """One list out of several answers, the last of which does not continue."""

    def __init__(self, part: Callable[[bytes], list[V]]) -> None:
        self._part = part
        self._all: list[V] = []

    def __call__(self, packet: Packet) -> object:
        answer = codec.decode_answer(packet.data)
        if packet.fds:
            raise ProtocolError("the broker sent a descriptor that nobody asked for")
        self._all += self._part(answer.parameters)
        return MORE if answer.continues else self._all


def _entries(parameters: bytes) -> list[EntryView]:
    return codec.decode_parameters(parameters, Listed).entries


def _names(parameters: bytes) -> list[str]:
    return codec.decode_parameters(parameters, ListedNames).names


def _namespaces(parameters: bytes) -> list[NamespaceView]:
    return codec.decode_parameters(parameters, ListedNamespaces).namespaces


def read_event(packet: Packet) -> EventView:
    """One event of a watch."""
    answer = codec.decode_answer(packet.data)
    if packet.fds:
        raise ProtocolError("the broker sent a descriptor that nobody asked for")
    return codec.decode_parameters(answer.parameters, EventView)


# ── calls ──


def _call(
    request: Request,
    read: Callable[[Packet], object],
    fds: Sequence[int] = (),
    *,
    more: bool = False,
) -> Call[V]:
    try:
        packet = codec.encode_call(request, more=more)
    except UnicodeEncodeError as error:
        raise InvalidParameter("", f"the call cannot be written down: {error}") from None
    # Descriptors are taken from connections that announced changes only.
    return Call(packet, read, fds, changes=request.CHANGES or bool(fds))


def _index(fds: list[int]) -> int | None:
    """The place of the socket shown, where it travels alone."""
    return 0 if fds else None


def open_for(name: str, scope: str | None, access: str | None, behalf: Shown) -> Call[Fd]:
    """Open, on behalf of the peer of the socket *behalf*."""
    fds = shown(behalf)
    return _call(Open(name, scope, _index(fds), None, access), one_fd, fds)


def walk(
    name: str, scope: str | None, after: str | None, behalf: Shown, *, only: bool = False
) -> Call[Walked]:  # fmt: skip
    """Walk, from the name *after* on; *only*: of that place alone."""
    fds = shown(behalf)
    request = Walk(name, scope, after, _index(fds), only or None)
    return _call(request, lambda packet: _read(packet, Walked), fds)


def post(  # noqa: PLR0913 -- one for each field of Post
    name: str,
    fd: int | None,
    ends: Sequence[tuple[str, int | None]],
    *,
    scope: str | None,
    replace: bool,
    expect: int | None,
    mask: str | None,
    labels: Mapping[str, str] | None,
    behalf: Shown = None,
) -> Call[EntryView]:
    """Post; *ends* are conditions, each with the pidfd it speaks of; *fd* None: an empty entry."""
    fds = [] if fd is None else [fd]
    place = None if behalf is None else len(fds)
    fds += shown(behalf)
    until = []
    for cond, pidfd in ends:
        until.append(Until(cond, None if pidfd is None else len(fds)))
        fds += [] if pidfd is None else [pidfd]
    request = Post(
        name,
        scope,
        None if fd is None else 0,
        replace or None,
        expect,
        mask,
        until or None,
        None if labels is None else dict(labels),
        place,
    )
    return _call(request, _entry, fds)


def list_entries(scope: str | None, *, every: bool, behalf: Shown = None) -> Call[list[EntryView]]:
    """List."""
    fds = shown(behalf)
    request = List(scope, every or None, None, _index(fds))
    return _call(request, _Joined(_entries), fds, more=True)


def list_names(scope: str | None, *, every: bool, behalf: Shown = None) -> Call[list[str]]:
    """List, names only."""
    fds = shown(behalf)
    request = List(scope, every or None, True, _index(fds))
    return _call(request, _Joined(_names), fds, more=True)


def stat(
    name: str, scope: str | None, behalf: Shown = None, *, brief: bool = False
) -> Call[EntryView]:
    """Stat."""
    fds = shown(behalf)
    return _call(Stat(name, scope, _index(fds), brief or None), _entry, fds)


def remove(name: str, scope: str | None, expect: int | None, behalf: Shown = None) -> Call[None]:
    """Remove."""
    fds = shown(behalf)
    return _call(Remove(name, scope, expect, _index(fds)), _nothing, fds)


def rename(
    name: str, to: str, scope: str | None, expect: int | None, behalf: Shown = None
) -> Call[EntryView]:
    """Rename."""
    fds = shown(behalf)
    return _call(Rename(name, to, scope, expect, _index(fds)), _entry, fds)


def set_mask(
    name: str, mask: str, scope: str | None, expect: int | None, behalf: Shown = None
) -> Call[EntryView]:
    """SetMask."""
    fds = shown(behalf)
    return _call(SetMask(name, mask, scope, expect, _index(fds)), _entry, fds)


def set_timeout(name: str, seconds: float, scope: str | None) -> Call[EntryView]:
    """SetTimeout."""
    return _call(SetTimeout(name, seconds, scope), _entry)


def grant(name: str, to: str, scope: str | None) -> Call[None]:
    """Grant."""
    return _call(Grant(name, to, scope), _nothing)


def ungrant(name: str, from_: str, scope: str | None) -> Call[None]:
    """Ungrant."""
    return _call(Ungrant(name, from_, scope), _nothing)


def wait(name: str, scope: str | None, timeout: float | None) -> Call[EntryView]:
    """Wait."""
    return _call(Wait(name, scope, timeout), _entry)


def watch(scope: str | None, *, initial: bool) -> Call[EventView]:
    """Watch; every packet of its answer is an event, and without *initial* the first is `live`."""
    return _call(Watch(scope, initial or None, None if initial else True), read_event, more=True)


def who_am_i() -> Call[Identity]:
    """WhoAmI."""
    return _call(WhoAmI(), lambda packet: _read(packet, Identity))


def health() -> Call[Vitals]:
    """Health."""
    return _call(Health(), lambda packet: _read(packet, Vitals))


def namespaces() -> Call[list[NamespaceView]]:
    """Namespaces."""
    return _call(Namespaces(), _Joined(_namespaces), more=True)


def whois(sock: HasFileno | int | None, pidfd: HasFileno | int | None) -> Call[PeerIdentity]:
    """Whois."""
    fds = [number_of(one) for one in (sock, pidfd) if one is not None]
    request = Whois(None if sock is None else 0, None if pidfd is None else len(fds) - 1)
    return _call(request, lambda packet: PeerIdentity(_read(packet, Known).facts), fds)
