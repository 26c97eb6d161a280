# SPDX-License-Identifier: MIT
"""Everything the viewer can do: one registry, from which keys, footer, help and palette are made.

The law: whether something may be done is decided here before it is tried, from the rights
that the broker says the viewer has, and a no has its reason. Pure. It refuses to know how
anything is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pagsrv_tui.view import Row, View

if TYPE_CHECKING:
    from pagsrv.messages import EntryView

Group = Literal["entry", "look", "board"]


class Action(NamedTuple):
    """One thing to do; *name* is the handler's, `action_NAME` of the board's screen."""

    name: str
    keys: str
    label: str
    help: str
    group: Group
    changes: bool = False
    """It changes the board: not with --read-only, nor while no broker answers."""
    right: str = ""
    """The right on the entry that it needs, a letter of alswrv."""
    footer: bool = False
    assigned: bool = False
    """It needs an entry that has its descriptor."""


ACTIONS: tuple[Action, ...] = (
    Action("post", "p", "Post", "post a file, a connection, a listening socket, or an empty entry",
           "board", changes=True, footer=True),
    Action("remove", "d,delete", "Remove", "remove the entry; it can be undone for five seconds",
           "entry", changes=True, right="a", footer=True),
    Action("undo", "u", "Undo", "undo the last removal, mask or grant, for five seconds", "entry",
           changes=True),
    Action("mask", "m", "Mask", "set the entry's mask", "entry", changes=True, right="a",
           footer=True),
    Action("timeout", "t", "Timeout", "let the entry end in some seconds; 0 clears it", "entry",
           changes=True, right="a", footer=True, assigned=True),
    Action("grant", "g", "Grant", "let the members of another scope open the entry", "entry",
           changes=True, right="l", footer=True, assigned=True),
    Action("copy_name", "c", "Copy name", "copy the entry's full name", "entry"),
    Action("copy_command", "C", "Copy command", "copy the command line that opens the entry",
           "entry"),
    Action("follow", "f", "Follow", "go to what is at the entry's other end", "entry"),
    Action("filter", "slash", "Filter", "show only rows in which all these words are", "look",
           footer=True),
    Action("sort_next", "greater_than_sign", "Sort", "sort by the next column", "look"),
    Action("sort_previous", "less_than_sign", "Sort back", "sort by the column before", "look"),
    Action("reverse", "r", "Reverse", "turn the order round", "look"),
    Action("next_space", "right_square_bracket", "Next", "go to the next namespace", "look"),
    Action("previous_space", "left_square_bracket", "Previous", "go to the namespace before",
           "look"),
    Action("jump", "j", "Jump", "go to a namespace by what it is called", "look"),
    Action("tab_entry", "1", "Entry", "show all that is known of the entry", "look"),
    Action("tab_events", "2", "Events", "show what has happened", "look"),
    Action("tab_keyring", "3", "Keyring", "show the session keyring and its masks", "look"),
    Action("tab_health", "4", "Health", "show how the broker is", "look"),
    Action("zoom", "z", "Zoom", "give the tabs the whole height, or give it back", "look"),
    Action("light", "l", "Light/dark", "change between the dark and the light theme", "look"),
    Action("help", "question_mark,f1", "Help", "show every key", "board", footer=True),
    Action("quit", "q", "Quit", "leave the dashboard; the board stays as it is", "board",
           footer=True),
)  # fmt: skip

BY_NAME = {action.name: action for action in ACTIONS}

_RIGHTS = {"a": "setattr", "l": "link", "r": "read"}
_ON_A_ROW = ("copy_name", "copy_command", "follow")


def why_not(action: Action, view: View, row: Row | None, *, read_only: bool) -> str:
    """Why *action* cannot be done now, as one clause; empty if it can be."""
    if action.changes and read_only:
        return "the dashboard was started with --read-only"
    if action.changes and view.link != "live":
        return "no broker answers"
    if action.right or action.name in _ON_A_ROW:
        if row is None:
            return "no entry is selected"
        return _of_the_entry(action, row.entry)
    return ""


def _of_the_entry(action: Action, entry: EntryView | None) -> str:
    if entry is None:
        return "" if not action.right else "the broker has not told of this entry yet"
    if action.right and action.right not in entry.rights:
        has = entry.rights or "nothing"
        return f"the entry gives you no {_RIGHTS[action.right]} right (you have {has})"
    if action.assigned and not entry.assigned:
        return "the entry is empty: nobody has given it a descriptor yet"
    return ""


class Restoring(NamedTuple):
    """How a removed entry can be put back: the conditions that can be, and those that cannot."""

    until: tuple[str, ...]
    without: tuple[str, ...]


def restoring(entry: EntryView) -> Restoring:
    """What of *entry*'s end conditions can be said once more by another poster."""
    again: list[str] = []
    never: list[str] = []
    for word in entry.until:
        if word == "revoked":
            continue  # every entry of a session has it
        kind = word.partition("=")[0]
        (never if kind in ("lease", "leader") else again).append(word)
    return Restoring(tuple(again), tuple(never))


def why_no_undo(entry: EntryView) -> str:
    """Why the removal of *entry* would be for good; empty if its descriptor can be held."""
    if not entry.assigned:
        return ""
    if any(word.startswith("opens=") for word in entry.until):
        return "holding it would use up one of the opens it is good for"
    if not {"r", "s"} <= set(entry.rights):
        return f"you may not open it (you have {entry.rights}), so it cannot be held"
    return ""
