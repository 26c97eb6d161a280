# SPDX-License-Identifier: MIT
"""What a client can show of itself: its session, by possession of the keyring.

The law: asked of the kernel by the thread that connects; what cannot be shown is
said, and never an error: the other scopes serve without it. It refuses to know
the wire, and to judge a ring that the broker can judge.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pagsrv.errors import NoSession, QuotaExceeded
from pagsrv.kernel import keys
from pagsrv.names import KINDS
from pagsrv.proofs import possession

if TYPE_CHECKING:
    from pagsrv.messages import Identity


class Session:
    """The calling thread's session keyring, as a conversation.Prover.

    *ring* is its serial, 0 where keyctl(2) is not to be had; *why* says what kept us
    from proving it, where the broker cannot know.
    """

    def __init__(self) -> None:
        self.ring = 0
        self.why = ""
        self.hopeless = False
        try:
            self.ring = possession.own_ring()
        except NoSession as no:
            # The ring is said all the same, so that it is the broker that says why not.
            self.hopeless = True
            try:
                self.ring = keys.session_ring()
            except keys.KeyFault:
                self.why = str(no)

    def words(self, scopes: Sequence[str] | None) -> list[str]:
        """*scopes*, or all kinds, with our own ring said exactly: nonces take turns per ring."""
        mine = [f"session:{self.ring}"] if self.ring else []
        said: list[str] = []
        for word in KINDS if scopes is None else scopes:
            said += mine if word == "session" else [word]
        return said

    def answer(self, nonce: str, uid: int, broker: str) -> int:
        """Put the proof into the ring, if it takes one; the ring's serial either way."""
        if not self.hopeless:
            try:
                possession.respond(nonce, uid, broker, self.ring)
            except (NoSession, QuotaExceeded) as no:
                self.why = str(no)
                self.hopeless = True
        return self.ring

    def told(self, identity: Identity) -> Identity:
        """*identity*, with our own reason beside the broker's where it cannot know it."""
        proved = any(one.scope.startswith("session:") for one in identity.scopes)
        if self.why and not proved:
            from pagsrv.messages import RefusedScope  # noqa: PLC0415 -- loaded by then

            others = [one for one in identity.refused if not one.scope.startswith("session")]
            identity.refused = [*others, RefusedScope("session", self.why)]
        return identity


def counted_on(scopes: Sequence[str] | None, *, prove: bool, told: bool) -> tuple[str, ...]:
    """The kinds of scopes that a connection will have by itself, if those are the *scopes* wanted.

    *told* says whether the kernel tells the broker our session without Attach. Empty if anything is
    to be said.
    """
    if scopes is not None and list(scopes) == ["user"]:
        return () if told else ("user",)
    if not (told and prove):
        return ()
    if scopes is None:
        from pagsrv.proofs import groups  # noqa: PLC0415 -- for those whom the kernel tells of

        # A PAG is looked for at Attach alone, and what might be one is the broker's to judge.
        mine = os.getgroups()
        return () if groups.pag_candidates(mine) or groups.pairs(mine) else ("session", "user")
    return ("session", "user") if sorted(scopes) == ["session", "user"] else ()


def wanted(scopes: Sequence[str] | None, *, prove: bool) -> tuple[list[str], Session | None]:
    """The words for Attach, and who answers its nonce: nobody if no session is asked for."""
    asked = list(KINDS if scopes is None else scopes)
    sessions = [word for word in asked if word.partition(":")[0] == "session"]
    if not sessions:
        return asked, None
    if not prove:
        return [word for word in asked if word not in sessions], None
    session = Session()
    return session.words(asked), session
