# SPDX-License-Identifier: MIT
"""The board from above: its namespaces, and what each uid uses of its budgets.

The law: nobody learns of a namespace that it may not see into, is no member of and has no
part in by its uid; whose activity it is none of, it is told nothing of. It refuses to
change anything, and to know processes.
"""

from __future__ import annotations

from pagsrv.board import Board
from pagsrv.effects import Effect, Survey
from pagsrv.limits import BUDGETS_SHOWN
from pagsrv.masks import VIEW
from pagsrv.model import H, Peer
from pagsrv.names import Scope
from pagsrv.policy import rights_in_full
from pagsrv.store import Namespace
from pagsrv.vitals import Budget, NamespaceView, Use


def namespaces(board: Board[H], peer: Peer) -> list[Effect[H]]:
    """Show the namespaces that *peer* may know of."""
    spaces = list(board.store.spaces.values())
    views = ((space.scope, _view(peer, space)) for space in spaces)
    return [Survey(peer.id, ((scope, view) for scope, view in views if view is not None))]


def _view(peer: Peer, space: Namespace[H]) -> NamespaceView | None:
    entries = sum(rights_in_full(peer, entry) & VIEW != 0 for entry in space.entries.values())
    proof = peer.proofs.get(space.scope)
    knows = proof is not None or space.uid == peer.uid
    if not entries and not knows:
        return None
    # Members are known of sessions only: everybody of the uid or the group is in the others.
    counted = knows and space.scope.kind == "session"
    return NamespaceView(
        str(space.scope),
        _isolation(space),
        None if proof is None else proof.proof,
        space.uid,
        entries,
        len(space.members) if counted else None,
        None,
        space.since,
    )


def _isolation(space: Namespace[H]) -> str:
    return "isolated" if space.scope.kind == "pag" else space.isolation


def unattended(board: Board[H]) -> int:
    """How many sessions have entries and no member."""
    return sum(_waits(space.scope, space) for space in board.store.spaces.values())


def _waits(scope: Scope, space: Namespace[H]) -> bool:
    return scope.kind == "session" and bool(space.entries) and not space.members


def budgets(
    board: Board[H], asker: int, connections: dict[int, int], *, everybody: bool
) -> list[Budget]:
    """What uid *asker* uses; with *everybody* also the fullest of the others.

    *connections* counts those of each uid.
    """
    watches = board.watches.used()
    own = _budget(board, asker, connections, watches)
    if not everybody:
        return [own]
    uids = {uid for uid, count in connections.items() if count} | board.store.charged()
    others = [_budget(board, uid, connections, watches) for uid in uids - {asker}]
    others.sort(key=_fullness, reverse=True)
    return [own, *others[: BUDGETS_SHOWN - 1]]


def _budget(
    board: Board[H], uid: int, connections: dict[int, int], watches: dict[int, int]
) -> Budget:
    limits = board.store.limits
    entries, spaces, processes, grants = board.store.used(uid)
    return Budget(
        uid,
        Use(connections.get(uid, 0), limits.connections_per_uid),
        Use(entries, limits.entries_per_uid),
        Use(spaces, limits.namespaces_per_uid),
        Use(watches.get(uid, 0), limits.watches_per_uid),
        Use(processes, limits.processes_per_uid),
        Use(grants, limits.grants_per_uid),
    )


def _fullness(budget: Budget) -> float:
    uses = (
        budget.connections, budget.entries, budget.namespaces, budget.watches, budget.processes,
        budget.grants,
    )  # fmt: skip
    return max(use.used / use.most for use in uses)
