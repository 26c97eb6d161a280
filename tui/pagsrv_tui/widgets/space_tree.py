# SPDX-License-Identifier: MIT
"""The tree of namespaces: sessions, PAGs, users, each with what it keeps out.

The law: it is rebuilt only when a namespace comes or goes, and else its labels change in
place, so that the cursor never jumps. It refuses to know entries.
"""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from pagsrv_tui import words
from pagsrv_tui.table import spaces
from pagsrv_tui.view import Space, View
from pagsrv_tui.words import Marks, plain

_GROUPS = (("session", "Sessions"), ("pag", "PAGs"), ("user", "Users"))
_WIDE = 34
_TONES = {"isolated": "green", "linkable": "yellow"}


def label(space: Space, now: float, marks: Marks, width: int) -> Text:
    """A namespace: badge, number, entries, who leads it, how old it is, as there is room."""
    told = space.told
    symbol, word = words.badge(None if told is None else told.isolation, marks)
    tone = _TONES.get(word, "")
    parts: list[str | tuple[str, str]] = [
        (symbol, tone), f" {space.scope.partition(':')[2]} ", (f"{len(space.rows)}", "bold"),
        (f" {word}", tone),
    ]  # fmt: skip
    if width >= _WIDE and told is not None:
        leader = "" if told.leader is None else f" {plain(told.leader.comm)}"
        parts.append((f"{leader} {words.age(now - told.since)}", "dim"))
    return Text.assemble(*parts)


class SpaceTree(Tree[str | None]):
    """The whole board on top; beneath it a leaf for each namespace, in groups."""

    show_guides = False

    class Picked(Message):
        """A namespace is to be looked at; None: the whole board."""

        def __init__(self, scope: str | None) -> None:
            super().__init__()
            self.scope = scope

    def __init__(self, marks: Marks) -> None:
        super().__init__("Board", id="spaces")
        self._marks = marks
        self._known: list[str] = []
        self._leaves: dict[str, TreeNode[str | None]] = {}
        self._labels: dict[str, str] = {}
        self.guide_depth = 2
        if marks is words.ASCII:
            self.ICON_NODE, self.ICON_NODE_EXPANDED = "+ ", "- "

    def render_label(self, node: TreeNode[str | None], base_style: Style, style: Style) -> Text:
        """A label in its own colours; Textual's would paint *style* over them."""
        icon = self.ICON_NODE_EXPANDED if node.is_expanded else self.ICON_NODE
        text = Text.assemble(node.label)  # a copy
        text.stylize_before(style)
        return Text.assemble((icon if node.allow_expand else "", base_style), text)

    def on_mount(self) -> None:
        """The board's own line."""
        self.root.expand()

    def show(self, view: View, scope: str | None, now: float) -> None:
        """Show the namespaces of *view*, *scope* being looked at."""
        self._say(self.root, "", Text.assemble("Board ", (f"{view.count()}", "bold")))
        known = spaces(view)
        if known != self._known:
            self._known = known
            self._rebuild(known)
        for name, node in self._leaves.items():
            self._say(node, name, label(view.spaces[name], now, self._marks, self.size.width))
        node = self.root if scope is None else self._leaves.get(scope, self.root)
        if self.cursor_node is not node and not self.has_focus:
            self.move_cursor(node)

    def _say(self, node: TreeNode[str | None], name: str, text: Text) -> None:
        if self._labels.get(name) != text.markup:
            self._labels[name] = text.markup
            node.set_label(text)

    def _rebuild(self, known: list[str]) -> None:
        self.root.remove_children()
        self._leaves.clear()
        self._labels.clear()
        for kind, title in _GROUPS:
            mine = [scope for scope in known if scope.startswith(f"{kind}:")]
            if mine:
                group = self.root.add(title, expand=True, allow_expand=False)
                for scope in mine:
                    self._leaves[scope] = group.add_leaf(scope, data=scope)

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[str | None]) -> None:
        """Moving onto a namespace looks at it."""
        event.stop()
        if self.has_focus and (event.node.data is not None or event.node is self.root):
            self.post_message(self.Picked(event.node.data))

    def on_tree_node_selected(self, event: Tree.NodeSelected[str | None]) -> None:
        """So does choosing it."""
        event.stop()
        if event.node.data is not None or event.node is self.root:
            self.post_message(self.Picked(event.node.data))
