# SPDX-License-Identifier: MIT
"""Scopes: who is proved in which, and what becomes of a scope.

The law: nothing is proved but by a fact of the kernel that came in as an
argument; one violation ever seen makes a session linkable for good; a scope that
ends takes its entries, its grants and its connections along. It refuses to know
keyrings (proofs/ does) and how a nonce is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic

from pagsrv.board import Board
from pagsrv.effects import Answer, Effect, Hangup
from pagsrv.errors import InvalidParameter, NoSession, QuotaExceeded, Refused
from pagsrv.facts import Isolation, RingFacts
from pagsrv.limits import LABELS, MESSAGE_BYTES, MESSAGE_FDS, NAME_BYTES, SCOPES_ASKED
from pagsrv.limits import UNVERIFIABLE_SECONDS as GRACE
from pagsrv.messages import (
    METHODS,
    Attach,
    Attached,
    Identity,
    LimitsView,
    Prove,
    Proved,
    RefusedScope,
)
from pagsrv.model import Given, H, Moment, Peer, PeerId, Proof
from pagsrv.names import KINDS, Scope, ScopeWord, parse_scope
from pagsrv.nonces import Nonces
from pagsrv.posting import default_scope
from pagsrv.store import Namespace
from pagsrv.views import proof_view

LIMITS = LimitsView(MESSAGE_BYTES, MESSAGE_FDS, NAME_BYTES, LABELS)


class Scopes(Generic[H]):
    """The proofs of every connection, and the sessions they are about."""

    def __init__(
        self, board: Board[H], broker: str, directory: str, random: Callable[[], str]
    ) -> None:
        self.board = board
        self.broker = broker
        self.directory = directory
        self._random = random
        self._nonces = Nonces()
        self._secrets: dict[PeerId, str] = {}
        self.attaching: dict[PeerId, Peer] = {}
        self.proved: Counter[str] = Counter()
        """How often something was proved in each way, a connection and a scope at a time."""

    # ── Attach ──

    def welcome(self, peer: Peer) -> None:
        """A peer that has called nothing yet has its user scope."""
        self.proved["user"] += 1
        peer.prove(Proof(Scope("user", peer.uid), "user", "none"))

    def believe_kernel(self, peer: Peer, given: Given[H]) -> None:
        """Believe the kernel's own word in *given* on the session *peer* was in at connect."""
        ring = given.ring
        if given.why or ring is None:
            peer.refused["session"] = given.why
            return
        scope = Scope("session", ring.serial)
        space = self.board.store.spaces.get(scope)
        if space is not None and space.isolation == "isolated" and given.isolation != "isolated":
            self._turn(space, given.loose)
        try:
            space = self.board.store.namespace(scope, peer.uid, given.isolation)
        except (NoSession, QuotaExceeded) as error:
            given.why = peer.refused["session"] = str(error)
            return
        if scope not in peer.proofs:
            self.proved["kernel"] += 1
        peer.kernel = Proof(scope, "kernel", space.isolation)
        self._join(peer, peer.kernel, space)

    @staticmethod
    def _join(peer: Peer, proof: Proof, space: Namespace[H]) -> None:
        space.members[peer.id] = peer
        peer.refused.pop("session", None)
        peer.prove(proof)

    def attach(self, peer: Peer, request: Attach, given: Given[H]) -> list[Effect[H]]:
        """Prove what needs no help, and queue up for a nonce if a session is still to be proved.

        *given* says the peer's PAG, or why it has none, in `ring` what the kernel shows by
        itself, and in `why` what speaks against proving a session by possession here.
        """
        asked = request.scopes
        if asked is not None and len(asked) > SCOPES_ASKED:
            raise InvalidParameter("scopes", f"name at most {SCOPES_ASKED} scopes")
        words = KINDS if asked is None else [parse_scope(word, "scopes") for word in asked]
        self._forget_turn(peer)
        peer.attached = True
        peer.changes = peer.changes or bool(request.changes)
        kept = self._kept(peer, given)
        before, peer.proofs, peer.scopes = peer.proofs, {}, ()
        peer.refused.clear()
        ring: int | None = None
        wants_session = False
        for word in words:
            kind = word.kind if isinstance(word, Scope) else word
            if kind != "session":
                self._attach_fixed(peer, word, given, before)
                continue
            mine = [scope for scope in kept if word in ("session", scope)]
            for scope in mine:
                self._join(peer, kept[scope], self.board.store.spaces[scope])
            if not mine:
                wants_session = True
                ring = word.number if isinstance(word, Scope) else None
        self._leave(peer, kept.keys() - peer.proofs.keys())
        if wants_session and given.why:
            peer.refused["session"] = given.why
            wants_session = False
        if not wants_session:
            return [self._attached(peer, None)]
        self.attaching[peer.id] = peer
        self._nonces.ask(peer.id, peer.uid, ring)
        return []

    def _kept(self, peer: Peer, given: Given[H]) -> dict[Scope, Proof]:
        """The sessions that need no further proof: shown before, or by the kernel."""
        if given.ring is not None:
            self.believe_kernel(peer, given)
        kept = {scope: proof for scope, proof in peer.proofs.items() if scope.kind == "session"}
        space = None if peer.kernel is None else self.board.store.spaces.get(peer.kernel.scope)
        if peer.kernel is not None and space is not None:
            # It may have turned while the peer was no member, and nobody told it.
            peer.kernel.isolation = space.isolation
            kept[space.scope] = peer.kernel
        return kept

    def _attach_fixed(
        self, peer: Peer, word: ScopeWord, given: Given[H], before: dict[Scope, Proof]
    ) -> None:
        kind = word.kind if isinstance(word, Scope) else word
        if kind == "user":
            mine, why = Scope("user", peer.uid), ""
        elif given.pag is None:
            mine, why = None, given.no_pag
        else:
            mine, why = Scope("pag", given.pag), ""
        if mine is not None and word in (kind, mine):
            if kind == "pag" and mine not in before and mine not in peer.proofs:
                self.proved["groups"] += 1
            peer.prove(Proof(mine, "user" if kind == "user" else "groups",
                             "none" if kind == "user" else "isolated"))  # fmt: skip
        else:
            peer.refused[str(word)] = why or f"you are in {mine}"

    def _leave(self, peer: Peer, scopes: set[Scope]) -> None:
        for scope in scopes:
            self.board.store.spaces[scope].members.pop(peer.id, None)

    def _forget_turn(self, peer: Peer) -> None:
        self._nonces.done(peer.id)
        self.attaching.pop(peer.id, None)
        self._secrets.pop(peer.id, None)

    def _attached(self, peer: Peer, nonce: str | None) -> Answer[H]:
        proofs = [proof_view(peer.proofs[scope]) for scope in peer.scopes]
        return Answer(peer.id, Attached(self.broker, peer.uid, LIMITS, METHODS, proofs, nonce))

    def turns(self, when: Moment) -> list[Effect[H]]:
        """Answer the Attach of every peer whose turn has come, with a fresh nonce."""
        effects: list[Effect[H]] = []
        if not self.attaching:
            return effects
        for peer_id in self._nonces.ready(when.boot):
            nonce = self._secrets[peer_id] = self._random()
            effects.append(self._attached(self.attaching.pop(peer_id), nonce))
        return effects

    def next_deadline(self) -> float | None:
        """When somebody's turn comes because another's nonce got too old."""
        return self._nonces.next_deadline()

    # ── Prove ──

    def nonce(self, peer: Peer, when: Moment) -> str | None:
        """The nonce out for *peer*; asking uses it up."""
        turn = self._nonces.out(peer.id, when.boot)
        secret = self._secrets.pop(peer.id, None)
        return None if turn is None else secret

    def claimed(self, peer: Peer, when: Moment) -> int | None:
        """The ring *peer* said at Attach that it would prove, if it said which."""
        turn = self._nonces.out(peer.id, when.boot)
        return None if turn is None else turn.ring

    def prove(self, peer: Peer, request: Prove, given: Given[H]) -> list[Effect[H]]:
        """Believe the verdict in *given*: `why` is empty if ring and proof key were right."""
        scope = Scope("session", request.ring)
        self._nonces.done(peer.id)
        try:
            self._believe(peer, scope, given)
        except Refused as error:
            peer.refused["session"] = str(error)
            self.board.note_scope("refused", scope, str(error))
            raise
        return [Answer(peer.id, Proved([proof_view(peer.proofs[one]) for one in peer.scopes]))]

    def _believe(self, peer: Peer, scope: Scope, given: Given[H]) -> None:
        ring = given.ring
        if given.why or ring is None:
            raise NoSession(given.why or f"{scope} is not there")
        space = self.board.store.spaces.get(scope)
        if space is not None and space.isolation == "isolated" and given.isolation != "isolated":
            self._turn(space, given.loose)
        if space is not None and space.turned:
            raise NoSession(
                f"{scope} was isolated once and is not any more ({space.turned}), so it takes no "
                "new proof; start a new session with `pagsrv session`"
            )
        space = self.board.store.namespace(scope, ring.uid, given.isolation)
        space.key = given.key
        self._leave(peer, {one for one in peer.proofs if one.kind == "session"} - {scope})
        for other in [one for one in peer.scopes if one.kind == "session"]:
            peer.forget(other)
        self.proved["possession"] += 1
        self._join(peer, Proof(scope, "possession", space.isolation), space)

    @staticmethod
    def check(peer: Peer, kinds: list[str]) -> None:
        """NoSession unless *peer* is proved in scopes of these *kinds* and of no others."""
        proved = [scope.kind for scope in peer.scopes]
        if sorted(kinds) != sorted(proved):
            raise NoSession(
                f"this connection is proved in {', '.join(proved) or 'no scope'}, which is not "
                "what the call counts on: Attach first"
            )

    # ── what becomes of a session ──

    def sessions(self) -> list[tuple[Scope, int]]:
        """The session scopes to look after, each with its ring's owner."""
        spaces = self.board.store.spaces.items()
        return [(scope, space.uid) for scope, space in spaces if scope.kind == "session"]

    def forget_idle(self, uid: int) -> set[Scope]:
        """Forget sessions of others than *uid* that nothing holds; those that are still here.

        One that has turned linkable is remembered: it must not look isolated once more.
        """
        here = set()
        for scope, owner in self.sessions():
            space = self.board.store.spaces[scope]
            if owner == uid or space.entries or space.members or space.guests or space.turned:
                here.add(scope)
            else:
                self.board.store.forget(space)
        return here

    def emptied(self, scope: Scope) -> list[Effect[H]]:
        """The last process of *scope* is gone: its entries, grants and connections go, too."""
        space = self.board.store.spaces.get(scope)
        return [] if space is None else self._end(space, "orphan")

    def proof_key(self, scope: Scope) -> int:
        """The serial of the proof key last seen in *scope*, 0 if none was."""
        space = self.board.store.spaces.get(scope)
        return 0 if space is None else space.key

    def seen(
        self, ring: RingFacts, isolation: Isolation, loose: str, when: Moment
    ) -> list[Effect[H]]:
        """A look at a session's ring: it may have ended, or turned linkable because of *loose*."""
        space = self.board.store.spaces.get(Scope("session", ring.serial))
        if space is None:
            return []
        if ring.state == "unverifiable":
            if space.unverifiable_since is None:
                space.unverifiable_since = when.boot
            if when.boot - space.unverifiable_since < GRACE:
                return []
            return self._end(space, "unverifiable")
        space.unverifiable_since = None
        if ring.state != "live" or ring.uid != space.uid:
            return self._end(space, "revoked")
        if space.isolation == "isolated" and isolation != "isolated":
            self._turn(space, loose)
        return []

    def _turn(self, space: Namespace[H], why: str) -> None:
        space.turned = why or "its ring lets others in"
        space.isolation = "linkable"
        for member in space.members.values():
            member.proofs[space.scope].isolation = "linkable"
        self.board.store.epoch += 1
        self.board.note_scope("linkable", space.scope, why)

    def _end(self, space: Namespace[H], why: str) -> list[Effect[H]]:
        effects: list[Effect[H]] = []
        for entry in list(space.entries.values()):
            effects += self.board.end(entry, why)
        for guest in list(space.guests):
            self.board.store.ungrant(guest, space.scope)
            self.board.note("ungranted", guest, None, f"from {space.scope}: {why}")
        for member in space.members.values():
            member.forget(space.scope)
            effects.append(Hangup(member.id, f"{space.scope} has ended: {why}"))
        self.board.store.forget(space)
        return effects

    # ── WhoAmI, goodbye ──

    def who_am_i(self, peer: Peer) -> list[Effect[H]]:
        """The scopes *peer* is proved in, how, and why not in others."""
        try:
            default = str(default_scope(peer))
        except NoSession:
            default = None
        identity = Identity(
            self.directory,
            self.broker,
            peer.uid,
            default,
            [proof_view(peer.proofs[scope]) for scope in peer.scopes],
            [RefusedScope(scope, why) for scope, why in peer.refused.items()],
        )
        return [Answer(peer.id, identity)]

    def goodbye(self, peer: Peer) -> None:
        """*peer* is gone: it is no member of anything and waits for nothing."""
        self._forget_turn(peer)
        for scope in peer.scopes:
            if scope.kind == "session":
                self.board.store.spaces[scope].members.pop(peer.id, None)
