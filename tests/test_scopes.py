# SPDX-License-Identifier: MIT
"""Scopes: what Attach and Prove show, and what becomes of a session.

The law: nothing is proved without a fact; one violation is remembered while the
ring lives; a session that ends takes its entries, grants and connections along.
"""

from __future__ import annotations

import pytest

from pagsrv.errors import InvalidParameter, NoEntry, NoSession, QuotaExceeded
from pagsrv.facts import Isolation, RingState
from pagsrv.limits import NONCE_LIFE, NONCE_SECONDS, UNVERIFIABLE_SECONDS, Limits
from pagsrv.messages import Attach, Attached, Grant, Identity, Prove, Proved, Watch, WhoAmI
from pagsrv.model import Given, Peer
from pagsrv.names import Scope
from tests.pure import BROKER_ID, Ends, Table, mask, peer_of, ring_facts

SESSION = Scope("session", 5)
PAG = 0x41000001


def shown(reply: object) -> list[str]:
    """The scopes of an answer, each with its proof and isolation."""
    assert isinstance(reply, Attached | Proved | Identity)
    return [f"{one.scope} {one.proof} {one.isolation}" for one in reply.scopes]


def who(table: Table, peer: Peer) -> Identity:
    """WhoAmI."""
    reply = table.ask(peer, WhoAmI())
    assert isinstance(reply, Identity)
    return reply


# ── Attach ──


def test_unattached_peer_has_its_user_scope() -> None:
    """And no more, whatever its groups are."""
    table = Table()
    identity = who(table, table.connect(groups=(PAG,)))
    assert shown(identity) == ["user:1000 user none"]
    assert (identity.default, identity.refused) == (None, [])


def test_attach_proves_what_needs_no_help() -> None:
    """PAG and uid at once, by the facts given; the answer says who the broker is."""
    table = Table()
    reply = table.attach(table.connect(), pag=PAG, why="no keyrings here")
    assert shown(reply) == [f"pag:{PAG} groups isolated", "user:1000 user none"]
    assert (reply.broker, reply.uid, reply.nonce) == (BROKER_ID, 1000, None)
    assert reply.limits.message_fds == 253


def test_attach_says_what_it_refused() -> None:
    """Whoami repeats why each scope asked for was not proved; a new Attach forgets it."""
    table = Table()
    peer = table.connect()
    reply = table.attach(peer, ["session", "pag:7", "user:8", "user"], pag=PAG, why="no keyrings")
    assert shown(reply) == ["user:1000 user none"]
    refused = {one.scope: one.why for one in who(table, peer).refused}
    assert refused == {
        "session": "no keyrings", "pag:7": f"you are in pag:{PAG}", "user:8": "you are in user:1000"
    }  # fmt: skip
    table.attach(peer, ["user"])
    assert who(table, peer).refused == []
    table.attach(peer, ["pag"])
    assert [one.why for one in who(table, peer).refused] == ["in no PAG"]
    assert shown(who(table, peer)) == []


def test_attach_refuses_what_is_no_list_of_scopes() -> None:
    """A word that is none, or too many; what was proved before stays."""
    table = Table()
    peer = table.join(session=5)
    for scopes in (["nowhere"], ["user"] * 17):
        with pytest.raises(InvalidParameter) as caught:
            table.attach(peer, scopes)
        assert caught.value.parameter == "scopes"
    assert shown(who(table, peer)) == ["session:5 possession isolated", "user:1000 user none"]


def test_changes_once_announced_stay() -> None:
    """A further Attach without them takes nothing back."""
    table = Table()
    peer = table.join(changes=True)
    table.attach(peer, changes=False, why="x")
    assert peer.changes


def test_attaching_again_keeps_the_session_proved() -> None:
    """By word or by name, without a nonce; who does not name it gives it up."""
    table = Table()
    peer = table.join(session=5)
    for scopes in (None, ["session"], ["session:5", "user"]):
        reply = table.attach(peer, scopes)
        assert reply.nonce is None
        assert "session:5 possession isolated" in shown(reply)
    assert shown(table.attach(peer, ["user"])) == ["user:1000 user none"]
    table.seen(5, state="revoked")
    assert table.hung_up() == set()


# ── nonce and Prove ──


def test_nonce_is_for_one_proof() -> None:
    """It comes with Attach, and is used up by asking for it."""
    table = Table()
    peer = table.connect()
    reply = table.attach(peer, ["session:5"])
    assert reply.nonce is not None
    scopes = table.broker.scopes
    assert scopes.claimed(peer, table.now) == 5
    assert scopes.nonce(peer, table.now) == reply.nonce
    assert scopes.nonce(peer, table.now) is None
    assert scopes.nonce(table.connect(), table.now) is None
    assert scopes.claimed(table.connect(), table.now) is None


def test_nonce_dies_after_five_seconds() -> None:
    """Even if nobody waits behind it."""
    table = Table()
    peer = table.connect()
    table.attach(peer)
    table.later(NONCE_LIFE)
    with pytest.raises(NoSession, match="no nonce"):
        table.prove(peer, 5)


def test_second_attach_for_the_ring_waits() -> None:
    """Until the proof before it is done, has failed, is given up, hung up or is 250 ms old."""
    table = Table()
    waiting = [table.connect() for _ in range(6)]
    for peer in waiting:
        table.call(peer, Attach(["session:5"]))
    first, second, third, fourth, fifth, last = waiting
    table.prove(first, 5)
    assert table.answer(second).answer.to == second.id
    with pytest.raises(NoSession, match="wrong"):
        table.prove(second, 5, why="wrong")
    assert table.answer(third).answer.to == third.id
    table.call(third, Attach(["user"]))
    assert table.answer(fourth).answer.to == fourth.id
    table.leave(fourth)
    assert table.answer(fifth).answer.to == fifth.id
    assert table.broker.next_deadline() == table.boot + NONCE_SECONDS
    table.later(NONCE_SECONDS)
    assert table.answer(last).answer.to == last.id
    with pytest.raises(NoSession, match="no nonce"):
        table.prove(fifth, 5)
    table.prove(last, 5)


def test_attach_that_gives_up_the_session_gives_up_its_nonce() -> None:
    """A proof cannot be made with a nonce of an Attach before."""
    table = Table()
    peer = table.connect()
    table.attach(peer, ["session"])
    table.attach(peer, ["user"])
    with pytest.raises(NoSession, match="no nonce"):
        table.prove(peer, 5)


def test_possession_makes_a_member() -> None:
    """Proved in lookup order; the default scope follows."""
    table = Table()
    peer = table.connect()
    table.attach(peer)
    reply = table.prove(peer, 5)
    assert shown(reply) == ["session:5 possession isolated", "user:1000 user none"]
    assert who(table, peer).default == "session:5"
    assert table.broker.scopes.sessions() == [(SESSION, 1000)]
    assert table.broker.scopes.proof_key(SESSION) == 6
    assert table.broker.scopes.proof_key(Scope("session", 6)) == 0


def test_failed_proof_proves_nothing() -> None:
    """The reason is the answer, is shown by whoami, and watchers of the scope hear of it."""
    table = Table()
    member, peer = table.join(session=5), table.connect()
    table.call(member, Watch())
    table.attach(peer)
    with pytest.raises(NoSession, match="not the proof"):
        table.prove(peer, 5, why="not the proof for this connection")
    assert table.heard(member) == [("refused", "", "not the proof for this connection")]
    assert shown(who(table, peer)) == ["user:1000 user none"]
    assert [one.scope for one in who(table, peer).refused] == ["pag", "session"]
    with pytest.raises(NoSession, match="is not there"):
        table.ask(peer, Prove(5), Given())


def test_later_proof_replaces_the_session() -> None:
    """A connection is in one session; the refusal of before is forgotten."""
    table = Table()
    peer = table.join(session=5)
    table.call(peer, Attach(["session:6", "user"]))
    table.prove(peer, 6)
    assert shown(who(table, peer)) == ["session:6 possession isolated", "user:1000 user none"]
    assert who(table, peer).refused == []
    table.seen(5, state="revoked")
    assert table.hung_up() == set()
    table.seen(6, state="revoked")
    assert table.hung_up() == {peer.id}


def test_proving_another_session_leaves_the_one_before() -> None:
    """Even if the Attach in between kept it."""
    table = Table()
    peer = table.join(session=5)
    assert table.attach(peer, ["session:6", "session:5"]).nonce
    assert table.attach(peer, ["session:5", "session:6"]).nonce
    table.prove(peer, 6)
    assert [str(scope) for scope in peer.scopes] == ["session:6"]
    table.seen(5, state="gone")
    assert table.hung_up() == set()


def test_sessions_have_a_budget() -> None:
    """Any process can mint fresh rings: they are charged to the uid, until they end."""
    table = Table(limits=Limits(namespaces_per_uid=2))
    for serial in (5, 6):
        table.leave(table.join(session=serial))
    with pytest.raises(QuotaExceeded):
        table.join(session=7)
    table.join(2000, session=8)
    table.seen(6, state="gone")
    table.join(session=7)


# ── isolated and linkable ──


def test_linkable_from_the_start_is_proved_as_such() -> None:
    """A named ring is a session, shown as linkable, and stays so if its mask is tightened."""
    table = Table()
    first, second = table.join(session=5, isolation="linkable"), table.join(session=5)
    for peer in (first, second):
        assert shown(who(table, peer))[0] == "session:5 possession linkable"
        assert who(table, peer).default is None


@pytest.mark.parametrize("noticed", ["by a look", "by a proof"])
def test_turned_linkable_takes_no_new_proof(noticed: str) -> None:
    """Those proved before stay, as linkable; entries stay; the event says why; it is for good."""
    table = Table()
    member = table.join(session=5)
    table.post(member, "x", "session")
    table.call(member, Watch())
    if noticed == "by a look":
        table.seen(5, isolation="linkable", loose="the mask was loosened")
    else:
        late = table.connect()
        table.attach(late)
        with pytest.raises(NoSession, match="isolated once"):
            table.prove(late, 5, "linkable")
    assert ("linkable", "", "the mask was loosened") in table.heard(member)
    assert shown(who(table, member))[0] == "session:5 possession linkable"
    assert table.open(member, "x") > 0
    table.seen(5)
    assert table.effects == []
    later = table.connect()
    table.attach(later)
    with pytest.raises(NoSession, match="the mask was loosened"):
        table.prove(later, 5)


def test_turning_voids_standing_answers() -> None:
    """The epoch moves with what was proved."""
    table = Table()
    table.join(session=5)
    epoch = table.broker.epoch
    table.seen(5, isolation="linkable")
    assert table.broker.epoch > epoch


# ── the end of a session ──


@pytest.mark.parametrize("state", ["revoked", "expired", "gone"])
def test_session_ends_with_its_ring(state: RingState) -> None:
    """Entries are dropped, members hung up, watchers told, the namespace forgotten."""
    table = Table()
    member, other = table.join(session=5), table.join(session=6)
    table.post(member, "x", "session", until=Ends(("lease",)))
    table.post(member, "y", "user")
    table.call(other, Watch())
    table.seen(5, state=state)
    assert table.heard(other) == [("ended", "x", "revoked")]
    assert len(table.dropped()) == 1
    assert table.hung_up() == {member.id}
    table.leave(member)
    assert table.names(other, every=True) == {"user:1000/y"}
    assert table.broker.scopes.sessions() == [(Scope("session", 6), 1000)]
    assert table.seen(5, state=state) == []


def test_ring_of_another_owner_is_another_session() -> None:
    """A serial whose key has another uid now is not the ring that was proved."""
    table = Table()
    member = table.join(session=5)
    table.seen(5, uid=2000)
    assert table.hung_up() == {member.id}


def test_unverifiable_ring_has_its_grace() -> None:
    """A mask that hides the ring is no end yet; seen again in time, it begins anew."""
    table = Table()
    member = table.join(session=5)
    table.call(member, Watch())
    table.post(table.join(session=5), "x", "session")
    for _ in range(2):
        assert table.seen(5, state="unverifiable") == []
        table.later(UNVERIFIABLE_SECONDS - 1)
        assert table.seen(5, state="unverifiable") == []
        assert table.seen(5) == []
    table.seen(5, state="unverifiable")
    table.later(UNVERIFIABLE_SECONDS)
    table.seen(5, state="unverifiable")
    assert ("ended", "x", "unverifiable") in table.heard(member)
    assert member.id in table.hung_up()


def test_grants_to_a_session_end_with_it() -> None:
    """The entry stays where it is, and its watchers hear why."""
    table = Table()
    poster, guest = table.join(), table.join(2000, session=5)
    table.post(poster, "x", mask=mask("alswrv"))
    given: Given[int] = Given(ring=ring_facts(5, 2000))
    table.ask(poster, Grant("x", "session:5"), given)
    assert table.open(guest, "user:1000/x") > 0
    table.call(poster, Watch())
    table.seen(5, uid=2000, state="revoked")
    assert table.heard(poster) == [("ungranted", "x", "from session:5: revoked")]
    assert table.hung_up() == {guest.id}
    with pytest.raises(NoEntry):
        table.open(table.join(2000), "user:1000/x")
    assert table.names(poster) == {"user:1000/x"}


def test_session_is_remembered_without_members() -> None:
    """What was once seen of it must not be forgotten when its last connection goes."""
    table = Table()
    table.leave(table.join(session=5))
    table.seen(5, isolation="linkable")
    late = table.connect()
    table.attach(late)
    with pytest.raises(NoSession, match="isolated once"):
        table.prove(late, 5)


def test_who_waits_for_its_turn_may_go() -> None:
    """Nobody is answered who is not there."""
    table = Table()
    first, second, third = (table.connect() for _ in range(3))
    for peer in (first, second, third):
        table.call(peer, Attach(["session:5"]))
    table.leave(second)
    table.leave(first)
    assert [one.to for one in table.of(type(table.answer(third).answer))] == [third.id]


# ── the kernel's own word ──


def told(
    serial: int = 5, isolation: Isolation = "isolated", *, uid: int = 1000, why: str = ""
) -> Given[int]:
    """What the kernel says of a peer's session."""
    loose = "" if isolation == "isolated" else "its mask lets others in"
    return Given(ring=ring_facts(serial, uid), isolation=isolation, loose=loose, why=why)


def shown_by_kernel(table: Table, given: Given[int], uid: int = 1000) -> Peer:
    """A peer of whom the kernel said that when it connected; it has called nothing."""
    peer = peer_of(uid, number=table.number())
    table.did(table.broker.welcome(peer, given))
    return peer


def test_kernel_proves_without_a_call() -> None:
    """Before any Attach; an Attach asks for no nonce, and one without it leaves the session."""
    table = Table()
    peer = shown_by_kernel(table, told())
    both = ["session:5 kernel isolated", "user:1000 user none"]
    assert shown(who(table, peer)) == both
    reply = table.attach(peer)
    assert (shown(reply), reply.nonce) == (both, None)
    assert shown(table.attach(peer, ["user"])) == both[1:]
    assert shown(table.attach(peer, ["session:5"])) == both[:1]


def test_kernel_knows_of_none() -> None:
    """The reason is what whoami tells."""
    table = Table()
    peer = shown_by_kernel(table, told(why="it is the uid's own keyring"))
    assert shown(who(table, peer)) == ["user:1000 user none"]
    assert [one.why for one in who(table, peer).refused] == ["it is the uid's own keyring"]


def test_kernel_proof_has_its_price() -> None:
    """A scope of it is charged as any other; whoever is over is proved in none, and told so."""
    table = Table(limits=Limits(namespaces_per_uid=1))
    shown_by_kernel(table, told(5))
    peer = shown_by_kernel(table, told(6))
    assert "scopes" in who(table, peer).refused[0].why
    table.call(peer, Attach(["session"]), told(6))
    assert "scopes" in who(table, peer).refused[0].why


def test_kernel_is_asked_again_at_attach() -> None:
    """A connection that was there before the kernel could tell, or whose scope was let go."""
    table = Table()
    peer = table.connect()
    table.call(peer, Attach(), told())
    assert shown(who(table, peer))[0] == "session:5 kernel isolated"


@pytest.mark.parametrize("member", [True, False])
def test_kernel_proof_of_a_ring_that_turned(member: bool) -> None:  # noqa: FBT001
    """Linkable from then on, whether it was seen by a look or at the next connection."""
    table = Table()
    old = shown_by_kernel(table, told())
    if not member:
        table.attach(old, ["user"])
    shown_by_kernel(table, told(isolation="linkable"))
    table.attach(old)
    for peer in (old, shown_by_kernel(table, told())):
        assert shown(who(table, peer))[0] == "session:5 kernel linkable"
        assert who(table, peer).default is None


def test_serial_given_to_another_uid() -> None:
    """Entries of a ring that nothing pinned outlive it; who gets its serial is not let in."""
    table = Table()
    first = shown_by_kernel(table, told())
    table.attach(first)
    table.post(first, "x", None)
    table.leave(first)
    peer = shown_by_kernel(table, told(uid=2000), 2000)
    assert shown(who(table, peer)) == ["user:2000 user none"]
    assert "of uid 1000" in who(table, peer).refused[0].why
    table.call(peer, Attach(["session"]), told(uid=2000))
    assert shown(who(table, peer)) == []
    table.seen(5, uid=2000)
    table.call(peer, Attach(), told(uid=2000))
    assert shown(who(table, peer))[0] == "session:5 kernel isolated"
    assert table.names(peer) == set()


def test_emptied_session_ends() -> None:
    """Its entries as orphans, its connections hung up; one that is not there is no trouble."""
    table = Table()
    watcher, peer = table.join(), shown_by_kernel(table, told())
    table.call(watcher, Watch())
    table.attach(peer)
    table.post(peer, "x", None)
    table.did(table.broker.emptied(SESSION, table.now))
    assert table.heard(watcher) == [("ended", "x", "orphan")]
    assert table.hung_up() == {peer.id}
    assert table.did(table.broker.emptied(SESSION, table.now)) == []


def test_idle_sessions_of_others_are_forgotten() -> None:
    """Not the broker's own, not one that holds something, and not one that has turned."""
    table = Table()
    scopes = table.broker.scopes
    held = shown_by_kernel(table, told(5))
    table.leave(shown_by_kernel(table, told(6)))
    table.leave(shown_by_kernel(table, told(7)))
    table.seen(7, isolation="linkable")
    table.leave(shown_by_kernel(table, told(8, uid=0), 0))
    here = {Scope("session", number) for number in (5, 7, 8)}
    assert scopes.forget_idle(0) == here == {scope for scope, _ in scopes.sessions()}
    table.leave(held)
    assert scopes.forget_idle(0) == here - {SESSION}
