# SPDX-License-Identifier: MIT
"""The form of a post.

The law: every word is understood before anything is opened or dialled, by the same parsers
as the command's. It refuses to know how a place is opened.
"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, RadioButton, RadioSet, Static

from pagsrv.cli.places import parse_place
from pagsrv.ends import parse_end
from pagsrv.errors import PagsrvError
from pagsrv.masks import parse_mask
from pagsrv.names import parse_name, parse_scope
from pagsrv_tui.doing import Posting

_HOWS = (("open", "path"), ("dial", "dial"), ("listen", "listen"), ("empty", "empty"))
_FIELDS = (
    ("name", "Name", "db"),
    ("what", "Path or address", "a path, tcp:HOST:PORT or unix:PATH"),
    ("scope", "Scope", "session, pag, user or S:N; or nothing"),
    ("until", "Until", "exit=PID ttl=60 opens=1 hup; or nothing"),
    ("mask", "Mask", "24 letters or 8 hex digits; or nothing"),
    ("labels", "Labels", "key=value key=value"),
)


def posting(how: str, fields: dict[str, str]) -> Posting:
    """What the form says; InvalidParameter, or another sentence, for what is wrong with it."""
    parse_name(fields["name"])
    if how in ("dial", "listen"):
        parse_place(fields["what"])
    elif how == "open" and not fields["what"]:
        raise PagsrvError("say which path to open")
    if fields["scope"]:
        parse_scope(fields["scope"])
    if fields["mask"]:
        parse_mask(fields["mask"])
    until = tuple(fields["until"].split())
    for word in until:
        parse_end(word)
    labels = []
    for word in fields["labels"].split():
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise PagsrvError(f"{word!r} is no label: say key=value")
        labels.append((key, value))
    return Posting(
        fields["name"], how, fields["what"], fields["scope"] or None, fields["mask"] or None,
        until, tuple(labels),
    )  # fmt: skip


class Choice(RadioButton):
    """A radio button whose sign is there when it is chosen, and not merely brighter."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override]  # noqa: N802 -- Textual's name
        """The sign."""
        return "*" if self.value else " "


class Post(ModalScreen[Posting | None]):
    """Asks for everything a post needs; return anywhere posts."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "Back"),
        Binding("ctrl+s", "post", "Post"),
    ]

    def __init__(self, scope: str | None) -> None:
        super().__init__()
        self._scope = scope or ""

    def compose(self) -> ComposeResult:
        """A line for each field."""
        with Vertical(classes="dialog wide"):
            yield Label("Post: opened, dialled or listened on here, with your rights",
                        classes="title", markup=False)  # fmt: skip
            with RadioSet(id="how", compact=True):
                for how, label in _HOWS:
                    yield Choice(label, id=f"how-{how}", value=how == "open", compact=True)
            for name, label, hint in _FIELDS:
                with Horizontal(classes="field"):
                    yield Label(f"{label:<16}")
                    value = self._scope if name == "scope" else ""
                    yield Input(value, placeholder=hint, id=f"field-{name}", compact=True)
            yield Static("", id="wrong", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Post (ctrl+s)", variant="primary", id="post", compact=True)
                yield Button("Back (escape)", id="back", compact=True)

    def on_mount(self) -> None:
        """The name is asked first."""
        self.query_one("#field-name").focus()

    @on(Input.Submitted)
    def submitted(self) -> None:
        """Return in a field."""
        self.action_post()

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        """A button."""
        if event.button.id == "post":
            self.action_post()
        else:
            self.action_give_up()

    def action_post(self) -> None:
        """Take the form, or say what is wrong."""
        chosen = self.query_one("#how", RadioSet).pressed_button
        how = (chosen.id or "how-open").removeprefix("how-") if chosen is not None else "open"
        fields = {
            name: self.query_one(f"#field-{name}", Input).value.strip() for name, _, _ in _FIELDS
        }
        try:
            self.dismiss(posting(how, fields))
        except PagsrvError as error:
            self.query_one("#wrong", Static).update(str(error))

    def action_give_up(self) -> None:
        """Nothing is posted."""
        self.dismiss(None)
