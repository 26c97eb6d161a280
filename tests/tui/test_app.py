# SPDX-License-Identifier: MIT
"""What a person does at the dashboard, key by key, and what comes of it on the board.

The law: the broker is a process of its own and what is asserted of a change is asked of it,
over another connection. It refuses to know how anything is drawn.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

import pagsrv
from pagsrv.kernel import keys
from tests.running import running_broker
from tests.tui.driving import Driver, driven, in_session

pytestmark = pytest.mark.kernel


def ring() -> str:
    """The session we are in."""
    return f"session:{keys.session_ring()}"


class Scene(ExitStack):
    """A broker, a connection to it, and a file and a socket posted in our session."""

    def __init__(self, tmp: Path) -> None:
        super().__init__()
        self.broker = self.enter_context(running_broker(tmp))
        self.dir = self.broker.dir
        self.board = self.enter_context(pagsrv.connect(self.dir, changes=True))
        self.scope = ring()
        path = tmp / "note.txt"
        path.write_text("first\nsecond\n")
        self.board.post("note", self.enter_context(path.open("rb")))
        ours, self.theirs = socket.socketpair()
        self.enter_context(ours)
        self.enter_context(self.theirs)
        self.board.post("talk", ours, until=["hup"])

    def names(self) -> set[str]:
        """What is on the board."""
        return {entry.name for entry in self.board.list(all=True)}


@in_session
async def test_what_is_there_is_shown(tmp: Path) -> None:
    """Namespaces with their strength, entries with what they are, and who we are."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.until_shown("note", "talk", "Sessions", "isolated", "● live", scene.dir)
            await at.until_shown("hup", str(os.getpid()), "note.txt", f"{scene.scope}/note")


@in_session
async def test_an_event_is_on_the_screen_by_itself(tmp: Path) -> None:
    """Nobody presses a key: what is posted, opened and removed elsewhere is shown."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.press("2")
            scene.board.create("another")
            await at.until_shown("another", "posted")
            scene.board.open("note").close()
            await at.until_shown("opened")
            scene.board.remove("another")
            await at.until_shown("ended", "removed")
            await at.until(lambda: "another" not in at.screen().split("1 Entry")[0])


@in_session
async def test_a_removal_asks_once_and_can_be_undone(tmp: Path) -> None:
    """The same open file is back under its name, read on from where it was."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            with scene.board.open("note") as fd:
                os.read(fd.fileno(), 6)
            await at.press("d")
            await at.until_shown("Remove", "five seconds")
            await at.press("n")
            assert "note" in scene.names()
            await at.press("d", "y")
            await at.until(lambda: "note" not in scene.names())
            await at.until_said("puts it back")
            await at.press("u")
            await at.until(lambda: "note" in scene.names())
            with scene.board.open("note") as fd:
                assert os.read(fd.fileno(), 20) == b"second\n"
            await at.press("u")
            await at.until_said("nothing to undo")


@in_session
async def test_what_is_held_for_an_undo_ends_with_the_dashboard(tmp: Path) -> None:
    """The descriptor is closed, used or not: driving.py counts them."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            await at.press("d", "y")
            await at.until(at.board.doing.undoable)
            assert "note" not in scene.names()


@in_session
async def test_a_removal_for_good_says_so_before(tmp: Path) -> None:
    """Holding an entry that is good for few opens would use one up: it is not held."""
    with Scene(tmp) as scene:
        scene.board.post("once", scene.theirs, until=["opens=1"])
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "once")
            await at.press("d")
            await at.until_shown("cannot be undone")
            await at.press("y")
            await at.until(lambda: "once" not in scene.names())
            await at.until_said("cannot be undone")
            assert at.board.doing.undoable() == ""


@in_session
async def test_what_was_changed_meanwhile_is_not_removed(tmp: Path) -> None:
    """The confirmed entry is not the one there now: nothing is removed, and nothing held."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            await at.press("d")
            await at.until_shown("Remove")
            scene.board.post("note", scene.theirs, replace=True)
            await at.press("y")
            await at.until_said("generation")
            assert "note" in scene.names()
            assert at.board.doing.undoable() == ""


@in_session
async def test_a_mask_is_set_and_undone(tmp: Path) -> None:
    """A wrong one is refused in the dialog, in words."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            await at.press("m")
            await at.type("nonsense")
            await at.press("enter")
            await at.until_shown("is no mask")
            await at.type("3f0b0000")
            await at.press("enter")
            await at.until(lambda: scene.board.stat("note").mask == "alswrv--s-rv------------")
            await at.until(lambda: at.entry().mask == "alswrv--s-rv------------")
            await at.press("u")
            await at.until(lambda: scene.board.stat("note").mask == "alswrv-----v------------")


@in_session
async def test_a_timeout_is_set_counted_down_and_cleared(tmp: Path) -> None:
    """The table shows what is left."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            await at.press("t")
            await at.type("-3")
            await at.press("enter")
            await at.until_shown("give 0 or more")
            await at.type("600")
            await at.press("enter")
            await at.until(lambda: "ttl=600" in scene.board.stat("note").until)
            await at.until_shown("in 9:5")
            await at.press("t")
            await at.type("0")
            await at.press("enter")
            await at.until(lambda: "ttl=600" not in scene.board.stat("note").until)


@in_session
async def test_a_grant_is_made_and_undone(tmp: Path) -> None:
    """Another scope may open it by its full name, until u ends that."""
    with Scene(tmp) as scene, pagsrv.connect(scene.dir, prove=False) as outside:
        full = f"{scene.scope}/note"
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            await at.press("g")
            await at.type("user")
            await at.press("enter")
            await at.until_shown("say exactly whose")
            await at.type(f"user:{os.geteuid()}")
            await at.press("enter")
            await at.until(lambda: "r" in outside.stat(full).rights)
            outside.open(full).close()
            await at.until_said("is granted")
            await at.press("u")
            await at.until(lambda: "r" not in outside.stat(full).rights)


@in_session
async def test_a_post_is_made_by_the_form(tmp: Path) -> None:
    """A path is opened here; what is wrong is said before anything is opened."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.press("p")
            await at.type("a/b")
            await at.press("enter")
            await at.until_shown("cannot be an entry's name")
            await at.type("mine")
            await at.press("tab")
            await at.type(str(tmp / "note.txt"))
            await at.press("enter")
            await at.until(lambda: "mine" in scene.names())
            with scene.board.open("mine") as fd:
                assert os.read(fd.fileno(), 6) == b"first\n"
            await at.until_said("posted file")


@in_session
async def test_a_post_that_cannot_be_is_one_sentence(tmp: Path) -> None:
    """Nobody listens there: the board is as it was."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            before = scene.names()
            await at.press("p")
            await at.type("mine")
            await at.press("tab")
            await at.type(str(tmp / "missing"))
            await at.press("enter")
            await at.until_said("cannot be opened")
            assert scene.names() == before


@in_session
async def test_names_and_command_lines_are_copied(tmp: Path) -> None:
    """What is copied can be pasted into a shell."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            await at.press("c")
            assert at.app.clipboard == f"{scene.scope}/note"
            await at.press("C")
            assert at.app.clipboard == f"pagsrv open {scene.scope}/note -- "


@in_session
async def test_follow_goes_to_the_other_end(tmp: Path) -> None:
    """The process at the other end of the socket posted something too."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "talk")
            await at.until(lambda: at.entry().socket is not None)
            await at.press("f")
            await at.until(lambda: at.entry().name == "note")
            await at.press("f")
            await at.until_said("no process is known")


@in_session
async def test_a_filter_shows_what_matches_and_ends(tmp: Path) -> None:
    """All words, anywhere in what is known of an entry."""
    with Scene(tmp) as scene:
        async with driven(scene.dir) as at:
            await at.live()
            await at.press("slash")
            await at.type("hup sock")
            await at.until(lambda: [row.key.name for row in _rows(at)] == ["talk"])
            await at.press("enter")
            await at.until_shown("filter: hup sock")
            await at.press("escape")
            await at.until(lambda: len(_rows(at)) == 2)


def _rows(at: Driver) -> list[object]:
    from pagsrv_tui.table import rows  # noqa: PLC0415

    return rows(at.board.view, at.board.look)  # type: ignore[return-value]


@in_session
async def test_any_column_sorts_and_is_remembered(tmp: Path) -> None:
    """By key, by a click on its heading, by the palette; the next dashboard begins with it."""
    with Scene(tmp) as scene:
        scene.board.open("talk").close()
        async with driven(scene.dir) as at:
            await at.live()
            await at.press("greater_than_sign")
            assert at.board.look.sort == "scope"
            await at.press("less_than_sign", "r")
            assert (at.board.look.sort, at.board.look.reverse) == ("name", True)
            await at.until(lambda: [row.key.name for row in _rows(at)] == ["talk", "note"])
            heading = next(n for n, line in enumerate(at.screen().split("\n")) if "OPENS" in line)
            x = at.screen().split("\n")[heading].index("OPENS")
            await at.pilot.click(offset=(x, heading))
            await at.until(lambda: at.board.look.sort == "opens")
        from pagsrv_tui.settings import load  # noqa: PLC0415

        assert load()[0].sort == "opens"


@in_session
async def test_namespaces_are_gone_to_by_bracket_tree_and_jump(tmp: Path) -> None:
    """The table shows the chosen one's entries and no others."""
    with Scene(tmp) as scene:
        scene.board.create("shared", scope="user")
        async with driven(scene.dir) as at:
            await at.live()
            await at.press("right_square_bracket")
            assert at.board.look.scope == scene.scope
            await at.until(lambda: len(_rows(at)) == 2)
            await at.press("right_square_bracket")
            assert at.board.look.scope == f"user:{os.geteuid()}"
            await at.press("left_square_bracket", "left_square_bracket")
            assert at.board.look.scope is None
            await at.press("j", "down", "enter")
            await at.until(lambda: at.board.look.scope == scene.scope)
            await at.press("shift+tab", "home", "enter")
            await at.until(lambda: at.board.look.scope is None)


@in_session
async def test_tabs_tell_of_events_keyring_and_health(tmp: Path) -> None:
    """Each by its number; the ring as the kernel has it, the key quota as a gauge."""
    with Scene(tmp) as scene:
        async with driven(scene.dir, size=(120, 50)) as at:
            await at.live()
            await at.press("3")
            await at.until_shown("keyring: _ses", "pagsrv:proof:", "isolated by its mask")
            await at.press("4")
            await at.until_shown("pagsrv 0.1.0", "calls/s", "proofs", "possession", "keys")
            await at.press("1", "z")
            await at.until_shown("whoever possesses the scope")
            assert "Sessions" not in at.screen()
            await at.press("z")
            await at.until_shown("Sessions")


@in_session
async def test_help_and_palette_are_made_of_the_registry(tmp: Path) -> None:
    """Every action is in both."""
    from pagsrv_tui.actions import ACTIONS  # noqa: PLC0415

    with Scene(tmp) as scene:
        async with driven(scene.dir, size=(120, 50)) as at:
            await at.live()
            await at.press("question_mark")
            for action in ACTIONS:
                assert action.help in at.screen()
            await at.press("escape")
            commands = {one.title for one in at.app.get_system_commands(at.app.screen)}
            assert {action.label for action in ACTIONS} <= commands
            await at.press("ctrl+p")
            await at.type("sort by opens")
            await at.press("enter")
            await at.until(lambda: at.board.look.sort == "opens")


@in_session
async def test_read_only_changes_nothing_and_says_why(tmp: Path) -> None:
    """Not even the connection could: it never announced changes."""
    with Scene(tmp) as scene:
        async with driven(scene.dir, read_only=True) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            await at.press("d")
            await at.until_said("--read-only")
            await at.until_shown("read-only")
            assert at.board.check_action("remove", ()) is None
            assert "note" in scene.names()


@in_session
async def test_what_the_mask_does_not_give_is_dimmed_with_the_reason(tmp: Path) -> None:
    """The rights are the broker's word; nothing is tried."""
    with Scene(tmp) as scene:
        scene.board.set_mask("note", "--s-rv-----v------------")
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "note")
            await at.until_shown("may not", "gives you no setattr right")
            assert at.board.check_action("remove", ()) is None
            calls = scene.board.health().refusals
            await at.press("d")
            await at.until_said("no setattr right")
            assert scene.board.health().refusals == calls


@in_session
async def test_a_lost_broker_is_said_and_found_again(tmp: Path) -> None:
    """What was seen stays to be read, changes say why not, and the next board fills the view."""
    with ExitStack() as stack:
        scene = stack.enter_context(Scene(tmp))
        async with driven(scene.dir) as at:
            await at.live()
            scene.broker.kill()
            scene.close()
            await at.until_shown("reconnecting", "note")
            await at.press("p")
            await at.until_said("no broker answers")
            with running_broker(tmp) as again, pagsrv.connect(again.dir, changes=True) as board:
                board.create("afterwards")
                await at.until(lambda: at.board.view.link == "live")
                await at.live()
                await at.until_shown("afterwards", "● live")
                assert at.board.view.count() == 1


@in_session
async def test_a_broker_that_was_never_there_is_waited_for(tmp: Path) -> None:
    """The dashboard may be started first."""
    async with driven(str(tmp / "b")) as at:
        await at.until_shown("reconnecting", "no broker answers")
        with running_broker(tmp):
            await at.live()


@in_session
async def test_what_others_chose_is_shown_as_text(tmp: Path) -> None:
    """Neither markup nor a turn of the writing direction comes through from a name or a label."""
    with Scene(tmp) as scene:
        scene.board.create("[red]\u202ename[@]", labels={"k": "[bold]"})
        async with driven(scene.dir) as at:
            await at.live()
            await at.choose(scene.scope, "[red]\u202ename[@]")
            await at.until_shown("[red]\\u202ename[@]", "k=[bold]")
            await at.press("d")
            await at.until_shown("Remove", "[red]\\u202ename[@]?")
            assert "\u202e" not in at.screen()
