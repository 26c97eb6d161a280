# SPDX-License-Identifier: MIT
"""The board for programs with an event loop: blocking.py's names, to be awaited.

Calls from several tasks share the connection and are under way together. The law: a
call that is cancelled harms no other, and a descriptor that comes for it is closed;
what it changed on the board stays changed. It refuses to know sockets (pipeline.py
does) and messages (calls.py does).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from pagsrv.client import calls, conversation, line
from pagsrv.client.aio_events import Events
from pagsrv.client.pipeline import Pipeline, dial
from pagsrv.client.until import Ends, Shown, number_of

if TYPE_CHECKING:
    from types import TracebackType

    from pagsrv.client.conversation import Attachment
    from pagsrv.client.identity import PeerIdentity
    from pagsrv.client.until import HasFileno
    from pagsrv.kernel.fd import Fd
    from pagsrv.messages import Attached, EntryView, Identity, Until, Vitals, Walked
    from pagsrv.vitals import NamespaceView

# Board.list hides the builtin inside the class.
_Entries = list["EntryView"]
_Names = list[str]
_Namespaces = list["NamespaceView"]
_Fds = list["Fd"]


def connect(
    dir: str | None = None,  # noqa: A002 -- the option is called --dir
    *,
    scopes: Sequence[str] | None = None,
    changes: bool = False,
    prove: bool = True,
) -> Connecting:
    """As blocking.connect(); to be awaited, or entered by `async with`, for the Board."""
    return Connecting(dir, scopes, changes=changes, prove=prove)


class Connecting:
    """A Board to be: await it, and close the Board; or `async with` does both."""

    def __init__(
        self,
        dir: str | None,  # noqa: A002 -- as above
        scopes: Sequence[str] | None,
        *,
        changes: bool,
        prove: bool,
    ) -> None:
        self._dir, self._scopes = dir, scopes
        self._changes, self._prove = changes, prove
        self._board: Board | None = None

    async def _connect(self) -> Board:
        return Board(await dial(self._dir, self._scopes, prove=self._prove, changes=self._changes))

    def __await__(self) -> Generator[object, None, Board]:
        return self._connect().__await__()

    async def __aenter__(self) -> Board:
        self._board = await self._connect()
        return self._board

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._board is not None:
            await self._board.close()


class Board:
    """A connection to a broker, made by connect(), of the loop that made it.

    The methods are those of blocking.Board, with the same arguments, results and errors.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        """Own *pipeline*, which is connected; connect() is the way to make a Board."""
        self._pipeline = pipeline
        self._do = pipeline.do

    async def close(self) -> None:
        """Hang up; calls under way raise ValueError, entries posted with `lease` end."""
        self._pipeline.close()

    def fileno(self) -> int:
        """The socket's number, still ours."""
        return self._pipeline.connected().fileno()

    @property
    def dir(self) -> str:
        """The directory of the broker that answered."""
        return self._pipeline.dir

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # ── open ──

    async def open(
        self, name: str, scope: str | None = None, *, access: str | None = None,
        on_behalf_of: Shown = None,
    ) -> Fd:  # fmt: skip
        """The descriptor posted as *name*, or what lies beneath it, the caller's to close."""
        if on_behalf_of is not None:
            return await self._do(calls.open_for(name, scope, access, on_behalf_of))
        return await self._do(conversation.open_one(name, scope, access))

    async def take(self, name: str, scope: str | None = None) -> Fd:
        """As open(), and the entry is removed; it is removed too if this is cancelled late.

        It stays, by PagsrvError, if this process can hold no descriptor more.
        """
        call = conversation.take_one(name, scope)
        line.check_room(1)
        return await self._do(call)

    async def open_many(self, names: Sequence[str], *, access: str | None = None) -> _Fds:
        """The descriptors of *names* (at most 253, in that order), all or none; the caller's."""
        return await self._do(conversation.open_many(names, access))

    async def take_many(self, names: Sequence[str]) -> _Fds:
        """As open_many(), and all of the entries are removed in the same moment, or none.

        None of them, by PagsrvError, if this process cannot hold as many descriptors.
        """
        call = conversation.take_many(names)
        line.check_room(len(names))
        return await self._do(call)

    # ── post ──

    async def post(  # noqa: PLR0913 -- as many as there are things to say of an entry
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
        """Post *fd* as *name*; it stays the caller's, and open until this returns."""
        with Ends(until) as ends:
            call = calls.post(
                name, number_of(fd), ends.found, scope=scope, replace=replace, expect=expect,
                mask=mask, labels=labels, behalf=on_behalf_of,
            )  # fmt: skip
            return await self._do(call)

    async def create(  # noqa: PLR0913 -- as post()
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
        """Make an empty entry, to be assigned by a later post()."""
        with Ends(until) as ends:
            call = calls.post(
                name, None, ends.found, scope=scope, replace=replace, expect=expect, mask=mask,
                labels=labels, behalf=on_behalf_of,
            )  # fmt: skip
            return await self._do(call)

    # ── look ──

    async def list(
        self,
        scope: str | None = None,
        *,
        all: bool = False,  # noqa: A002 -- the option is called --all
        on_behalf_of: Shown = None,
    ) -> _Entries:
        """The entries of *scope*, of the proved scopes, or with *all* every one we may view."""
        return await self._do(calls.list_entries(scope, every=all, behalf=on_behalf_of))

    async def names(
        self,
        scope: str | None = None,
        *,
        all: bool = False,  # noqa: A002 -- the option is called --all
        on_behalf_of: Shown = None,
    ) -> _Names:
        """As list(), the names alone: many times faster."""
        return await self._do(calls.list_names(scope, every=all, behalf=on_behalf_of))

    async def walk(
        self, name: str, scope: str | None = None, *, on_behalf_of: Shown = None
    ) -> Walked:  # fmt: skip
        """What lies in the posted directory *name*, or as NAME/sub/path in one beneath it."""
        whole = told = await self._do(calls.walk(name, scope, None, on_behalf_of))
        while told.next is not None:
            told = await self._do(calls.walk(name, scope, told.next, on_behalf_of))
            whole.nodes += told.nodes
        whole.next = None
        return whole

    async def look(
        self, name: str, scope: str | None = None, *, after: str | None = None, only: bool = False,
        on_behalf_of: Shown = None,
    ) -> Walked:  # fmt: skip
        """One answer of the broker's to walk(), from *after* on; *only*: of that place alone."""
        return await self._do(calls.walk(name, scope, after, on_behalf_of, only=only))

    async def stat(
        self, name: str, scope: str | None = None, *, brief: bool = False,
        on_behalf_of: Shown = None,
    ) -> EntryView:  # fmt: skip
        """The entry *name*; its socket says what it is at this moment, if it is one.

        That may take two seconds if whoever has the socket keeps the kernel from answering.
        *brief*: without that, and without who opened it.
        """
        return await self._do(calls.stat(name, scope, on_behalf_of, brief=brief))

    async def wait(
        self, name: str, scope: str | None = None, *, timeout: float | None = None  # noqa: ASYNC109
    ) -> EntryView:  # fmt: skip
        """The entry *name*, once it is there; TimedOut after *timeout* seconds, by the broker."""
        own = await self._pipeline.another()
        try:
            return await own.do(calls.wait(name, scope, timeout))
        finally:
            own.close()

    def watch(self, scope: str | None = None, *, initial: bool = False) -> Events:
        """The events of *scope* or of every entry we may view, to be asked by `async for`.

        They begin with the first that is asked for, or on entering by `async with`, which
        is also the way to close its connection in time.
        """
        return Events(self._pipeline, scope, initial=initial)

    # ── change ──

    async def remove(
        self, name: str, scope: str | None = None, *, expect: int | None = None,
        on_behalf_of: Shown = None,
    ) -> None:  # fmt: skip
        """Withdraw the entry *name*; what was handed out stays handed out."""
        await self._do(calls.remove(name, scope, expect, on_behalf_of))

    async def rename(
        self, name: str, to: str, scope: str | None = None, *, expect: int | None = None,
        on_behalf_of: Shown = None,
    ) -> EntryView:  # fmt: skip
        """Call the entry *name* *to*, in the same scope."""
        return await self._do(calls.rename(name, to, scope, expect, on_behalf_of))

    async def set_mask(
        self, name: str, mask: str, scope: str | None = None, *, expect: int | None = None,
        on_behalf_of: Shown = None,
    ) -> EntryView:  # fmt: skip
        """Change who may do what with it: 24 letters or 8 hexadecimal digits."""
        return await self._do(calls.set_mask(name, mask, scope, expect, on_behalf_of))

    async def set_timeout(self, name: str, seconds: float, scope: str | None = None) -> EntryView:
        """End the entry *seconds* from now; 0 clears that."""
        return await self._do(calls.set_timeout(name, seconds, scope))

    async def grant(self, name: str, to: str, scope: str | None = None) -> None:
        """Let the members of the exact scope *to* see and open it, by its full name."""
        await self._do(calls.grant(name, to, scope))

    async def ungrant(self, name: str, from_: str, scope: str | None = None) -> None:
        """End such a grant."""
        await self._do(calls.ungrant(name, from_, scope))

    # ── who ──

    @property
    def attached(self) -> Attached:
        """What the broker answered when we attached, the scopes proved among it."""
        return calls.told(self._attachment())

    @property
    def broker_id(self) -> str:
        """The broker's id, the same over its restarts."""
        return self._attachment().broker

    def _attachment(self) -> Attachment:
        if self._pipeline.attachment is None:
            raise ValueError("this board was never attached")
        return self._pipeline.attachment

    async def whoami(self) -> Identity:
        """Who we are to the broker: the scopes proved, how, and why not the others."""
        identity = await self._do(calls.who_am_i())
        session = self._pipeline.session
        return identity if session is None else session.told(identity)

    async def whois(
        self, sock: HasFileno | int | None = None, *, pidfd: HasFileno | int | None = None
    ) -> PeerIdentity:
        """What the broker knows of the peer of *sock*, or of the process of *pidfd*; the caller's.

        One of them is shown. Anybody may ask about the peer of a connected Unix socket, about
        a bare process only its own uid, and whom the broker trusts: Denied. InvalidParameter for
        what is neither.
        """
        return await self._do(calls.whois(sock, pidfd))

    async def namespaces(self) -> _Namespaces:
        """The namespaces we may know of, with what they hold and who leads them."""
        return await self._do(calls.namespaces())

    async def health(self) -> Vitals:
        """How the broker is; its uptime in seconds."""
        return await self._do(calls.health())
