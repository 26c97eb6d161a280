# SPDX-License-Identifier: MIT
"""Errors: one table from exception to wire name, exit status and errno.

The law: every error that goes over the wire comes back as the same kind with the same
sentence; the reference shows the table and nothing else.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from pagsrv import errors
from pagsrv.errors import (
    BOARD,
    BUG_STATUS,
    REFUSALS,
    SERVICE,
    TABLE,
    InterfaceNotFound,
    InvalidParameter,
    MethodNotFound,
    NoBroker,
    PagsrvError,
    ProtocolError,
    Refused,
    from_wire,
)

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "errors.md"


def made(kind: type[PagsrvError]) -> PagsrvError:
    """One of *kind*, with its sentence."""
    return InvalidParameter("mask", "no mask") if kind is InvalidParameter else kind("a sentence")


def concrete(kind: type[PagsrvError]) -> set[type[PagsrvError]]:
    """The kinds of errors.py below *kind* that nothing there is below of."""
    below = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    return set().union(*map(concrete, below)) if below else {kind}


def test_table_holds_every_error() -> None:
    """A new error is in the table, or it is none."""
    assert set(TABLE) == concrete(PagsrvError)
    assert set(REFUSALS) == concrete(Refused)


def test_numbers_tell_errors_apart() -> None:
    """Wire names are unique; statuses are the contract's and never a bug's."""
    wires = [kind.wire for kind in TABLE if kind is not NoBroker]
    assert len(wires) == len(set(wires))
    statuses = {kind.__name__: kind.status for kind in TABLE if kind.status != 1}
    assert statuses == {
        "InvalidParameter": 2, "NoEntry": 3, "Denied": 4, "Exists": 5, "NoBroker": 6,
        "NoSession": 7, "QuotaExceeded": 8, "NotAssigned": 9, "Loop": 10, "TimedOut": 11,
        "Stale": 12,
    }  # fmt: skip
    assert BUG_STATUS == 70


@pytest.mark.parametrize("kind", [kind for kind in TABLE if kind.wire])
def test_error_survives_the_wire(kind: type[PagsrvError]) -> None:
    """What is sent as a name and parameters is the same exception at the other end."""
    sent = made(kind)
    got = from_wire(sent.wire, sent.parameters())
    assert type(sent) is type(got)
    assert str(sent) == str(got)
    assert sent.parameters() == got.parameters()


def test_service_errors_have_varlinks_parameters() -> None:
    """org.varlink.service fixes what its errors carry."""
    assert InterfaceNotFound("a.b").parameters() == {"interface": "a.b"}
    assert MethodNotFound("a.b.C").parameters() == {"method": "a.b.C"}
    assert InvalidParameter("fd", "none").parameters() == {"parameter": "fd", "message": "none"}


def test_error_without_a_sentence_is_still_its_kind() -> None:
    """Another service may leave our sentence out."""
    bare = from_wire(f"{SERVICE}.InvalidParameter", {"parameter": "x"})
    assert isinstance(bare, InvalidParameter)
    assert bare.parameter == "x"
    assert str(bare) != ""
    assert type(from_wire(f"{BOARD}.NoEntry", {})) is errors.NoEntry


@pytest.mark.parametrize("name", [f"{BOARD}.Other", f"{SERVICE}.MethodNotImplemented", ""])
def test_unknown_error_breaks_the_rules(name: str) -> None:
    """An error nobody knows is the broker's fault, and is named."""
    error = from_wire(name, {"message": "x"})
    assert type(error) is ProtocolError
    assert name in str(error)


def test_tree_in_the_docstring_is_the_tree() -> None:
    """The drawing at the top of errors.py names every error, and only errors."""
    drawn = set(re.findall(r"── (\w+)", errors.__doc__ or ""))
    assert drawn == {kind.__name__ for kind in TABLE} | {"Refused"}


def test_reference_shows_the_table() -> None:
    """docs/reference/errors.md has one row for each error, with its name, status and errno."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (\d+) \| (\w+) \|", REFERENCE.read_text(), re.MULTILINE
    )
    shown = [
        (kind.__name__, f"`{kind.wire}`" if kind.wire else "none", str(kind.status),
         errno.errorcode[kind.errno])
        for kind in TABLE
    ]  # fmt: skip
    assert rows == shown
