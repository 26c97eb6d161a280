# SPDX-License-Identifier: MIT
"""Posted directories at a real broker: whose rights lead beneath, and by which calls.

The law: what a poster could not open itself nobody opens by its directory. It refuses to know
how a path is resolved.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from pagsrv.kernel import keys
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.libc import libc
from tests.actors import Actor
from tests.anybody import OTHER_UID
from tests.daemon import members
from tests.daemon.directories import (
    EVERYBODY,
    SECOND_UID,
    SHARED,
    directly,
    kind_of,
    member,
    mine_do,
    names,
    post_directory,
    read,
    refusal,
    tree,
    walkers,
)
from tests.daemon.members import mine
from tests.daemon.wire import Client
from tests.running import Running, running_broker

__all__ = ["tree"]

pytestmark = [pytest.mark.kernel, pytest.mark.root]

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h


# ---- whose rights --------------------------------------------------------------------------------


def test_opener_reads_with_the_posters_rights(broker: Running, tree: Path) -> None:
    """Another uid, which could not by itself; and what the poster may not, nobody may."""
    full = f"user:{OTHER_UID}/docs"
    with member(broker, OTHER_UID) as poster, member(broker, SECOND_UID) as opener:
        poster(post_directory, str(tree))
        assert opener(directly, str(tree / "own")) == "Permission denied"
        assert opener(read, f"{full}/own") == "own it is"
        assert opener(read, f"{full}/sub/own") == "sub/own it is"
        assert opener(names, f"{full}/sub") == ["own"]
        for name in ("roots", "shared"):
            error, message = opener(refusal, f"{full}/{name}")
            assert error == "Denied"
            assert "its poster's rights, and they do not suffice" in message
        # The broker is root's, and so is this process: that gives them nothing.
        with Client(broker.dir) as root:
            root.attach("user")
            assert root.refusal("Open", name=f"{full}/roots") == "Denied"
            assert read(f"{full}/own", root) == "own it is"


def test_groups_are_the_posters(broker: Running, tree: Path) -> None:
    """Of two posters of one uid each has its own, whoever asks first, and later too."""
    with (
        member(broker, OTHER_UID, groups=(SHARED,)) as one,
        member(broker, OTHER_UID) as other,
    ):
        one(post_directory, str(tree), "with")
        other(post_directory, str(tree), "without")
        for _ in range(2):
            assert other(read, "with/shared") == "shared it is"
            assert one(refusal, "without/shared")[0] == "Denied"
        # As of the post: that it has left its group since takes nothing away.
        one.close()
        assert other(read, "with/shared") == "shared it is"


def test_root_has_no_capability_beneath(broker: Running, tree: Path) -> None:
    """What root posted opens what root's ids open, and not what its capabilities would."""
    with Client(broker.dir) as root:
        root.attach("user")
        tree.chmod(0o755)
        with Fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            root.do("Post", [fd.fileno()], name="docs", fd=0, scope="user")
        assert read("docs/roots", root) == "roots it is"
        assert root.refusal("Open", name="docs/own") == "Denied"


def test_writing_takes_the_right_and_the_posters(broker: Running, tree: Path) -> None:
    """The mask lets an opener write, and the file its poster."""
    full = f"user:{OTHER_UID}/docs"
    (tree / "own").chmod(0o600)
    (tree / "kept").write_text("kept")
    (tree / "kept").chmod(0o644)
    readers = "alswrv" + "-" * 12 + "--s-rv"
    with member(broker, OTHER_UID) as poster, member(broker, SECOND_UID) as opener:
        poster(post_directory, str(tree), mask=readers)
        assert opener(read, f"{full}/own") == "own it is"
        assert opener(refusal, f"{full}/own", access="rw")[0] == "Denied"
        poster(mine_do, "SetMask", name="docs", mask=EVERYBODY)
        opener(write, f"{full}/own")
        assert (tree / "own").read_text() == "XXn it is"
        assert opener(refusal, f"{full}/kept", access="w")[0] == "Denied"
        assert opener(read, f"{full}/kept") == "kept"


def write(name: str) -> None:
    """Write over the beginning of the file beneath."""
    with mine().open(name, access="rw") as fd:
        os.pwrite(fd.fileno(), b"XX", 0)


# ---- rights that are not to be had ---------------------------------------------------------------


def change_groups_and_post(path: str) -> None:
    """Post over a connection made in other groups (root's to do)."""
    os.setgroups([])
    post_directory(path)


def drop_to(uid: int, path: str) -> None:
    """Post as *uid* over a connection that was made as root."""
    os.setresuid(uid, uid, uid)
    post_directory(path)


def confine_and_post(path: str) -> None:
    """Post under no_new_privs."""
    assert libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    post_directory(path)


def test_rights_given_up_since_connect_are_not_lent(broker: Running, tree: Path) -> None:
    """What dropped its ids, its groups, or is confined: the directory itself, and no more."""
    tree.chmod(0o755)
    for post, more in (
        (drop_to, (OTHER_UID,)), (change_groups_and_post, ()), (confine_and_post, ()),
    ):  # fmt: skip
        with Actor(0, groups=(SHARED,)) as poster:
            poster(members.join, broker.dir, "user")
            poster(post, *more, str(tree))  # type: ignore[arg-type]
            error, message = poster(refusal, "docs/roots")
            assert (error, message[:29]) == ("Denied", "nobody may go beneath user:0/")
            assert poster(kind_of, "docs") == stat.S_IFDIR
            poster(mine_do, "Remove", name="docs")


def test_a_mere_place_is_not_gone_beneath(broker: Running, tree: Path) -> None:
    """An O_PATH descriptor takes no right to make."""
    with member(broker, OTHER_UID) as poster:
        poster(post_directory, str(tree), flags=os.O_PATH)
        error, message = poster(refusal, "docs/own")
        assert error == "Denied"
        assert "O_PATH" in message


def test_a_users_broker_lends_its_own_groups_alone(user_broker: Running, tree: Path) -> None:
    """It cannot change them, so who is in others is told so; its own uid it is anyhow."""
    with member(user_broker, OTHER_UID) as poster, member(user_broker, OTHER_UID) as opener:
        poster(post_directory, str(tree))
        assert opener(read, "docs/own") == "own it is"
        assert opener(refusal, "docs/shared")[0] == "Denied"
    with member(user_broker, OTHER_UID, groups=(SHARED,)) as poster:
        poster(post_directory, str(tree), "other")
        error, message = poster(refusal, "other/own")
        assert error == "Denied"
        assert "in other groups than this broker" in message


def test_a_broker_that_may_become_nobody(short_tmp: Path, tree: Path) -> None:
    """Root's without CAP_SETUID: its own it may be, and of others it says why not."""
    without = ("setpriv", "--bounding-set", "-setuid,-setgid")
    tree.chmod(0o755)
    with (
        running_broker(short_tmp, argv=(*without, sys.executable, "-m", "pagsrv.daemon")) as broker,
        member(broker, OTHER_UID) as poster, Client(broker.dir) as root,
    ):  # fmt: skip
        poster(post_directory, str(tree))
        error, message = poster(refusal, "docs/own")
        assert error == "Denied"
        assert f"the kernel did not make us uid {OTHER_UID}: Operation not permitted" in message
        root.attach("user")
        with Fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            root.do("Post", [fd.fileno()], name="docs", fd=0, scope="user")
        assert read("docs/roots", root) == "roots it is"


# ---- the calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["seqpacket", "stream"])
def test_many_in_one_call(broker: Running, tree: Path, stream: bool) -> None:  # noqa: FBT001
    """Entries and what lies beneath, in their order; pipelined calls are answered in theirs."""
    with Client(broker.dir, stream=stream) as client, member(broker, OTHER_UID) as poster:
        client.attach("user")
        poster(post_directory, str(tree))
        full = f"user:{OTHER_UID}/docs"
        many = [f"{full}/own", full, f"{full}/sub/own", f"{full}/sub"]
        client.ask("OpenMany", {"names": many})
        client.ask("Open", {"name": f"{full}/own"})
        client.ask("Walk", {"name": f"{full}/sub/"})
        answer = client.hear()
        assert answer.parameters == {"fds": [0, 1, 2, 3]}
        kinds = [stat.S_IFMT(os.fstat(fd.fileno()).st_mode) for fd in answer.fds]
        assert kinds == [stat.S_IFREG, stat.S_IFDIR, stat.S_IFREG, stat.S_IFDIR]
        assert os.read(answer.fds[2].fileno(), 99) == b"sub/own it is"
        answer.fine()
        assert len(answer.fds) == 4
        single = client.hear()
        assert (single.parameters, len(single.fds)) == ({"fd": 0}, 1)
        single.fine()
        assert client.hear().fine()["at"] == f"{full}/sub"
        assert client.refusal("OpenMany", names=[*many, f"{full}/missing"]) == "NoEntry"
        assert client.refusal("Take", name=f"{full}/own") == "InvalidParameter"
        assert client.refusal("Stat", name=f"{full}/own") == "InvalidParameter"


def test_oneway_opens_nothing(broker: Running, tree: Path) -> None:
    """Nobody would get it."""
    with Client(broker.dir) as client, member(broker, OTHER_UID) as poster:
        client.attach("user")
        poster(post_directory, str(tree))
        client.ask("Open", {"name": f"user:{OTHER_UID}/docs/own"}, oneway=True)
        client.do("Health")
        assert walkers(broker) == []


def test_a_session_of_its_own(broker: Running, tree: Path) -> None:
    """In a session scope as in any: a guest by the full name, for reading."""
    with Actor() as poster, Actor() as guest, Actor() as stranger:
        for actor in (poster, guest, stranger):
            actor(members.join, broker.dir)
        session = f"session:{poster(keys.session_ring)}"
        tree.chmod(0o755)
        poster(post_directory, str(tree), scope="session", mask="alswrv-----v------------")
        assert poster(read, "docs/roots") == "roots it is"
        to = f"session:{guest(keys.session_ring)}"
        poster(mine_do, "Grant", name="docs", to=to)
        assert guest(read, f"{session}/docs/roots") == "roots it is"
        assert guest(refusal, f"{session}/docs/roots", access="w")[0] == "Denied"
        assert stranger(refusal, f"{session}/docs/roots")[0] == "Denied"
        assert stranger(refusal, "docs/roots")[0] == "NoEntry"
