# SPDX-License-Identifier: MIT
"""One line: which broker, as whom, and whether it answers.

The law: a lost broker is said in words here, whatever else is on the screen. It refuses to
know how one is found again.
"""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from pagsrv_tui import words
from pagsrv_tui.panels import rates
from pagsrv_tui.view import View
from pagsrv_tui.words import Marks, plain


def status(view: View, marks: Marks, note: str, width: int) -> Content:
    """The line, for *width* cells."""
    left: list[str | tuple[str, str]] = [(" pagsrv ", "bold $primary")]
    if view.link == "live":
        left.append((f"{marks.live} live ", "$text-success"))
    elif view.link == "connecting":
        left.append((f"{marks.lost} connecting ", "$text-warning"))
    elif view.link == "silent":
        left.append((f"{marks.lost} silent: {view.why} ", "bold $text-warning"))
    else:
        left.append((f"{marks.lost} reconnecting: ", "bold $text-error"))
        left.append((f"{plain(view.why)} ", "$text-error"))
    who = view.identity
    if who is not None and view.link == "live":
        left.append(f" {plain(who.dir)}  uid {who.uid}")
        left.append((f"  {who.default or 'in no isolated scope'}", "$foreground-muted"))
    calls = rates(view)[0]
    told = f"{words.number(view.count())} entries"
    if calls:
        told = f"{words.number(calls[-1])} calls/s  {told}"
    if view.link in ("lost", "silent"):
        told = ""  # of a board that may be another by now; the reason needs the room
    right = f"{note}  {told} " if note else f"{told} "
    content = Content.assemble(*left)
    room = width - len(right) - 1
    if content.cell_length > room:
        content = content.truncate(max(0, room), ellipsis=False)
    return Content.assemble(content, " " * max(1, width - content.cell_length - len(right)), right)


class StatusBar(Static):
    """The top line."""

    def __init__(self, marks: Marks, note: str) -> None:
        super().__init__(id="status")
        self._marks, self._note = marks, note

    def show(self, view: View) -> None:
        """Say how *view* came about."""
        self.update(status(view, self._marks, self._note, self.size.width))
        self.set_class(view.link in ("lost", "silent"), "-trouble")
