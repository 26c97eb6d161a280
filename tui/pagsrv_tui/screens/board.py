# SPDX-License-Identifier: MIT
"""The board's screen: namespaces left, entries right, tabs below.

The law: the View comes in by the feed's batches, goes out to the widgets, and is changed
nowhere else; what is not on the screen is not drawn. It refuses to know the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.markup import escape
from textual.widget import Widget
from textual.widgets import Input

from pagsrv_tui.actions import ACTIONS, BY_NAME, why_not
from pagsrv_tui.doing import Doing
from pagsrv_tui.feed import Feed
from pagsrv_tui.messages import Key, Told
from pagsrv_tui.panels import Line, Part, entry_lines, health_lines, rates
from pagsrv_tui.screens.acting import Acting
from pagsrv_tui.settings import Settings, save
from pagsrv_tui.table import Look, rows
from pagsrv_tui.view import Row, View, asked, reduce_all
from pagsrv_tui.widgets.bars import KeyLine, TabLine, Words
from pagsrv_tui.widgets.entry_table import EntryTable
from pagsrv_tui.widgets.event_log import EventLog
from pagsrv_tui.widgets.lines import fit
from pagsrv_tui.widgets.panel import Panel
from pagsrv_tui.widgets.space_tree import SpaceTree
from pagsrv_tui.widgets.status_bar import StatusBar
from pagsrv_tui.words import Marks, drawable, microseconds, number, plain

_TITLES = (("entry", "Entry"), ("events", "Events"), ("keyring", "Keyring"), ("health", "Health"))
_RTTS = 120


class BoardScreen(Acting):
    """Everything at a glance."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(action.keys, action.name, action.label, show=False) for action in ACTIONS
    ]

    def __init__(
        self, feed: Callable[[Callable[[list[Told]], None]], Feed], settings: Settings,
        marks: Marks, clock: Callable[[], float], *, read_only: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.view = View()
        self.look = Look(sort=settings.sort, reverse=settings.reverse, columns=settings.columns)
        self.feed = feed(self.told)
        self.doing = Doing(self.feed)
        self._marks, self._clock, self._read_only = marks, clock, read_only
        self._events_filter = ""
        self._key: Key | None = None
        self._drawn: object = None
        self.tab = "entry"
        self._reasons: tuple[str, ...] = ()
        self._rtts: list[float] = []

    def compose(self) -> ComposeResult:
        """Status, tree and table, filter, tabs, keys."""
        yield StatusBar(self._marks, "read-only" if self._read_only else "")
        with Vertical(id="all"):
            with Horizontal(id="board"):
                yield SpaceTree(self._marks)
                yield EntryTable(self._marks, self._clock)
            with Vertical(id="tabs"):
                yield TabLine(_TITLES)
                yield Vertical(id="tab")
        yield KeyLine("keys")

    def on_mount(self) -> None:
        """Begin to follow the broker."""
        self.query_one(EntryTable).focus()
        self.call_after_refresh(self._follow)
        self.set_interval(1.0, self._second)
        self.draw()

    def _follow(self) -> None:
        self.run_worker(self.feed.run(), group="feed")

    def on_resize(self) -> None:
        """What is said depends on the room there is."""
        self._drawn = None
        self.call_after_refresh(self.draw)

    def on_unmount(self) -> None:
        """Hold nothing."""
        self.doing.forget()

    # ── what comes in ──

    def told(self, batch: Sequence[Told]) -> None:
        """Something was learned."""
        self.view, wants = asked(reduce_all(self.view, batch))
        self.feed.ask(wants)
        self.draw()

    def _second(self) -> None:
        """Clocks move; whether a poster lives is told by no event, so what is seen is asked."""
        shown = self.query_one(EntryTable).on_screen()
        self.feed.ask((row.key, row.generation) for row in shown)
        self._drawn = None
        self.draw()

    # ── what goes out ──

    def draw(self) -> None:
        """Show the view, as far as it is on the screen; at the end there may be none."""
        if not self.is_running or not self.query(StatusBar):
            return
        told = self.view.link == "live" and not self.view.filling
        if told and self.look.scope is not None and self.look.scope not in self.view.spaces:
            self.look = self.look._replace(scope=None)
        self.query_one(StatusBar).show(self.view)
        self.query_one(SpaceTree).show(self.view, self.look.scope, self._clock())
        table = self.query_one(EntryTable)
        versions = tuple(space.version for space in self.view.spaces.values())
        if self._drawn != (versions, self.look):
            self._drawn = (versions, self.look)
            table.show(rows(self.view, self.look), self.look, self._key)
            room = max(0, table.size.width - 4)
            table.border_title = escape(fit(self._title(), room, self._marks).rstrip())
        self._draw_tab()
        self._dim()

    def _title(self) -> str:
        told = self.look.scope or "the whole board"
        space = self.view.spaces.get(told)
        if space is not None and space.told is not None:
            told += f" {self._marks.dot} {space.told.isolation}"
            if space.told.proof:
                told += f" {self._marks.dot} yours by {space.told.proof}"
            if space.told.leader is not None:
                leader = space.told.leader
                told += f" {self._marks.dot} led by {plain(leader.comm)} {leader.pid}"
        if self.look.filter:
            told += f" {self._marks.dot} filter: {self.look.filter}"
        return drawable(told, self._marks)

    def _draw_tab(self) -> None:
        active = self.tab
        if not self._mounted(active):
            return
        if active == "events":
            self.query_one(EventLog).show(self.view.events, self._events_filter)
        elif active == "health":
            self._draw_health(self.query_one("#health-panel", Panel))
        elif active == "keyring":
            from pagsrv_tui.nearby import keyring_lines  # noqa: PLC0415 -- when it is looked at

            self.query_one("#keyring-panel", Panel).say(keyring_lines(self.look.scope))
        else:
            self._draw_entry(self.query_one("#entry-panel", Panel))

    def _mounted(self, tab: str) -> bool:
        """Whether *tab* has its part; one that is looked at for the first time gets it."""
        self.query_one(TabLine).choose(tab)
        body = self.query_one("#tab")
        for known in body.children:
            known.display = known.id == f"{tab}-panel"
        if any(known.display for known in body.children):
            return True
        part: Widget = EventLog(self._marks)
        if tab != "events":
            graphs = {"entry": 1, "health": 2}.get(tab, 0)
            part = Panel(f"{tab}-panel", graphs, marks=self._marks)
        body.mount(part)
        self.call_after_refresh(self._draw_tab)
        return False

    def _draw_entry(self, panel: Panel) -> None:
        row = self.current()
        lines: list[Line] = [(Part("no entry is selected", "dim"),)]
        if row is not None:
            lines = entry_lines(
                self.view, row, self._clock(), self._marks, read_only=self._read_only
            )
        panel.say(lines)
        sock = None if row is None or row.entry is None else row.entry.socket
        if sock is not None and sock.tcp is not None:
            self._rtts = [*self._rtts, float(sock.tcp.rtt)][-_RTTS:]
        panel.plot(0, self._rtts, f"round trip, now {microseconds((self._rtts or [0])[-1])}")

    def _draw_health(self, panel: Panel) -> None:
        from pagsrv_tui.nearby import quota  # noqa: PLC0415 -- as above

        panel.say(health_lines(self.view, quota(), self._marks))
        calls, opens = rates(self.view)
        panel.plot(0, calls, f"calls a second, now {number((calls or [0])[-1])}")
        panel.plot(1, opens, f"opens a second, now {number((opens or [0])[-1])}")

    # ── may it? ──

    def current(self) -> Row | None:
        """The row under the cursor."""
        return None if self._key is None else self.view.row(self._key)

    def reason(self, name: str) -> str:
        """Why action *name* cannot be done now; empty if it can be."""
        action = BY_NAME[name]
        return why_not(action, self.view, self.current(), read_only=self._read_only)

    async def act(self, name: str) -> None:
        """Do action *name*, or say why not."""
        why = self.reason(name)
        if why:
            self.notify(f"{BY_NAME[name].label}: {why}", severity="warning", markup=False)
        else:
            await self.run_action(name)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done is not tried."""
        del parameters
        return None if action in BY_NAME and self.reason(action) else True

    def _dim(self) -> None:
        reasons = self._all_reasons()
        if reasons != self._reasons:
            self._reasons = reasons
            self.query_one(KeyLine).show([
                (action.name, self.shown_key(action.keys.split(",")[0]), action.label, why)
                for action, why in zip(ACTIONS, reasons, strict=True)
                if action.footer
            ])  # fmt: skip

    def _all_reasons(self) -> tuple[str, ...]:
        return tuple(self.reason(action.name) for action in ACTIONS)

    def on_key(self, event: object) -> None:
        """A key of something that cannot be done says why."""
        key = getattr(event, "key", "")
        for action in ACTIONS:
            why = self.reason(action.name) if key in action.keys.split(",") else ""
            if why:
                self.notify(f"{action.label}: {why}", severity="warning", markup=False)

    # ── what was pressed ──

    def looking(self, look: Look) -> None:
        """Look at the board so from now on."""
        remembered = (look.sort, look.reverse) != (self.look.sort, self.look.reverse)
        self.look = look
        if remembered:
            self.remember()
        self.draw()

    def remember(self) -> None:
        """Write the settings down."""
        wrong = save(Settings(self.look.sort, self.look.reverse, self.app.theme, self.look.columns))
        if wrong:
            self.notify(wrong, severity="warning", markup=False)

    def go_to_key(self, key: Key) -> None:
        """Put the cursor on *key*."""
        self._key = key
        self.look = self.look._replace(scope=key.scope, filter="")
        self._drawn = None
        self.draw()

    @on(SpaceTree.Picked)
    def picked(self, event: SpaceTree.Picked) -> None:
        """A namespace."""
        self.looking(self.look._replace(scope=event.scope))

    @on(EntryTable.Chosen)
    def chosen(self, event: EntryTable.Chosen) -> None:
        """An entry; what is known of it is asked anew."""
        self._key, self._rtts = event.key, []
        row = self.current()
        if row is not None:
            self.feed.ask(((row.key, row.generation),))
        self._draw_tab()
        self._dim()

    @on(EntryTable.SortAsked)
    def sort_asked(self, event: EntryTable.SortAsked) -> None:
        """A column; the same once more turns it round."""
        same = event.column == self.look.sort
        turned = not self.look.reverse if same else False
        self.looking(self.look._replace(sort=event.column, reverse=turned))

    @on(Input.Changed, "#filter")
    def filtered(self, event: Input.Changed) -> None:
        """Each letter filters."""
        if self.tab == "events":
            self._events_filter = event.value
            self._draw_tab()
        else:
            self.looking(self.look._replace(filter=event.value))

    @on(Input.Submitted, "#filter")
    def kept(self) -> None:
        """The filter stays, and the rows have the keys again."""
        self.query_one("#filter").display = bool(self.query_one("#filter", Input).value)
        self.query_one(EntryTable).focus()

    def key_escape(self) -> None:
        """The filter ends."""
        for line in self.query("#filter").results(Input):
            line.value = ""
            line.display = False
        self.query_one(EntryTable).focus()

    def show_tab(self, name: str) -> None:
        """Show tab *name*."""
        self.tab = name
        self._draw_tab()

    @on(Words.Pressed)
    async def word_pressed(self, event: Words.Pressed) -> None:
        """A tab or a key was clicked."""
        await self.act(event.sign)
