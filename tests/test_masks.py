# SPDX-License-Identifier: MIT
"""Masks are a key's: letters and digits say the same thing.

The law: what is printed is read back as it was, in both forms.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from pagsrv.errors import InvalidParameter
from pagsrv.masks import (
    ALL,
    DEFAULT,
    LETTERS,
    LINK,
    READ,
    RIGHTS,
    SEARCH,
    SETATTR,
    VIEW,
    WRITE,
    format_mask,
    parse_mask,
    word,
)
from tests.strategies import masks


@given(masks())
def test_mask_is_what_it_prints(mask: int) -> None:
    """Letters and digits both come back as the mask they say."""
    assert mask == parse_mask(format_mask(mask))
    assert mask == parse_mask(f"{mask:08x}")
    assert mask == parse_mask(f"{mask:08X}")


def test_letters_stand_where_keyctl_puts_them() -> None:
    """The order is possessor, user, group, other, each alswrv, as keyctl(1) describes keys."""
    assert format_mask(DEFAULT) == "alswrv-----v------------"
    assert format_mask(0x20100804) == "a------l------s------w--"
    assert parse_mask("alswrv-----v------------") == DEFAULT


@pytest.mark.parametrize(
    "text",
    [
        "", "alswrv", "vrwsla------------------", "alswrv-----v------------ ", "alswrv" * 5,
        "ALSWRV-----V------------", "3f01000", "3f0100000", "0x3f0100", "3f01000g", "+3f01000",
        "40000000", "00008000", "a-----------------------"[::-1], "3f_10000",
        "\N{FULLWIDTH DIGIT THREE}f010000",
    ],
)  # fmt: skip
def test_mask_refuses(text: str) -> None:
    """Neither 24 letters in their places nor 8 digits of allowed bits: no mask."""
    with pytest.raises(InvalidParameter) as caught:
        parse_mask(text, "m")
    assert caught.value.parameter == "m"


def test_rights_print_what_is_held() -> None:
    """The letters of a set of rights are those of its bits, in the mask's order."""
    assert RIGHTS[0] == ""
    assert RIGHTS[ALL] == LETTERS
    assert RIGHTS[VIEW | READ | SEARCH] == "srv"
    words = {word(bit) for bit in (VIEW, READ, WRITE, SEARCH, LINK, SETATTR)}
    assert words == {"view", "read", "write", "search", "link", "setattr"}
