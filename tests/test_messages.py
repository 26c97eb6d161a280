# SPDX-License-Identifier: MIT
"""Messages: which change the board, which speak of descriptors, which are answered in parts.

The law: what a message is can be read off its struct; the wire is strict about it.
"""

from __future__ import annotations

import msgspec
import pytest

from pagsrv.errors import BOARD
from pagsrv.messages import METHODS, REQUESTS, STREAMED, Open, Post, Request, Until


def test_changing_calls_are_the_contracts() -> None:
    """Everything else only looks, and needs no announcement."""
    changing = {kind.__name__ for kind in REQUESTS if kind.CHANGES}
    assert changing == {
        "Post", "Take", "TakeMany", "Remove", "Rename", "SetMask", "SetTimeout", "Grant", "Ungrant",
    }  # fmt: skip


def test_methods_are_told_once() -> None:
    """Every method of the board, under its own name."""
    assert len(METHODS) == len(set(METHODS))
    assert {kind.METHOD for kind in REQUESTS} >= set(METHODS)
    for kind in REQUESTS:
        assert kind.METHOD.endswith(f".{kind.__name__}")
    assert {kind.__name__ for kind in STREAMED} == {"List", "Namespaces", "Watch"}
    assert all(method.startswith(BOARD) for method in METHODS)


@pytest.mark.parametrize(
    ("request_", "indices"),
    [
        (Open("x"), []),
        (Post("x"), []),
        (Post("x", fd=0), [0]),
        (Post("x", fd=2, until=[Until("exit", 0), Until("lease"), Until("leader", 1)]), [2, 0, 1]),
        (Post("x", until=[Until("exit", 0)]), [0]),
        (Post("x", fd=0, until=[Until("exit", 0)]), [0, 0]),
    ],
)
def test_descriptors_are_those_spoken_of(request_: Request, indices: list[int]) -> None:
    """The posted one first, then the pidfds; one named twice is seen to be."""
    assert indices == request_.indices()


@pytest.mark.parametrize("kind", REQUESTS)
def test_unknown_field_is_no_field(kind: type[Request]) -> None:
    """A request from the future is refused, and not half understood."""
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"new": 1}, kind)
