# SPDX-License-Identifier: MIT
"""On behalf of: a trusted asker acts in the scopes of the peer whose socket it shows.

The law: it can do what the peer's possession gives, and nothing that its own rights or the
peer's uid would; what it does is the peer's, and is shown as done by another. It refuses to
know what the asker serves.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from tests.actors import Actor, held
from tests.anybody import Anybody
from tests.conftest import identity
from tests.daemon import asking, members
from tests.daemon.members import mine
from tests.daemon.test_ends import Watcher
from tests.daemon.test_kernel_proof import ended, watch
from tests.daemon.waiting import until
from tests.daemon.wire import Client, Parameters, Said
from tests.installing import Installed
from tests.running import KERNEL, Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]

PAG = 0x41000000 + 1618
WATCHES = "alswrv-----v------------"


@pytest.fixture
def door(short_tmp: Path) -> str:
    """Where an asker listens."""
    short_tmp.chmod(0o777)
    return str(short_tmp / "door")


@pytest.fixture
def asker(kernel_board: Running, door: str) -> Iterator[Actor]:
    """One of root's, which listens and is attached to the broker."""
    with Actor() as actor:
        actor(asking.listen, door)
        actor(members.join, kernel_board.dir, "user")
        yield actor


@pytest.fixture
def broker(answered: Installed, short_tmp: Path) -> Iterator[Running]:  # noqa: ARG001
    """A broker of the test's own that the kernel tells sessions."""
    with running_broker(short_tmp, use=KERNEL) as running:
        yield running


@pytest.fixture
def peer(asker: Actor, door: str, other_uid: int) -> Iterator[Actor]:
    """A process of another uid, connected to the asker; it has never heard of a board."""
    with Actor(other_uid) as actor:
        actor(asking.connect, door)
        asker(asking.accept)
        yield actor


def session(actor: Actor) -> str:
    """Its session scope."""
    return f"session:{actor(keys.session_ring)}"


# ---- what it can do ------------------------------------------------------------------------------


def test_post_open_stat_list_remove(asker: Actor, peer: Actor, other_uid: int) -> None:
    """Owner and poster are the peer, the scope is its session by default."""
    entry = asker(asking.post_for_it, "cache", b"tickets")
    assert entry["scope"] == session(peer)
    assert entry["owner"] == {"uid": other_uid, "gid": other_uid}
    assert (entry["poster"]["pid"], entry["poster"]["alive"]) == (peer.pid, True)
    assert (entry["mask"], entry["rights"]) == (WATCHES, "alswrv")
    assert entry["until"] == ["revoked"]
    assert asker(asking.read_for_it, "cache") == b"tickets"
    assert asker(asking.read_for_it, "cache", scope="session") == b"tickets"
    assert asker(asking.read_for_it, f"{session(peer)}/cache") == b"tickets"
    assert asker(asking.for_it, "Stat", name="cache")["entry"]["opens"] == 3
    assert asker(asking.list_for_it) == asker(asking.list_for_it, names=True) == ["cache"]
    assert asker(asking.for_it, "Rename", name="cache", to="old")["entry"]["name"] == "old"
    mask = asker(asking.for_it, "SetMask", name="old", mask="3f000000")["entry"]["mask"]
    assert mask == "alswrv------------------"
    asker(asking.for_it, "Remove", name="old")
    assert asker(asking.refusal_for_it, "Stat", name="cache") == "NoEntry"


def test_the_peer_finds_it(kernel_board: Running, asker: Actor, peer: Actor) -> None:
    """And the asker what the peer posts; neither is the asker's own."""
    asker(asking.post_for_it, "from-asker", b"a")
    peer(members.join, kernel_board.dir)
    assert peer(members.read, "from-asker") == b"a"
    peer(members.put, "from-peer", b"p")
    assert asker(asking.read_for_it, "from-peer") == b"p"
    for name in ("from-asker", "from-peer", f"{session(peer)}/from-peer"):
        assert asker(members.refusal, "Open", name=name) == "NoEntry"


def test_peer_in_a_pag(asker: Actor, door: str, other_uid: int) -> None:
    """Each scope by its word; of two peers each has its own."""
    with Actor(other_uid, groups=(PAG,)) as one, Actor(other_uid, groups=(PAG + 1,)) as two:
        for place, actor in enumerate((one, two)):
            actor(asking.connect, door)
            assert asker(asking.accept) == place
        for place, pag in ((0, PAG), (1, PAG + 1)):
            entry = asker(asking.post_for_it, "cache", b"%d" % pag, place, scope="pag")
            assert entry["scope"] == f"pag:{pag}"
        for place, pag in ((0, PAG), (1, PAG + 1)):
            assert asker(asking.read_for_it, "cache", place) == b"%d" % pag
            asker(asking.for_it, "Remove", place, name="cache")


def test_ends_are_of_the_peer(kernel_board: Running, asker: Actor, door: str) -> None:
    """An exit is the peer's exit, and its processes are its own."""
    with Actor() as peer:
        peer(asking.connect, door)
        asker(asking.accept)
        asker(asking.post_for_it, "cache", scope="user", until=[{"cond": "exit"}])
    with Client(kernel_board.dir) as client:
        until(
            lambda: client.refusal("Stat", name="user:0/cache") == "NoEntry",
            lambda: None,
            "the entry ends with the peer",
        )


# ---- what it is shown as -------------------------------------------------------------------------


def _watch(dir: str) -> None:  # noqa: A002
    held["watcher"] = Watcher(Client(dir))


def _event(name: str) -> Parameters:
    watcher: Watcher = held["watcher"]
    return watcher.event(name, "cache")


@pytest.mark.usefixtures("answered")
def test_watched_and_logged(broker: Running, asker: Actor, peer: Actor, other_uid: int) -> None:
    """By the peer, on its behalf, and who asked; also in the broker's log."""
    asker(members.join, broker.dir, "user")
    peer(_watch, broker.dir)
    asker(asking.post_for_it, "cache")
    asker(asking.read_for_it, "cache")
    asker(asking.for_it, "Remove", name="cache")
    for name in ("posted", "opened", "ended"):
        event = peer(_event, name)
        assert (event["by"]["uid"], event["by"]["pid"]) == (other_uid, peer.pid)
        assert f"on its behalf, asked by process {asker.pid} of uid 0" in event["why"]
    line = f"on behalf method='Open' uid={other_uid} pid={peer.pid} asker=0 by={asker.pid}"
    assert line in broker.log
    peer(members.join, broker.dir)
    peer(members.put, "cache")
    assert peer(_event, "posted")["why"] == ""
    peer(_close_watch)


def _close_watch() -> None:
    watcher: Watcher = held.pop("watcher")
    watcher.client.close()


# ---- what it cannot ------------------------------------------------------------------------------


def test_possessors_bits_only(kernel_board: Running, asker: Actor, peer: Actor) -> None:
    """Bits of user and other, and grants, are for who asks for itself."""
    peer(members.join, kernel_board.dir)
    peer(members.put, "cache", mask="alsw-valswrv------alswrv")
    assert peer(members.read, "cache") == b"text"
    assert asker(asking.refusal_for_it, "Open", name="cache") == "Denied"
    peer(members.do, "SetMask", name="cache", mask="------alswrv------alswrv")
    for method in ("Open", "Stat", "Remove"):
        assert asker(asking.refusal_for_it, method, name="cache") == "NoEntry"
    assert asker(asking.list_for_it) == asker(asking.list_for_it, names=True) == []


def test_other_scopes_of_the_peer(
    kernel_board: Running, asker: Actor, peer: Actor, other_uid: int
) -> None:
    """Its uid's other sessions, which it may view and may be granted, are not in reach."""
    peer(members.join, kernel_board.dir)
    with Actor(other_uid) as other:
        there = other(members.join, kernel_board.dir)[0]
        other(members.put, "seen")
        other(members.put, "granted")
        other(members.do, "Grant", name="granted", to=session(peer))
        assert peer(members.read, f"{there}/granted") == b"text"
        for name in ("seen", "granted"):
            for method in ("Open", "Stat", "Remove"):
                assert asker(asking.refusal_for_it, method, name=f"{there}/{name}") == "NoEntry"
        assert asker(asking.list_for_it, all=True) == []
        assert asker(asking.refusal_for_it, "Post", name="x", scope=there) == "NoSession"


def test_askers_own_entries(asker: Actor, peer: Actor) -> None:  # noqa: ARG001
    """On behalf of another the asker's own scopes are nobody's."""
    asker(members.put, "mine", scope="user")
    assert asker(asking.refusal_for_it, "Open", name="mine") == "NoEntry"
    assert asker(asking.refusal_for_it, "Open", name="user:0/mine") == "NoEntry"
    assert asker(asking.refusal_for_it, "Post", name="mine", scope="user:0") == "NoSession"
    asker(members.do, "Remove", name="mine")


def test_other_calls(asker: Actor, peer: Actor) -> None:
    """No others are made on behalf of anybody; asked in another way it is a bad field."""
    asker(asking.post_for_it, "cache")
    for method in ("Take", "SetTimeout", "Grant", "Wait"):
        parameters = {"to": "session:1"} if method == "Grant" else {}
        assert asker(_odd_field, method, parameters) == "InvalidParameter"
    assert session(peer)


def _odd_field(method: str, parameters: Parameters) -> str:
    return members.mine().refusal(method, name="cache", on_behalf_of=0, **parameters)


def test_same_question_about_two_peers(
    kernel_board: Running, asker: Actor, door: str, other_uid: int
) -> None:
    """The very same bytes with another socket beside them get another answer."""
    with Actor(other_uid) as one, Actor(other_uid) as two:
        for place, actor in enumerate((one, two)):
            actor(asking.connect, door)
            asker(asking.accept)
            actor(members.join, kernel_board.dir)
            actor(members.put, f"of-{place}", b"%d" % place)
            actor(members.put, "both", b"%d" % place)
        for _ in range(3):
            for place in (0, 1):
                assert asker(asking.read_for_it, "both", place) == b"%d" % place
                assert asker(asking.list_for_it, place, names=True) == [f"of-{place}", "both"]
                assert asker(asking.list_for_it, place) == [f"of-{place}", "both"]


# ---- who cannot ----------------------------------------------------------------------------------


def test_untrusted_asker(kernel_board: Running, door: str, other_uid: int) -> None:
    """Not root, not in the group: Denied, whoever the peer is, its own uid's as well."""
    with Actor(other_uid) as asker, Actor(other_uid) as same, Actor() as root:
        asker(asking.listen, door)
        asker(members.join, kernel_board.dir)
        for peer in (same, root):
            peer(asking.connect, door)
            asker(asking.accept)
            for method in ("Open", "Stat", "Remove", "Post"):
                with pytest.raises(Said) as said:
                    asker(asking.for_it, method, name="x")
                assert said.value.error == "Denied"
                assert "trusted_group" in said.value.message
            assert asker(_listed) == "Denied"


def _listed() -> str:
    try:
        asking.list_for_it()
    except Said as said:
        return said.error
    return ""


def test_trusted_group(
    answered: Installed,  # noqa: ARG001 -- the broker asks the kernel
    short_tmp: Path,
    other_uid: int,
    door: str,
) -> None:
    """A member of the group that the configuration names; its quota is not what is charged."""
    config = f"[whois]\ntrusted_group = {other_uid + 9}\n"
    with (
        running_broker(short_tmp, config=config, use=KERNEL) as broker,
        Actor(other_uid, groups=(other_uid + 9,)) as asker,
        Actor(other_uid + 1) as peer,
    ):
        asker(asking.listen, door)
        asker(members.join, broker.dir)
        peer(asking.connect, door)
        asker(asking.accept)
        entry = asker(asking.post_for_it, "cache", b"tickets")
        assert (entry["scope"], entry["owner"]["uid"]) == (session(peer), other_uid + 1)
        assert asker(asking.read_for_it, "cache") == b"tickets"


@pytest.mark.parametrize("kind", asking.ODD)
def test_what_has_no_peer(asker: Actor, kind: str) -> None:
    """Datagram, TCP, unconnected and listening sockets speak for nobody."""
    parameters = {"name": "cache"}
    assert asker(asking.refused_odd, kind, "Open", "on_behalf_of", **parameters) == "on_behalf_of"


@pytest.mark.parametrize("kind", ["pair", "client", "bound client"])
def test_what_was_not_accepted(asker: Actor, kind: str) -> None:
    """A socketpair and the asker's own end: the kernel would name their maker, or who listens."""
    assert asker(_refused_end, kind) == "on_behalf_of"


def _refused_end(kind: str) -> str:
    door = held["door"]
    with contextlib.ExitStack() as kept:
        if kind == "pair":
            sock, other = socket.socketpair()
        else:
            sock = socket.socket(socket.AF_UNIX, door.listener.type)
            if kind == "bound client":
                sock.bind("")
            sock.connect(door.path)
            other = door.accept()
        kept.enter_context(sock)
        kept.enter_context(other)
        answer = mine().talk("List", {"on_behalf_of": 0}, [sock.fileno()], more=True)
    assert answer.error == "InvalidParameter", answer
    return str(answer.parameters["parameter"])


def test_broker_of_a_user_serves_its_own_uid_only(
    short_tmp: Path, other_uid: int, anybody_python: Anybody, door: str
) -> None:
    """Also on behalf: whom it turns away it does not let others act for."""
    config = f"[whois]\ntrusted_group = {other_uid}\n"
    argv = (*anybody_python.argv, "-m", "pagsrv.daemon")
    with (
        running_broker(
            short_tmp,
            argv=argv,
            env=anybody_python.env,
            config=config,
            cwd="/",
            **identity(other_uid),
        ) as broker,
        Actor(other_uid) as asker,
        Actor(other_uid + 1) as peer,
    ):
        asker(asking.listen, door)
        asker(members.join, broker.dir, "user")
        peer(asking.connect, door)
        asker(asking.accept)
        assert asker(asking.refusal_for_it, "Stat", name="x", scope="user") == "Denied"


def test_changes_by_another_process(asker: Actor, peer: Actor) -> None:
    """A child of the asker holds both sockets: it changes nothing, as over any connection."""
    assert asker(members.crowd, 1, _post_in_child) == ["Denied"]
    assert session(peer)


def _post_in_child() -> str:
    try:
        asking.post_for_it("cache")
    except Said as said:
        return said.error
    return ""


# ---- lies and races ------------------------------------------------------------------------------


def test_as_of_connect(asker: Actor, peer: Actor, door: str) -> None:
    """The peer has moved on: its connection speaks for the session it was made in."""
    before = session(peer)
    peer(asking.new_session)
    assert asker(asking.post_for_it, "cache")["scope"] == before
    peer(asking.connect, door)
    assert asker(asking.accept) == 1
    assert asker(asking.refusal_for_it, "Open", name="cache") == "NoEntry"
    assert asker(asking.read_for_it, "cache", 0) == b"text"


def test_peer_that_exited(asker: Actor, door: str, other_uid: int) -> None:
    """Its socket speaks for it still, for a session that nobody is left in, which then ends."""
    with Actor(other_uid) as parent:
        _, ring = parent(asking.connect_and_exit, door)
        asker(asking.accept)
        entry = asker(asking.post_for_it, "cache")
        assert entry["scope"] == f"session:{ring}"
        assert entry["poster"]["alive"] is False
        until(
            lambda: asker(asking.refusal_for_it, "Stat", name="cache") == "NoEntry",
            lambda: None,
            "the empty session ends",
        )


def test_revoked_ring(asker: Actor, peer: Actor) -> None:
    """No session any more; and the broker has heard of it by that very question."""
    asker(asking.post_for_it, "cache")
    peer(asking.revoke)
    assert asker(asking.refusal_for_it, "Open", name="cache") == "NoEntry"
    assert asker(asking.refusal_for_it, "Open", name="cache", scope="session") == "NoSession"
    with pytest.raises(Said, match="revoked"):
        asker(asking.post_for_it, "cache")


def test_revoked_ring_of_who_never_connected(
    kernel_board: Running, asker: Actor, peer: Actor, other_uid: int
) -> None:
    """What was posted on its behalf ends with its session, though it has no witness there."""
    asker(asking.post_for_it, "cache", b"tickets")
    with Actor(other_uid) as outsider:
        outsider(watch, kernel_board.dir)
        peer(asking.revoke)
        assert outsider(ended, "cache") == "revoked"


def test_linkable_session(asker: Actor, door: str, other_uid: int) -> None:
    """By its word, as its own members have to say it."""
    with Actor(other_uid, ring="by-name") as peer:
        peer(asking.connect, door)
        asker(asking.accept)
        assert asker(_post_refused) == "NoSession"
        assert asker(asking.post_for_it, "cache", scope="session")["scope"] == session(peer)
        assert asker(asking.read_for_it, "cache") == b"text"


def _post_refused() -> str:
    try:
        asking.post_for_it("cache")
    except Said as said:
        return said.error
    return ""


def test_without_the_kernels_answer(
    answered: Installed, kernel_board: Running, asker: Actor, peer: Actor
) -> None:
    """Taken down meanwhile: nobody acts in a session that cannot be shown."""
    peer(members.join, kernel_board.dir)
    peer(members.put, "cache")
    answered.remove()
    try:
        assert asker(asking.refusal_for_it, "Open", name="cache") == "NoEntry"
        assert asker(asking.refusal_for_it, "Open", name="cache", scope="session") == "NoSession"
        assert asker(_post_refused) == "NoSession"
    finally:
        answered.install()
    with Client(kernel_board.dir) as client:
        until(lambda: "kernel" in client.do("Health")["proofs"], lambda: None, "it is back")
    assert asker(asking.read_for_it, "cache") == b"text"
