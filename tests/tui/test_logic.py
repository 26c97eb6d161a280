# SPDX-License-Identifier: MIT
"""Words, columns, actions and panels of the dashboard: what is decided without a screen.

The law: plain values in, plain values out. It refuses to know Textual.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv_tui import actions, panels, table, words
from pagsrv_tui.actions import ACTIONS, restoring, why_no_undo, why_not
from pagsrv_tui.messages import Key
from pagsrv_tui.table import COLUMNS, Look, fitting, rows
from pagsrv_tui.view import Row, View, reduce_all
from pagsrv_tui.words import ASCII, UNICODE
from tests.tui.boards import WALL, a_board, some_entry

BOARD = reduce_all(View(), a_board())


def row_of(name: str, **fields: object) -> Row:
    """A row of an entry."""
    entry = some_entry(name, **fields)
    return Row(Key(entry.scope, name), entry.generation, entry)


# ---- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", "a b"), ("a\x1b[2J", "a\\x1b[2J"), ("\u202egnp", "\\u202egnp"), ("\udc80", "\\udc80")],
)
def test_plain_escapes_what_moves_a_terminal(text: str, shown: str) -> None:
    """Escape sequences, turns of the writing direction, and what is no character."""
    assert shown == words.plain(text)


@given(st.text())
def test_plain_is_printable(text: str) -> None:
    """Whatever it is given."""
    assert words.plain(text).isprintable()
    assert words.drawable(words.plain(text), ASCII).isascii()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0:00"), (7.9, "0:07"), (750, "12:30"), (11100, "3h05m"), (180000, "2d02h")],
)
def test_left_says_what_is_left(seconds: float, shown: str) -> None:
    """Minutes and seconds, then hours, then days."""
    assert shown == words.left(seconds)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (9999, "9999"), (12345, "12.3k"), (4_500_000, "4.5M")]
)
def test_numbers_stay_narrow(value: float, shown: str) -> None:
    """A column of five cells holds them."""
    assert shown == words.number(value)


@given(st.integers(0, 10**11))
def test_any_number_fits_its_column(value: int) -> None:
    """Up to a hundred thousand million opens."""
    assert len(words.number(value)) <= 5 + (value >= 10**10)


def test_a_mask_is_told_in_letters_and_in_words() -> None:
    """Four parts, the empty ones too."""
    assert words.short_mask("alswrv-----v------------") == "alswrv/v/-/-"
    told = words.explained("alswrv-----v------------")
    assert [letters for _, letters, _ in told] == ["alswrv", "-----v", "------", "------"]
    assert [may for _, _, may in told][1:] == ["see", "nothing", "nothing"]


@pytest.mark.parametrize(
    ("until", "deadline", "shown"),
    [
        ((), None, "-"),
        (("revoked",), None, "revoked"),
        (("ttl=60", "revoked"), WALL + 59, "in 0:59 +1"),
        (("hup", "revoked"), None, "hup"),
        (("exit=9", "opens=3", "revoked"), None, "exit=9 +1"),
    ],
)
def test_the_next_end_comes_first(
    until: tuple[str, ...], deadline: float | None, shown: str
) -> None:
    """A countdown before what an event decides; how many more there are."""
    entry = some_entry("a", until=until, deadline=deadline)
    assert shown == words.next_end(entry, WALL, UNICODE)


def test_a_command_can_be_pasted() -> None:
    """What a shell would take for its own is quoted."""
    assert words.command("user:0", "db") == "pagsrv open user:0/db -- "
    assert words.command("user:0", "a'b $(x)") == "pagsrv open 'user:0/a'\\''b $(x)' -- "


# ---- the table -----------------------------------------------------------------------------------


@given(st.integers(10, 300), st.sampled_from((None, "user:1000")))
def test_columns_fit_and_fill_their_width(width: int, scope: str | None) -> None:
    """The name is always there, nothing is wider than the room, and wide room is used."""
    chosen = fitting(Look(scope=scope), width)
    total = sum(cells for _, cells in chosen) + 2 * (len(chosen) - 1)
    assert chosen[0][0].name == "name"
    assert total <= max(width, table.BY_NAME["name"].width)


def test_chosen_columns_are_shown_and_no_others() -> None:
    """As the settings say, and the name anyway."""
    chosen = fitting(Look(columns=("ends", "peer")), 120)
    assert [column.name for column, _ in chosen] == ["name", "ends", "peer"]


@pytest.mark.parametrize("column", [column.name for column in COLUMNS])
def test_every_column_sorts_both_ways(column: str) -> None:
    """The same rows, and in the other order where they differ."""
    order = table.BY_NAME[column].order
    forth = rows(BOARD, Look(sort=column))
    back = rows(BOARD, Look(sort=column, reverse=True))
    assert {row.key for row in forth} == {row.key for row in back}
    keys = [order(row.entry) for row in forth if row.entry is not None]
    assert keys == sorted(keys)
    assert [order(row.entry) for row in back if row.entry] == sorted(keys, reverse=True)


@pytest.mark.parametrize(
    ("needle", "names"),
    [
        ("", 8), ("hup", 1), ("HUP sock", 1), ("session:8192", 4), ("env=prod", 1), ("sshd", 1),
        ("/var/log", 1), ("nowhere", 0), ("socket", 5), ("empty", 1),
    ],
)  # fmt: skip
def test_a_filter_looks_everywhere(needle: str, names: int) -> None:
    """Name, scope, kind, mask, ends, labels, peer, path, poster."""
    assert len(rows(BOARD, Look(filter=needle))) == names


# ---- actions -------------------------------------------------------------------------------------


def test_keys_are_given_once() -> None:
    """No key does two things, and every action is documented."""
    keys = [key for action in ACTIONS for key in action.keys.split(",")]
    assert len(set(keys)) == len(keys)
    assert all(action.help and action.label for action in ACTIONS)


@pytest.mark.parametrize("action", [one for one in ACTIONS if one.changes], ids=lambda a: a.name)
def test_nothing_changes_read_only_or_without_a_broker(action: actions.Action) -> None:
    """And each no has its reason."""
    row = row_of("a")
    assert "--read-only" in why_not(action, BOARD, row, read_only=True)
    assert "no broker" in why_not(action, View(link="lost"), row, read_only=False)
    assert why_not(action, BOARD, row, read_only=False) == ""


@pytest.mark.parametrize("action", [one for one in ACTIONS if one.right], ids=lambda a: a.name)
def test_a_right_that_is_lacking_is_named(action: actions.Action) -> None:
    """By the broker's word, never by trying."""
    rights = "alswrv".replace(action.right, "")
    why = why_not(action, BOARD, row_of("a", rights=rights), read_only=False)
    assert f"(you have {rights})" in why
    assert why_not(action, BOARD, None, read_only=False) == "no entry is selected"
    assert why_not(action, BOARD, Row(Key("user:0", "a"), 1), read_only=False) != ""


def test_what_an_undo_cannot_bring_back_is_said() -> None:
    """A lease and a leader are of another process; opens=N would be used up by holding."""
    entry = some_entry("a", until=("exit=9", "lease", "leader=3", "ttl=60", "revoked"))
    assert restoring(entry) == (("exit=9", "ttl=60"), ("lease", "leader=3"))
    assert why_no_undo(entry) == ""
    assert "opens" in why_no_undo(some_entry("a", until=("opens=2",)))
    assert "may not open" in why_no_undo(some_entry("a", rights="av"))
    assert why_no_undo(some_entry("a", assigned=False, rights="av")) == ""


# ---- panels --------------------------------------------------------------------------------------


def said(lines: list[panels.Line]) -> str:
    """Lines as one text."""
    return "\n".join("".join(part.text for part in line) for line in lines)


def test_everything_known_of_an_entry_is_said() -> None:
    """Its socket, its peer, its copies, and what is not known with the reason."""
    for name, told in (
        ("db", ["192.0.2.9:5432", "412 us", "psql 5001", "process 4999", "has exited", "app=demo"]),
        ("talk", ["agent 4400", "inode: the kernel does not tell it"]),
    ):
        row = BOARD.row(Key("session:8192", name))
        assert row is not None
        text = said(panels.entry_lines(BOARD, row, WALL, UNICODE, read_only=False))
        assert [one for one in told if one not in text] == []


@pytest.mark.parametrize(("used", "word"), [(10, ""), (160, "most of it"), (190, "nearly all")])
def test_a_gauge_warns_in_words(used: int, word: str) -> None:
    """Before the limit of 200 keys, not at it."""
    text = said([panels.gauge(used, 200, ASCII)])
    assert f"{used} of 200" in text
    assert text.endswith(word)


def test_health_tells_what_the_broker_tells() -> None:
    """Rates from two pulses; who may not know of others is told so."""
    text = said(panels.health_lines(BOARD, panels.Quota(1000, 190, 200), UNICODE))
    for one in ("140 calls/s", "100 opens/s", "p99 96 us", "possession 12", "NoEntry 3",
                "2 sessions", "190 of 200", "7 events lost"):  # fmt: skip
        assert one in text
    assert panels.rates(View()) == ([], [])
