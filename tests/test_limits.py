# SPDX-License-Identifier: MIT
"""Limits hold together: what one allows, another does not make impossible.

The law: the largest thing each limit allows fits what it travels in.
"""

from __future__ import annotations

from pagsrv import codec, limits
from pagsrv.ends import Ask
from pagsrv.limits import Limits
from pagsrv.masks import format_mask
from pagsrv.messages import EntryReply, EntryView, OpenMany, Post, Until
from pagsrv.names import Scope
from pagsrv.people import Owner, Poster

NAME = "\\" * limits.NAME_BYTES
LABELS = {f"{number:02}" + '"' * 62: "\\" * 256 for number in range(limits.LABELS)}
ENDS = [str(Ask("ttl", 0.1234567890123456))] * limits.ENDS


def test_largest_entry_fits_one_message() -> None:
    """With every character escaped that may be: also a listing can always go on."""
    largest = Scope("pag", 0xFFFFFFFF)
    view = EntryView(
        str(largest), NAME, True, "socket", "rw", format_mask(0), "alswrv",
        Owner(1 << 32, 1 << 32), Poster(1 << 31, "\\" * 16, True), tuple(ENDS), 1 << 63, 1e300,
        1e300, limits.OPENS, LABELS, str(largest),
    )  # fmt: skip
    assert len(codec.encode_reply(EntryReply(view), continues=True)) < limits.MESSAGE_BYTES // 3


def test_largest_post_fits_one_message() -> None:
    """And as many names as descriptors fit one message fit a call, if they are not all long."""
    until = [Until(word, 1) for word in ENDS]
    post = Post(NAME, "session:2147483647", 0, True, 1 << 62, format_mask(0), until, LABELS)
    assert len(codec.encode_call(post)) < limits.MESSAGE_BYTES // 3
    many = OpenMany(["x" * 200] * limits.MESSAGE_FDS)
    assert len(codec.encode_call(many)) < limits.MESSAGE_BYTES


def test_numbers_stay_exact() -> None:
    """A deadline added to the clock, and a count in JSON, lose nothing that matters."""
    assert 1e9 + limits.TTL_SECONDS + 0.001 > 1e9 + limits.TTL_SECONDS
    assert float(limits.OPENS) == limits.OPENS
    assert limits.NONCE_SECONDS < limits.NONCE_LIFE < limits.UNVERIFIABLE_SECONDS


def test_no_uid_fills_a_scope_for_others_unnoticed() -> None:
    """A scope holds what one uid may have, and a grant always fits its uid's budget."""
    default = Limits()
    assert default.entries_per_scope >= default.entries_per_uid
    assert default.grants_per_entry <= default.grants_per_uid
    assert default.watches_per_uid < default.connections_per_uid
