# SPDX-License-Identifier: MIT
"""Names are parsed once: what is accepted is canonical, what is refused says why.

The law: parsing what a name prints gives the name; nothing that could be read as a
scope, a path or a control sequence is a name.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.errors import InvalidParameter
from pagsrv.names import (
    KINDS,
    Reference,
    Scope,
    parse_name,
    parse_place,
    parse_reference,
    parse_scope,
)
from tests.strategies import LARGEST, names, scopes


@given(scopes())
def test_scope_is_what_it_prints(scope: Scope) -> None:
    """parse(str(scope)) = scope."""
    assert scope == parse_scope(str(scope))


@given(names(), scopes() | st.none())
def test_reference_is_what_it_prints(name: str, scope: Scope | None) -> None:
    """NAME is bare, S:N/NAME is in full, and each comes back as it was."""
    text = name if scope is None else f"{scope}/{name}"
    reference = parse_reference(text)
    assert Reference(scope, parse_name(name)) == reference
    assert text == str(reference)


@given(st.text())
def test_any_text_is_a_name_or_one_sentence(text: str) -> None:
    """No text raises anything but InvalidParameter, and what is accepted is itself."""
    with suppress(InvalidParameter):
        assert text == parse_name(text)


@pytest.mark.parametrize("word", KINDS)
def test_word_stands_for_the_askers_own(word: str) -> None:
    """session, pag and user are words, not scopes with a number."""
    assert word == parse_scope(word)


@pytest.mark.parametrize(
    "text",
    [
        "", "Session", "session:", "session:-1", "session:+1", "session:0x1", "session:1 ",
        "session: 1", "session:1/x", "group:1", "user:\N{ARABIC-INDIC DIGIT ONE}", ":1",
        "session:2147483648", "pag:4294967296", "user:4294967295", "user:" + "9" * 5000,
    ],
)  # fmt: skip
def test_scope_refuses(text: str) -> None:
    """What is no word and no decimal number of the kernel's range is no scope."""
    with pytest.raises(InvalidParameter) as caught:
        parse_scope(text, "to")
    assert caught.value.parameter == "to"


def test_largest_scopes_are_scopes() -> None:
    """The ends of each range are in it: a serial is positive, -1 is no uid."""
    assert [Scope(kind, LARGEST[kind]) for kind in KINDS] == [
        parse_scope(f"{kind}:{LARGEST[kind]}") for kind in KINDS
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (".", "directory"),
        ("..", "directory"),
        ("a/b", "holds a /"),
        ("session/x", "holds a /"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x9bb", "control"),
        ("\ud800", "not UTF-8"),
        ("x" * 256, "256 bytes"),
        ("\N{EURO SIGN}" * 86, "258 bytes"),
        ("session:1", "form of a scope"),
        ("user:0", "form of a scope"),
    ],
)
def test_name_refuses(text: str, why: str) -> None:
    """A name that could not be a file's, or could be read as a scope, is refused and says why."""
    with pytest.raises(InvalidParameter, match=why):
        parse_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 255, "\N{EURO SIGN}" * 85, "...", ".hidden", "session", "session:x", "a:1",
        "session:", "a b", "\u2028", "user:1x", "user:\N{ARABIC-INDIC DIGIT ONE}",
    ],
)  # fmt: skip
def test_name_accepts(text: str) -> None:
    """Everything else is a name: 255 bytes of it, colons, spaces and words too."""
    assert text == parse_name(text)


@pytest.mark.parametrize(
    "text", ["user:1/", "user:1/a/b", "user:1/session:2", "user:99999999999/a"]
)
def test_reference_refuses(text: str) -> None:
    """Behind a scope there is one name, and a scope has its range."""
    with pytest.raises(InvalidParameter):
        parse_reference(text)


@pytest.mark.parametrize(
    ("text", "shown", "path"),
    [
        ("docs", "docs", None),
        ("docs/", "docs", ()),
        ("docs//a/./b/", "docs/a/b", ("a", "b")),
        ("session:7/docs", "session:7/docs", None),
        ("session:7/docs/", "session:7/docs", ()),
        ("session:7/docs/user:1/x", "session:7/docs/user:1/x", ("user:1", "x")),
        ("session/docs", "session/docs", ("docs",)),
        ("docs/a\tb\n", "docs/a\tb\n", ("a\tb\n",)),
    ],
)
def test_place(text: str, shown: str, path: tuple[str, ...] | None) -> None:
    """A path goes down from an entry; what would be no entry's name may be a file's."""
    place = parse_place(text)
    assert (str(place), place.path) == (shown, path)


@pytest.mark.parametrize(
    "text",
    ["/docs", "docs/..", "docs/a/../b", "docs/a\0b", "docs/\udcff", "docs/" + "a/" * 2048 + "a",
     "session:7/", "session:7//a", "session:99999999999/docs/a", ".", "../docs"],
)  # fmt: skip
def test_no_place(text: str) -> None:
    """There is no way up, nor without an entry."""
    with pytest.raises(InvalidParameter):
        parse_place(text)
