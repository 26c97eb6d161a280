# SPDX-License-Identifier: MIT
"""Posting: a new entry, an empty one, or a descriptor for one that is there.

The law: everything is checked before the first change, and a posted handle is
either the entry's or dropped. Posting never widens a scope by itself. It refuses
to know how the facts about the descriptor were learned.
"""

from __future__ import annotations

from pagsrv.board import Board
from pagsrv.effects import Drop, Effect, Mind
from pagsrv.ends import NEED_PIDFD, Ask, parse_end
from pagsrv.errors import Denied, Exists, InvalidParameter, Loop, NoSession, QuotaExceeded, Stale
from pagsrv.facts import FdFacts, ProcessFacts
from pagsrv.limits import ENDS, LABEL_KEY_BYTES, LABEL_VALUE_BYTES, LABELS
from pagsrv.masks import DEFAULT, SETATTR, VIEW, WRITE, parse_mask
from pagsrv.messages import Post
from pagsrv.model import Entry, EventKind, Given, H, Moment, Peer, Witness
from pagsrv.names import Reference, Scope
from pagsrv.policy import demand, rights_in_full
from pagsrv.processes import Processes
from pagsrv.store import Hold


def default_scope(peer: Peer) -> Scope:
    """The innermost scope proved isolated; NoSession names the way out."""
    for scope in peer.scopes:
        if scope.kind == "pag" or (
            scope.kind == "session" and peer.proofs[scope].isolation == "isolated"
        ):
            return scope
    session = next((scope for scope in peer.scopes if scope.kind == "session"), None)
    why = (
        f"your {session} is linkable (--scope session uses it all the same)"
        if session is not None
        else peer.refused.get("session", "you are proved in no session and no PAG")
    )
    raise NoSession(
        f"there is no isolated scope to post in: {why}; start one with `pagsrv session`, or say "
        "--scope user to post for every process of your uid"
    )


def check_labels(labels: dict[str, str] | None) -> dict[str, str]:
    """The labels, if they are few and short; InvalidParameter otherwise."""
    labels = labels or {}
    if len(labels) > LABELS:
        raise InvalidParameter("labels", f"an entry has at most {LABELS} labels")
    for key, value in labels.items():
        if not 0 < len(key.encode()) <= LABEL_KEY_BYTES:
            raise InvalidParameter("labels", f"a label's key has 1 to {LABEL_KEY_BYTES} bytes")
        if len(value.encode()) > LABEL_VALUE_BYTES:
            raise InvalidParameter("labels", f"a label has at most {LABEL_VALUE_BYTES} bytes")
        if not (key + value).isprintable():
            raise InvalidParameter("labels", "a label holds printable text only")
    return labels


def ends_asked(request: Post) -> list[Ask]:
    """The end conditions asked for, parsed; InvalidParameter for a wrong one or too many."""
    asks = [parse_end(end.cond) for end in request.until or ()]
    if len(asks) > ENDS:
        raise InvalidParameter("until", f"an entry has at most {ENDS} end conditions")
    for kind in ("ttl", "opens", "lease", "hup", "orphan"):
        if sum(ask.kind == kind for ask in asks) > 1:
            raise InvalidParameter("until", f"{kind} is given twice")
    indices = request.indices()
    if len(set(indices)) != len(indices):
        raise InvalidParameter("until", "one descriptor is named twice: send it once for each use")
    return asks


def _hold(peer: Peer, asks: list[Ask], given: Given[H], scope: Scope, when: Moment) -> Hold[H]:
    hold: Hold[H] = Hold(given.posted, given.facts, given.poster, given.credentials)
    words = []
    for ask, witness in zip(asks, given.ends, strict=True):
        words.append(str(ask))
        if ask.kind in NEED_PIDFD:
            words[-1] = _process(peer, ask, witness)
            hold.waits += [witness] if witness is not None else []
        elif ask.kind == "lease":
            hold.lease = peer.id
        elif ask.kind == "ttl":
            hold.deadline = when.boot + ask.number
        elif ask.kind == "opens":
            hold.turns = int(ask.number)
        elif ask.kind == "orphan":
            _check_orphan(scope)
        else:
            _check_hup(given.facts)
    if scope.kind == "session":
        words.append("revoked")
    hold.until = tuple(words)
    return hold


def _check_orphan(scope: Scope) -> None:
    if scope.kind != "session":
        raise InvalidParameter(
            "until", f"{scope} is no session, so its last process is nobody's: leave orphan out"
        )


def _check_hup(facts: FdFacts | None) -> None:
    if facts is None or not facts.pollable:
        what = "an empty entry" if facts is None else f"a {facts.kind}"
        raise InvalidParameter(
            "until", f"{what} never hangs up, or could keep the broker waiting: leave hup out"
        )


def check_own(peer: Peer, facts: ProcessFacts) -> None:
    """Denied if the process of *facts* is another uid's than *peer*."""
    if facts.uid != peer.uid:
        raise Denied(f"process {facts.pid} is uid {facts.uid}'s: name one of your own")


def _process(peer: Peer, ask: Ask, witness: Witness[H] | None) -> str:
    if witness is None:
        raise InvalidParameter(
            "until",
            f"the process of {ask} is not there: it has exited, is outside the broker's pid "
            f"namespace, or its pidfd did not come along; name another with {ask.kind}=PID",
        )
    facts = witness.facts
    if ask.kind != "leader":
        check_own(peer, facts)
    if ask.kind != "leader" and ask.number not in (0, facts.pid):
        raise InvalidParameter("until", f"{ask} came with the pidfd of process {facts.pid}")
    return f"{ask.kind}={facts.pid}"


def post(
    board: Board[H], peer: Peer, request: Post, given: Given[H], when: Moment
) -> list[Effect[H]]:
    """Post, assign or replace."""
    reference = board.reference(request.name, request.scope)
    mask = None if request.mask is None else parse_mask(request.mask)
    asks, labels = ends_asked(request), check_labels(request.labels)
    word = reference.scope
    scope = default_scope(peer) if word is None else board.resolve(peer, word)
    if given.facts is not None and given.facts.ours:
        raise Loop("the board may not hold its own socket or a connection to itself")
    hold = _hold(peer, asks, given, scope, when)
    entry = board.store.find(scope, reference.name)
    if entry is not None and scope not in peer.proofs and not rights_in_full(peer, entry) & VIEW:
        entry = None
    owner = peer.uid if entry is None else entry.uid
    _check_processes(board.store.processes, owner, hold)
    before = () if entry is None else board.watches.hearers(entry)
    keep_ends, why = False, ""
    if entry is None:
        event: EventKind = "posted"
        entry = _create(board, peer, request, Reference(scope, reference.name), when)
    else:
        event, why = "assigned", "" if entry.handle is None else "replaced"
        keep_ends = _may_assign(board, peer, request, entry, hold)
    entry.mask = entry.mask if mask is None else mask
    entry.labels = entry.labels if request.labels is None else labels
    effects = _assign(board, entry, hold, given, keep_ends=keep_ends)
    if entry.handle is not None and "hup" in entry.until:
        effects.append(Mind(entry.handle, entry))
    board.note(event, entry, peer, why, before)
    return [board.shown(peer, entry), *effects]


def _check_processes(processes: Processes[H], owner: int, hold: Hold[H]) -> None:
    """Every process waited for can still exit, and there are not too many of them."""
    if not all(processes.lives(witness) for witness in hold.waits):
        raise InvalidParameter("until", "a process named there has exited already")
    witnesses = hold.waits + ([hold.poster] if hold.poster is not None else [])
    processes.admit(owner, witnesses)


def _create(
    board: Board[H], peer: Peer, request: Post, reference: Reference, when: Moment
) -> Entry[H]:
    scope = reference.scope
    if not isinstance(scope, Scope) or scope not in peer.proofs:
        raise NoSession(
            f"you are not proved in {scope}, so you cannot post there; `pagsrv whoami` shows the "
            "scopes you are in"
        )
    if request.expect:
        raise Stale(f"{reference} is not there, and you expect generation {request.expect}")
    space = board.store.namespace(scope, peer.uid, peer.proofs[scope].isolation)
    entry: Entry[H] = Entry(
        scope, reference.name, uid=peer.uid, gid=peer.gid, mask=DEFAULT, created=when.wall
    )
    try:
        board.store.add(space, entry)
    except QuotaExceeded:
        board.store.discard(space)
        raise
    return entry


def _may_assign(board: Board[H], peer: Peer, request: Post, entry: Entry[H], hold: Hold[H]) -> bool:
    """Pass if *peer* may give *entry* what *hold* brings; True if the entry keeps its ends.

    Mask, ends and labels are changed by the right setattr only, and the write right alone
    leaves them alone.
    """
    reference = Reference(entry.scope, entry.name)
    if entry.handle is not None and not request.replace and request.expect is None:
        raise Exists(f"{reference} is already there; say --replace to give it a new descriptor")
    if request.fd is None and entry.handle is None and not request.replace:
        raise Exists(f"{reference} is already there, and empty; post a descriptor to assign it")
    held = rights_in_full(peer, entry)
    sets = any(one is not None for one in (request.mask, request.until, request.labels))
    try:
        demand(held | VIEW, WRITE | SETATTR if sets else WRITE, reference)
    except Denied as error:
        board.note("refused", entry, peer, str(error))
        raise
    board.expect(entry, request.expect)
    keeps = request.until is None and (entry.handle is None or not held & SETATTR)
    if keeps and "hup" in entry.until:
        _check_hup(hold.facts)
    return keeps


def _assign(
    board: Board[H], entry: Entry[H], hold: Hold[H], given: Given[H], *, keep_ends: bool
) -> list[Effect[H]]:
    fresh, released = board.store.assign(entry, hold, keep_ends=keep_ends)
    given.claim(hold.handle)
    effects: list[Effect[H]] = [Drop(handle) for handle in released]
    for process in fresh:
        given.claim(process.handle)
    minds = (Mind(one.handle, one) for one in fresh if one.handle is not None)
    return [*effects, *minds]
