# SPDX-License-Identifier: MIT
"""What teaches is true: help, reference, manual and completion say what the grammar says.

The law: every command and every option is in each of them, and nothing else is. It
refuses to know what a command does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pagsrv.cli import help as teaching
from pagsrv.cli import parser
from pagsrv.cli.grammar import COMMANDS, DIR, Command
from tests.anybody import bare_environment
from tests.cli import reference
from tests.cli.command import COMMAND, execute

ROOT = Path(__file__).resolve().parent.parent.parent
COMPLETION = ROOT / "contrib" / "completions" / "pagsrv.bash"

every_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)


def run(*words: str) -> tuple[int, str, str]:
    """`pagsrv` with *words*, where there is no broker."""
    return execute([*COMMAND, *words], bare_environment(), None, ())


def options(command: Command) -> set[str]:
    """Every way to write an option of *command*, as argparse has them."""
    return {flag for action in parser.build(command)._actions for flag in action.option_strings}


def test_the_command_alone_teaches() -> None:
    """Every command, the place of the broker, every exit status, something to try."""
    status, out, err = run()
    assert (status, err) == (0, "")
    assert out == run("-h")[1] == run("--help")[1] == run("--dir", "/nowhere")[1]
    for command in COMMANDS:
        assert re.search(rf"^  {command.name} +{re.escape(command.summary)}$", out, re.MULTILINE)
    for status, what in teaching.statuses():
        assert re.search(rf"^  {status} +{re.escape(what)}$", out, re.MULTILINE)
    assert "$XDG_RUNTIME_DIR/pagsrv" in out
    assert max(map(len, out.splitlines())) <= 100


@every_command
def test_every_command_teaches(command: Command) -> None:
    """Its usage, each option, an example that can be typed; also where words are missing."""
    status, out, err = run(command.name, "-h")
    assert (status, err) == (0, "")
    assert run(command.name, "--loud", "--help")[1] == out
    assert out.startswith(f"pagsrv {command.name}: {command.summary}\n")
    assert f"  pagsrv {command.name} {command.usage}\n" in out
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", out.split("Words and options\n")[1]))
    assert options(command) | {"-h", "--help"} <= shown
    assert "Examples\n  " in out
    assert all(f"  {line}\n" in out for line, _ in command.examples)


@every_command
def test_examples_are_understood(command: Command) -> None:
    """The parser takes every example of the command's own."""
    for line, what in command.examples:
        assert what
        for part in re.split(r"\||&&", line):
            words = re.findall(r"'[^']*'|\S+", part)
            if words[:2] == ["pagsrv", command.name]:
                parser.parse(command, words[2:], None)


@every_command
def test_usage_names_the_options(command: Command) -> None:
    """The usage line has every option, or says that there are options."""
    if "[OPTION...]" in command.usage:
        return
    named = set(re.findall(r"--?[a-z][a-z-]*", command.usage)) - {"--"}
    long = {flag for flag in options(command) if flag.startswith("--")} - {"--dir", "--long"}
    assert long <= named | {"--scope"}


def test_the_version_is_told() -> None:
    """--version says the package's own."""
    from pagsrv import __version__  # noqa: PLC0415 -- as the command does

    assert run("--version") == (0, f"pagsrv {__version__}\n", "")


@every_command
def test_the_reference_has_the_command(command: Command) -> None:
    """docs/reference/cli.md: `python -m tests.cli.reference` writes it anew."""
    assert reference.section(command) in reference.REFERENCE.read_text()


@every_command
def test_the_manual_has_the_command(command: Command) -> None:
    """docs/man/pagsrv.1.rst: `python -m tests.cli.reference` writes it anew."""
    assert reference.manual_section(command) in reference.MANUAL.read_text()


def test_nothing_else_is_in_them() -> None:
    """No command that is gone is left in reference or manual."""
    names = re.findall(r"^### (\S+)$", reference.REFERENCE.read_text(), re.MULTILINE)
    assert sorted(names) == sorted(command.name for command in COMMANDS)
    told = re.findall(r"^pagsrv (\S+).*\n-{10}", reference.MANUAL.read_text(), re.MULTILINE)
    assert told == [command.name for command in COMMANDS]
    assert reference.status_rows() in reference.REFERENCE.read_text()
    assert reference.manual_statuses() in reference.MANUAL.read_text()


def test_the_manual_is_a_manual() -> None:
    """Docutils makes a page of it, without a complaint."""
    argv = [sys.executable, "-m", "docutils", "--writer=manpage", "--halt=2", str(reference.MANUAL)]
    said = execute(argv, bare_environment(), None, ())
    assert (said.status, said.err) == (0, "")
    assert '.TH "PAGSRV"' in said.out.upper()


# ── completion ──


def complete(*words: str, path: str = "") -> list[str]:
    """What bash would offer for the last of *words*, which is being written."""
    script = (
        f'source "{COMPLETION}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pagsrv; '
        'for word in "${COMPREPLY[@]}"; do echo "$word"; done'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", "pagsrv", *words], cwd="/", capture_output=True,
        text=True, env=bare_environment() | {"PATH": f"{path}:{os.environ['PATH']}"}, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return sorted(done.stdout.split())


def test_commands_are_completed() -> None:
    """Every one of them, and where --dir has been said as well."""
    names = sorted(command.name for command in COMMANDS)
    top = ["--dir", "--help", "--version", "-h"]
    assert complete("") == sorted([*names, *top])
    assert complete("--dir", "/x", "un") == ["ungrant"]
    assert complete("s") == ["session", "setperm", "stat"]


@every_command
def test_options_are_completed(command: Command) -> None:
    """Exactly those that argparse takes."""
    assert complete(command.name, "-") == sorted(options(command) | {"-h", "--help"})


@every_command
def test_values_are_completed(command: Command) -> None:
    """After an option with a value comes the value, and no option or name."""
    for argument in (*command.arguments, DIR):
        if argument.metavar and argument.name.startswith("--"):
            found = complete(command.name, argument.name, "")
            assert not [word for word in found if word.startswith("-")]
    if "--scope" in options(command):
        assert complete(command.name, "--scope", "") == ["pag", "session", "user"]


def test_names_are_completed(short_tmp: Path) -> None:
    """As `pagsrv ls` shows them, without their scopes; after -- it is another's business."""
    stand_in = short_tmp / "pagsrv"
    stand_in.write_text("#!/bin/sh\necho session:1/database\necho user:0/dbus\necho user:0/web\n")
    stand_in.chmod(0o755)
    assert complete("open", "d", path=str(short_tmp)) == ["database", "dbus"]
    assert complete("fdstore", "export", "web", "d", path=str(short_tmp)) == ["database", "dbus"]
    assert complete("whoami", "d", path=str(short_tmp)) == []
    assert "bash" in complete("open", "db", "--", "bas")


def test_places_are_completed(short_tmp: Path) -> None:
    """A directory to mount at, a socket's path; before it the word that says which."""
    (short_tmp / "directory").mkdir()
    (short_tmp / "file").touch()
    start = f"{short_tmp}/"
    assert complete("mount", start) == [f"{start}directory"]
    assert complete("door", "") == ["s6"]
    assert complete("door", "s6", start) == [f"{start}directory", f"{start}file"]
    assert complete("fdstore", "") == ["export", "import"]
