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

from pagsrv.errors import Denied, InvalidParameter, PagsrvError
from pagsrv.kernel import process
from pagsrv.kernel.peer import identify_shown, same_user_namespace
from pagsrv.model import Peer, Proof
from pagsrv.names import Scope
from pagsrv.proofs import groups, whois

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.peer import PeerFacts
    from pagsrv.messages import Fact, Whois


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

    def groups_of(self, shown: Fd) -> tuple[int, ...]:
        """The supplementary groups of the peer of *shown*; none where there is no peer."""
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
        with _socket(shown, "on_behalf_of") as sock:
            # A connection that was accepted has its listener's name (unix(7)); a socketpair and a
            # client's own end have none, and the kernel would name their maker, or who listens.
            if not sock.getsockname():
                raise InvalidParameter("on_behalf_of", "show a connection that was accepted")
            try:
                found = identify_shown(sock)
            except PagsrvError as error:
                raise InvalidParameter("on_behalf_of", str(error)) from None
            try:
                self._check_served(asker, found.uid)
                return self._proved(asker, found, sock), found.pidfd
            except BaseException:
                if found.pidfd is not None:
                    found.pidfd.close()
                raise

    def _check_served(self, asker: Peer, uid: int) -> None:
        if uid == 0 and asker.uid != 0:
            raise Denied("only root acts on behalf of root: the trusted group serves users")
        own = self._daemon.uid
        if own not in (0, uid):
            raise Denied(f"this broker serves uid {own} only, and the peer shown is uid {uid}")

    def _proved(self, asker: Peer, found: PeerFacts, sock: socket.socket) -> Peer:
        made = Peer(
            asker.id, pid=found.pid, uid=found.uid, gid=found.gid, groups=found.groups,
            inode=found.inode,
        )  # fmt: skip
        made.asker, made.changes = asker, asker.changes
        made.comm = process.comm(found.pid)
        made.prove(Proof(Scope("user", made.uid), "user", "none"))
        self._prove_pag(made, found.pidfd)
        self._prove_session(made, sock)
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

    def _prove_session(self, made: Peer, sock: socket.socket) -> None:
        given = self._daemon.sessions.of(sock, made.uid)
        if given is None or given.ring is None or given.why:
            none = "the kernel does not say which session it is in"
            why = f"{none} ({self._daemon.sessions.ways.why_not()})"
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
                try:
                    return whois.of_socket(
                        sock, self.named, two_groups=self._two_groups,
                        ask=self._daemon.sessions.ways.with_evidence,
                    )  # fmt: skip
                except PagsrvError as error:
                    raise InvalidParameter("fd", str(error)) from None
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


def _socket(shown: Fd, parameter: str = "fd") -> socket.socket:
    """A socket of its own for *shown*, which stays who it was; InvalidParameter if it is none."""
    own = shown.dup()
    try:
        sock = socket.socket(fileno=own.fileno())
    except OSError:
        own.close()
        raise InvalidParameter(parameter, "the descriptor shown is no socket") from None
    own.detach()
    if sock.family != socket.AF_UNIX or sock.type == socket.SOCK_DGRAM:
        sock.close()
        raise InvalidParameter(parameter, "show a connected Unix socket, stream or seqpacket")
    return sock
