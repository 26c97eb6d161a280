# SPDX-License-Identifier: MIT
"""Sessions proved by the kernel: of every uid, and of clients that call nothing.

The law: a peer is in the session it was in when it connected, and in no other; the session
ends for the broker when it ends, be its ring pinned by whatever was posted; what is not
known is not allowed. It refuses to know possession (test_proofs.py does).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from tests.actors import Actor, held, turn_into
from tests.anybody import OTHER_UID
from tests.daemon import asking, members
from tests.daemon.members import mine
from tests.daemon.test_ends import Watcher
from tests.daemon.waiting import until
from tests.daemon.wire import Client, Parameters, Said
from tests.installing import Installed
from tests.running import KERNEL, Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]


def connect_only(dir: str) -> Parameters:  # noqa: A002
    """Connect, call nothing that proves; what the broker knows of us."""
    members.leave()
    held["client"] = Client(dir)
    return mine().do("WhoAmI")


def session_of(whoami: Parameters) -> Parameters | None:
    """The session it is proved in."""
    return next((one for one in whoami["scopes"] if one["scope"].startswith("session:")), None)


def why_no_session(whoami: Parameters) -> str:
    """Why it is proved in none."""
    assert session_of(whoami) is None
    return str(next(one["why"] for one in whoami["refused"] if one["scope"] == "session"))


def watch(dir: str) -> None:  # noqa: A002
    """Have a watch on what ends."""
    held["watcher"] = Watcher(Client(dir))


def ended(name: str) -> str:
    """Why *name* ended."""
    watcher: Watcher = held["watcher"]
    return watcher.ended(name)


def event(name: str) -> Parameters:
    """The next event of that sort."""
    watcher: Watcher = held["watcher"]
    return watcher.event(name)


# ---- who is proved -------------------------------------------------------------------------------


def test_sessions_of_every_uid(kernel_board: Running, other_uid: int) -> None:
    """Two sessions of one uid, one of another, one of root's: each has its own, and no other."""
    with Actor(other_uid) as one, Actor(other_uid) as two, Actor(other_uid + 1) as other:
        scopes = {}
        for actor in (one, two, other):
            scope = f"session:{actor(keys.session_ring)}"
            assert actor(members.join, kernel_board.dir)[0] == scope
            assert actor(members.do, "WhoAmI")["scopes"][0] == {
                "scope": scope, "proof": "kernel", "isolation": "isolated",
            }  # fmt: skip
            assert actor(members.put, "db", scope.encode())["scope"] == scope
            scopes[scope] = actor
        for scope, actor in scopes.items():
            assert actor(members.read, "db") == scope.encode()
        (first, *_) = scopes
        assert two(members.refusal, "Open", name=f"{first}/db") == "Denied"
        assert other(members.refusal, "Open", name=f"{first}/db") == "NoEntry"
        with Actor() as root:
            assert root(members.join, kernel_board.dir)[0] == f"session:{root(keys.session_ring)}"
            assert root(members.refusal, "Open", name=f"{first}/db") == "NoEntry"


def test_client_that_calls_nothing(kernel_board: Running, other_uid: int) -> None:
    """It is proved all the same, finds its session's entries, and leaves nothing in its ring."""
    with Actor(other_uid) as poster:
        poster(members.join, kernel_board.dir)
        poster(members.put, "db", b"ours")
        assert poster(keys.read_ring, poster(keys.session_ring)) == ()
        whoami = poster(connect_only, kernel_board.dir)
        assert whoami["default"] == f"session:{poster(keys.session_ring)}"
        assert poster(members.read, "db") == b"ours"


def test_as_of_connect(kernel_board: Running, other_uid: int) -> None:
    """Who changes its session keyring after connecting stays in the one it connected in."""
    with Actor(other_uid) as mover, Actor(other_uid) as stayer:
        before = mover(members.join, kernel_board.dir)[0]
        mover(members.put, "db")
        # Somebody has to stay there: a session that nobody is left in has ended.
        stays = mover(_child_that_stays)
        after = f"session:{mover(asking.new_session)}"
        assert mover(members.do, "WhoAmI")["scopes"][0]["scope"] == before
        assert mover(members.read, "db") == b"text"
        assert mover(members.join, kernel_board.dir)[0] == after != before
        assert mover(members.refusal, "Open", name="db") == "NoEntry"
        mover(asking.put_down, stays)
        assert stayer(members.join, kernel_board.dir)[0] not in (before, after)


def _child_that_stays() -> int:
    pid = os.fork()
    if pid == 0:
        os.read(os.pipe()[0], 1)
        os._exit(0)
    return pid


def test_process_that_sued(kernel_board: Running, other_uid: int) -> None:
    """It kept the ring of another uid, which is no session of its own; root, too."""
    for uid in (other_uid + 1, 0):
        with Actor(other_uid, may_return=True) as actor:
            actor(turn_into, uid)
            assert "su and sudo keep" in why_no_session(actor(connect_only, kernel_board.dir))
            assert actor(members.join, kernel_board.dir) == [f"user:{uid}"]
            assert actor(members.refusal, "Post", name="db") == "NoSession"


def test_the_uids_own_ring(kernel_board: Running, other_uid: int) -> None:
    """Every process of the uid has it: it is no session."""
    with Actor(other_uid, ring=f"_uid_ses.{other_uid}") as actor:
        assert "not a login session" in why_no_session(actor(connect_only, kernel_board.dir))
        assert actor(members.join, kernel_board.dir) == [f"user:{other_uid}"]


def test_ring_revoked_before(kernel_board: Running, other_uid: int) -> None:
    """The socket's credentials name it still: refused."""
    with Actor(other_uid) as actor:
        actor(asking.revoke)
        assert "is revoked" in why_no_session(actor(connect_only, kernel_board.dir))


def test_session_of_somebody_else(kernel_board: Running, other_uid: int) -> None:
    """Named exactly, it is refused with the one the kernel shows."""
    with Actor(other_uid) as one, Actor(other_uid) as two:
        theirs = one(members.join, kernel_board.dir)[0]
        own = two(members.join, kernel_board.dir)[0]
        assert two(members.join, kernel_board.dir, theirs) == []
        (refused,) = two(members.do, "WhoAmI")["refused"]
        assert refused == {"scope": "session", "why": f"the kernel shows that you are in {own}"}


# ---- linkable ------------------------------------------------------------------------------------


def test_named_ring_is_linkable(kernel_board: Running, other_uid: int) -> None:
    """Used when asked for by word; who joins it by its name is in it, and the kernel says so."""
    name = f"work-{os.getpid()}"
    with Actor(other_uid, ring=name) as one:
        scope = one(members.join, kernel_board.dir)[0]
        whoami = one(members.do, "WhoAmI")
        assert whoami["default"] is None
        assert session_of(whoami) == {"scope": scope, "proof": "kernel", "isolation": "linkable"}
        assert one(members.refusal, "Post", name="db") == "NoSession"
        one(members.put, "db", scope="session")
        one(_let_be_found)
        with Actor(other_uid, ring=name) as two:
            assert two(members.join, kernel_board.dir)[0] == scope
            assert two(members.read, "db") == b"text"


def _let_be_found() -> None:
    """Without the search right for the user its name finds nobody (keyctl_join_session_keyring)."""
    keys.set_mask(keys.session_ring(), 0x3F1B0000)


def _loosen() -> None:
    keys.set_mask(keys.session_ring(), 0x3F130000)


def _tighten() -> None:
    keys.set_mask(keys.session_ring(), 0x3F030000)


def test_ring_loosened_later(kernel_board: Running, other_uid: int) -> None:
    """It is linkable from then on, and for good, for connections old, new and elsewhere."""
    with Actor(other_uid) as member, Actor(other_uid) as outsider:
        outsider(watch, kernel_board.dir)
        scope = member(members.join, kernel_board.dir)[0]
        member(members.put, "db")
        member(members.do, "Attach", scopes=["user"])
        member(_loosen)
        assert outsider(event, "linkable")["scope"] == scope
        member(_tighten)
        # It was no member when it happened, and learns it as it comes back.
        member(members.do, "Attach")
        assert session_of(member(members.do, "WhoAmI")) == {
            "scope": scope, "proof": "kernel", "isolation": "linkable",
        }  # fmt: skip
        whoami = member(connect_only, kernel_board.dir)
        assert session_of(whoami) == {"scope": scope, "proof": "kernel", "isolation": "linkable"}
        assert whoami["default"] is None
        assert member(members.read, "db") == b"text"
        outsider(_end_watch)


def _end_watch() -> None:
    watcher: Watcher = held.pop("watcher")
    watcher.client.close()


# ---- how a session ends --------------------------------------------------------------------------


def test_revoked_by_its_owner(kernel_board: Running, other_uid: int) -> None:
    """Of another uid's ring the broker hears, too; its entries end, its connections hang up."""
    with Actor(other_uid) as member, Actor(other_uid) as outsider:
        outsider(watch, kernel_board.dir)
        member(members.join, kernel_board.dir)
        member(members.put, "db")
        member(asking.revoke)
        assert outsider(ended, "db") == "revoked"
        assert member(members.gone)
        outsider(_end_watch)


@pytest.mark.parametrize("again", [False, True])
def test_revoked_without_a_connection(kernel_board: Running, other_uid: int, again: bool) -> None:  # noqa: FBT001
    """Who posted has left, and comes back or not: the broker has kept a witness of the session."""
    with Actor(other_uid) as member, Actor(other_uid) as outsider:
        outsider(watch, kernel_board.dir)
        member(members.join, kernel_board.dir)
        member(members.put, "db")
        member(members.leave)
        if again:
            member(members.join, kernel_board.dir)
        member(asking.revoke)
        assert outsider(ended, "db") == "revoked"
        outsider(_end_watch)


def test_connection_that_is_a_witness_is_hung_up(kernel_board: Running, other_uid: int) -> None:
    """The broker keeps a duplicate of it: its client is told all the same that it is over."""
    with Actor(other_uid) as member:
        member(connect_only, kernel_board.dir)
        assert member(_break_the_rules)
        assert session_of(member(connect_only, kernel_board.dir)) is not None


def _break_the_rules() -> bool:
    mine().push(b"no JSON at all")
    return mine().gone()


@pytest.mark.parametrize("uid", [0, 1])
def test_empty_session_ends(kernel_board: Running, other_uid: int, uid: int) -> None:
    """Its last process is gone, and what it posted pins its ring: the entry ends as an orphan."""
    of = other_uid if uid else 0
    with Actor(of) as outsider:
        outsider(watch, kernel_board.dir)
        with Actor(of) as member:
            scope = member(members.join, kernel_board.dir)[0]
            member(members.put, "db")
            child = member(_child_that_stays)
        assert outsider(members.join, kernel_board.dir)
        # A process of the session is left, though nobody of it is connected.
        assert outsider(members.do, "Stat", name=f"{scope}/db")["entry"]["assigned"]
        os.kill(child, 9)
        assert outsider(ended, "db") == "orphan"
        outsider(_end_watch)


@pytest.mark.usefixtures("answered")
def test_sessions_that_left_cost_nothing(short_tmp: Path) -> None:
    """A uid whose sessions come and go is not refused for those that are gone."""
    config = "[limits]\nnamespaces_per_uid = 3\n[sessions]\nend_when_empty = false\n"
    with (
        running_broker(short_tmp, config=config, use=KERNEL) as broker,
        Client(broker.dir) as client,
        Actor(OTHER_UID) as actor,
    ):
        for _ in range(6):
            until(
                lambda: session_of(actor(connect_only, broker.dir)) is not None,
                lambda: actor(members.leave),
                "there is room for one more session",
            )
            actor(asking.new_session)
        actor(members.leave)
        assert client.do("Health")["namespaces"] <= 3


_NO_GRACE = (
    "import sys; from pagsrv import scopes; scopes.GRACE = 0.0\n"
    "from pagsrv.daemon.main import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.usefixtures("answered")
def test_ring_that_shows_itself_to_nobody(short_tmp: Path, *, counted: bool, when: str) -> None:
    """Its own uid's broker may not look at it, and the kernel tells all the same that it lives.

    Told by who is in it, or by a connection that was made in it; and that it is over, too.
    """
    with (
        running_broker(
            short_tmp, argv=(sys.executable, "-c", _NO_GRACE), use=KERNEL,
            config=f"[sessions]\nend_when_empty = {str(counted).lower()}\n",
        ) as broker,
        Actor() as member,
        Actor() as outsider,
    ):  # fmt: skip
        outsider(watch, broker.dir)
        if when == "before":
            member(_close)
        member(members.join, broker.dir)
        member(members.put, "db")
        if when == "after":
            member(_close)
        for name in ("first", "second"):
            # Each ends in a sweep that has looked at the other ring as well.
            with Actor() as another:
                another(members.join, broker.dir)
                another(members.put, name)
                another(asking.revoke)
                assert outsider(ended, name) == "revoked"
        assert member(members.read, "db") == b"text"
        assert session_of(member(members.do, "WhoAmI")) is not None
        member(asking.revoke)
        assert outsider(ended, "db") == "revoked"
        outsider(_end_watch)


def _close() -> None:
    keys.set_mask(keys.session_ring(), 0x3F000000)


# ---- what the broker says of itself --------------------------------------------------------------


def test_health_names_the_proofs(kernel_board: Running) -> None:
    """Best first."""
    with Client(kernel_board.dir) as client:
        assert client.do("Health")["proofs"] == ["kernel", "possession", "groups", "user"]


def test_removed_a_moment_ago(answered: Installed, kernel_board: Running, other_uid: int) -> None:
    """The broker has not noticed: who has not attached gets no other scope's entry instead."""
    with Actor(other_uid) as actor:
        actor(members.join, kernel_board.dir)
        actor(members.put, "db", scope="user")
        os.kill(kernel_board.pid, signal.SIGSTOP)
        until(lambda: _state(kernel_board.pid) == "T", lambda: None, "it is stopped")
        answered.remove()
        try:
            actor(_connect_and_ask, kernel_board.dir)
            os.kill(kernel_board.pid, signal.SIGCONT)
            with pytest.raises(Said, match="not known at this moment") as said:
                actor(members.hear)
            assert said.value.error == "NoSession"
            actor(members.do, "Attach", scopes=["user"], changes=True)
            assert actor(members.read, "db") == b"text"
            actor(members.do, "Remove", name="db")
        finally:
            os.kill(kernel_board.pid, signal.SIGCONT)
            answered.install()


def _connect_and_ask(dir: str) -> None:  # noqa: A002
    members.leave()
    held["client"] = Client(dir)
    members.ask("Open", name="db")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_removed_and_installed_again(
    answered: Installed, kernel_board: Running, other_uid: int
) -> None:
    """From that moment nobody is proved by it, what was proved stays; and then it goes on."""
    with Client(kernel_board.dir) as client, Actor(other_uid) as one, Actor(other_uid) as two:
        scope = one(members.join, kernel_board.dir)[0]
        one(members.put, "db")
        answered.remove()
        try:
            # Not noticed yet, or noticed: the answer is the same.
            assert "SO_PEERKEYRING" in why_no_session(_attached(two, kernel_board.dir))
            until(
                lambda: "kernel" not in client.do("Health")["proofs"],
                lambda: None,
                "the broker notices",
            )
            assert "SO_PEERKEYRING" in why_no_session(_attached(two, kernel_board.dir))
            assert client.do("Health")["proofs"] == ["possession", "groups", "user"]
            assert one(members.read, "db") == b"text"
            with Actor() as root:
                root(members.join, kernel_board.dir)
                told = session_of(root(members.do, "WhoAmI"))
                assert told is not None
                assert told["proof"] == "possession"
        finally:
            answered.install()
        until(lambda: "kernel" in client.do("Health")["proofs"], lambda: None, "it is back")
        # The connection that was made meanwhile is believed as well, once it asks.
        two(members.do, "Attach")
        assert session_of(two(members.do, "WhoAmI")) is not None
        assert one(members.do, "WhoAmI")["scopes"][0]["scope"] == scope


def _attached(actor: Actor, dir: str) -> Parameters:  # noqa: A002
    actor(members.join, dir)
    return actor(members.do, "WhoAmI")


# ---- more than one session -----------------------------------------------------------------------


def test_grant_to_another_session_of_the_uid(kernel_board: Running, other_uid: int) -> None:
    """One session of a uid that is not the broker's opens its entry to another."""
    with Actor(other_uid) as one, Actor(other_uid) as two:
        scope = one(members.join, kernel_board.dir)[0]
        guest = two(members.join, kernel_board.dir)[0]
        one(members.put, "db", b"granted")
        one(members.do, "Grant", name="db", to=guest)
        assert two(members.read, f"{scope}/db") == b"granted"
        assert two(members.refusal, "Open", name="db") == "NoEntry"
        one(asking.revoke)
        assert two(_gone_soon, f"{scope}/db")


def _gone_soon(name: str) -> bool:
    until(
        lambda: mine().refusal("Stat", name=name) == "NoEntry", lambda: None, "the entry has ended"
    )
    return True


def test_crowd_is_proved_at_once(kernel_board: Running, other_uid: int) -> None:
    """Many processes of a session, all at once: no turns to be taken, no nonce, each is in."""
    with Actor(other_uid) as member:
        scope = member(members.join, kernel_board.dir)[0]
        assert member(members.crowd, 30, _scope_of, kernel_board.dir) == [scope] * 30


def _scope_of(dir: str) -> str:  # noqa: A002
    with Client(dir) as client:
        told = client.do("Attach")
        assert told["nonce"] is None
        return str(told["scopes"][0]["scope"])


def test_neighbour_in_the_user_scope(kernel_board: Running, other_uid: int) -> None:
    """An unattached connection looks in its session first, and then in its user scope."""
    with Actor(other_uid) as member:
        member(members.join, kernel_board.dir)
        member(members.put, "both", b"session")
        member(members.put, "both", b"user", scope="user")
        member(members.put, "one", b"user", scope="user")
        member(connect_only, kernel_board.dir)
        assert member(members.read, "both") == b"session"
        assert member(members.read, "one") == b"user"
        member(members.join, kernel_board.dir, "user")
        assert member(members.read, "both") == b"user"
        for name in ("both", "one"):
            member(members.do, "Remove", name=name)
