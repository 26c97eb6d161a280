# SPDX-License-Identifier: MIT
"""The second choice in the broker: an iterator, by its own rights or given by root's helper.

The law: where SO_PEERKEYRING is not, a session is proved by the kernel all the same, once it is
asked for, and by nobody's word; whatever becomes of the iterator, nobody is in a session that
was not shown, and the next way is taken. It refuses to know SO_PEERKEYRING
(test_kernel_proof.py does) and possession (test_proofs.py).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagsrv.daemon.spawner import NAME
from pagsrv.kernel import bpf, keys
from pagsrv.kernel.process import comm
from tests.actors import Actor, held, turn_into
from tests.anybody import Anybody
from tests.conftest import identity
from tests.daemon import asking, members
from tests.daemon.test_behalf import session
from tests.daemon.test_kernel_proof import connect_only, ended, session_of, watch, why_no_session
from tests.daemon.waiting import until
from tests.daemon.wire import Client, Parameters, Said, post
from tests.running import ITERATOR, SECONDS, Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]


BOTH = ("iterator", "possession")


@pytest.fixture(autouse=True)
def possible(other_uid: int) -> None:  # noqa: ARG001 -- only root can
    """Skip where no program can be loaded."""
    if bpf.missing():
        pytest.skip(bpf.missing())


@contextmanager
def helper(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """`pagsrv peerkeyring serve` in *directory*, serving when it is handed out."""
    argv = [sys.executable, "-m", "pagsrv", "peerkeyring", "serve", "--dir", str(directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        assert serving.stdout.readline().startswith("serves at")
        try:
            yield serving
        finally:
            serving.terminate()
            assert serving.wait(SECONDS) == 0


@pytest.fixture
def root_board(short_tmp: Path) -> Iterator[Running]:
    """A broker of root's, which makes its iterator itself and has no other way."""
    with running_broker(short_tmp, use=ITERATOR) as running:
        yield running


@contextmanager
def users(tmp: Path, uid: int, python: Anybody, use: tuple[str, ...] = BOTH) -> Iterator[Running]:
    """A broker of *uid*'s that asks the helper in *tmp*."""
    tmp.chmod(0o777)
    config = f'[proofs]\nhelper = "{tmp}/peerkeyring"\nuse = {list(use)}\n'.replace("'", '"')
    argv = (*python.argv, "-m", "pagsrv.daemon")
    with running_broker(
        tmp, argv=argv, env=python.env, config=config, use=None, cwd="/", **identity(uid)
    ) as running:
        yield running


def child_of(broker: Running) -> int:
    """The process that reads the iterator for *broker* (proc_pid_task(5)); 0 if there is none."""
    told = Path(f"/proc/{broker.pid}/task/{broker.pid}/children").read_text().split()
    readers = [int(pid) for pid in told if comm(int(pid)) != NAME]
    return readers[0] if readers else 0


def iterator_of(client: Client) -> Parameters:
    """What the broker says of its iterator."""
    ways: list[Parameters] = client.do("Health")["ways"]
    return next(way for way in ways if way["way"] == "iterator")


# ---- root's broker -------------------------------------------------------------------------------


def test_sessions_of_every_uid(root_board: Running, other_uid: int) -> None:
    """Each has its own and no other; nothing is written into the ring, no nonce comes."""
    with Actor(other_uid) as one, Actor(other_uid) as two, Actor(other_uid + 1) as three:
        for actor in (one, two, three):
            scope = f"session:{actor(keys.session_ring)}"
            assert actor(members.join, root_board.dir)[0] == scope
            assert session_of(actor(members.do, "WhoAmI")) == {
                "scope": scope, "proof": "kernel", "isolation": "isolated",
            }  # fmt: skip
            assert actor(members.put, "db", scope.encode())["scope"] == scope
            assert actor(keys.read_ring, actor(keys.session_ring)) == ()
        for actor in (one, two, three):
            assert actor(members.read, "db") == session(actor).encode()
        assert two(members.refusal, "Open", name=f"{session(one)}/db") == "Denied"
        assert three(members.refusal, "Open", name=f"{session(one)}/db") == "NoEntry"


def connect(dir: str, *, stream: bool = False) -> None:  # noqa: A002
    """Connect, and call nothing."""
    members.leave()
    held["client"] = Client(dir, stream=stream)


def test_who_calls_nothing_is_proved(root_board: Running, other_uid: int) -> None:
    """At the first call that may need it; who attaches for the user scope is in that alone."""
    with Actor(other_uid) as actor:
        actor(members.join, root_board.dir)
        actor(members.put, "db")
        for stream in (False, True):
            actor(connect, root_board.dir, stream=stream)
            assert actor(members.read, "db") == b"text"
        assert session_of(actor(connect_only, root_board.dir)) == {
            "scope": session(actor), "proof": "kernel", "isolation": "isolated",
        }  # fmt: skip
        assert actor(members.join, root_board.dir, "user") == [f"user:{other_uid}"]
        assert actor(members.refusal, "Open", name="db") == "NoEntry"
        actor(connect, root_board.dir)
        assert actor(members.refusal, "Attach", scopes=["nonsense"]) == "InvalidParameter"
        assert actor(members.read, "db") == b"text"


def test_what_others_were_answered_is_not_theirs(root_board: Running, other_uid: int) -> None:
    """An answer that stands for the user scope is none to whose session was not asked about."""
    with Actor(other_uid) as actor, Actor(other_uid) as other:
        actor(members.join, root_board.dir)
        actor(members.put, "db", b"session")
        actor(members.put, "db", b"user", scope="user")
        other(members.join, root_board.dir, "user")
        assert other(members.read, "db") == b"user"
        actor(connect, root_board.dir)
        assert actor(members.read, "db", proved=["user"]) == b"user"
        assert actor(members.read, "db") == b"session"
        assert actor(members.refusal, "Open", name="db", proved=["user"]) == "NoSession"
        assert actor(members.read, "db", proved=["session", "user"]) == b"session"
        actor(connect, root_board.dir)
        assert actor(members.read, "db", proved=["user", "session"]) == b"session"


def test_nothing_is_looked_up_while_nobody_answers(root_board: Running, other_uid: int) -> None:
    """Another scope's entry is not given instead; who attaches for that scope is served."""
    with Actor(other_uid) as actor:
        actor(members.join, root_board.dir)
        actor(members.put, "db", scope="user")
        actor(connect, root_board.dir)
        os.kill(child_of(root_board), signal.SIGSTOP)
        assert actor(members.refusal, "Open", name="db") == "NoSession"
        assert actor(members.read, "db", proved=["user"]) == b"text"
        actor(members.do, "Attach", scopes=["user"])
        assert actor(members.read, "db") == b"text"


def test_nothing_is_looked_up_until_there_is_another_reader(
    root_board: Running, other_uid: int
) -> None:
    """Whoever connects meanwhile, without a word: its session's entry or none."""
    with Client(root_board.dir) as client, Actor(other_uid) as actor:
        actor(members.join, root_board.dir)
        actor(members.put, "db", b"session")
        actor(members.put, "db", b"user", scope="user")
        first = child_of(root_board)
        os.kill(first, signal.SIGKILL)
        found = {actor(_found, root_board.dir)}
        until(
            lambda: iterator_of(client)["taken"] and child_of(root_board) != first,
            lambda: found.add(actor(_found, root_board.dir)),
            "there is another",
        )
        assert found <= {"NoSession", "session"}
        assert actor(_found, root_board.dir) == "session"


def _found(dir: str) -> str:  # noqa: A002
    connect(dir)
    try:
        return members.read("db").decode()
    except Said as said:
        return said.error


def test_who_is_asked_about_all_the_time(
    root_board: Running, other_uid: int, short_tmp: Path
) -> None:
    """Questions of others, from threads, keep nobody from being proved."""
    short_tmp.chmod(0o777)
    door = str(short_tmp / "door")
    with Actor(other_uid) as asker, Actor(other_uid + 1) as actor:
        asker(asking.listen, door)
        asker(asking.connect, door)
        asker(asking.accept)
        asker(members.join, root_board.dir)
        flood = threading.Thread(target=asker, args=(asking.flood, 1000))
        flood.start()
        proved = [actor(members.join, root_board.dir)[0] for _ in range(200)]
        flood.join()
        assert set(proved) == {session(actor)}


def test_as_of_connect(root_board: Running, other_uid: int) -> None:
    """A session joined between connecting and attaching is not the peer's."""
    with Actor(other_uid) as actor:
        before = session(actor)
        actor(connect_only, root_board.dir)
        after = f"session:{actor(asking.new_session)}"
        actor(members.do, "Attach")
        told = session_of(actor(members.do, "WhoAmI"))
        assert told is not None
        assert told["scope"] == before != after


def test_no_session(root_board: Running, other_uid: int) -> None:
    """The same judge: kept over su, the uid's own, revoked."""
    with Actor(other_uid, may_return=True) as actor:
        actor(turn_into, other_uid + 1)
        assert "su and sudo keep" in why_no_session(_attached(actor, root_board))
    with Actor(other_uid, ring=f"_uid_ses.{other_uid}") as actor:
        assert "not a login session" in why_no_session(_attached(actor, root_board))
    with Actor(other_uid) as actor:
        actor(asking.revoke)
        assert "is revoked" in why_no_session(_attached(actor, root_board))


def _attached(actor: Actor, broker: Running) -> Parameters:
    actor(members.join, broker.dir)
    return actor(members.do, "WhoAmI")


def test_revoked_by_its_owner(root_board: Running, other_uid: int) -> None:
    """The broker hears of another uid's ring by the iterator, too."""
    with Actor(other_uid) as member, Actor(other_uid) as outsider:
        outsider(watch, root_board.dir)
        member(members.join, root_board.dir)
        member(members.put, "db")
        member(members.leave)
        member(asking.revoke)
        assert outsider(ended, "db") == "revoked"


def test_whois_and_on_behalf(root_board: Running, other_uid: int, short_tmp: Path) -> None:
    """A peer that has never heard of the broker is known, and acted for."""
    door = str(short_tmp / "door")
    with Actor() as asker, Actor(other_uid) as peer:
        asker(asking.listen, door)
        asker(members.join, root_board.dir)
        peer(asking.connect, door)
        asker(asking.accept)
        fact = asker(asking.whois)["session"]
        assert (fact.value, fact.strength) == (session(peer), "kernel")
        assert "iterator" in fact.evidence
        entry = asker(asking.post_for_it, "cache", b"tickets")
        assert (entry["scope"], entry["owner"]["uid"]) == (session(peer), other_uid)


def test_descriptors_held_are_no_burden(root_board: Running, other_uid: int) -> None:
    """Whatever the broker holds, the process that reads holds the same few, and answers."""
    with Client(root_board.dir) as client, Actor(other_uid) as actor:
        client.attach("user")
        for number in range(10_000):
            post(client, f"entry {number}", scope="user")
        assert os.stat(f"/proc/{root_board.pid}/fd").st_size > 10_000
        assert actor(members.join, root_board.dir)[0] == session(actor)
        assert len(os.listdir(f"/proc/{child_of(root_board)}/fd")) <= 5


# ---- what becomes of it --------------------------------------------------------------------------


def test_reader_that_was_killed(root_board: Running, other_uid: int) -> None:
    """Nobody is proved meanwhile, and there is another soon; what was proved stays."""
    with Client(root_board.dir) as client, Actor(other_uid) as one, Actor(other_uid) as two:
        one(members.join, root_board.dir)
        one(members.put, "db")
        first = child_of(root_board)
        os.kill(first, signal.SIGKILL)
        # Noticed by who asks, or before: its own session or none, and no other's.
        assert set(two(members.join, root_board.dir)) <= {session(two), f"user:{other_uid}"}
        assert one(members.read, "db") == b"text"
        until(
            lambda: iterator_of(client)["taken"] and child_of(root_board) != first,
            lambda: None,
            "there is another",
        )
        assert two(members.join, root_board.dir)[0] == session(two)


def test_reader_that_nobody_has_to_reap(short_tmp: Path, other_uid: int) -> None:
    """Who started the broker ignores SIGCHLD, and so does it: the reader is replaced."""
    argv = ("sh", "-c", 'trap "" CHLD; exec "$@"', "sh", sys.executable, "-m", "pagsrv.daemon")
    with (
        running_broker(short_tmp, argv=argv, use=ITERATOR) as broker,
        Client(broker.dir) as client,
        Actor(other_uid) as actor,
    ):
        first = child_of(broker)
        os.kill(first, signal.SIGKILL)
        until(lambda: child_of(broker) not in (0, first), lambda: client.do("Health"), "another")
        until(lambda: bool(iterator_of(client)["taken"]), lambda: None, "it is ready")
        assert actor(members.join, broker.dir)[0] == session(actor)


def test_reader_that_was_stopped(root_board: Running, other_uid: int) -> None:
    """It is waited for a moment and given up: refused with the reason, and served again."""
    with Client(root_board.dir) as client, Actor(other_uid) as actor:
        stopped = child_of(root_board)
        os.kill(stopped, signal.SIGSTOP)
        why = why_no_session(_attached(actor, root_board))
        assert "does not answer" in why
        assert not Path(f"/proc/{stopped}").exists() or iterator_of(client)["taken"] is False
        until(lambda: bool(iterator_of(client)["taken"]), lambda: None, "there is another")
        assert actor(members.join, root_board.dir)[0] == session(actor)
        until(
            lambda: not Path(f"/proc/{stopped}").exists(), lambda: client.do("Health"), "it is gone"
        )


def test_it_ends_with_its_broker(short_tmp: Path) -> None:
    """Be the broker killed: nobody is left who could answer."""
    with running_broker(short_tmp, use=ITERATOR) as broker:
        pidfd = os.pidfd_open(child_of(broker))
        try:
            broker.kill()
            assert select.select([pidfd], [], [], SECONDS)[0]
        finally:
            os.close(pidfd)


# ---- a user's broker, and the helper -------------------------------------------------------------


def test_helper_gives(short_tmp: Path, other_uid: int, anybody_python: Anybody) -> None:
    """A broker without rights proves by the kernel; nobody can trace its reader."""
    with (
        helper(short_tmp),
        users(short_tmp, other_uid, anybody_python) as broker,
        Actor(other_uid) as actor,
    ):
        actor(members.join, broker.dir)
        assert session_of(actor(members.do, "WhoAmI")) == {
            "scope": session(actor), "proof": "kernel", "isolation": "isolated",
        }  # fmt: skip
        with pytest.raises(PermissionError):
            actor(os.listdir, f"/proc/{child_of(broker)}/fd")


def test_helper_that_comes_later_and_leaves(
    short_tmp: Path, other_uid: int, anybody_python: Anybody
) -> None:
    """Possession before it, the kernel with it; and what it gave outlives it."""
    with users(short_tmp, other_uid, anybody_python) as broker, Actor(other_uid) as actor:
        assert _proof(actor, broker) == "possession"
        told = actor(members.do, "Health")
        assert told["proofs"] == ["possession", "groups", "user"]
        assert "nobody gives an iterator" in told["ways"][1]["why"]
        with helper(short_tmp):
            until(lambda: _proof(actor, broker) == "kernel", lambda: None, "it is noticed")
        assert _proof(actor, broker) == "kernel"
        os.kill(child_of(broker), signal.SIGKILL)
        until(lambda: _proof(actor, broker) == "possession", lambda: None, "it is lost")


def _proof(actor: Actor, broker: Running) -> str:
    told = session_of(_attached(actor, broker))
    assert told is not None
    return str(told["proof"])


def test_without_possession(short_tmp: Path, other_uid: int, anybody_python: Anybody) -> None:
    """Left out it is not taken, though nobody else says anything; the sentence says both."""
    with users(short_tmp, other_uid, anybody_python, ITERATOR) as broker, Actor(other_uid) as one:
        why = why_no_session(_attached(one, broker))
        assert "configuration takes no proof by possession" in why
        assert "nobody gives an iterator" in why
        told = one(members.do, "Health")
        assert told["proofs"] == ["groups", "user"]
        assert [way["taken"] for way in told["ways"]] == [False, False, False]
        for way in (told["ways"][0], told["ways"][2]):
            assert "the configuration leaves it out" in way["why"]


def test_helper_that_is_not_roots(short_tmp: Path, other_uid: int, anybody_python: Anybody) -> None:
    """What it gives is not taken: who serves there could answer what it liked."""
    short_tmp.chmod(0o777)
    with Actor(other_uid) as liar:
        liar(asking.listen, str(short_tmp / "peerkeyring"))
        with users(short_tmp, other_uid, anybody_python) as broker, Actor(other_uid) as actor:
            assert _proof(actor, broker) == "possession"
            assert "is not root's" in actor(members.do, "Health")["ways"][1]["why"]
