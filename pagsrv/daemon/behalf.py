# SPDX-License-Identifier: MIT
"""Whose is it: the peer of a socket that an asker shows, and what is known of it.

The law: anybody may ask about the peer of a socket it holds; about a bare process only
its own uid or a trusted asker; and only a trusted asker may act on somebody's behalf.
Trusted is uid 0, or who is in the group that the configuration names. It refuses to know
what is done with the answer.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pagsrv.daemon.closing import closer
from pagsrv.errors import (
    Denied,
    InvalidParameter,
    PagsrvError,
    QuotaExceeded,
    Refused,
    TimedOut,
)
from pagsrv.kernel import process, threads, what
from pagsrv.kernel.asking import Asked
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.peer import PeerFacts, identify_shown, same_user_namespace
from pagsrv.kernel.scm import Packet
from pagsrv.messages import Whois
from pagsrv.model import Given, Peer, Proof
from pagsrv.names import Scope
from pagsrv.proofs import groups, whois

if TYPE_CHECKING:
    from collections.abc import Callable

    from pagsrv.daemon.connection import Connection
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.daemon.ways import Ways
    from pagsrv.kernel.asking import Askable
    from pagsrv.messages import Fact, Request
    from pagsrv.proofs.whois import Ask

    Later = Callable[[Connection, Request, Packet, int], None]

_KEPT_BUSY = (
    "the kernel does not answer: whoever has the socket shown keeps it busy; show a connection of "
    "which you have accepted your end yourself"
)
_WANTED = "show a connected Unix socket, stream or seqpacket"


class Unnamed(Exception):
    """Whether *gid* has a name was not looked up yet."""

    def __init__(self, gid: int) -> None:
        super().__init__(gid)
        self.gid = gid


class _Whose:
    """The question whose socket *fd* is; owns it until it is asked, or dropped."""

    def __init__(self, behalf: Behalf, asker: Peer, fd: Fd) -> None:
        self.uid = asker.uid
        self._behalf = behalf
        self._fd = fd

    def run(self) -> object:
        """The facts; or the error that is the answer, or whose name is to be looked up first."""
        with self._fd as fd:
            sock = Asked(fd)
            try:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_DGRAM:
                    return InvalidParameter("fd", _WANTED)
                behalf = self._behalf
                return behalf.of_socket(sock, behalf.surely_named, behalf.ways.in_a_thread)
            except (Unnamed, InvalidParameter) as error:
                return error

    def drop(self) -> None:
        """It may be the last descriptor of a socket that lingers."""
        closer.close(self._fd.detach())


class Behalf:
    """Answers about peers of others' sockets."""

    def __init__(self, daemon: Daemon, trusted_group: int | None) -> None:
        self._daemon = daemon
        self._trusted_group = trusted_group
        self._two_groups = daemon.config.two_group_pags

    def trusted(self, asker: Peer) -> bool:
        """Whether *asker* may ask about anybody and act on behalf of the peers it serves."""
        group = self._trusted_group
        return asker.uid == 0 or (group is not None and group in asker.groups | {asker.gid})

    def elsewhere(
        self, connection: Connection, request: Request, packet: Packet | None, later: Later
    ) -> bool:
        """Ask for *request* outside the loop, if an asker that is not trusted shows a socket.

        It may keep that one's lock, and asking would wait for it. False if there is nothing of
        the kind; else `connection.judge` follows, or *later* if a gid is to be looked up first.
        """
        asker = connection.peer
        if not isinstance(request, Whois) or packet is None or self.trusted(asker):
            return False
        if request.fd is None or request.pidfd is not None:
            return False
        shown = packet.fds[request.fd]
        _check(shown, "fd")
        try:
            question = _Whose(self, asker, self._daemon.second(shown))
        except OSError:
            raise QuotaExceeded("the broker has no descriptor left to ask with") from None
        waiting = [Packet(packet.data, packet.take(), packet.sender, packet.sender_pid)]

        def come(told: object) -> None:
            if not waiting:
                return  # it took too long, and has been answered
            with waiting.pop() as kept:
                if isinstance(told, Unnamed) and not connection.closed:
                    later(connection, request, kept, told.gid)
                elif not connection.closed:
                    connection.guard(lambda: _tell(connection, kept, told))

        connection.awaiting = True
        self._daemon.elsewhere.ask(question, come, lambda: come(None))
        return True

    def groups_of(self, shown: Fd) -> tuple[int, ...]:
        """The supplementary groups of the peer or the thread *shown*; none where there is none."""
        thread = threads.look(shown)
        if thread is not None:
            return threads.groups_of(shown, thread)
        try:
            with _socket(shown) as sock:
                found = identify_shown(sock)
        except PagsrvError:
            return ()
        if found.pidfd is not None:
            found.pidfd.close()
        return found.groups

    def peer(self, asker: Peer, shown: Fd) -> tuple[Peer, Fd | None]:
        """The peer of the socket *shown*, for *asker* to act as, and its pidfd, the caller's.

        It is proved as the kernel shows it, and in nothing that it could only claim.
        """
        if not self.trusted(asker):
            raise Denied(
                f"only uid 0 and the trusted group may act on behalf of others, and you are uid "
                f"{asker.uid}; [whois] trusted_group in the broker's configuration names one"
            )
        if process.is_pidfd(shown):
            return self._of_thread(asker, shown)
        with _socket(shown, "on_behalf_of") as sock:
            # A connection that was accepted has its listener's name (unix(7)); a socketpair and a
            # client's own end have none, and the kernel would name their maker, or who listens.
            if not sock.getsockname():
                raise InvalidParameter("on_behalf_of", "show a connection that was accepted")
            # Who listens has a name always, so that a client's own end, bound itself, has two.
            if _peer_is_named(sock):
                raise InvalidParameter(
                    "on_behalf_of",
                    "both ends of this connection have a name, so that it may be the client's end: "
                    "show one whose client has not bound its own",
                )
            try:
                found = identify_shown(sock)
            except PagsrvError as error:
                raise InvalidParameter("on_behalf_of", str(error)) from None
            try:
                self._check_served(asker, found.uid)
                given = self._daemon.sessions.of(sock, found.uid)
                return self._proved(asker, found, given), found.pidfd
            except BaseException:
                if found.pidfd is not None:
                    found.pidfd.close()
                raise

    def _of_thread(self, asker: Peer, shown: Fd) -> tuple[Peer, Fd | None]:
        """As `peer`, of the thread of the pidfd *shown*, which waits for the asker's answer."""
        # Of a socket the peer has connected somewhere; a pidfd is to be had of anybody.
        if asker.uid != 0:
            raise Denied("only uid 0 acts on behalf of a bare thread: show a socket it connected")
        thread = threads.look(shown)
        if thread is None:
            raise InvalidParameter("on_behalf_of", "that thread has exited, or is not seen here")
        self._check_served(asker, thread.uid)
        given = self._daemon.sessions.of_thread(thread)
        groups = threads.groups_of(shown, thread)
        try:
            pidfd = threads.process_of(shown, thread)
        except process.NoProcess as error:
            raise InvalidParameter("on_behalf_of", str(error)) from None
        try:
            found = PeerFacts(
                thread.pid, thread.uid, thread.gid, groups, process.inode_of(pidfd), pidfd
            )
            return self._proved(asker, found, given, shown), pidfd
        except BaseException:
            pidfd.close()
            raise

    def _check_served(self, asker: Peer, uid: int) -> None:
        if uid == 0 and asker.uid != 0:
            raise Denied("only root acts on behalf of root: the trusted group serves users")
        own = self._daemon.uid
        if own not in (0, uid):
            raise Denied(f"this broker serves uid {own} only, and the peer shown is uid {uid}")

    def _proved(
        self, asker: Peer, found: PeerFacts, given: Given[Fd] | None, thread: Fd | None = None
    ) -> Peer:
        """*found* as a peer; *thread*'s user namespace counts, where it is one that was shown."""
        made = Peer(
            asker.id, pid=found.pid, uid=found.uid, gid=found.gid, groups=found.groups,
            inode=found.inode,
        )  # fmt: skip
        made.asker, made.changes = asker, asker.changes
        made.comm = process.comm(found.pid)
        made.prove(Proof(Scope("user", made.uid), "user", "none"))
        self._prove_pag(made, thread or found.pidfd)
        self._prove_session(made, given)
        return made

    def _prove_pag(self, made: Peer, pidfd: Fd | None) -> None:
        reason = "the kernel gives no pidfd of the peer"
        if pidfd is not None:
            reason = same_user_namespace(pidfd)
        pag, why = groups.judge(
            sorted(made.groups), named=self.named, userns_reason=reason,
            two_groups=self._two_groups,
        )  # fmt: skip
        if pag is None:
            made.refused["pag"] = why
        else:
            made.prove(Proof(Scope("pag", pag), "groups", "isolated"))

    def _prove_session(self, made: Peer, given: Given[Fd] | None) -> None:
        if given is None or given.ring is None or given.why:
            none = "the kernel does not say which session it is in"
            why = f"{none} ({self.ways.why_not()})"
            made.refused["session"] = why if given is None else given.why
        elif self._daemon.sessions.is_of_another(given.ring.serial, made.uid):
            made.refused["session"] = "the board still holds another session of that serial"
        else:
            scope = Scope("session", given.ring.serial)
            space = self._daemon.broker.board.store.spaces.get(scope)
            turned = space is not None and space.isolation != "isolated"
            made.prove(Proof(scope, "kernel", "linkable" if turned else given.isolation))

    def named(self, gid: int) -> bool | None:
        """Whether *gid* has a name; None if that is not known."""
        return self._daemon.gids.named(gid)

    def whois(self, asker: Peer, request: Whois, fds: list[Fd]) -> list[Fact]:
        """What is known of the peer of a socket, or of the process of a pidfd."""
        if (request.fd is None) == (request.pidfd is None):
            raise InvalidParameter("fd", "show a connected Unix socket as fd, or a pidfd as pidfd")
        if request.fd is not None:
            with _socket(fds[request.fd]) as sock:
                return self.of_socket(sock, self.named, self.ways.with_evidence)
        pidfd = fds[request.pidfd or 0]
        facts = process.from_pidfd(pidfd)
        if facts is None:
            raise InvalidParameter("pidfd", "that is no pidfd of a process that lives")
        if facts.uid != asker.uid and not self.trusted(asker):
            raise Denied(
                f"process {facts.pid} is uid {facts.uid}'s: about a bare process only its own uid "
                "and trusted askers may ask; show a socket it connected instead"
            )
        return whois.of_pidfd(pidfd, facts)

    @property
    def ways(self) -> Ways:
        """The ways to learn a session."""
        return self._daemon.sessions.ways

    def of_socket(self, sock: Askable, named: Callable[[int], bool | None], ask: Ask) -> list[Fact]:
        """What is known of the peer of *sock*; *named* says whether a gid has a name."""
        try:
            return whois.of_socket(sock, named, two_groups=self._two_groups, ask=ask)
        except PagsrvError as error:
            raise InvalidParameter("fd", str(error)) from None

    def surely_named(self, gid: int) -> bool | None:
        """As `named`; Unnamed if it is still to be looked up. For any thread."""
        if self._daemon.gids.is_to_be_asked(gid):
            raise Unnamed(gid)
        return self._daemon.gids.named(gid)


def _tell(connection: Connection, packet: Packet, told: object) -> None:
    """Go on with what a thread has *told*."""
    if isinstance(told, list):
        connection.judge(Given(handles=packet.take(), known=told))
    else:
        connection.refuse(told if isinstance(told, Refused) else TimedOut(_KEPT_BUSY))


def _peer_is_named(sock: socket.socket) -> bool:
    try:
        return bool(sock.getpeername())
    except OSError:
        return False  # not connected, which is said elsewhere


def _check(shown: Fd, parameter: str) -> None:
    """InvalidParameter if *shown* is no Unix socket; asked without a wait."""
    if not what.is_socket(shown):
        raise InvalidParameter(parameter, "the descriptor shown is no socket")
    if what.protocol(shown) not in what.UNIX:
        raise InvalidParameter(parameter, _WANTED)


def _socket(shown: Fd, parameter: str = "fd") -> socket.socket:
    """A socket of its own for *shown*, which stays who it was; InvalidParameter if it is none."""
    _check(shown, parameter)
    own = shown.dup()
    try:
        sock = socket.socket(fileno=own.fileno())
    except BaseException:
        own.close()
        raise
    own.detach()
    if sock.type == socket.SOCK_DGRAM:
        sock.close()
        raise InvalidParameter(parameter, _WANTED)
    return sock
