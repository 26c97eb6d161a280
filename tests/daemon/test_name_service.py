# SPDX-License-Identifier: MIT
"""A name service that does not answer, as one behind a network may not.

The law: who has no group that looks like a PAG does not notice; who has one is told in a
sentence that it does not count, and is a member of its other scopes. It refuses to know
how groups become a PAG.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actors import Actor, held
from tests.daemon import asking, members
from tests.daemon.waiting import until
from tests.daemon.wire import Client, post
from tests.running import Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]

PAG = 0x41000000 + 4711


@pytest.fixture
def deaf(short_tmp: Path) -> Iterator[Running]:
    """A broker for which /etc/group is a pipe that nobody writes to: opening it waits."""
    pipe = short_tmp / "group"
    os.mkfifo(pipe)
    script = 'mount --bind "$0" /etc/group && exec "$@"'
    argv = ("unshare", "--mount", "sh", "-c", script, str(pipe), sys.executable, "-m")
    with running_broker(short_tmp, argv=(*argv, "pagsrv.daemon")) as broker:
        yield broker


def test_who_waits_for_it_is_told_so(deaf: Running, other_uid: int, short_tmp: Path) -> None:
    """Several wait at once, one of them leaves, and a neighbour is served all the while."""
    with (
        Client(deaf.dir) as neighbour,
        Client(deaf.dir) as other,
        Actor(other_uid + 1, groups=(PAG,)) as one,
        Actor(other_uid, groups=(PAG,)) as two,
        Actor(other_uid, groups=(PAG,)) as three,
    ):
        for actor in (one, two, three):
            actor(_ask_to_attach, deaf.dir)
        neighbour.attach("user")
        post(neighbour, "x", scope="user")
        assert other.refusal("Stat", name="x") == ""
        three(members.leave)
        for actor in (one, two):
            assert not [
                proof for proof in actor(members.hear)["scopes"] if "pag:" in proof["scope"]
            ]
            told = actor(members.do, "WhoAmI")["refused"]
            (refused,) = [one["why"] for one in told if one["scope"] == "pag"]
            assert refused == (
                f"whether the group {PAG} is a PAG is not known: the name service does not say "
                "whether it has a name; try again later"
            )
        assert neighbour.refusal("Stat", name="x") == ""
        # It comes back, and so does the PAG.
        umount = ["umount", "--lazy", "/etc/group"]
        subprocess.run(["nsenter", "--mount", f"--target={deaf.pid}", *umount], check=True)
        os.close(os.open(short_tmp / "group", os.O_WRONLY | os.O_NONBLOCK))
        until(
            lambda: f"pag:{PAG}" in two(members.join, deaf.dir, "pag"),
            lambda: neighbour.do("Health"),
            "the PAG is proved",
        )


def _ask_to_attach(dir: str) -> None:  # noqa: A002
    members.leave()
    held["client"] = Client(dir)
    members.ask("Attach", changes=True)


def test_several_groups_are_not_looked_up(deaf: Running, other_uid: int) -> None:
    """None of them counts, whatever the name service would say."""
    with Actor(other_uid, groups=(PAG, PAG + 1)) as actor, Client(deaf.dir) as neighbour:
        assert not any(one.startswith("pag:") for one in actor(members.join, deaf.dir))
        threads = os.listdir(f"/proc/{deaf.pid}/task")
        assert neighbour.do("Health")
    assert len(threads) == 1, "nobody was sent to ask"


def test_who_asks_whose_it_is(deaf: Running, other_uid: int, short_tmp: Path) -> None:
    """Nobody trusted, so that a thread is sent to ask: it waits no longer than others."""
    short_tmp.chmod(0o777)
    path = str(short_tmp / "door")
    with Actor(other_uid) as asker, Actor(other_uid, groups=(PAG,)) as shown:
        asker(members.join, deaf.dir, "user")
        asker(asking.listen, path)
        shown(asking.connect, path)
        asker(asking.accept)
        pag = asker(asking.whois)["pag"]
        assert pag.value is None
        assert "is not known: the name service does not say" in pag.why
