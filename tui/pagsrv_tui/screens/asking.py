# SPDX-License-Identifier: MIT
"""Questions over the board: yes or no, one line of text, a whole post, and the help.

The law: a question is answered or given up, and says what is wrong with an answer before it
is taken. It refuses to know what is done with one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, OptionList, Static

from pagsrv_tui.actions import ACTIONS
from pagsrv_tui.panels import Line, Part
from pagsrv_tui.widgets.panel import content

GIVE_UP = Binding("escape", "give_up", "Back")


class Confirm(ModalScreen[bool]):
    """A question that y answers, and n or escape declines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        GIVE_UP,
        Binding("n", "give_up", "No"),
        Binding("y", "agree", "Yes"),
    ]

    def __init__(self, question: str, *told: str) -> None:
        super().__init__()
        self._question, self._told = question, told

    def compose(self) -> ComposeResult:
        """The question, what follows from a yes, two buttons."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="title", markup=False)
            for line in self._told:
                yield Static(line, markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Yes (y)", variant="error", id="yes", compact=True)
                yield Button("No (n)", id="no", compact=True)

    def on_mount(self) -> None:
        """Return alone declines."""
        self.query_one("#no").focus()

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        """A button is an answer."""
        self.dismiss(event.button.id == "yes")

    def action_agree(self) -> None:
        """Yes."""
        self.dismiss(True)

    def action_give_up(self) -> None:
        """No."""
        self.dismiss(False)


class Ask(ModalScreen[str | None]):
    """One line of text; *wrong* says what is wrong with it, or nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [GIVE_UP]

    def __init__(
        self, question: str, hint: str, wrong: Callable[[str], str], *, value: str = ""
    ) -> None:
        super().__init__()
        self._question, self._hint, self._wrong, self._value = question, hint, wrong, value

    def compose(self) -> ComposeResult:
        """The question, a hint, the line."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="title", markup=False)
            yield Static(self._hint, markup=False, classes="hint")
            yield Input(self._value, compact=True)
            yield Static("", id="wrong", markup=False)

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        """Take it, or say why not."""
        wrong = self._wrong(event.value)
        if wrong:
            self.query_one("#wrong", Static).update(wrong)
        else:
            self.dismiss(event.value)

    def action_give_up(self) -> None:
        """No answer."""
        self.dismiss(None)


class Pick(ModalScreen[str | None]):
    """One of several."""

    BINDINGS: ClassVar[list[BindingType]] = [GIVE_UP]

    def __init__(self, question: str, options: list[str]) -> None:
        super().__init__()
        self._question, self._options = question, options

    def compose(self) -> ComposeResult:
        """What there is to choose from."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="title", markup=False)
            yield OptionList(*self._options, markup=False, compact=True)

    @on(OptionList.OptionSelected)
    def selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(self._options[event.option_index])

    def action_give_up(self) -> None:
        """None of them."""
        self.dismiss(None)


class Help(ModalScreen[None]):
    """Every key, from the one registry; what cannot be done now says why."""

    BINDINGS: ClassVar[list[BindingType]] = [
        GIVE_UP,
        Binding("q,question_mark,f1", "give_up", "Back", show=False),
    ]

    def __init__(self, key_of: Callable[[str], str], why_not: Callable[[str], str]) -> None:
        super().__init__()
        self._key_of, self._why_not = key_of, why_not

    def compose(self) -> ComposeResult:
        """A line for each action, in groups."""
        with Vertical(classes="dialog wide"):
            yield Label("Keys", classes="title")
            with VerticalScroll():
                yield Static(content(self._lines()), markup=False)

    def _lines(self) -> list[Line]:
        lines: list[Line] = []
        for group, title in (("entry", "The entry"), ("look", "Looking"), ("board", "The board")):
            lines.append((Part(title, "title"),))
            for action in ACTIONS:
                if action.group != group:
                    continue
                why = self._why_not(action.name)
                keys = " ".join(self._key_of(key) for key in action.keys.split(","))
                lines.append((
                    Part(f"  {keys:<8}", "key"), Part(action.help, "dim" if why else ""),
                    Part(f"  (not now: {why})" if why else "", "warn"),
                ))  # fmt: skip
        lines += [
            (Part("  arrows  ", "key"), Part("move; tab goes to the next part, shift+tab back")),
            (Part("  ctrl+p  ", "key"), Part("the command palette: all of this by name")),
            (Part("  escape  ", "key"), Part("leave this, or end the filter")),
        ]
        return lines

    def action_give_up(self) -> None:
        """Back to the board."""
        self.dismiss(None)
