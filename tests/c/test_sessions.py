# SPDX-License-Identifier: MIT
"""libpagsrv in real sessions, at real brokers: what is proved, whose a peer is, who may act.

The law: each way of building passes all of it, and the driver ends with nothing lost (the
sanitizer's own word). It refuses to know the messages.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.c.building import Built
from tests.c.driving import Member, dial, member
from tests.installing import Installed
from tests.running import POSSESSION, Running, running_broker

pytestmark = pytest.mark.kernel


# ── scopes ──


def test_a_session_is_proved_by_possession(one: Member) -> None:
    """The session first, isolated; then the user."""
    scopes = [told.split("|") for told in one.must("scopes").more]
    assert scopes[0][0].startswith("session:")
    assert scopes[0][1:] == ["possession", "isolated"]
    assert scopes[1] == [f"user:{os.geteuid()}", "user", "none"]


def test_sessions_of_one_uid_are_apart(
    built: Built, broker: Running, one: Member, file: str, name: str
) -> None:
    """Bare it is not there, in full it is denied, and listed is neither."""
    one.must("post", name, one.must("file", file).result)
    full = f"{one.session()}/{name}"
    with member(built) as stranger:
        stranger.attached(broker.dir, changes=False)
        assert stranger("open", name, None)[:3] == (-1, "ENOENT", 3)
        assert stranger("open", full, None)[:3] == (-1, "EACCES", 4)
        assert stranger("stat", full, None).entry["rights"] == "-----v"
        assert all(name not in told for told in stranger.must("list", None).more)
        stranger.must("close")
    assert one.must("open", full, None).result > 2


def test_another_uid_sees_nothing(
    built: Built, broker: Running, one: Member, name: str, other_uid: int
) -> None:
    """Not even that there is something."""
    one.must("post", name, one.must("file", "/etc/passwd").result)
    full = f"{one.session()}/{name}"
    with member(built, other_uid) as stranger:
        stranger.attached(broker.dir, changes=False)
        for asked in (name, full):
            assert stranger("open", asked, None)[:3] == (-1, "ENOENT", 3)
        stranger.must("close")


def test_a_named_ring_is_linkable_and_said_so(
    built: Built, broker: Running, file: str, name: str
) -> None:
    """It is proved, and never what a post goes to unasked."""
    with member(built, ring=f"pagsrv-c-{os.getpid()}") as mine:
        mine.attached(broker.dir)
        assert mine.must("scopes").more[0].endswith("|possession|linkable")
        fd = mine.must("file", file).result
        refused = mine("post", name, fd)
        assert refused[:3] == (-1, "ENOKEY", 7)
        assert "--scope user" in refused.sentence
        mine.must("post", name, fd, "scope=session")
        assert mine.must("stat", name, None).entry["full"] == f"{mine.session()}/{name}"
        mine.must("close")


def test_a_scope_named_and_not_proved_is_refused(built: Built, broker: Running) -> None:
    """With the reason; the others are there all the same."""
    with member(built) as mine:
        mine.must("connect", broker.dir, 0)
        refused = mine("attach", "user", "pag")
        assert refused[:3] == (-1, "ENOKEY", 7)
        assert refused.sentence.startswith("you are proved in no pag scope: ")
        refused = mine("attach", "session:1", "user")
        assert refused[:3] == (-1, "ENOKEY", 7)
        assert mine("attach", "nonsense")[:3] == (-1, "EINVAL", 2)
        assert [told.split("|")[0] for told in mine.must("scopes").more] == [f"user:{os.geteuid()}"]
        # Nor does it get more scopes than were asked for by announcing changes later.
        assert mine("attach", "user", "pag")[1] == "ENOKEY"
        assert mine("post", "x", -1)[:3] == (-1, "ENOKEY", 7)
        assert mine("attach", *["user"] * 17)[:3] == (-1, "EINVAL", 2)
        mine.must("attach", "session")
        assert mine.must("scopes").result == 1
        mine.must("close")


def test_twenty_at_once_are_all_proved(built: Built, broker: Running) -> None:
    """Of one session: nonces take turns, and one overtaken is tried again."""
    with member(built) as mine:
        assert mine.actor(_attach_many, built, broker.dir, 20) == 20


def _attach_many(built: Built, directory: str, count: int) -> int:
    script = f"connect\t{directory}\t1\nattach\tsession\nscopes\nclose\n"
    started = [
        subprocess.Popen(built.argv, env={**os.environ, **built.env}, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(count)
    ]  # fmt: skip
    for process in started:
        assert process.stdin is not None
        process.stdin.write(script)
        process.stdin.flush()
    return sum("|possession|isolated" in process.communicate()[0] for process in started)


# ── whose is it ──


def test_whois_without_the_kernel(built: Built, one: Member, short_tmp: Path) -> None:
    """What the kernel tells of every peer; the session is not known, and nobody guesses."""
    path = str(short_tmp / "s")
    one.must("listen", path)
    with member(built) as peer:
        peer.actor(dial, path)
        told = one.must("whois", one.must("accept").result).more[0].split("|")
    session, pag, cred, alive, _, _, _, _, pid, uid, gid = told
    assert (session, pag, cred, alive) == ("0", "0", "1", "1")
    assert (int(uid), int(gid)) == (os.geteuid(), os.getegid())
    assert int(pid) > 0
    assert one("whois", one.must("file", "/etc/passwd").result)[:3] == (-1, "EINVAL", 2)


def test_whois_and_proof_by_the_kernel(
    built: Built, kernel_broker: Running, short_tmp: Path, name: str
) -> None:
    """Where it tells sessions: of the peer, and of ourselves without a nonce."""
    path = str(short_tmp / "s")
    with member(built) as mine, member(built) as peer:
        mine.attached(kernel_broker.dir)
        assert "|kernel|isolated" in mine.must("scopes").more[0]
        mine.must("listen", path)
        pid = peer.actor(dial, path)
        told = mine.must("whois", mine.must("accept").result).more[0].split("|")
        ring = peer.attached(kernel_broker.dir).session()
        assert told == ["1", "0", "1", "1", ring.partition(":")[2], "isolated", "kernel", "0",
                        str(pid), str(os.geteuid()), str(os.getegid())]  # fmt: skip
        # What is counted on without asking is right here, too.
        mine.must("post", name, mine.must("file", "/etc/passwd").result)
        mine.must("close")
        mine.must("connect", kernel_broker.dir, 0)
        mine.must("attach")
        mine.must("open", name, None)
        mine.must("close")
        peer.must("close")


@pytest.mark.parametrize("groups", [(0x41001234,), (0x8300, 0x8400)])
def test_who_may_be_in_a_pag_counts_on_nothing(
    built: Built, kernel_broker: Running, other_uid: int, name: str, groups: tuple[int, ...]
) -> None:
    """A PAG is looked for at Attach alone: an open before it would be looked up past the PAG."""
    with member(built, other_uid, groups=groups) as mine:
        mine.attached(kernel_broker.dir)
        known = [told.partition(":")[0] for told in mine.must("scopes").more]
        assert known == ["session", "pag", "user"][:: 1 if len(groups) == 1 else 2]
        for number, scope in enumerate(known[1:]):
            path = ("/etc/passwd", "/etc/group")[number]
            mine.must("post", name, mine.must("file", path).result, f"scope={scope}")
        expected = mine.must("read", mine.must("file", "/etc/passwd").result).more[0]
        mine.must("close")
        mine.attached(kernel_broker.dir, changes=False)
        opened = mine.must("open", name, None).result
        assert mine.must("read", opened).more[0] == expected
        mine.must("close")


def test_a_hint_that_is_wrong_opens_nothing_else(
    built: Built,
    answering: Installed,  # noqa: ARG001
    short_tmp: Path,
    file: str,
    name: str,
) -> None:
    """The kernel would tell, the broker does not ask it: the session's entry is opened, proved."""
    with running_broker(short_tmp, use=POSSESSION) as broker, member(built) as mine:
        mine.attached(broker.dir)
        mine.must("post", name, mine.must("file", "/etc/passwd").result, "scope=user")
        mine.must("post", name, mine.must("file", file).result)
        mine.must("close")
        mine.attached(broker.dir, changes=False)
        for _ in range(2):
            opened = mine.must("open", name, None).result
            assert mine.must("read", opened).more[0] == "this is it"
        assert mine.must("scopes").more[0].endswith("|possession|isolated")
        mine.must("close")


# ── processes and connections ──


def test_a_child_connects_anew(one: Member, broker: Running, file: str, name: str) -> None:
    """The connection acts for whoever connected, and the child's end of it harms nobody."""
    one.must("post", name, one.must("file", file).result)
    said = one("fork", "open", name, None)
    assert said[:3] == (-1, "EACCES", 4)
    assert "connects anew" in said.sentence
    assert one("fork", "close").result == 0
    assert one("fork", "connect", broker.dir, 0).result == 0
    one.must("open", name, None)


def test_ten_thousand_opens_leave_nothing(
    built: Built, short_tmp: Path, file: str, name: str
) -> None:
    """Neither here nor in the broker, which is this test's own."""
    with running_broker(short_tmp) as broker, member(built) as mine:
        mine.attached(broker.dir)
        mine.must("post", name, mine.must("file", file).result)
        mine.must("loop", 10, name, None)
        before = mine.must("fds").result, broker.descriptors()
        mine.must("loop", 10_000, name, None)
        assert (mine.must("fds").result, broker.descriptors()) == before
        mine.must("close")


def test_changes_are_announced_when_they_come(
    built: Built, broker: Running, file: str, name: str
) -> None:
    """Without PAGSRV_CHANGES, too; the session stays proved."""
    with member(built) as mine:
        mine.attached(broker.dir, changes=False)
        assert mine("open", name, None)[1] == "ENOENT"
        mine.must("post", name, mine.must("file", file).result)
        assert mine.must("stat", name, None).entry["full"].startswith("session:")
        mine.must("close")
        mine.must("connect", broker.dir, 0)
        mine.must("post", f"{name}-b", mine.must("file", file).result)
        mine.must("close")


def test_where_the_broker_is(built: Built, short_tmp: Path) -> None:
    """Nobody there, too long a path, flags that nobody knows."""
    with member(built) as mine:
        said = mine("connect", str(short_tmp / "none"), 0)
        assert said[:3] == (-1, "ECONNREFUSED", 6)
        assert said.sentence.startswith(f"no broker answers at {short_tmp}/none or /run/pagsrv: ")
        said = mine("connect", "/" + "x" * 120, 0)
        assert said[:3] == (-1, "ECONNREFUSED", 6)
        assert "too long a path" in said.sentence
        assert mine("connect", str(short_tmp), 2)[:3] == (-1, "EINVAL", 2)


def test_a_broker_that_is_gone(built: Built, short_tmp: Path, name: str) -> None:
    """ECONNREFUSED from then on, and close works."""
    with member(built) as mine:
        with running_broker(short_tmp) as mortal:
            mine.attached(mortal.dir)
            mortal.kill()
        assert mine("stat", name, None)[:3] == (-1, "ECONNREFUSED", 6)
        said = mine("open", name, None)
        assert said[:3] == (-1, "ECONNREFUSED", 6)
        assert "hung up" in said.sentence
        mine.must("close")
