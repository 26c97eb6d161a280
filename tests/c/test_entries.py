# SPDX-License-Identifier: MIT
"""libpagsrv's calls on entries at a real broker: every function, and what each refuses.

The law: as in test_sessions.py. It refuses to know the messages.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest

from tests.c.building import Built
from tests.c.driving import Member, dial, member
from tests.running import Running

pytestmark = pytest.mark.kernel


# ── entries ──


def test_what_is_opened_is_what_was_posted(one: Member, file: str, name: str) -> None:
    """Close-on-exec and the caller's; what was posted stays the poster's."""
    fd = one.must("file", file).result
    one.must("post", name, fd)
    opened = one.must("open", name, None).result
    assert opened != fd
    assert one.must("read", opened).more == ["this is it", "1"]
    one.must("closefd", opened)
    assert one.must("read", fd).more[0] == "this is it"
    assert one.must("stat", name, None).entry["opens"] == "1"


def test_an_entry_is_told_whole(one: Member, file: str, name: str) -> None:
    """What stat says is what the broker says."""
    one.must("post", name, one.must("file", file).result, "label=app=demo=1", "until=ttl=60.5",
             "mask=3f3f0000")  # fmt: skip
    told = one.must("stat", name, None).entry
    raw = json.loads(one.must("call", "Stat", json.dumps({"name": name})).more[0])["entry"]
    assert raw["labels"] == {"app": "demo=1"}
    assert raw["until"] == ["ttl=60.5", "revoked"]
    assert told == {
        "full": f"{raw['scope']}/{name}", "kind": "file", "access": "r",
        "mask": "alswrvalswrv------------", "rights": "alswrv", "assigned": "1",
        "uid": str(os.geteuid()), "gid": str(os.getegid()), "pid": str(raw["poster"]["pid"]),
        "comm": raw["poster"]["comm"], "generation": str(raw["generation"]), "opens": "0",
        "created": f"{raw['created']:.6f}", "last_opened": "0.000000",
    }  # fmt: skip


def test_an_empty_entry_is_assigned_later(one: Member, file: str, name: str) -> None:
    """ENXIO until then; a second descriptor needs to be asked for."""
    one.must("post", name, -1)
    assert one("open", name, None)[:3] == (-1, "ENXIO", 9)
    assert one.must("stat", name, None).entry["assigned"] == "0"
    fd = one.must("file", file).result
    one.must("post", name, fd)
    assert one("post", name, fd)[:3] == (-1, "EEXIST", 5)
    one.must("post", name, fd, "replace=1")
    generation = int(one.must("stat", name, None).entry["generation"])
    assert one("post", name, fd, f"expect={generation + 99}")[:3] == (-1, "ESTALE", 12)
    one.must("post", name, fd, f"expect={generation}")


def test_take_is_open_and_remove(one: Member, file: str, name: str) -> None:
    """And then there is nothing."""
    one.must("post", name, one.must("file", file).result)
    taken = one.must("take", name, None).result
    assert one.must("read", taken).more[0] == "this is it"
    assert one("take", name, None)[:3] == (-1, "ENOENT", 3)


def test_what_cannot_be_held_is_not_taken(one: Member, file: str, name: str) -> None:
    """Where no more descriptors may be had, the entry stays for whoever has room."""
    one.must("post", name, one.must("file", file).result)
    poster = int(one.must("stat", name, None).entry["pid"])
    limits = resource.prlimit(poster, resource.RLIMIT_NOFILE)
    resource.prlimit(poster, resource.RLIMIT_NOFILE, (64, limits[1]))
    held = []
    while (said := one("file", file)).result >= 0:
        held.append(said.result)
    assert one("take", name, None)[:3] == (-1, "EMFILE", 1)
    one.must("closefd", held.pop())
    taken = one.must("take", name, None).result
    assert one.must("read", taken).more[0] == "this is it"
    for fd in (taken, *held):
        one.must("closefd", fd)
    resource.prlimit(poster, resource.RLIMIT_NOFILE, limits)


def test_many_are_all_or_none(one: Member, file: str, name: str) -> None:
    """In the order of the names, one of them twice."""
    for each in ("a", "b"):
        one.must("post", name + each, one.must("file", file).result)
    before = one.must("fds").result
    assert one("many", f"{name}a", f"{name}c")[:3] == (-1, "ENOENT", 3)
    assert one.must("fds").result == before
    assert len(one.must("many", f"{name}a", f"{name}b", f"{name}a").more) == 3
    assert one.must("fds").result == before + 3
    assert len(one.must("many", *[f"{name}a"] * 253).more) == 253
    assert one("many", *[f"{name}a"] * 254)[:3] == (-1, "EINVAL", 2)


def test_what_lies_beneath_a_directory(one: Member, short_tmp: Path, name: str) -> None:
    """Opened anew, for reading or what is asked for; never what leaves the directory."""
    (short_tmp / "docs").mkdir()
    (short_tmp / "docs" / "a.txt").write_text("beneath")
    (short_tmp / "docs" / "out").symlink_to("../file")
    one.must("post", name, one.must("file", str(short_tmp / "docs")).result)
    for opened in (
        one.must("open", f"{name}/a.txt", None).result,
        *one.must("many", f"{name}/a.txt").more,
        *one.must("beneath", "rw", f"{name}/a.txt", f"{one.session()}/{name}/a.txt").more,
    ):
        assert one.must("read", opened).more == ["beneath", "1"]
    assert one("beneath", "r", f"{name}/b.txt")[:3] == (-1, "ENOENT", 3)
    assert one("beneath", "r", f"{name}/out")[:3] == (-1, "EACCES", 4)
    assert one("beneath", "x", f"{name}/a.txt")[:3] == (-1, "EINVAL", 2)


def test_remove_rename_and_masks(one: Member, file: str, name: str) -> None:
    """Each with its own refusals."""
    one.must("post", name, one.must("file", file).result)
    one.must("rename", name, f"{name}-new", None)
    assert one("rename", name, f"{name}-new", None)[:3] == (-1, "ENOENT", 3)
    one.must("mask", f"{name}-new", "session", "3f010000")
    assert one("mask", f"{name}-new", None, "rw")[:3] == (-1, "EINVAL", 2)
    assert one("remove", f"{name}-new", None, 1)[:3] == (-1, "ESTALE", 12)
    assert one("remove", f"{name}-new", "user", 0)[:3] == (-1, "ENOENT", 3)
    one.must("remove", f"{name}-new", None, 0)
    assert one("stat", f"{name}-new", None)[:3] == (-1, "ENOENT", 3)


def test_a_listing_is_in_the_order_of_names_and_may_be_used(
    one: Member, file: str, name: str
) -> None:
    """Whoever is shown an entry may open it at once, and may end the listing."""
    fd = one.must("file", file).result
    names = sorted(f"{name}-{number}" for number in range(200))
    for each in reversed(names):
        one.must("post", each, fd, "mask=3f3f0000")
    told = [each.split("|")[0].partition("/")[2] for each in one.must("list", "session").more]
    assert told == names
    assert one.must("openall", "session").result == 200
    ended = one.must("list", "session", 3)
    assert (ended.result, len(ended.more)) == (42, 3)


def test_wait_answers_when_it_is_there(
    built: Built, broker: Running, one: Member, file: str, name: str
) -> None:
    """Within its time, else ETIMEDOUT; the connection lives either way."""
    assert one("wait", name, None, 0)[:3] == (-1, "ETIMEDOUT", 11)
    assert one("wait", name, None, 20)[:3] == (-1, "ETIMEDOUT", 11)
    with member(built) as other:
        other.attached(broker.dir)
        other.must("post", name, other.must("file", file).result, "scope=user")
        assert one.must("wait", name, None, -1).entry["full"].endswith(name)
        other.must("remove", name, "user", 0)
        other.must("close")


def test_a_signal_ends_a_wait_and_no_other_call(one: Member, file: str, name: str) -> None:
    """EINTR, and the connection with it: the answer would be taken for the next one's."""
    one.must("post", name, one.must("file", file).result)
    one.must("alarm", 1, "again")
    one.must("loop", 2000, name, None)
    assert one("wait", f"{name}-not", None, -1)[1] == "EINTR"
    one.must("alarm", 0)
    assert one("open", name, None)[:3] == (-1, "ECONNREFUSED", 6)


# ── ends ──


def test_ends_speak_of_processes_by_their_pidfds(one: Member, file: str, name: str) -> None:
    """exit=PID is pinned by the pidfd that travels; a process that is not there is said."""
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    with child:
        fd = one.must("file", file).result
        held = one.must("fds").result
        one.must("post", name, fd, f"until=exit={child.pid}", "until=opens=9", "scope=user")
        assert one.must("fds").result == held
        raw = json.loads(one.must("call", "Stat", json.dumps({"name": name})).more[0])
        assert raw["entry"]["until"] == [f"exit={child.pid}", "opens=9"]
    refused = one("post", f"{name}-b", fd, f"until=exit={child.pid}")
    assert refused[:3] == (-1, "EINVAL", 2)
    assert "there is no such process" in refused.sentence
    assert one("post", f"{name}-b", fd, "until=exit=0")[:3] == (-1, "EINVAL", 2)
    assert one("post", f"{name}-b", fd, "until=sometime")[:3] == (-1, "EINVAL", 2)
    assert one("post", f"{name}-b", fd, *["until=hup"] * 70)[:3] == (-1, "EINVAL", 2)
    assert one("post", f"{name}-b", fd, "label=none")[:3] == (-1, "EINVAL", 2)


def test_the_nth_open_is_the_last(one: Member, file: str, name: str) -> None:
    """opens=2: then there is nothing."""
    one.must("post", name, one.must("file", file).result, "until=opens=2")
    one.must("open", name, None)
    one.must("open", name, None)
    assert one("open", name, None)[:3] == (-1, "ENOENT", 3)


# ── what cannot be said ──


@pytest.mark.parametrize("bad", ["", ".", "..", "user:1", "x" * 256, "\udcff", "a\x01b"])
def test_a_bad_name_is_a_sentence(one: Member, bad: str) -> None:
    """From the broker, or before it would break a message; the connection lives."""
    said = one("open", bad, None)
    assert said[:3] == (-1, "EINVAL", 2)
    assert said.sentence
    one.must("scopes")


def test_what_is_too_long_is_not_sent(one: Member) -> None:
    """64 KiB are a message."""
    said = one("open", "x" * 65536, None)
    assert said[:4] == (-1, "EINVAL", 2, "the call has more than 65536 bytes: ask for less")
    one.must("scopes")


def test_a_descriptor_that_is_not_open(one: Member, name: str) -> None:
    """sendmsg(2)'s own errno; nothing was posted, and the connection lives."""
    assert one("post", name, 777)[1] == "EBADF"
    assert one("whois", 777)[1] == "EBADF"
    assert one("stat", name, None)[1] == "ENOENT"


def test_the_board_may_not_hold_itself(one: Member, name: str) -> None:
    """ELOOP."""
    assert one("post", name, one.must("fileno").result)[:3] == (-1, "ELOOP", 10)


# ── other calls ──


def test_any_other_call(one: Member, file: str, name: str) -> None:
    """By its short name or its full one, with descriptors and without."""
    for method in ("Health", "org.pagsrv.Board.Health"):
        assert json.loads(one.must("call", method).more[0])["entries"] >= 0
    fd = one.must("file", file).result
    asked = json.dumps({"name": name, "fd": 0, "labels": {"ü": '"\\'}})
    told = json.loads(one.must("call", "Post", asked, None, fd).more[0])["entry"]
    assert told["labels"] == {"ü": '"\\'}
    took = one.must("call", "TakeMany", json.dumps({"names": [name]}), 4)
    assert took.more[0] == '{"fds":[0]}'
    assert one.must("read", took.more[1]).more[0] == "this is it"
    one.must("post", name, fd)
    held = one.must("fds").result
    assert one("call", "Open", json.dumps({"name": name}))[1] == "EPROTO"
    assert one.must("fds").result == held


@pytest.mark.parametrize(
    ("method", "parameters", "error", "status"),
    [
        ("Health", "{", "EINVAL", 2), ("Health", "[]", "EINVAL", 2), ("Health", "{}}", "EINVAL", 2),
        ('Health","x":"', "{}", "EINVAL", 2), ("", "{}", "EINVAL", 2), ("Close", "{}", "ENOSYS", 1),
        ("List", "{}", "EPROTO", 1), ("Health", '{"x":1}', "EINVAL", 2),
        ("Stat", '{"name":1}', "EINVAL", 2),
    ],
)  # fmt: skip
def test_a_call_that_is_none(
    one: Member, method: str, parameters: str, error: str, status: int
) -> None:
    """Nothing breaks out of its message; the connection lives."""
    assert one("call", method, parameters)[:3] == (-1, error, status)
    one.must("scopes")


def test_all_of_it_under_valgrind(
    watched: Built, broker: Running, name: str, short_tmp: Path
) -> None:
    """Nothing is read before it was written, lost or left open: the driver's end says so.

    A valgrind that does not know pidfd_open(2) keeps the session from being proved.
    """
    with member(watched) as mine:
        mine.attached(broker.dir)
        fd = mine.must("file", "/etc/passwd").result
        mine.must("post", name, fd, "until=ttl=60", "label=a=b", "scope=user")
        assert mine("post", name, fd, "scope=user")[1] == "EEXIST"
        assert mine("post", name, fd, "until=exit=0")[1] == "EINVAL"
        for opened in (mine.must("open", name, None).result, *mine.must("many", name, name).more):
            mine.must("closefd", opened)
        mine.must("rename", name, f"{name}-b", "user")
        mine.must("mask", f"{name}-b", "user", "3f3f0000")
        mine.must("list", None)
        mine.must("wait", f"{name}-b", None, 1000)
        mine.must("call", "Health")
        assert mine("call", "Close")[1] == "ENOSYS"
        mine.must("listen", str(short_tmp / "s"))
        mine.actor(dial, str(short_tmp / "s"))
        accepted = mine.must("accept").result
        mine.must("whois", accepted)
        mine.must("closefd", mine.must("take", f"{name}-b", None).result)
        mine.must("post", name, fd, "scope=user")
        mine.must("remove", name, "user", 0)
        assert mine("attach", "pag")[1] == "ENOKEY"
        for number in (accepted, fd):
            mine.must("closefd", number)
        mine.must("close")
