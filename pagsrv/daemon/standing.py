# SPDX-License-Identifier: MIT
"""Answers that stand: given again without a turn, to whoever has the same rights.

The law: an answer stands until the board's epoch moves, for the very same bytes
and for peers the policy cannot tell apart. It refuses to know what was asked.
"""

from __future__ import annotations

from pagsrv.kernel.fd import Fd
from pagsrv.model import Entry, Peer
from pagsrv.names import Scope

Beside = list[tuple[int, int, bytes]]

Standing = tuple[list[bytes], Beside, tuple[Entry[Fd], ...]]
"""What sendmsg(2) wants for an open: the reply, what goes beside it, and whose that is."""

_ANSWERS = 2048
"""Answers kept for one kin, a few hundred bytes each."""

_REQUEST_BYTES = 256 * 1024
"""Requests kept for one kin: how long each is, and how many differ, its peers choose."""

_LISTING_BYTES = 1 << 20
_KINS = 64

_Key = tuple[int, int, frozenset[int], tuple[Scope, ...], bool]


class Kin:
    """All peers with the same uid, groups and proved scopes: what they were answered."""

    __slots__ = ("_listing", "_request", "_size", "answers", "epoch")

    def __init__(self) -> None:
        self.epoch = 0
        self.answers: dict[bytes, Standing] = {}
        self._size = 0
        self._request = b""
        self._listing: list[bytes] | None = None

    def _renew(self, epoch: int) -> None:
        if self.epoch != epoch:
            self.epoch = epoch
            self._clear()
            self._listing = None

    def _clear(self) -> None:
        self.answers.clear()
        self._size = 0

    def keep(self, request: bytes, answer: Standing, epoch: int) -> None:
        """*answer* stands for *request* while the board is at *epoch*."""
        self._renew(epoch)
        if len(self.answers) >= _ANSWERS or self._size + len(request) > _REQUEST_BYTES:
            self._clear()
        if request not in self.answers:
            self._size += len(request)
        self.answers[request] = answer

    def keep_listing(self, request: bytes, messages: list[bytes], epoch: int) -> None:
        """The same for one listing of names, if it is not too large to keep."""
        self._renew(epoch)
        if sum(map(len, messages)) <= _LISTING_BYTES:
            self._request, self._listing = request, messages

    def listing(self, request: bytes, epoch: int) -> list[bytes] | None:
        """The messages that answer *request*, if they stand at *epoch*."""
        if self._listing is None or self.epoch != epoch or self._request != request:
            return None
        return self._listing


class StandingAnswers:
    """Every kin in use."""

    def __init__(self) -> None:
        self._kins: dict[_Key, Kin] = {}

    def of(self, peer: Peer, *, unasked: bool = False) -> Kin:
        """The kin of *peer*, as it is proved now.

        *unasked*: whose session nobody was asked about; such have a kin among themselves.
        """
        key = (peer.uid, peer.gid, peer.groups, peer.scopes, unasked)
        kin = self._kins.get(key)
        if kin is None:
            if len(self._kins) >= _KINS:
                self._kins.clear()
            kin = self._kins[key] = Kin()
        return kin
