# SPDX-License-Identifier: MIT
"""The board for programs that wait: connect(), and a Board with one method per call.

The law: a method returns when its answer is there. `open` is the path everybody waits
on, so it is written out here, and takes the longer way only for what is unusual. It
refuses to know sockets (channel.py does) and messages (calls.py does).
"""

from __future__ import annotations

from _socket import SCM_RIGHTS
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Self, cast

from pagsrv import client
from pagsrv.client import conversation, line
from pagsrv.client.channel import Channel
from pagsrv.client.conversation import OPENED, Attachment, Call
from pagsrv.client.events import Events
from pagsrv.client.line import CUT, RECEIVE, ROOM, SEND, SIZE, Beside, unpack_fd
from pagsrv.client.until import Ends, Shown, number_of
from pagsrv.errors import NoSession
from pagsrv.kernel.fd import Fd

if TYPE_CHECKING:
    from types import TracebackType

    from pagsrv.client.identity import PeerIdentity
    from pagsrv.client.until import HasFileno
    from pagsrv.messages import Attached, EntryView, Identity, Until, Vitals, Walked
    from pagsrv.vitals import NamespaceView

_Key = str | tuple[str, str]

# Board.list hides the builtin inside the class.
_Entries = list["EntryView"]
_Names = list[str]
_Fds = list[Fd]
_Namespaces = list["NamespaceView"]

_PACKETS = 4096
"""Packets of Open kept for names opened before: below a megabyte."""


@lru_cache(maxsize=_PACKETS // 4)
def _packet(name: str, scope: str | None, counted_on: tuple[str, ...]) -> bytes:
    """The packet of Open, kept for connections to come."""
    packet = conversation.opening(name, scope, counted_on)
    line.check(packet)
    return packet


_OPENING: Call[Fd] = Call(b"", conversation.one_fd)


def connect(
    dir: str | None = None,  # noqa: A002 -- the option is called --dir
    *,
    scopes: Sequence[str] | None = None,
    changes: bool = False,
    prove: bool = True,
) -> Board:
    """Connect to the broker in *dir*, and prove what scopes we are in; the Board is the caller's.

    Without *dir* it is looked for in $PAGSRV_DIR, $XDG_RUNTIME_DIR/pagsrv and
    /run/pagsrv. *scopes* are the words (session, pag, user) or exact scopes wanted,
    default all; with *prove* false no session is asked for. A scope that cannot be
    proved is no error: whoami() says why. *changes* announces changing calls at once,
    which the first of them does otherwise.

    The session proved is that of the calling thread. Raises NoBroker where none
    answers, Denied by one that does not serve this uid or that is somebody else's.

    Scopes are what names are looked up in, so they are told the broker at once (Attach), unless
    a connection has just these by itself: the user scope, and where the kernel tells the
    broker of sessions, as it did this process before, the session too. Then nothing is said,
    which saves a turn to the broker: the first open says what it counts on, any other call
    attaches first, and what the broker has against us is raised by that call.
    """
    channel = Channel(dir, scopes, prove=prove)
    try:
        channel.begin(changes=changes)
        return Board(channel)
    except BaseException:
        channel.close()
        raise


class Board:
    """A connection to a broker, made by connect(); close it, or use `with`.

    For one thread at a time, in the process that connected: a child that fork() made
    may look and open, and is refused changes. Every method raises Refused (which of
    its kinds says errors.py), NoBroker when the broker is gone, ProtocolError when
    it talks nonsense; ValueError once the board is closed. A *name* is looked up in the
    proved scopes, from the innermost; or it is SCOPE/NAME, or *scope* says where: a
    word (session, pag, user) or exactly (user:1000).

    What is done *on_behalf_of* the peer of a connected Unix socket, which stays the
    caller's, is done as that peer, in the scopes that the kernel shows it in, and with the
    possessors' rights alone; Denied unless the broker trusts the caller with that. Root may show
    the pidfd of a thread instead (PIDFD_THREAD of pidfd_open(2)), which has to wait meanwhile.
    """

    def __init__(self, channel: Channel) -> None:
        """Own *channel*, which is connected; connect() is the way to make a Board."""
        sock = channel.connected()
        self._channel = channel
        self._do = channel.do
        self._send = sock.send
        self._recvmsg = sock.recvmsg
        self._packets: dict[_Key, bytes] = channel.packets

    def close(self) -> None:
        """Hang up; entries posted with `lease` end. Twice is no harm."""
        self._channel.close()

    def fileno(self) -> int:
        """The socket's number, still ours: it is readable when the broker has hung up."""
        return self._channel.connected().fileno()

    @property
    def dir(self) -> str:
        """The directory of the broker that answered."""
        return self._channel.dir

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ── open ──

    def open(
        self, name: str, scope: str | None = None, *, access: str | None = None,
        on_behalf_of: Shown = None,
    ) -> Fd:  # fmt: skip
        """The descriptor posted as *name*, once more: the same open file, the caller's to close.

        As NAME/sub/path what lies beneath a posted directory, opened anew with the rights of its
        poster; then *access* is r (the default), w or rw. NoEntry, Denied, NotAssigned.
        """
        if on_behalf_of is not None:
            return self._do(client.calls.open_for(name, scope, access, on_behalf_of))
        if access is not None:
            return self._do(conversation.open_one(name, scope, access))
        key: _Key = name if scope is None else (name, scope)
        packet = self._packets.get(key)
        if packet is None:
            packet = self._written(key, name, scope)
        try:
            self._send(packet, SEND)
            data, beside, flags, _ = self._recvmsg(SIZE, ROOM, RECEIVE)
        except BaseException as error:  # noqa: BLE001 -- raised again by _rescued
            return self._rescued(error)
        if data == OPENED and len(beside) == 1 and not flags & CUT:
            _, kind, payload = beside[0]
            if kind == SCM_RIGHTS and len(payload) == 4:  # one descriptor, and not two
                return Fd(unpack_fd(payload)[0])
        return self._unusual(name, scope, (data, beside, flags))

    def _unusual(self, name: str, scope: str | None, came: tuple[bytes, Beside, int]) -> Fd:
        """What an answer that *came* and is none of the usual means; a refusal mostly."""
        try:
            return self._channel.exchange(_OPENING, sent=True, came=came)
        except NoSession:
            if not self._channel.counted_on:
                raise
        self._channel.recount()
        return self.open(name, scope)

    def _written(self, key: _Key, name: str, scope: str | None) -> bytes:
        packet = _packet(name, scope, self._channel.counted_on)
        if len(self._packets) >= _PACKETS:
            self._packets.clear()
        self._packets[key] = packet
        return packet

    def _rescued(self, error: BaseException) -> Fd:
        """What can still be made of an open that *error* fell into."""
        self._channel.connected()
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            return self._channel.exchange(_OPENING, sent=True)
        self._channel.give_up()
        raise error

    def take(self, name: str, scope: str | None = None) -> Fd:
        """As open(), and the entry is removed in the same moment: of many takers one gets it.

        It stays, by PagsrvError, if this process can hold no descriptor more.
        """
        call = conversation.take_one(name, scope)
        line.check_room(1)
        return self._do(call)

    def open_many(self, names: Sequence[str], *, access: str | None = None) -> _Fds:
        """The descriptors of *names* (at most 253, in that order), all or none; the caller's.

        With *access* all of them are paths beneath posted directories, as for open().
        """
        return self._do(conversation.open_many(names, access))

    def take_many(self, names: Sequence[str]) -> _Fds:
        """As open_many(), and all of the entries are removed in the same moment, or none.

        None of them, by PagsrvError, if this process cannot hold as many descriptors.
        """
        call = conversation.take_many(names)
        line.check_room(len(names))
        return self._do(call)

    # ── post ──

    def post(  # noqa: PLR0913 -- as many as there are things to say of an entry
        self,
        name: str,
        fd: HasFileno | int,
        *,
        scope: str | None = None,
        replace: bool = False,
        expect: int | None = None,
        mask: str | None = None,
        until: Sequence[str | Until] = (),
        labels: Mapping[str, str] | None = None,
        on_behalf_of: Shown = None,
    ) -> EntryView:
        """Post *fd* as *name*, or assign it to the empty entry of that name; the entry made.

        *fd* stays the caller's, who may close it at once. Without *scope* it goes to the
        innermost scope proved isolated. *replace*, or the generation *expect*, gives an entry that
        has one a new descriptor. *mask* is 24 letters or 8 hexadecimal digits.
        *until* holds end conditions: `exit`, `leader`, `exec`, `setsid` or `uid` of this
        process or, with `=PID`, of another, `lease`, `hup`, `ttl=SECONDS`, `opens=N`, `orphan`;
        or an Until whose fd is a pidfd of the caller's. Exists, NoSession, Stale, QuotaExceeded,
        Loop, Denied, InvalidParameter; OSError as sendmsg(2) where *fd* cannot be sent.
        """
        with Ends(until) as ends:
            call = client.calls.post(
                name, number_of(fd), ends.found, scope=scope, replace=replace, expect=expect,
                mask=mask, labels=labels, behalf=on_behalf_of,
            )  # fmt: skip
            return self._do(call)

    def create(  # noqa: PLR0913 -- as post()
        self,
        name: str,
        *,
        scope: str | None = None,
        replace: bool = False,
        expect: int | None = None,
        mask: str | None = None,
        until: Sequence[str | Until] = (),
        labels: Mapping[str, str] | None = None,
        on_behalf_of: Shown = None,
    ) -> EntryView:
        """Make an empty entry, to be assigned by a later post(); the arguments are those of it."""
        with Ends(until) as ends:
            call = client.calls.post(
                name, None, ends.found, scope=scope, replace=replace, expect=expect, mask=mask,
                labels=labels, behalf=on_behalf_of,
            )  # fmt: skip
            return self._do(call)

    # ── look ──

    def list(
        self,
        scope: str | None = None,
        *,
        all: bool = False,  # noqa: A002 -- the option is called --all
        on_behalf_of: Shown = None,
    ) -> _Entries:
        """The entries of *scope*, of the proved scopes, or with *all* every one we may view."""
        return self._do(client.calls.list_entries(scope, every=all, behalf=on_behalf_of))

    def names(
        self,
        scope: str | None = None,
        *,
        all: bool = False,  # noqa: A002 -- the option is called --all
        on_behalf_of: Shown = None,
    ) -> _Names:
        """As list(), the names alone: many times faster."""
        return self._do(client.calls.list_names(scope, every=all, behalf=on_behalf_of))

    def walk(self, name: str, scope: str | None = None, *, on_behalf_of: Shown = None) -> Walked:
        """What lies in the posted directory *name*, or as NAME/sub/path in one beneath it, by name.

        Of a file, that one alone. The broker's looks at a large directory are several: what is
        made or removed meanwhile may be missed.
        """
        whole = told = self._do(client.calls.walk(name, scope, None, on_behalf_of))
        while told.next is not None:
            told = self._do(client.calls.walk(name, scope, told.next, on_behalf_of))
            whole.nodes += told.nodes
        whole.next = None
        return whole

    def look(
        self, name: str, scope: str | None = None, *, after: str | None = None, only: bool = False,
        on_behalf_of: Shown = None,
    ) -> Walked:  # fmt: skip
        """One answer of the broker's to walk(), from the name *after* on; its `next` tells of more.

        *only*: that place itself, alone, be it a link.
        """
        return self._do(client.calls.walk(name, scope, after, on_behalf_of, only=only))

    def stat(
        self, name: str, scope: str | None = None, *, brief: bool = False,
        on_behalf_of: Shown = None,
    ) -> EntryView:  # fmt: skip
        """The entry *name*; its socket says what it is at this moment, if it is one.

        That may take two seconds if whoever has the socket keeps the kernel from answering.
        *brief*: without that, and without who opened it.
        """
        return self._do(client.calls.stat(name, scope, on_behalf_of, brief=brief))

    def wait(
        self, name: str, scope: str | None = None, *, timeout: float | None = None
    ) -> EntryView:
        """The entry *name*, once it is there; TimedOut after *timeout* seconds.

        On a connection of its own: this one stays free, and an interrupted wait harms nothing.
        """
        own = self._channel.another()
        try:
            return own.do(client.calls.wait(name, scope, timeout))
        finally:
            own.close()

    def watch(self, scope: str | None = None, *, initial: bool = False) -> Events:
        """The events from now on, of *scope* or of every entry we may view, as an iterator.

        With *initial* a `present` comes first for each entry that is there, then `live`. It has a
        connection of its own, closed when the iterator is.
        """
        own = self._channel.another()
        try:
            return Events(own, scope, initial=initial)
        except BaseException:
            own.close()
            raise

    # ── change ──

    def remove(
        self, name: str, scope: str | None = None, *, expect: int | None = None,
        on_behalf_of: Shown = None,
    ) -> None:  # fmt: skip
        """Withdraw the entry *name*; what was handed out stays handed out."""
        self._do(client.calls.remove(name, scope, expect, on_behalf_of))

    def rename(
        self, name: str, to: str, scope: str | None = None, *, expect: int | None = None,
        on_behalf_of: Shown = None,
    ) -> EntryView:  # fmt: skip
        """Call the entry *name* *to*, in the same scope."""
        return self._do(client.calls.rename(name, to, scope, expect, on_behalf_of))

    def set_mask(
        self, name: str, mask: str, scope: str | None = None, *, expect: int | None = None,
        on_behalf_of: Shown = None,
    ) -> EntryView:  # fmt: skip
        """Change who may do what with it: 24 letters or 8 hexadecimal digits."""
        return self._do(client.calls.set_mask(name, mask, scope, expect, on_behalf_of))

    def set_timeout(self, name: str, seconds: float, scope: str | None = None) -> EntryView:
        """End the entry *seconds* from now; 0 clears that."""
        return self._do(client.calls.set_timeout(name, seconds, scope))

    def grant(self, name: str, to: str, scope: str | None = None) -> None:
        """Let the members of the exact scope *to* see and open it, by its full name."""
        self._do(client.calls.grant(name, to, scope))

    def ungrant(self, name: str, from_: str, scope: str | None = None) -> None:
        """End such a grant."""
        self._do(client.calls.ungrant(name, from_, scope))

    # ── who ──

    @property
    def attached(self) -> Attached:
        """What the broker answered when we attached, the scopes proved among it."""
        return client.calls.told(self._attached())

    @property
    def broker_id(self) -> str:
        """The broker's id, the same over its restarts."""
        return self._attached().broker

    def _attached(self) -> Attachment:
        if self._channel.attachment is None:
            self._channel.attach(changes=False)
        return cast("Attachment", self._channel.attachment)

    def whoami(self) -> Identity:
        """Who we are to the broker: the scopes proved, how, and why not the others."""
        identity = self._do(client.calls.who_am_i())
        session = self._channel.session
        return identity if session is None else session.told(identity)

    def whois(
        self, sock: HasFileno | int | None = None, *, pidfd: HasFileno | int | None = None
    ) -> PeerIdentity:
        """What the broker knows of the peer of *sock*, or of the process of *pidfd*; the caller's.

        One of them is shown. Anybody may ask about the peer of a connected Unix socket, about
        a bare process only its own uid, and whom the broker trusts: Denied. InvalidParameter for
        what is neither.
        """
        return self._do(client.calls.whois(sock, pidfd))

    def namespaces(self) -> _Namespaces:
        """The namespaces we may know of, with what they hold and who leads them."""
        return self._do(client.calls.namespaces())

    def health(self) -> Vitals:
        """How the broker is; its uptime in seconds."""
        return self._do(client.calls.health())
