# SPDX-License-Identifier: MIT
"""The mount's parts by themselves: layouts, masks and modes, nodes, threads.

The law: what is asked of a part is answered without a mount. It refuses to know the kernel.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.client import blocking
from pagsrv.client.blocking import Board
from pagsrv.doors.fuse import attributes
from pagsrv.doors.fuse.boards import Boards
from pagsrv.doors.fuse.callers import SameUid
from pagsrv.doors.fuse.namespace import Namespace
from pagsrv.doors.fuse.nodes import Nodes
from pagsrv.doors.fuse.workers import Workers
from pagsrv.errors import NoEntry, ProtocolError
from pagsrv.kernel import fuse
from pagsrv.masks import format_mask, parse_mask
from pagsrv.messages import EntryView, Owner
from pagsrv.nodes import Node as Found
from tests.running import running_broker

SECONDS = 10
MASKS = st.integers(0, 2**32 - 1).map(lambda bits: format_mask(bits & 0x3F3F3F3F))


def view(scope: str = "session:1", name: str = "x") -> EntryView:
    """An entry."""
    return EntryView(
        scope, name, assigned=True, kind="file", access="rw", mask=format_mask(0x3F010000),
        rights="alswrv", owner=Owner(1, 1), poster=None, until=(), generation=1, created=1.5,
        last_opened=None, opens=0, labels={"k": "v"},
    )  # fmt: skip


# ---- layouts -------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_what_is_cut_short_is_a_protocol_error(raw: bytes) -> None:
    """Whatever is read, it is a question or that."""
    try:
        question = fuse.parse(memoryview(raw))
        question.fields(fuse.SETATTR_IN)
    except ProtocolError:
        return
    assert len(raw) >= fuse.IN.size + fuse.SETATTR_IN.size


def test_a_question_is_parsed() -> None:
    """Head, fields, names."""
    body = fuse.RENAME2_IN.pack(1, 2, 0) + b"old\0new\0"
    head = fuse.IN.pack(fuse.IN.size + len(body), fuse.RENAME2, 7, 1, 1000, 100, 4242, 0, 0)
    question = fuse.parse(memoryview(head + body))
    assert question[:6] == (fuse.RENAME2, 7, 1, 1000, 100, 4242)
    assert question.fields(fuse.RENAME2_IN) == (1, 2, 0)
    assert question.names(fuse.RENAME2_IN) == [b"old", b"new"]


@given(st.lists(st.binary(min_size=1, max_size=255), max_size=50), st.integers(0, 4096))
def test_a_listing_is_read_in_parts(names: list[bytes], room: int) -> None:
    """Each name once, in order, never more than there is room for."""
    found: list[bytes] = []
    place = 0
    while part := fuse.listing(names, place, room):
        assert len(part) <= room
        while part:
            _, place, length, _ = fuse._DIRENT.unpack_from(part)
            start = fuse._DIRENT.size
            found.append(part[start : start + length])
            part = part[-(-(start + length) // 8) * 8 :]
    assert found == names[: len(found)]
    assert len(found) == len(names) or room < 24 + 256


# ---- masks and modes -----------------------------------------------------------------------------


@given(MASKS, st.integers(0, 0o7777))
def test_a_mode_changes_two_rights_and_nobody_elses(mask: str, mode: int) -> None:
    """Of the possessors; and what was set is shown."""
    try:
        changed = attributes.mask_of(mask, mode)
    except attributes.NotToBeHad:
        assert mode & 0o7133
        return
    assert changed[6:] == mask[6:]
    assert {*enumerate(mask[:3] + mask[5])} == {*enumerate(changed[:3] + changed[5])}
    shown = attributes.mode_of(changed)
    assert (shown & 0o600) == (mode & 0o600)
    assert shown in (0, 0o200, 0o444, 0o644)


@given(MASKS)
def test_the_mode_shown_changes_nothing(mask: str) -> None:
    """To set what is shown leaves the mask as it is."""
    assert attributes.mask_of(mask, attributes.mode_of(mask)) == mask


def test_the_default_mask_is_srvfs_mode() -> None:
    """-rw-r--r--."""
    assert attributes.mode_of(format_mask(parse_mask("3f010000"))) == 0o644


def test_extended_attributes_leave_out_what_is_not() -> None:
    """And name each label."""
    found = attributes.extended(view())
    assert found["user.pagsrv.label.k"] == "v"
    assert found["user.pagsrv.assigned"] == "true"
    for name in ("poster", "until", "deadline", "last_opened"):
        assert f"user.pagsrv.{name}" not in found


# ---- nodes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("everybody", [False, True])
def test_nodes_of_two_sessions_differ(everybody: bool) -> None:  # noqa: FBT001 -- a parameter
    """And each goes when the kernel has forgotten it as often as it was told of it."""
    nodes = Nodes(everybody=everybody)
    one, first = nodes.tell(view("session:1"))
    two, second = nodes.tell(view("session:2"))
    assert (one == two, first is second) == (False, False)
    again, same = nodes.tell(view("session:1"))
    assert same is first
    assert (again == one) is not everybody
    for number in (one, again):
        nodes.forget(number, 1)
    assert nodes.of(two) is second
    for number in (one, again):
        with pytest.raises(NoEntry):
            nodes.of(number)
    assert nodes.tell(view("session:1"))[1] is not first


def test_a_node_that_is_open_gets_another_number() -> None:
    """Of the same inode."""
    nodes = Nodes(everybody=False)
    one, node = nodes.tell(view())
    node.handles += 1
    two, same = nodes.tell(view())
    assert (one != two, same is node) == (True, True)
    assert nodes.of(one) is nodes.of(two)


def test_a_name_that_was_removed_is_another_node_next_time() -> None:
    """Renamed it is the same."""
    nodes = Nodes(everybody=False)
    _, node = nodes.tell(view(name="x"))
    nodes.renamed("x", view(name="y"))
    assert nodes.tell(view(name="y"))[1] is node
    assert node.name == "y"
    nodes.removed("session:1", "y")
    assert nodes.tell(view(name="y"))[1] is not node


# ---- threads -------------------------------------------------------------------------------------


def test_one_uid_does_not_keep_others_waiting() -> None:
    """It has a few threads, and what is too much for them waits for them alone."""
    workers, free, done = Workers(3, 2), threading.Event(), threading.Event()
    ended = threading.Semaphore(0)
    for _ in range(5):
        workers.do(1, lambda: (free.wait(SECONDS), ended.release())[1])
    workers.do(2, done.set)
    assert done.wait(SECONDS)
    free.set()
    assert all(ended.acquire(timeout=SECONDS) for _ in range(5))


def test_what_others_wait_for_is_done_first() -> None:
    """A uid with much to do keeps no lock meanwhile; what is first is done as it was asked for."""
    workers, begun, go, over = (
        Workers(1, 1), threading.Event(), threading.Event(), threading.Event()
    )  # fmt: skip
    done: list[int] = []

    def hold() -> None:
        begun.set()
        go.wait(SECONDS)

    workers.do(1, hold)
    assert begun.wait(SECONDS)
    for number, first in enumerate((False, True, True, False)):
        workers.do(1, partial(done.append, number), first=first)
    workers.do(1, over.set)
    go.set()
    assert over.wait(SECONDS)
    assert done == [1, 2, 0, 3]


def test_a_bug_of_one_job_ends_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    """It is told on stderr."""
    workers, done = Workers(1, 1), threading.Event()
    workers.do(1, lambda: 1 // 0)
    workers.do(1, done.set)
    assert done.wait(SECONDS)
    assert "ZeroDivisionError" in capfd.readouterr().err


class Meddler(Boards):
    """Somebody else changes the entry's mask after each look at it, twice."""

    left = 2

    @contextmanager
    def lend(self) -> Iterator[Board]:
        """As it is, and then the change."""
        with super().lend() as board:
            yield board
        with super().lend() as board:
            if self.left:
                self.left -= 1
                board.set_mask("x", format_mask(0x3F000000 + self.left))


def test_a_mode_that_is_set_undoes_nobodys_change(short_tmp: Path) -> None:
    """The mask was another when it was looked at: what was taken from others stays taken."""
    with running_broker(short_tmp) as running, blocking.connect(running.dir) as board:
        made = board.create("x", scope="user", mask="3f013f3f")
        space = Namespace(Meddler(running.dir, None), SameUid(), Nodes(everybody=False))
        number, node = space.nodes.tell(made)
        body = fuse.SETATTR_IN.pack(fuse.SET_MODE, *(0,) * 10, 0o444, 0, 0, 0)
        head = (fuse.IN.size + len(body), fuse.SETATTR, 7, number, os.geteuid(), 0, 1, 0, 0)
        space.setattr(fuse.parse(memoryview(fuse.IN.pack(*head) + body)))
        assert node.view.mask == board.stat("x").mask == format_mask(0x3B000000)
        space.boards.close()


def test_what_lies_beneath_is_forgotten() -> None:
    """A directory keeps its number, a file that is open does not; with the last, all is let go."""
    nodes = Nodes(everybody=False)
    number, top = nodes.tell(view(name="docs"))
    folder, file = (Found(name, kind, 1, 1.0, None) for name, kind in (("a", "dir"), ("b", "file")))
    first, inner = nodes.tell_below(top, ("a",), folder)
    assert nodes.tell_below(top, ("a",), folder) == (first, inner)
    one, node = nodes.tell_below(top, ("a", "b"), file)
    node.handles = 1
    two, same = nodes.tell_below(top, ("a", "b"), file)
    assert two != one
    assert same is node
    third, other = nodes.tell_below(top, ("a",), file)
    assert other is not inner
    for told, times in ((first, 2), (one, 1), (two, 1), (third, 1), (number, 1)):
        nodes.forget(told, times)
    assert not nodes._by_number
    assert not nodes._by_key
