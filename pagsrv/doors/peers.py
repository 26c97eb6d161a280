# SPDX-License-Identifier: MIT
"""Whom a door serves that stands for one scope: peers that the kernel shows to be in it.

The law: a peer is asked nothing; the kernel tells of it, to us or to the broker, or it is
not served. Another uid never is. Only who was told to takes the uid alone for enough. It
refuses to know what a served peer wants.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pagsrv.client.whois import peer_keyring, whois
from pagsrv.errors import NoSession, PagsrvError
from pagsrv.kernel import peerkeyring
from pagsrv.kernel.peer import identify

if TYPE_CHECKING:
    import socket

    from pagsrv.client.blocking import Board
    from pagsrv.messages import Fact
    from pagsrv.names import Scope


class Gate:
    """Who may pass into *scope*; *board*, the caller's still, is asked where the kernel is silent.

    *same_uid*: every process of our uid may.
    """

    def __init__(self, scope: Scope, board: Board, *, same_uid: bool = False) -> None:
        self.scope = scope
        self._board = board
        self._uid = os.geteuid()
        self._by_uid = same_uid or scope.kind == "user"

    def check(self) -> None:
        """NoSession if nobody could be shown to be in the scope here."""
        if self._by_uid or self.scope.kind != "session" or peerkeyring.answers():
            return
        if "kernel" not in self._board.health().proofs:
            raise NoSession(
                "the kernel does not tell here whose session a peer is in, so that nobody could be "
                "served: have root run `pagsrv peerkeyring install`; or say --same-uid, and every "
                f"process of uid {self._uid}, of whatever session, gets at {self.scope}"
            )

    def why_not(self, sock: socket.socket) -> str:
        """'' if the peer of *sock*, a connection we accepted, is served; else why it is not."""
        try:
            uid = identify(sock, process=False).uid
            if uid != self._uid:
                return f"it is uid {uid}, and this door serves uid {self._uid} only"
            if self._by_uid:
                return ""
            told = self._told(sock)
        except PagsrvError as error:
            return str(error)
        if told.value == str(self.scope):
            return ""
        where = f"it is in {told.value}" if told.value is not None else told.why
        return f"it is not shown to be in {self.scope}: {where}"

    def _told(self, sock: socket.socket) -> Fact:
        """What is known of the peer's scope of our kind, from whoever knows it."""
        kind = self.scope.kind
        if kind == "session" and peer_keyring(sock) is None:
            return self._board.whois(sock)[kind]
        return whois(sock)[kind]
