# SPDX-License-Identifier: MIT
"""The board from above: who learns of which namespace, and what budgets are told.

The law: a namespace is shown to members, to its uid, and to who may view something in it;
members and leaders to the first two only.
"""

from __future__ import annotations

from pagsrv import survey
from pagsrv.effects import Survey
from pagsrv.limits import BUDGETS_SHOWN, Limits
from pagsrv.messages import Namespaces, Watch
from pagsrv.model import Peer
from pagsrv.names import Scope
from pagsrv.vitals import Budget, NamespaceView, Use
from tests.pure import Table, mask

SESSION = Scope("session", 5)


def told(table: Table, peer: Peer) -> dict[str, NamespaceView]:
    """What *peer* is shown, by scope."""
    table.call(peer, Namespaces())
    (effect,) = table.of(Survey)
    return {view.scope: view for _, view in effect.spaces}


def test_member_sees_its_namespaces() -> None:
    """How it is proved there, what it holds and who else is in it."""
    table = Table()
    member, other = table.join(session=5, pag=7), table.join(session=5)
    table.wall = 2500.0
    table.post(member, "a", "session")
    table.post(member, "b", "session")
    table.post(member, "c", "pag")
    assert told(table, other) == {
        "session:5": NamespaceView("session:5", "isolated", "possession", 1000, 2, 2, None, 2000.0),
        "pag:7": NamespaceView("pag:7", "isolated", None, 1000, 1, None, None, 2500.0),
    }
    assert told(table, member)["pag:7"].proof == "groups"


def test_stranger_sees_what_it_may_look_into() -> None:
    """Not who is there; and nothing of namespaces that show it nothing."""
    table = Table()
    member, stranger = table.join(session=5), table.join(2000)
    table.post(member, "hidden", "session")
    table.post(member, "mine", "user")
    assert told(table, stranger) == {}
    table.post(member, "shown", "session", mask=mask("alswrv", other="v"))
    assert told(table, stranger) == {
        "session:5": NamespaceView("session:5", "isolated", None, 1000, 1, None, None, 2000.0)
    }


def test_root_sees_no_more_than_others() -> None:
    """Rights are the mask's: uid 0 has none besides."""
    table = Table()
    table.post(table.join(session=5), "x", "session")
    assert told(table, table.join(0)) == {}


def test_another_session_of_the_uid_sees_all_of_it() -> None:
    """Also one with nothing in it that it might view, and that it has turned linkable."""
    table = Table()
    table.post(table.join(session=5), "x", "session", mask=mask("alswrv"))
    table.seen(5, isolation="linkable")
    (view,) = told(table, table.join()).values()
    assert (view.isolation, view.proof, view.entries, view.members) == ("linkable", None, 0, 1)


def test_session_without_members_is_unattended() -> None:
    """If it holds something; with a member, or nothing in it, it is not."""
    table = Table()
    first, second = table.join(session=5), table.join(session=6)
    table.post(first, "x", "session")
    table.post(first, "y", "user")
    board = table.broker.board
    assert survey.unattended(board) == 0
    table.leave(first)
    table.leave(second)
    assert survey.unattended(board) == 1
    (view,) = (one for one in told(table, table.join()).values() if one.scope == str(SESSION))
    assert view.members == 0


# ── budgets ──


def test_budget_is_what_is_used() -> None:
    """Of each kind, with the most it may be."""
    limits = Limits(entries_per_uid=5, watches_per_uid=3)
    table = Table(limits=limits)
    peer = table.join(session=5)
    table.post(peer, "x", "session")
    table.post(peer, "y", "user")
    table.call(table.join(), Watch())
    (budget,) = table.broker.budgets(peer)
    assert budget == Budget(
        1000, Use(2, limits.connections_per_uid), Use(2, 5), Use(2, limits.namespaces_per_uid),
        Use(1, 3), Use(1, limits.processes_per_uid), Use(0, limits.grants_per_uid),
    )  # fmt: skip


def test_others_budgets_are_roots_to_know() -> None:
    """The asker's own first, then the fullest, and never more than fit."""
    table = Table(limits=Limits(entries_per_uid=100))
    for uid in range(2000, 2000 + 2 * BUDGETS_SHOWN):
        peer = table.join(uid)
        for number in range(uid - 1999):
            table.post(peer, str(number))
    asked = table.broker.budgets(peer)
    assert [one.uid for one in asked] == [peer.uid]
    root = [one.uid for one in table.broker.budgets(table.join(0))]
    assert root == [0, *range(2000 + 2 * BUDGETS_SHOWN - 1, 2000 + BUDGETS_SHOWN, -1)]


def test_users_broker_is_its_users_to_know() -> None:
    """Root is not served there at all."""
    table = Table(uid=1000)
    assert table.broker.oversees(table.connect(1000))
    assert not Table(uid=0).broker.oversees(table.connect(1000))
