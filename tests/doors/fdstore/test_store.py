# SPDX-License-Identifier: MIT
"""Entries that go to a service manager's store and come back: the real systemd's, and a receiver's.

The law: what is said of the store is said of both; what only systemd can do, give back, is
tried with it. It refuses to know LISTEN_FDS from elsewhere (test_activation.py).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagsrv.client.blocking import Board
from tests.actors import Actor
from tests.anybody import Anybody
from tests.cli.command import COMMAND, Login, Said, environment, execute
from tests.conftest import identity
from tests.doors.fdstore.managers import Keeper, Whose, keeper, real_manager
from tests.running import Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]


@pytest.fixture
def entries(board: Board, short_tmp: Path) -> list[str]:
    """Three entries, each a file that says its name."""
    for name in "abc":
        (short_tmp / name).write_text(f"this is {name}\n")
        with (short_tmp / name).open() as file:
            board.post(name, file, scope="user")
    return ["a", "b", "c"]


@pytest.fixture
def kept(short_tmp: Path) -> Iterator[Keeper]:
    """A receiver."""
    with keeper(short_tmp) as found:
        yield found


def export(broker: Running, kept: Keeper, *words: str, **env: str) -> Said:
    """`pagsrv fdstore export` as a service of that receiver's."""
    told = environment(broker.dir, {"NOTIFY_SOCKET": kept.path, **env})
    return execute([*COMMAND, "fdstore", "export", *words], told, None, ())


# ---- both ----------------------------------------------------------------------------------------

Store = tuple[Callable[..., None], Callable[[], list[str]]]


@contextmanager
def _real(tmp: Path, broker: Running) -> Iterator[Store]:
    with real_manager(tmp, {"PAGSRV_DIR": broker.dir}) as manager:
        yield manager.export, lambda: ["?"] * manager.stored()


@contextmanager
def _ours(tmp: Path, broker: Running) -> Iterator[Store]:
    with keeper(tmp) as kept:

        def send(*words: str) -> None:
            assert export(broker, kept, *words) == (0, "", "")

        yield send, lambda: ["?"] * len(kept.kept)


@pytest.mark.parametrize("made", [_real, _ours], ids=["systemd", "receiver"])
@pytest.mark.usefixtures("entries")
def test_what_is_exported_is_stored(
    made: Callable[..., Iterator[Store]], short_tmp: Path, broker: Running, board: Board
) -> None:
    """One by one, together, and in the place of what was there."""
    with made(short_tmp, broker) as (send, stored):  # type: ignore[attr-defined]  # a context
        assert len(stored()) == 0
        send("a")
        assert len(stored()) == 1
        send("b", "c", "--scope", "user")
        assert len(stored()) == 3
        with (short_tmp / "a").open() as file:
            board.post("a", file, scope="user", replace=True)
        send("a", "b", "--replace")
        assert len(stored()) == 3
        send("a")
        send("a", "--replace")
        assert len(stored()) == 3


# ---- the real one --------------------------------------------------------------------------------


@pytest.mark.root
def test_it_comes_back_from_systemd(
    short_tmp: Path, broker: Running, board: Board, entries: list[str]
) -> None:
    """A service that starts again posts the very same open files."""
    with real_manager(short_tmp, {"PAGSRV_DIR": broker.dir}) as manager:
        with board.open("b") as fd:
            os.read(fd.fileno(), 5)
        manager.export(*entries)
        for name in entries:
            board.remove(name, "user")
        assert manager.restart() == entries
        assert sorted(board.names()) == entries
        with board.open("b") as fd:
            assert os.read(fd.fileno(), 100) == b"is b\n", "its offset is where it was"


@pytest.mark.root
@pytest.mark.usefixtures("entries")
def test_systemd_keeps_no_more_than_it_has_room_for(
    short_tmp: Path, broker: Running, board: Board
) -> None:
    """And says so to nobody: this is what the document warns of."""
    with real_manager(short_tmp, {"PAGSRV_DIR": broker.dir}, most=2) as manager:
        manager.export("a", "b", "c")
        assert manager.stored() == 2
        for name in "abc":
            board.remove(name, "user")
        assert len(manager.restart()) == 2 == len(board.names())


@pytest.mark.root
def test_a_dead_connection_stays_in_the_store(
    short_tmp: Path, broker: Running, board: Board
) -> None:
    """FDPOLL=0: but for entries that end so, too."""
    with real_manager(short_tmp, {"PAGSRV_DIR": broker.dir}) as manager:
        ends = [socket.socketpair() for _ in range(2)]
        board.post("stays", ends[0][0], scope="user")
        board.post("goes", ends[1][0], scope="user", until=["hup"])
        manager.export("stays", "goes")
        assert manager.stored() == 2
        for mine, other in ends:
            mine.close()
            other.close()
        board.remove("stays", "user")
        assert manager.restart() == ["stays"]
        assert board.names() == ["stays"]


@pytest.mark.root
def test_hundreds_come_back(short_tmp: Path, broker: Running, board: Board) -> None:
    """More than one message of the board's brings."""
    names = [f"n{number:03}" for number in range(300)]
    for name in names:
        (short_tmp / name).touch()
        with (short_tmp / name).open() as file:
            board.post(name, file, scope="user")
    with real_manager(short_tmp, {"PAGSRV_DIR": broker.dir}) as manager:
        manager.export(*names)
        assert manager.stored() == 300
        for name in names:
            board.remove(name, "user")
        assert manager.restart() == names
    for entry in board.list():
        with board.open(entry.name) as fd:
            assert os.fstat(fd.fileno()).st_ino == (short_tmp / entry.name).stat().st_ino


@pytest.mark.root
def test_a_users_manager_can_be_robbed(
    short_tmp: Path, other_uid: int, anybody_python: Anybody
) -> None:
    """H5: a process of its uid opens what is stored; so what a session has is refused there."""
    short_tmp.chmod(0o777)
    (short_tmp / "broker").mkdir()
    os.chown(short_tmp / "broker", other_uid, other_uid)
    for name in ("users", "sessions"):
        (short_tmp / name).write_text(f"this is the {name}'\n")
        (short_tmp / name).chmod(0o644)
    argv = [*anybody_python.argv, "-m", "pagsrv.daemon"]
    whose = identity(other_uid)
    with (
        running_broker(short_tmp / "broker", argv=argv, env=anybody_python.env, **whose) as broker,
        Actor(other_uid) as actor,
        real_manager(short_tmp, {"PAGSRV_DIR": broker.dir}, whose=Whose(other_uid, anybody_python))
        as manager,
    ):  # fmt: skip

        def pagsrv(*words: str) -> Said:
            address = {"NOTIFY_SOCKET": str(short_tmp / "manager/rt/systemd/notify")}
            env = environment(broker.dir, address) | anybody_python.env
            return actor(execute, [*anybody_python.argv, "-m", "pagsrv", *words], env, None, ())

        assert pagsrv("post", "users", "--open", str(short_tmp / "users"), "--scope", "user") == (
            0, "", ""
        )  # fmt: skip
        assert pagsrv("post", "sessions", "--open", str(short_tmp / "sessions")) == (0, "", "")
        said = pagsrv("fdstore", "export", "users", "sessions")
        assert (said.status, "lie open to every process" in said.err) == (4, True), said
        manager.export("users")
        assert manager.stored() == 1
        found = manager.run("sh -c 'cat $(find /proc/'$manager'/fd -lname \"*/users\")'")
        assert found == "this is the users'"


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.usefixtures("entries")
def test_what_is_said_to_the_manager(kept: Keeper, broker: Running) -> None:
    """In the words of sd_notify(3), one descriptor a message."""
    assert export(broker, kept, "a", "--replace", "--scope", "user") == (0, "", "")
    assert kept.said == ["FDSTOREREMOVE=1\nFDNAME=a", "FDSTORE=1\nFDNAME=a\nFDPOLL=0"]
    assert os.pread(kept.kept[0][1].fileno(), 100, 0) == b"this is a\n"


def test_names_that_a_store_cannot_hold(kept: Keeper, broker: Running, board: Board) -> None:
    """One is enough, and nothing is sent."""
    board.create("fine", scope="user")
    for name in ("a:b", "ü"):
        with open(os.devnull) as file:
            board.post(name, file, scope="user")
        said = export(broker, kept, "fine", name)
        assert (said.status, said.out, said.err.count("\n")) == (2, "", 1)
        assert "rename it first" in said.err
    assert kept.said == []


@pytest.mark.usefixtures("entries")
def test_all_or_nothing_is_sent(kept: Keeper, broker: Running, board: Board) -> None:
    """What is not there, is empty, or is more than there is room for."""
    board.create("empty", scope="user")
    assert export(broker, kept, "a", "none").status == 3
    assert export(broker, kept, "a", "empty").status == 9
    said = export(broker, kept, "a", "b", FDSTORE="1")
    assert (said.status, "FileDescriptorStoreMax=" in said.err) == (1, True)
    assert kept.said == []
    assert export(broker, kept, "a", "b", FDSTORE="2").status == 0


@pytest.mark.usefixtures("entries")
def test_without_a_manager(broker: Running) -> None:
    """It says where this is of use; or that nobody is there."""
    told = environment(broker.dir)
    said = execute([*COMMAND, "fdstore", "export", "a"], told, None, ())
    assert (said.status, "NOTIFY_SOCKET is not set" in said.err) == (1, True)
    told["NOTIFY_SOCKET"] = "/nonexistent/notify"
    said = execute([*COMMAND, "fdstore", "export", "a"], told, None, ())
    assert (said.status, "cannot be told" in said.err) == (1, True)


@pytest.mark.parametrize(
    "words", [["export"], ["hoard"], ["import", "a"], ["export", "a", "--", "true"], []]
)
def test_wrong_words_are_2(broker: Running, words: list[str]) -> None:
    """With a sentence."""
    said = execute([*COMMAND, "fdstore", *words], environment(broker.dir), None, ())
    assert (said.status, said.out, said.err.count("\n")) == (2, "", 1)


@pytest.mark.root
def test_what_a_session_has_goes_to_no_manager_of_the_uid(
    kept: Keeper, broker: Running, other_uid: int, short_tmp: Path
) -> None:
    """H5: every process of the uid could take it from there; who wants that says so."""
    with Actor() as actor:
        login = Login(actor, broker.dir)
        (short_tmp / "secret").touch()
        login.must("post", "secret", "--open", str(short_tmp / "secret"))
        login.must("post", "open", "--open", str(short_tmp / "secret"), "--scope", "user")
        env = {"NOTIFY_SOCKET": kept.path}
        os.chown(kept.path, other_uid, other_uid)
        said = login("fdstore", "export", "open", "secret", env=env)
        assert (said.status, kept.said) == (4, [])
        assert "secret would lie open to every process of your uid" in said.err
        assert login("fdstore", "export", "open", env=env).status == 0
        assert login("fdstore", "export", "secret", "--user-manager", env=env).status == 0
        os.chown(kept.path, 0, 0)
        assert login("fdstore", "export", "secret", "--replace", env=env).status == 0
        assert kept.names() == ["open", "secret"]
        (short_tmp / "link").symlink_to(kept.path)
        (short_tmp / "open").mkdir()
        (short_tmp / "open").chmod(0o777)
        (short_tmp / "open" / "notify").hardlink_to(kept.path)
        # Each leads to root's, and to another's as soon as somebody has it so.
        for path in (short_tmp / "link", short_tmp / "open" / "notify", Path("relative")):
            env = {"NOTIFY_SOCKET": str(path)}
            assert login("fdstore", "export", "secret", env=env).status == 4
        assert kept.names() == ["open", "secret"]
