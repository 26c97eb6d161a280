# SPDX-License-Identifier: MIT
"""One peer's connection: a packet in, all the way through, and the answer out.

The law: `turn` is the data's way, and the only one; an answer that stands is
given again without it, until the epoch moves. A peer that breaks the rules or
does not read harms nobody but itself. It refuses to know policy (the broker
does) and facts (facts.py asks the kernel).
"""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Iterator
from errno import EMFILE, ETOOMANYREFS
from itertools import chain
from select import EPOLLIN, EPOLLOUT
from typing import TYPE_CHECKING

from pagsrv import codec
from pagsrv.daemon import chunks, service
from pagsrv.daemon.backlog import Backlog
from pagsrv.daemon.closing import PeerFd
from pagsrv.daemon.log import log
from pagsrv.daemon.outbox import FLAGS, Outbox
from pagsrv.daemon.standing import Beside
from pagsrv.effects import Answer, Listing, Presence, Survey
from pagsrv.errors import (
    ExpectedMore,
    InvalidParameter,
    PagsrvError,
    ProtocolError,
    QuotaExceeded,
    Refused,
)
from pagsrv.kernel import process, scm
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.peer import process_of
from pagsrv.limits import MESSAGE_BYTES, OUT_QUEUE_FDS
from pagsrv.messages import (
    Attach,
    EventView,
    GetInfo,
    GetInterfaceDescription,
    Health,
    List,
    Namespaces,
    Open,
    Prove,
    Request,
    Wait,
    Watch,
    Whois,
    shown_by,
)
from pagsrv.model import Entry, Given, Peer

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon

_ROOM = MESSAGE_BYTES + 1
_IN_FLIGHT = "too many descriptors are on their way unread; read them before asking for more"


class Connection:
    """A peer on the SEQPACKET socket; owns *sock*, and `pidfd` once somebody needed it."""

    stream = False
    socket_type = int(socket.SOCK_SEQPACKET)

    # As every connection begins; few of them ever get others of their own.
    pidfd: Fd | None = None
    closed = False
    awaiting = False
    backlog: Backlog | None = None
    no_session = ""
    unasked = False
    witness = False
    _identified = False
    _unread = 0
    _call: codec.Call | None = None
    _data = b""
    _epoch = 0

    def __init__(self, daemon: Daemon, sock: socket.socket, peer: Peer) -> None:
        self.daemon = daemon
        self.sock = sock
        self.peer = peer
        self.fd = sock.fileno()
        self.outbox = Outbox(sock, stream=self.stream, most_fds=daemon.most_fds)
        self.rights = False
        self._mask = EPOLLIN
        self._kin = daemon.standing.of(peer)
        self._store = daemon.broker.board.store
        self._recv = sock.recv
        self._sendmsg = sock.sendmsg
        self._lent = daemon.broker.lent
        self._watchers = daemon.watchers

    @property
    def watching(self) -> bool:
        """Whether the board's events are sent here, and nothing else is listened to."""
        return self.backlog is not None

    # ── in ──

    def ready(self, mask: int) -> None:
        """Something may be read, or written, or the peer is gone."""
        try:
            if mask == EPOLLIN:
                self.read()
            else:
                self._ready(mask)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is this peer's alone
            self.trouble(error)

    def _ready(self, mask: int) -> None:
        if mask & EPOLLOUT:
            self._flush()
        if mask & EPOLLIN and self._mask & EPOLLIN:
            self.read()
        elif mask & ~(EPOLLIN | EPOLLOUT):
            self.close()

    def guard(self, work: Callable[[], None]) -> None:
        """Do *work* for this peer; whatever goes wrong in it ends this connection and no other."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- as in ready()
            self.trouble(error)

    def trouble(self, error: Exception) -> None:
        """End this connection because of *error*: gone, breaking the rules, or a bug of ours."""
        if isinstance(error, BlockingIOError):
            return  # nothing to read after all
        if isinstance(error, OSError):
            self.close()
        elif isinstance(error, PagsrvError):
            self.fail(error)
        else:
            self.daemon.bugs += 1
            log("bug", uid=self.peer.uid, pid=self.peer.pid, why=repr(error))
            traceback.print_exception(error)
            self.close()

    def read(self) -> None:
        """Take one packet."""
        if self.rights:
            self._read_rights()
            return
        data = self._recv(_ROOM, socket.MSG_DONTWAIT)
        kin = self._kin
        standing = kin.answers.get(data)
        if standing is not None and kin.epoch == self._store.epoch:
            self._again(data, *standing)
        elif not data:
            self.close()
        elif len(data) < _ROOM:
            self.turn(data, None)
        else:
            raise ProtocolError(f"a message is at most {MESSAGE_BYTES} bytes")

    def _again(
        self, data: bytes, answer: list[bytes], beside: Beside, entries: tuple[Entry[Fd], ...]
    ) -> None:
        """Give an answer that stands once more."""
        if len(entries) > 1 and self._too_many(len(entries)):
            self.send(codec.encode_error(QuotaExceeded(_IN_FLIGHT)))
            return
        try:
            self._sendmsg(answer, beside, FLAGS)
        except OSError:
            # It does not read, or too many descriptors are in flight: the long way copes.
            self.turn(data, None)
            return
        if self._watchers:
            self.name_peer()
        effects = self._lent(entries, self.peer, self.daemon.wall)
        if effects:
            self.daemon.carry_out(effects)

    def _read_rights(self) -> None:
        packet = scm.receive(self.sock, _ROOM, owner=PeerFd)
        if packet is None:
            return
        with packet:
            if packet.data:
                self.turn(packet.data, packet)
            else:
                self.close()

    def turn(self, data: bytes, packet: scm.Packet | None) -> None:
        """One message, all the way through: bytes, message, facts, judgement, effects."""
        self._data, self._call = data, None
        listing = self._kin.listing(data, self._store.epoch)
        if listing is not None:
            self.daemon.broker.calls += 1
            self._pour(iter(listing))
            return
        try:
            call = self._call = codec.decode(data)
            self._check_flags(call)
            if self._serve(call):
                return
            if self.unasked and _may_need_session(call.request):
                self.daemon.sessions.at_first_call(self)
                self.unasked = False
                self._kin = self.daemon.standing.of(self.peer)
            given = self.daemon.facts.gather(self, call.request, packet)
        except Refused as error:
            self.refuse(error)
            return
        if given is not None:
            self.judge(given)
        else:
            self._rearm()

    def judge(self, given: Given[Fd]) -> None:
        """The second half of a turn, once the facts are there."""
        call = self._call
        if call is None:
            return
        self.awaiting = not call.oneway
        if self._watchers:
            self.name_peer()
        effects = self.daemon.judge(self, call.request, given)
        self._epoch = self._store.epoch
        if isinstance(call.request, (Attach, Prove)):
            self.unasked = self.unasked and not self.peer.attached
            self._kin = self.daemon.standing.of(self.peer, unasked=self.unasked)
            self._accept_rights()
            self.witness = self.daemon.sessions.witness(self.peer, self.sock) or self.witness
        elif isinstance(call.request, Watch) and self.peer.id in self.daemon.watchers:
            self.awaiting, self.backlog = False, Backlog(self.daemon, self.outbox)
        self.daemon.carry_out(effects)
        self._rearm()

    def ask_later(self) -> None:
        """Have the peer's session asked for at the first call that may need it, and not now."""
        self.unasked = True
        self._kin = self.daemon.standing.of(self.peer, unasked=True)

    def identify(self) -> None:
        """Get the pidfd of the process that connected, and with it its inode.

        At Attach, not at accept: the kernel keeps it with the socket, and who only opens
        is served without.
        """
        if not self._identified:
            self._identified = True
            self.peer.inode, self.pidfd = process_of(self.sock)

    def name_peer(self) -> None:
        """Learn what the peer calls itself, for posters and events: decoration, nothing else."""
        if not self.peer.comm:
            self.peer.comm = process.comm(self.peer.pid)

    def _check_flags(self, call: codec.Call) -> None:
        kind = type(call.request)
        if call.oneway and kind in (Attach, Wait, Watch):
            raise InvalidParameter("oneway", "this call is of no use without its reply")
        if not call.more and (kind is Watch or (kind in (List, Namespaces) and not self.stream)):
            raise ExpectedMore("this call answers with several replies: make it with more")

    def _serve(self, call: codec.Call) -> bool:
        request = call.request
        if isinstance(request, (GetInfo, GetInterfaceDescription, Health)):
            self.daemon.broker.calls += 1
            reply = service.answer(request, self.peer, self.daemon)
            if not call.oneway:
                self.send(codec.encode_reply(reply))
            return True
        return False

    def _accept_rights(self) -> None:
        if self.peer.changes and not self.rights:
            self.rights = True
            self.daemon.accept_rights(self.sock)

    # ── out ──

    def answer(self, effect: Answer[Fd]) -> None:
        """Carry out *effect*; what it gives leaves, or is closed with the connection."""
        call, self._call = self._call, None
        self.awaiting = False
        if call is not None and call.oneway:
            self.daemon.drop(effect.give)
            self._rearm()
            return
        if isinstance(effect.reply, PagsrvError):
            data = codec.encode_error(effect.reply)
        else:
            data = codec.encode_reply(effect.reply)
        if len(effect.lend) > 1 and self._too_many(len(effect.lend)):
            data = codec.encode_error(QuotaExceeded(_IN_FLIGHT))
            effect.lend, effect.standing = (), ()
        self.daemon.unmind(effect.give)
        self.send(data, effect.lend, effect.give)
        if effect.standing and not (self.outbox or self.stream):
            beside = scm.ancillary([fd.fileno() for fd in effect.lend])
            # As of the judgement: if the peer is gone, its leases have ended since.
            self._kin.keep(self._data, ([data], beside, effect.standing), self._epoch)
        self._rearm()

    def _too_many(self, fds: int) -> bool:
        """Whether *fds* more would be too many in flight: they cost the sender no SO_SNDBUF."""
        if not self.daemon.unread(self.sock):
            self._unread = 0
        self._unread += fds
        return self._unread > OUT_QUEUE_FDS

    def frame(self, data: bytes) -> bytes:
        """*data* as it goes over this kind of socket."""
        return data

    def send(self, data: bytes, lend: tuple[Fd, ...] = (), give: tuple[Fd, ...] = ()) -> None:
        """Send one message; the connection is closed if the peer is gone."""
        try:
            self.outbox.put(self.frame(data), lend, give)
        except OSError as error:
            if error.errno in (EMFILE, ETOOMANYREFS) and lend:
                self.send(codec.encode_error(QuotaExceeded(_IN_FLIGHT)))
                return
            self._lose(error)
        self._rearm()

    def listing(self, effect: Listing) -> None:
        """Answer with many entries, in as many messages as this socket wants."""
        call, self._call = self._call, None
        self.awaiting = False
        if call is None or call.oneway:
            return
        whole = self.stream and not call.more
        if effect.names is not None:
            source = chunks.of_names(effect.names, whole=whole)
            if not self.stream:
                names = list(source)
                # The same bytes with another socket beside them ask about another peer.
                if shown_by(call.request) is None:
                    self._kin.keep_listing(self._data, names, self._epoch)
                source = iter(names)
        else:
            source = chunks.of_entries(effect.entries, whole=whole)
        self._pour(source, whole=whole)

    def survey(self, effect: Survey) -> None:
        """Answer with namespaces, and who leads them."""
        call, self._call = self._call, None
        self.awaiting = False
        if call is None or call.oneway:
            return
        whole = self.stream and not call.more
        led = self.daemon.leaders.fill(effect.spaces)
        self._pour(chunks.of_namespaces(led, whole=whole), whole=whole)

    def presence(self, effect: Presence) -> None:
        """Send the first events of a watch; what happens meanwhile comes after them."""
        self._pour(codec.encode_reply(event, continues=True) for event in effect.events)

    def _pour(self, source: Iterator[bytes], *, whole: bool = False) -> None:
        framed = chain(source, (self.frame(b""),)) if whole else map(self.frame, source)
        try:
            self.outbox.stream(framed)
        except OSError as error:
            self._lose(error)
        self._rearm()

    def tell(self, event: EventView) -> None:
        """Send one event; a reader too slow for it is told later how many it lost."""
        data = codec.encode_reply(event, continues=True)
        if self.backlog is not None and self.backlog.admits(data):
            self.send(data)

    def _flush(self) -> None:
        self.outbox.flush()
        while self.backlog is not None and not self.closed:
            data = self.backlog.next()
            if data is None:
                break
            self.send(data)
        self._rearm()

    # ── trouble ──

    def refuse(self, error: PagsrvError) -> None:
        """Say no; the connection lives."""
        self.daemon.broker.calls += 1
        self.daemon.broker.refused(error)
        self.answer(Answer(self.peer.id, error))

    def fail(self, error: PagsrvError) -> None:
        """Say what rule was broken, then hang up."""
        log("hung up", uid=self.peer.uid, pid=self.peer.pid, why=str(error))
        self.daemon.broker.refused(error)
        if not self.outbox:
            self.send(codec.encode_error(error))
        self.close()

    def _lose(self, error: OSError) -> None:
        if not self.closed:
            log("lost", uid=self.peer.uid, pid=self.peer.pid, why=error.strerror)
        self.close()

    def _rearm(self) -> None:
        if self.closed:
            return
        mask = EPOLLOUT if self.outbox else 0
        if not (mask or self.awaiting or self.watching):
            mask = EPOLLIN
        if mask != self._mask:
            self._mask = mask
            self.daemon.rearm(self.fd, mask)
            if mask == EPOLLIN:
                self.guard(self.resume)

    def resume(self) -> None:
        """Reading goes on; a stream may have a whole message waiting already."""

    def close(self) -> None:
        """End the connection; everything it owned is closed, the broker forgets the peer."""
        if self.closed:
            return
        self.closed = True
        self.outbox.close()
        self.daemon.forget(self)


def _may_need_session(request: Request) -> bool:
    """Whether it matters to *request* which session its peer was in; Attach asks by itself."""
    if isinstance(request, Open) and request.proved is not None:
        return "session" in request.proved
    return not isinstance(request, (Attach, Prove, Whois)) and shown_by(request) is None
