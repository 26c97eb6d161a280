# SPDX-License-Identifier: MIT
"""Who opened an entry: the last few, each when it last did, at next to no cost.

The law: a standing answer given once more counts like the first; memory is bounded.
"""

from __future__ import annotations

from pagsrv.limits import OPENERS
from pagsrv.messages import EntryReply, EntryView, Open, OpenMany, Stat
from pagsrv.model import Given, Opening, Peer
from pagsrv.names import Scope
from tests.pure import Ends, Table

USER = Scope("user", 1000)


def living(opening: Opening) -> tuple[str, bool | None]:
    """The kernel's word, made up: processes of an odd number live."""
    return ("cmd", True) if opening.pid % 2 else (opening.comm, False)


def shown(table: Table, peer: Peer, *, asked: bool = True) -> EntryView:
    """The entry x as *peer* sees it."""
    reply = table.ask(peer, Stat("x"), Given(living=living if asked else None))
    assert isinstance(reply, EntryReply)
    return reply.entry


def told(table: Table, peer: Peer) -> list[tuple[int, float]]:
    """Pid and time of each opener of x."""
    return [(one.pid, one.time) for one in shown(table, peer).openers or ()]


def again(table: Table, peer: Peer, wall: float) -> None:
    """A standing answer is given to *peer* once more."""
    table.broker.lent((table.entry(USER, "x"),), peer, wall)


def test_nobody_has_opened_it() -> None:
    """There is nothing to tell, and nothing is held for it."""
    table = Table()
    peer = table.join()
    table.post(peer, "x")
    assert shown(table, peer).openers is None
    assert table.entry(USER, "x").openers is None


def test_latest_is_first_and_has_its_last_time() -> None:
    """However it opened, and whoever came in between."""
    table = Table()
    first, second = table.join(), table.join()
    table.post(first, "x")
    table.open(first, "x")
    again(table, first, 2001.0)
    again(table, second, 2002.0)
    again(table, first, 2003.0)
    again(table, first, 2004.0)
    assert told(table, first) == [(first.pid, 2004.0), (second.pid, 2002.0)]
    table.later(10)
    table.ask(second, OpenMany(["x", "x"]))
    assert told(table, first) == [(second.pid, 2010.0), (first.pid, 2004.0)]


def test_only_the_last_few_are_kept() -> None:
    """Whoever opens with a new connection each time costs no more than that."""
    table = Table()
    poster = table.join()
    table.post(poster, "x")
    peers = [table.join() for _ in range(3 * OPENERS)]
    for number, peer in enumerate(peers):
        again(table, peer, 2000.0 + number)
    assert told(table, poster) == [
        (peer.pid, 2000.0 + number) for number, peer in reversed([*enumerate(peers)][-OPENERS:])
    ]
    assert len(table.entry(USER, "x").openers or ()) == OPENERS


def test_process_with_two_connections_is_one() -> None:
    """Where the kernel says that it is the same; where it does not, both are told."""
    for inode, lines in ((77, 1), (0, 2)):
        table = Table()
        poster, one, two = table.join(), table.join(), table.join()
        table.post(poster, "x")
        for wall, peer in enumerate((one, two)):
            peer.pid, peer.inode = 42, inode
            again(table, peer, 2000.0 + wall)
        assert len(told(table, poster)) == lines


def test_process_is_asked_about_and_not_guessed() -> None:
    """Without the kernel's word it is not known whether it lives."""
    table = Table()
    poster, opener = table.join(), table.join()
    table.post(poster, "x")
    opener.comm = "was"
    table.open(opener, "x")
    for pid, comm, alive in ((43, "cmd", True), (44, "was", False)):
        opener.pid = pid
        table.entry(USER, "x").openers = None
        again(table, opener, 2001.0)
        table.entry(USER, "x").opened_by(opener)
        (one,) = shown(table, poster).openers or ()
        assert (one.comm, one.alive) == (comm, alive)
    (one,) = shown(table, poster, asked=False).openers or ()
    assert (one.comm, one.alive) == ("was", None)


def test_peer_that_was_served_is_the_opener() -> None:
    """Not the trusted asker, and two of its peers are two."""
    table = Table()
    poster, asker = table.join(), table.join(0)
    table.post(poster, "x", mask="alswrv" * 4)
    for number in (51, 52):
        served = Peer(asker.id, pid=number, uid=1000, gid=1000, groups=(), inode=number)
        served.asker = asker
        served.proofs = poster.proofs
        served.scopes = poster.scopes
        table.ask(asker, Open("x"), Given(behalf=served))
    assert [pid for pid, _ in told(table, poster)] == [52, 51]


def test_deadline_follows_the_clock_that_counts() -> None:
    """The wall clock may be set: what is shown is the same moment by the new time."""
    table = Table()
    peer = table.join()
    assert table.post(peer, "x", until=Ends(("ttl=60",))).deadline == table.wall + 60
    table.wall += 5000
    assert shown(table, peer).deadline == table.wall + 60
    table.later(20)
    assert shown(table, peer).deadline == table.wall + 40
