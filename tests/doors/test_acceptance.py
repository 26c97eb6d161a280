# SPDX-License-Identifier: MIT
"""The acceptance table holds: each rule through each door, as it is written down.

The law: what a door is said to lack fails here, too, until it is no longer said. It refuses to
know what the rules are.
"""

from __future__ import annotations

from functools import cache

import pytest

from tests.doors.acceptance import DOORS, Door, attempt, holds, promised, shown, tried, why_not
from tests.doors.rows import ROWS, Row

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

attempted = cache(attempt)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.key)
def test_the_rule_holds_or_is_said_not_to(door: Door, row: Row) -> None:
    """What its script prints through the door is what the rule says, but for what it lacks."""
    if why_not(door):
        pytest.skip(why_not(door))
    if not tried(row, door):
        assert door.key == "cli"
        return
    printed = attempted(door)
    assert row.key in printed, printed
    assert holds(row, printed) is (door.key not in row.lacks), printed[row.key]


def test_the_reference_shows_the_table() -> None:
    """docs/reference/doors.md has it; `python -m tests.doors.acceptance` writes it there."""
    assert shown() == promised()


def test_what_is_lacking_is_of_a_door() -> None:
    """A reason is given to a door by its name, and no rule is twice."""
    assert {key for row in ROWS for key in row.lacks} <= {"cli", "seccomp", "preload", "fuse"}
    assert len({row.key for row in ROWS}) == len({row.rule for row in ROWS}) == len(ROWS)
