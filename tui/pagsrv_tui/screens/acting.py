# SPDX-License-Identifier: MIT
"""What each action of the registry does on the board's screen.

The law: what changes something asks first where that cannot be taken back in full, runs as a
worker, and ends in one sentence, good or bad. It refuses to know how a change is made
(doing.py) and whether it may be (actions.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from textual.screen import Screen
from textual.widgets import Input

from pagsrv.errors import PagsrvError
from pagsrv.masks import parse_mask
from pagsrv.names import Scope, parse_scope
from pagsrv_tui import words
from pagsrv_tui.actions import restoring, why_no_undo
from pagsrv_tui.doing import Doing, Posting
from pagsrv_tui.messages import Key
from pagsrv_tui.table import COLUMNS, Look, spaces
from pagsrv_tui.view import Row, View
from pagsrv_tui.words import plain

if TYPE_CHECKING:
    from pagsrv.messages import EntryView

_KEYS = {
    "slash": "/", "greater_than_sign": ">", "less_than_sign": "<", "question_mark": "?",
    "right_square_bracket": "]", "left_square_bracket": "[", "delete": "del",
}  # fmt: skip


class Acting(Screen[None]):
    """The handlers; the board's screen is one of these."""

    view: View
    look: Look
    doing: Doing

    def current(self) -> Row | None:
        """The row under the cursor."""
        raise NotImplementedError

    def looking(self, look: Look) -> None:
        """Look at the board so from now on."""
        raise NotImplementedError

    def go_to_key(self, key: Key) -> None:
        """Put the cursor on *key*, wherever it is."""
        raise NotImplementedError

    def show_tab(self, name: str) -> None:
        """Show tab *name*."""
        raise NotImplementedError

    def reason(self, name: str) -> str:
        """Why action *name* cannot be done now."""
        raise NotImplementedError

    # ── changing ──

    def _entry(self) -> EntryView | None:
        row = self.current()
        return None if row is None else row.entry

    def _do(self, work: Callable[[], Awaitable[str]]) -> None:
        async def worker() -> None:
            try:
                self.notify(plain(await work()), markup=False)
            except (PagsrvError, OSError, ValueError) as error:
                self.notify(plain(str(error)), severity="error", markup=False)

        self.run_worker(worker(), group="changes", exit_on_error=False)

    def action_remove(self) -> None:
        """Remove the entry, once confirmed."""
        entry = self._entry()
        if entry is None:
            return
        never, without = why_no_undo(entry), restoring(entry).without
        told = f"This cannot be undone: {never}." if never else "For five seconds u undoes it."
        if without and not never:
            told += f" It comes back without {', '.join(without)}."

        def answered(yes: bool | None) -> None:  # noqa: FBT001 -- a dialog's answer
            if yes:
                self._do(lambda: self.doing.remove(entry))

        name = plain(f"{entry.scope}/{entry.name}")
        kept = "Who has opened it keeps what was opened."
        from pagsrv_tui.screens.asking import Confirm  # noqa: PLC0415 -- when it is asked

        self.app.push_screen(Confirm(f"Remove {name}?", kept, told), answered)

    def action_undo(self) -> None:
        """Take the last change back."""
        self._do(self.doing.undo)

    def action_mask(self) -> None:
        """Ask for a mask and set it."""
        entry = self._entry()
        if entry is None:
            return
        hint = "24 letters, alswrv or - for possessor, user, group, other; or 8 hex digits"
        self._ask(f"The mask of {plain(entry.name)}", hint, parse_mask,
                  lambda mask: self.doing.set_mask(entry, mask), value=entry.mask)  # fmt: skip

    def action_timeout(self) -> None:
        """Ask for seconds and let the entry end then."""
        entry = self._entry()
        if entry is not None:
            self._ask(f"End {plain(entry.name)} in how many seconds?", "0: it stays", _seconds,
                      lambda text: self.doing.set_timeout(entry, _seconds(text)))  # fmt: skip

    def action_grant(self) -> None:
        """Ask for a scope and grant the entry to it."""
        entry = self._entry()
        if entry is not None:
            hint = "session:N, pag:N or user:N; its poster's credentials may go along"
            self._ask(f"Grant {plain(entry.name)} to which scope?", hint, _exact,
                      lambda scope: self.doing.grant(entry, scope))  # fmt: skip

    def _ask(
        self, question: str, hint: str, parse: Callable[[str], object],
        then: Callable[[str], Awaitable[str]], *, value: str = "",
    ) -> None:  # fmt: skip
        def wrong(text: str) -> str:
            try:
                parse(text)
            except (PagsrvError, ValueError) as error:
                return str(error)
            return ""

        def answered(text: str | None) -> None:
            if text is not None:
                self._do(lambda: then(text))

        from pagsrv_tui.screens.asking import Ask  # noqa: PLC0415 -- when it is asked

        self.app.push_screen(Ask(question, hint, wrong, value=value), answered)

    def action_post(self) -> None:
        """Ask for a post and make it."""
        from pagsrv_tui.screens.posting import Post  # noqa: PLC0415 -- most who look never post

        def answered(asked: Posting | None) -> None:
            if asked is not None:
                self._do(lambda: self.doing.post(asked))

        self.app.push_screen(Post(self.look.scope), answered)

    # ── the entry, unchanged ──

    def action_copy_name(self) -> None:
        """Copy its full name."""
        row = self.current()
        if row is not None:
            self._copy(str(row.key))

    def action_copy_command(self) -> None:
        """Copy the command that opens it."""
        row = self.current()
        if row is not None:
            self._copy(words.command(row.key.scope, row.key.name))

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)
        self.notify(f"copied: {plain(text)}", markup=False)

    def action_follow(self) -> None:
        """Go to an entry of the process at the other end, or say which process that is."""
        entry = self._entry()
        by = None if entry is None or entry.socket is None else entry.socket.peer_process
        if entry is None or by is None:
            self.notify("no process is known at the other end of this entry", markup=False)
            return
        for space in self.view.spaces.values():
            for row in space.rows.values():
                other = row.entry
                theirs = other is not None and other.poster and other.poster.pid == by.pid
                if theirs and row.key != Key(entry.scope, entry.name):
                    self.go_to_key(row.key)
                    return
        self.notify(
            f"at the other end is {plain(by.comm) or 'process'} {by.pid} of uid {by.uid}, which "
            "has nothing else on the board that you may see", markup=False,
        )  # fmt: skip

    # ── looking ──

    def action_sort_next(self) -> None:
        """Sort by the next column."""
        self._sort(1)

    def action_sort_previous(self) -> None:
        """Sort by the column before."""
        self._sort(-1)

    def _sort(self, by: int) -> None:
        names = [column.name for column in COLUMNS]
        place = (names.index(self.look.sort) + by) % len(names)
        self.looking(self.look._replace(sort=names[place]))

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.looking(self.look._replace(reverse=not self.look.reverse))

    def action_next_space(self) -> None:
        """Go to the next namespace."""
        self._step(1)

    def action_previous_space(self) -> None:
        """Go to the one before."""
        self._step(-1)

    def _step(self, by: int) -> None:
        known: list[str | None] = [None, *spaces(self.view)]
        place = known.index(self.look.scope) if self.look.scope in known else 0
        self.looking(self.look._replace(scope=known[(place + by) % len(known)]))

    def action_jump(self) -> None:
        """Choose a namespace."""
        known = spaces(self.view)

        def answered(scope: str | None) -> None:
            if scope is not None:
                self.looking(self.look._replace(scope=None if scope == "Board" else scope))

        from pagsrv_tui.screens.asking import Pick  # noqa: PLC0415 -- when it is asked

        self.app.push_screen(Pick("Go to", ["Board", *known]), answered)

    def action_help(self) -> None:
        """Every key."""
        from pagsrv_tui.screens.asking import Help  # noqa: PLC0415 -- when it is asked

        self.app.push_screen(Help(self.shown_key, self.reason))

    def shown_key(self, key: str) -> str:
        """How a key is written."""
        return _KEYS.get(key, key)

    def action_quit(self) -> None:
        """Leave."""
        self.app.exit()

    def action_tab_entry(self) -> None:
        """The Entry tab."""
        self.show_tab("entry")

    def action_tab_events(self) -> None:
        """The Events tab."""
        self.show_tab("events")

    def action_tab_keyring(self) -> None:
        """The Keyring tab."""
        self.show_tab("keyring")

    def action_tab_health(self) -> None:
        """The Health tab."""
        self.show_tab("health")

    def action_filter(self) -> None:
        """Begin a filter."""
        if not self.query("#filter"):
            line = Input(placeholder="all these words; return keeps, escape ends", id="filter",
                         compact=True)  # fmt: skip
            self.query_one("#all").mount(line, after="#board")
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    def action_zoom(self) -> None:
        """The tabs have the whole height, or give it back."""
        self.toggle_class("-zoomed")

    def action_light(self) -> None:
        """The other theme."""
        dark = self.app.current_theme.dark
        self.app.theme = "pagsrv-light" if dark else "pagsrv-dark"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError("give 0 or more seconds")
    return seconds


def _exact(text: str) -> Scope:
    scope = parse_scope(text, "to")
    if not isinstance(scope, Scope):
        raise ValueError(f"say exactly whose: {text}:N")  # noqa: TRY004 -- the text is wrong
    return scope
