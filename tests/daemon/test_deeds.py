# SPDX-License-Identifier: MIT
"""Ends by what a process does, told by the real kernel of real processes.

The law: a deed done after the broker took the post ends just what names it, with that
word; what was done before does not, nor what another process of the same number does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from pagsrv.daemon.deeds import Deeds
from pagsrv.ends import DEEDS
from pagsrv.errors import QuotaExceeded
from tests.actors import Actor, held
from tests.daemon import members
from tests.daemon.conftest import House
from tests.daemon.test_ends import Watcher
from tests.daemon.waiting import until
from tests.daemon.wire import Client, Parameters, call, memory
from tests.doers import Doer, skip_unless_told
from tests.pure import Table
from tests.running import Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]

NETLINK_CONNECTOR = 11


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    """A connection of root's, where deeds are told."""
    skip_unless_told()
    with Client(house.dir) as one:
        one.attach("user")
        yield one


@pytest.fixture
def watcher(house: House) -> Iterator[Watcher]:
    """A watch that has begun."""
    with Client(house.dir) as one:
        yield Watcher(one)


def put(client: Client, name: str, doer: Doer, *conditions: str) -> Parameters:
    """An entry that ends so, by what *doer* does."""
    ends = [{"cond": word, "fd": 1 + number} for number, word in enumerate(conditions)]
    own = [os.dup(doer.fileno()) for _ in conditions]
    try:
        with memory(b"text") as fd:
            fds = [fd.fileno(), *own]
            entry: Parameters = client.do("Post", fds, name=name, fd=0, scope="user", until=ends)
        return entry["entry"]  # type: ignore[no-any-return]
    finally:
        for fd_number in own:
            os.close(fd_number)


def there(client: Client, prefix: str) -> set[str]:
    """The entries of the test that are there."""
    names = (entry["name"] for entry in client.listed(scope="user"))
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


@contextmanager
def standing_still(house: House) -> Iterator[None]:
    """The broker does nothing meanwhile; afterwards it has had all that was told by then."""
    os.kill(house.broker.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, house.broker.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        os.kill(house.broker.pid, signal.SIGCONT)
    for _ in range(2):  # what was ready with the first question is done before the second
        house.health()


def listens(broker: Running) -> bool:
    """Whether the broker has a socket of the connector's (/proc/net/netlink)."""
    inodes = set()
    for fd in os.listdir(f"/proc/{broker.pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            link = os.readlink(f"/proc/{broker.pid}/fd/{fd}")
            inodes.add(link.removeprefix("socket:[").removesuffix("]"))
    rows = Path("/proc/net/netlink").read_text().split("\n")[1:]
    found = [row.split() for row in rows if row]
    return any(int(row[1]) == NETLINK_CONNECTOR and row[-1] in inodes for row in found)


# ---- deeds ---------------------------------------------------------------------------------------


def test_deeds_end_just_what_names_them(client: Client, watcher: Watcher, name: str) -> None:
    """One entry for each deed, and one of a neighbour for each; in the order they are done."""
    with Doer() as doer, Doer() as other:
        for deed in DEEDS:
            assert put(client, f"{name}{deed}", doer, deed)["until"] == [f"{deed}={doer.pid}"]
            put(client, f"{name}not {deed}", other, f"{deed}={other.pid}")
        put(client, f"{name}exit", doer, "exit")
        doer.do("fork")
        for act, deed in (("setsid", "setsid"), ("thread uid", "uid"), ("thread exec", "exec")):
            doer.do(act)
            assert watcher.event("ended")["why"] == deed
            assert deed not in there(client, name)
        assert there(client, name) == {"exit", *(f"not {deed}" for deed in DEEDS)}
        doer.kill()
        assert watcher.event("ended")["why"] == "exit"
        other.do("exec")
        assert watcher.ended(f"{name}not exec") == "exec"


def test_deed_of_the_poster(house: House, watcher: Watcher, name: str) -> None:
    """Without a pidfd it is the process that posted."""
    with Actor() as poster, Actor() as other:
        for one in (poster, other):
            one(members.join, house.dir, "user")
            mine = f"{name}{one.pid}"
            one(members.put, mine, scope="user", until=[{"cond": "setsid"}])
        poster(os.setsid)
        assert watcher.ended(f"{name}{poster.pid}") == "setsid"
        assert other(members.read, f"{name}{other.pid}") == b"text"


def test_first_to_fire_wins(house: House, client: Client, watcher: Watcher, name: str) -> None:
    """What was done just before the exit is what ended it, though both are there to be read."""
    for condition, act in (("exec", "exec"), ("setsid", "setsid"), ("uid", "thread uid")):
        with Doer() as doer:
            put(client, name, doer, "exit", condition)
            with standing_still(house):
                doer.do(act)
                doer.kill()
            assert watcher.ended(name) == condition


def test_exit_is_no_deed(house: House, client: Client, watcher: Watcher, name: str) -> None:
    """The entry stays; and what the next process of that number does is not its affair."""
    with Doer() as doer:
        put(client, f"{name}stays", doer, *DEEDS)
        put(client, f"{name}goes", doer, "exit")
        doer.kill()
        assert watcher.ended(f"{name}goes") == "exit"
    for still in (False, True):
        with Doer() as first:
            put(client, f"{name}{still}", first, *DEEDS)
            with standing_still(house) if still else nullcontext():
                first.kill()
                with Doer(first.pid) as second:
                    second.do("setsid")
                    second.do("exec")
    assert there(client, name) == {"stays", "False", "True"}


def test_what_was_done_before_does_not_count(
    house: House, client: Client, watcher: Watcher, name: str
) -> None:
    """Though it is still to be read when the post is: what was there before ends, and no more."""
    with Doer() as doer:
        put(client, f"{name}before", doer, "uid")
        with standing_still(house), memory(b"text") as fd:
            doer.do("thread uid")
            fds = [fd.fileno(), doer.fileno()]
            ends = [{"cond": "uid", "fd": 1}]
            client.ask("Post", {"name": f"{name}after", "fd": 0, "scope": "user", "until": ends},
                       fds)  # fmt: skip
        assert client.hear().fine()["entry"]["until"] == [f"uid={doer.pid}"]
        assert watcher.ended(f"{name}before") == "uid"
        assert there(client, name) == {"after"}
        doer.do("thread uid")
        assert watcher.ended(f"{name}after") == "uid"


def test_poster_whose_other_entry_ends_meanwhile(house: House, watcher: Watcher, name: str) -> None:
    """It is known by that entry alone, and lives; its next post is taken, and follows it."""
    with Actor() as poster:
        poster(members.join, house.dir, "user")
        ends = [{"cond": "uid"}, {"cond": "exit"}]
        poster(members.put, f"{name}one", scope="user", until=ends)
        with standing_still(house):
            poster(_change_back_and_ask, f"{name}two", ends)
        assert poster(members.hear)["entry"]["poster"]["alive"]
        assert watcher.ended(f"{name}one") == "uid"
        poster.close()
        assert watcher.ended(f"{name}two") == "exit"


def test_post_that_is_served_first(
    house: House, client: Client, watcher: Watcher, name: str
) -> None:
    """Its connection was there before the deed, so that its turn comes first: as above."""
    with Actor() as poster:
        poster(members.join, house.dir, "user")
        ends = [{"cond": "uid"}]
        poster(members.put, f"{name}before", scope="user", until=ends)
        with standing_still(house):
            poster(_connect_change_and_post, house.dir, f"{name}after", ends)
        assert watcher.ended(f"{name}before") == "uid"
        assert there(client, name) == {"after"}
        poster(_change_back)
        assert watcher.ended(f"{name}after") == "uid"


def _connect_change_and_post(dir: str, name: str, ends: list[dict[str, str]]) -> None:  # noqa: A002
    held["stream"] = Client(dir, stream=True)
    _change_back()
    attach = call("Attach", {"scopes": ["user"], "changes": True})
    post = call("Post", {"name": name, "scope": "user", "until": ends})
    held["stream"].push(attach + b"\0" + post + b"\0")


def _change_back() -> None:
    os.setresuid(-1, 60702, -1)
    os.setresuid(-1, 0, -1)


def _change_back_and_ask(name: str, ends: list[dict[str, str]]) -> None:
    _change_back()
    members.ask("Post", name=name, scope="user", until=ends)


def test_poster_that_has_changed_already(house: House, name: str) -> None:
    """Its user id is looked at once it is followed: no change can be missed in between."""
    with Actor(0, may_return=True) as poster:
        poster(members.join, house.dir, "user")
        poster(os.setresuid, 60702, 60702, 0)
        for deed in DEEDS:
            ends = [{"cond": deed}]
            refused = poster(members.refusal, "Post", name=name, scope="user", until=ends)
            assert refused == "Denied"
        assert poster(members.refusal, "Post", name=name, scope="user") == ""
        poster(os.setresuid, 0, 0, 0)


def test_many_entries_of_one_process(client: Client, watcher: Watcher, name: str) -> None:
    """They all go, each for its own condition."""
    with Doer() as doer:
        for number in range(60):
            put(client, f"{name}.{number}", doer, DEEDS[number % 3])
        doer.do("setsid")
        assert {watcher.event("ended")["why"] for _ in range(20)} == {"setsid"}
        doer.do("exec")
        assert {watcher.event("ended")["why"] for _ in range(20)} == {"exec"}
    assert len(there(client, name)) == 20


# ---- what is lost --------------------------------------------------------------------------------


def test_dropped_events_end_what_they_may_have_ended(
    house: House, client: Client, watcher: Watcher, name: str
) -> None:
    """Not known is not allowed; the rest of the board stays, and the next post is served."""
    with Doer() as doer, Doer() as other:
        put(client, f"{name}one", doer, "uid")
        put(client, f"{name}two", other, "exec", "exit", "setsid")
        put(client, f"{name}three", other, "exit")
        with standing_still(house):
            doer.do("flood")
        lost = "process events were dropped before they were read"
        assert watcher.ended(f"{name}one") == f"uid: {lost}"
        assert watcher.ended(f"{name}two") == f"exec, setsid: {lost}"
        assert there(client, name) == {"three"}
        put(client, f"{name}four", other, "exec")
        other.do("exec")
        assert watcher.ended(f"{name}four") == "exec"


def test_who_floods_deafens_nobody_else(
    house: House, client: Client, watcher: Watcher, other_uid: int, name: str
) -> None:
    """Each uid's own entries end; another's do not, and what happens then is told."""
    with Doer() as doer, Actor(other_uid) as poster:
        put(client, f"{name}flood", doer, "uid")
        poster(members.join, house.dir)
        poster(members.put, name, scope="user", until=[{"cond": "exec"}])
        with standing_still(house):
            doer.do("flood")
        assert "dropped" in watcher.ended(f"{name}flood")
        assert poster(members.refusal, "Stat", name=name) == ""
        poster(members.do, "Remove", name=name)
        poster(members.put, name, scope="user", until=[{"cond": "setsid"}])
        poster(os.setsid)
        until(
            lambda: poster(members.refusal, "Stat", name=name) == "NoEntry",
            house.health,
            "the entry ends",
        )


def test_nobody_listens_for_nothing(
    house: House, client: Client, watcher: Watcher, name: str
) -> None:
    """The subscription is there while an entry needs it, and whoever is refused needs none."""
    assert not listens(house.broker)
    with Doer() as doer:
        put(client, name, doer, "exec")
        assert listens(house.broker)
        put(client, f"{name}exit", doer, "exit")
        client.do("Remove", name=name)
        assert watcher.ended(name) == "removed"
        until(lambda: not listens(house.broker), house.health, "the broker listens no more")
        put(client, name, doer, "exec")
        doer.do("exec")
        assert watcher.ended(name) == "exec"
        until(lambda: not listens(house.broker), house.health, "the broker listens no more")
        ends = [{"cond": "exec=1", "fd": 0}]
        answer = client.talk(
            "Post", {"name": name, "scope": "user", "until": ends}, [doer.fileno()]
        )
        assert "came with the pidfd of process" in answer.parameters["message"]
        until(lambda: not listens(house.broker), house.health, "the broker listens no more")


def test_process_that_is_not_there(client: Client, name: str) -> None:
    """It has exited, or its pidfd was left out, or what came is none: one sentence each."""
    with Doer() as doer:
        pidfd = os.dup(doer.fileno())
    try:
        for ends, fds in (
            ([{"cond": "exec", "fd": 0}], [pidfd]),
            ([{"cond": f"uid={doer.pid}"}], []),
            ([{"cond": "setsid", "fd": 0}], [client.sock.fileno()]),
        ):
            answer = client.talk("Post", {"name": name, "scope": "user", "until": ends}, fds)
            assert answer.error == "InvalidParameter"
            assert "is not there" in answer.parameters["message"]
    finally:
        os.close(pidfd)


class Alone:
    """A daemon of nothing but a board, for a listener with thousands of processes to follow."""

    def __init__(self) -> None:
        self.broker = Table().broker
        self.watched: list[int] = []

    def watch_fd(self, fd: int, _: object) -> None:
        """It is looked after."""
        self.watched.append(fd)

    def unwatch_fd(self, fd: int) -> None:
        """No more."""
        self.watched.remove(fd)


def test_room_is_taken_by_what_is_on_the_board() -> None:
    """A post that was refused leaves none taken; more than the kernel's filter holds is refused."""
    skip_unless_told()
    alone = Alone()
    deeds = Deeds(alone)  # type: ignore[arg-type]
    first, second = range(5_000_000, 5_003_000), range(6_000_000, 6_003_000)
    for numbers in (first, second, first):
        deeds.follow(0, {pid: {"exec"} for pid in numbers})
    with pytest.raises(QuotaExceeded, match="use exit or leader"):
        deeds.follow(0, {pid: {"exec"} for pid in range(5_000_000, 5_005_000)})
    assert alone.watched != []
    deeds.sweep()
    assert alone.watched == []


# ---- where they are not to be had ----------------------------------------------------------------


def test_broker_that_hears_of_nothing(short_tmp: Path, name: str) -> None:
    """In a network namespace of its own: it says so, beforehand too, and the rest works."""
    argv = ("unshare", "--net", sys.executable, "-m", "pagsrv.daemon")
    with (
        running_broker(short_tmp, argv=argv) as broker,
        Client(broker.dir) as client,
        Doer() as doer,
    ):
        client.attach("user")
        why = "in the first network namespace only; run the broker outside"
        for deed in DEEDS:
            assert why in client.do("Health")["unsupported"][deed]
            ends = [{"cond": deed, "fd": 0}]
            answer = client.talk(
                "Post", {"name": name, "scope": "user", "until": ends}, [doer.fileno()]
            )
            assert (answer.error, answer.parameters["parameter"]) == ("InvalidParameter", "until")
            assert f"{deed} is not to be had here" in answer.parameters["message"]
            assert why in answer.parameters["message"]
        _exits(broker, client, doer, name)


def _exits(broker: Running, client: Client, doer: Doer, name: str) -> None:
    """The other conditions are served there as ever."""
    with Client(broker.dir) as other:
        watcher = Watcher(other)
        put(client, name, doer, "exit", "ttl=60")
        doer.kill()
        assert watcher.ended(name) == "exit"


def test_users_broker(user_broker: Running, other_uid: int, name: str) -> None:
    """Since Linux 6.6 it hears, too; who is left in a session it cannot tell, and says why."""
    with Actor(other_uid) as poster:
        poster(members.join, user_broker.dir)
        unsupported = poster(members.do, "Health")["unsupported"]
        assert "CAP_BPF" in unsupported["orphan"]
        refused = poster(_refused_orphan, name)
        assert "cannot tell when a session has no process left" in refused
        assert "CAP_BPF" in refused
        if "exec" in unsupported:
            pytest.skip(f"this kernel tells others nothing: {unsupported['exec']}")
        poster(members.put, name, scope="user", until=[{"cond": "setsid"}])
        poster(os.setsid)
        until(
            lambda: poster(members.refusal, "Stat", name=name) == "NoEntry",
            lambda: poster(members.do, "Health"),
            "the entry ends",
        )


def _refused_orphan(name: str) -> str:
    answer = members.mine().talk("Post", {"name": name, "until": [{"cond": "orphan"}]})
    return str(answer.parameters["message"])


# ---- orphans -------------------------------------------------------------------------------------


def test_orphans(short_tmp: Path, client: Client) -> None:  # noqa: ARG001 -- root's
    """The last process of its session is gone: the entry that said so ends, and the other stays."""
    config = "[sessions]\nend_when_empty = false\n"
    with running_broker(short_tmp, config=config) as broker, Client(broker.dir) as looking:
        watcher = Watcher(looking)
        with Client(broker.dir) as one, Actor() as left, Actor() as stays:
            one.attach("user")
            assert one.refusal("Post", name="x", scope="user", until=[{"cond": "orphan"}]) == (
                "InvalidParameter"
            )
            scopes = [who(members.join, broker.dir)[0] for who in (left, stays)]
            for who in (left, stays):
                assert who(members.put, "x", until=[{"cond": "orphan"}])["until"] == [
                    "orphan",
                    "revoked",
                ]
            left(members.put, "y")
            left.close()
            told = watcher.event("ended")
            assert (told["scope"], told["name"], told["why"]) == (scopes[0], "x", "orphan")
            assert stays(members.read, "x") == b"text"
            every = {f"{entry['scope']}/{entry['name']}" for entry in one.listed(all=True)}
            assert every == {f"{scopes[0]}/y", f"{scopes[1]}/x"}
