# SPDX-License-Identifier: MIT
"""Whom the s6 door serves: who is shown to be in its scope, and nobody else.

The law: each test has an outsider of the same uid who tries. It refuses to know what is
served.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from tests.actors import Actor
from tests.anybody import Anybody
from tests.cli.command import Login
from tests.conftest import StartAs, identity
from tests.doors.s6.conftest import Door, clients, running_door, stored, wait_door
from tests.installing import Installed, answering, nobody_answers
from tests.running import ITERATOR, KERNEL, Running, running_broker

__all__ = ["answering", "nobody_answers"]

pytestmark = pytest.mark.kernel

EPERM = os.strerror(errno.EPERM)


@contextmanager
def session_door(
    tmp: Path, use: tuple[str, ...], *words: str
) -> Iterator[tuple[Door, Login, Running]]:
    """A broker, a session, and a door to it that was started there."""
    (tmp / "broker").mkdir()
    with running_broker(tmp / "broker", use=use) as broker, Actor() as actor:
        login = Login(actor, broker.dir)
        with running_door(tmp, broker.dir, "--scope", "session", *words, by=actor) as door:
            yield door, login, broker


def outsider_is_refused(door: Door, note: str) -> None:
    """A process of the uid in another session gets EPERM, whatever it asks for."""
    with Actor() as outsider:
        for said in (
            outsider(clients, "s6-fdholder-list", door.path),
            outsider(stored, door.path, "b", note),
            outsider(clients, "s6-fdholder-retrieve", door.path, "a", "cat"),
            outsider(clients, "s6-fdholder-retrieve", "-D", door.path, "a", "cat"),
            outsider(clients, "s6-fdholder-delete", door.path, "a"),
            outsider(clients, "s6-fdholder-getdump", door.path, "env"),
            outsider(clients, "s6-fdholder-transferdump", door.path, door.path),
        ):
            assert said.status != 0
            assert said.err.endswith(f"{EPERM}\n"), said
            assert said.out == ""
    assert "a peer is not served: it is not shown to be in session:" in door.log


def insider_is_served(door: Door, login: Login, note: str) -> None:
    """A process of the session stores and gets back."""
    assert login.actor(stored, door.path, "a", note).status == 0
    said = login.actor(clients, "s6-fdholder-retrieve", door.path, "a", "cat")
    assert said == (0, "what the file says\n", "")
    assert login.must("ls").out == f"{login.scope()}/a\n"


@pytest.mark.root
def test_only_the_session_is_served(answering: Installed, short_tmp: Path, note: str) -> None:
    """Where the kernel tells; and no more once it does not, be it who was served before."""
    with session_door(short_tmp, KERNEL) as (door, login, _):
        insider_is_served(door, login, note)
        outsider_is_refused(door, note)
        answering.remove()
        assert login.actor(clients, "s6-fdholder-list", door.path).err.endswith(f"{EPERM}\n")
        answering.install()
        assert login.actor(clients, "s6-fdholder-list", door.path) == (0, "a\n", "")


@pytest.mark.root
@pytest.mark.usefixtures("nobody_answers")
def test_the_brokers_iterator_will_do(short_tmp: Path, note: str) -> None:
    """The broker is asked about the peer's socket where SO_PEERKEYRING is not."""
    with session_door(short_tmp, ITERATOR) as (door, login, _):
        insider_is_served(door, login, note)
        outsider_is_refused(door, note)


@pytest.mark.root
@pytest.mark.usefixtures("nobody_answers")
def test_without_the_kernels_word_nobody_is(short_tmp: Path, login: Login) -> None:
    """The door does not open, and says what to do."""
    short_tmp.chmod(0o700)
    path = short_tmp / "s6"
    said = login("door", "s6", str(path))
    assert (said.status, said.out) == (7, "")
    assert "pagsrv peerkeyring install" in said.err
    assert "--same-uid" in said.err
    assert not path.exists()


def test_the_uid_will_do_where_it_is_said(short_tmp: Path, note: str) -> None:
    """--same-uid: the outsider is served as well."""
    with session_door(short_tmp, ("possession",), "--same-uid") as (door, login, _):
        insider_is_served(door, login, note)
        with Actor() as outsider:
            said = outsider(clients, "s6-fdholder-retrieve", door.path, "a", "cat")
            assert said.status == 0
        assert door.log.endswith(f" to every process of uid {os.geteuid()}\n")


def test_the_user_scope_is_for_every_session(door: Door, note: str) -> None:
    """Of that uid."""
    for _ in range(2):
        with Actor() as actor:
            stored(door.path, "a", note)
            assert actor(clients, "s6-fdholder-list", door.path) == (0, "a\n", "")


@pytest.mark.root
def test_another_uid_is_kept_out(door: Door, other_uid: int, note: str) -> None:
    """By the socket's mode, and where that lets it in by the door."""
    assert stored(door.path, "a", note).status == 0
    os.chmod(door.path, 0o666)  # noqa: S103 -- somebody was careless
    os.chmod(os.path.dirname(door.path), 0o755)  # noqa: S103 -- as well
    said = clients("s6-fdholder-list", door.path, **identity(other_uid))
    assert (said.status, said.err.endswith(f"{EPERM}\n")) == (1, True), said
    assert f"it is uid {other_uid}, and this door serves uid 0 only" in door.log


@pytest.mark.root
@pytest.mark.usefixtures("answering")
def test_of_any_uid_at_roots_broker(
    anybody_python: Anybody, other_uid: int, short_tmp: Path
) -> None:
    """The door is a user's, and the broker the machine's: the same holds."""
    place = short_tmp / "place"
    (short_tmp / "broker").mkdir(mode=0o755)
    place.mkdir()
    (place / "note").write_text("what the file says\n")
    os.chown(place, other_uid, other_uid)
    with (
        running_broker(short_tmp / "broker", use=KERNEL) as broker,
        Actor(other_uid) as actor, Actor(other_uid) as outsider,
        running_door(
            place, broker.dir, "--scope", "session", by=actor, way=anybody_python
        ) as door,
    ):  # fmt: skip
        assert actor(stored, door.path, "a", str(place / "note")).status == 0
        said = actor(clients, "s6-fdholder-retrieve", door.path, "a", "cat")
        assert said == (0, "what the file says\n", "")
        for stranger in (outsider, Actor()):
            with stranger as one:
                said = one(clients, "s6-fdholder-retrieve", door.path, "a", "cat")
                assert said.err.endswith(f"{EPERM}\n")


@pytest.mark.root
def test_only_the_pag_is_served(board: Running, short_tmp: Path, note: str) -> None:
    """By the groups that the kernel shows: no SO_PEERKEYRING is needed."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a process a PAG")
    member = {"groups": (0x41000123,)}
    with (
        Actor(0, **member) as inside, Actor(0, **member) as too, Actor(0) as outside,
        running_door(short_tmp, board.dir, "--scope", "pag", by=inside) as door,
    ):  # fmt: skip
        assert too(stored, door.path, "a", note).status == 0
        assert inside(clients, "s6-fdholder-list", door.path) == (0, "a\n", "")
        assert outside(clients, "s6-fdholder-list", door.path).err.endswith(f"{EPERM}\n")


@pytest.mark.root
def test_nobody_of_the_uid_looks_into_the_door(
    anybody_python: Anybody, other_uid: int, start_as: StartAs, short_tmp: Path
) -> None:
    """It is not dumpable: its descriptors belong to root, and cannot be taken from it."""
    short_tmp.chmod(0o777)
    whose = identity(other_uid)
    argv = [*anybody_python.argv, "-m", "pagsrv.daemon"]
    place = short_tmp / "place"
    place.mkdir(mode=0o700)
    os.chown(place, other_uid, other_uid)
    with running_broker(short_tmp, argv=argv, env=anybody_python.env, **whose) as broker:
        words = ["-m", "pagsrv.doors.s6", "--dir", broker.dir, "--scope=user", str(place / "s6")]
        door = start_as(other_uid, [*anybody_python.argv, *words], env=anybody_python.env)
        assert door.stderr is not None
        assert "serving" in door.stderr.readline()
        thief = f"import os; os.listdir('/proc/{door.pid}/fd')"
        argv = [*anybody_python.argv, "-c", thief]
        said = clients(*argv, **whose)
        assert "PermissionError" in said.err
        assert clients("s6-fdholder-list", str(place / "s6"), **whose) == (0, "", "")


def revoke() -> None:
    """End the session that we are in."""
    keys.revoke(keys.session_ring())


@pytest.mark.root
@pytest.mark.usefixtures("answering")
def test_the_door_ends_with_the_session(short_tmp: Path) -> None:
    """A revoked ring ends the scope, and so the door, which says so."""
    (short_tmp / "broker").mkdir()
    with running_broker(short_tmp / "broker", use=KERNEL) as broker, Actor() as actor:
        words = ("--scope", "session")
        with running_door(short_tmp, broker.dir, *words, by=actor, status=6) as door:
            actor(revoke)
            assert actor(wait_door) == 6
            assert "the scope has ended" in door.log
