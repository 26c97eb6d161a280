# SPDX-License-Identifier: MIT
"""The documents hold: examples run, links lead somewhere, commands and settings exist.

The law: every document with examples has a broker and a session of its own, and its
examples run in their order (tests/documents.py says how they are written). It refuses
to know what a document is about.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagsrv.cli.grammar import BY_NAME, Command
from pagsrv.daemon import config
from pagsrv.limits import Limits
from tests.anybody import bare_environment
from tests.documents import (
    ROOT,
    Block,
    anchors,
    blocks,
    command_lines,
    compare,
    documents,
    filled,
    links,
    steps,
)
from tests.doors.fuse.mounts import check_fuse, take_down
from tests.running import running_broker
from tests.terminal import Gone, Terminal

DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("*.md"))
ADR_LINES = 60
LOOKED_AT = {"console", "python", "json", "toml", "sh"}
"""Languages whose blocks are run or parsed; the others are for the reader only."""


def check_account() -> None:
    """Skip where ssh-keygen serves nobody, as our uid has no account."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        pytest.skip("cannot be tried here: ssh-keygen serves nobody without an account")


NEEDS = {"mount.md": check_fuse, "ssh-agent.md": check_account}
"""What skips a document whose examples cannot do without what is not everywhere."""

FOR_READERS = {"text", "ini", "c", "varlink", "diff"}


def shown(path: Path) -> str:
    """*path* as a test's name."""
    return str(path.relative_to(ROOT))


def with_blocks(*languages: str) -> list[Path]:
    """The documents that have a block in one of *languages*."""
    return [
        path
        for path in documents()
        if path.is_file() and any(one.language in languages for one in blocks(path.read_text()))
    ]


# ---- examples ------------------------------------------------------------------------------------


@pytest.mark.kernel
@pytest.mark.timeout(240)
@pytest.mark.parametrize("path", with_blocks("console", "python"), ids=shown)
def test_examples_run(path: Path, short_tmp: Path) -> None:
    """Each command says what the document shows, and each program ends well."""
    if path.name in NEEDS:
        NEEDS[path.name]()
    home = short_tmp / "home"
    home.mkdir()
    with mounts_taken_down(short_tmp), running_broker(short_tmp) as broker:
        env = bare_environment() | {
            "PATH": f"{Path(sys.executable).parent}:{bare_environment()['PATH']}",
            "HOME": str(home), "SHELL": "/bin/bash", "PAGSRV_DIR": broker.dir, "NO_COLOR": "1",
        }  # fmt: skip
        with Terminal(home, env) as terminal:
            known: dict[str, str] = {}
            for block in blocks(path.read_text()):
                if block.language == "console":
                    _follow(terminal, path, block, known)
                elif block.language == "python":
                    _execute(terminal, path, block, short_tmp)


@contextmanager
def mounts_taken_down(directory: Path) -> Iterator[None]:
    """Whatever an example has mounted is gone before its directory is removed."""
    try:
        yield
    finally:
        take_down(directory)


def _follow(terminal: Terminal, path: Path, block: Block, known: dict[str, str]) -> None:
    """Type the commands of a console *block*."""
    for step in steps(block):
        where = f"{shown(path)}:{step.line}: $ {step.command}"
        command = filled(step.command, known)
        try:
            status, said = terminal.type(command)
        except Gone as gone:
            pytest.fail(f"{where}\nthe terminal is gone, or waits; it said\n{gone}")
        if not compare(step.shown, said, known):
            pytest.fail(f"{where}\nshown:\n{step.shown}\nsaid, with status {status}:\n{said}")
        if not step.shown and status:
            pytest.fail(f"{where}\nends with {status} and says nothing")


def _execute(terminal: Terminal, path: Path, block: Block, directory: Path) -> None:
    """Run a Python *block* as a program of its own."""
    program = directory / f"line-{block.line}.py"
    program.write_text(block.text)
    try:
        status, said = terminal.type(f"python -W error {program}")
    except Gone as gone:
        pytest.fail(f"{shown(path)}:{block.line}: the program does not end; it said\n{gone}")
    if status or "Traceback" in said or "Warning" in said:
        pytest.fail(f"{shown(path)}:{block.line}: ends with {status}\n{said}")


@pytest.mark.parametrize("path", documents(), ids=shown)
def test_blocks_are_of_a_known_language(path: Path) -> None:
    """A block is run, or parsed, or says that it is for the reader only."""
    found = {block.language for block in blocks(path.read_text())}
    assert found - LOOKED_AT - FOR_READERS == set()


@pytest.mark.parametrize("path", with_blocks("json", "toml", "sh"), ids=shown)
def test_other_blocks_are_what_they_say(path: Path, short_tmp: Path) -> None:
    """JSON is JSON, a configuration is one the broker takes, a script is one for sh."""
    for block in blocks(path.read_text()):
        if block.language == "json":
            for line in block.text.splitlines():
                json.loads(line)
        elif block.language == "toml":
            told = short_tmp / "pagsrv.toml"
            told.write_text(block.text)
            config.load(str(short_tmp), str(told))
        elif block.language == "sh":
            subprocess.run(["sh", "-n"], input=block.text, text=True, check=True)


# ---- what is named exists ------------------------------------------------------------------------


@pytest.mark.parametrize("path", documents(), ids=shown)
def test_links_lead_somewhere(path: Path) -> None:
    """A link within the tree names a file that is there, and a heading that is in it."""
    broken = []
    for link in links(path.read_text()):
        target, _, fragment = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        place = (path.parent / target).resolve() if target else path
        headings = anchors(place.read_text()) if place.suffix == ".md" and place.is_file() else None
        inside = place.exists() and place.is_relative_to(ROOT)
        if not inside or (fragment and headings is not None and fragment not in headings):
            broken.append(link)
    assert broken == []


def test_every_document_is_reached_from_the_index() -> None:
    """Who begins at docs/index.md and follows links comes to every document."""
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        path = waiting.pop()
        if path in reached or path.suffix != ".md" or not path.is_file():
            continue
        reached.add(path)
        found = (link.partition("#")[0] for link in links(path.read_text()))
        waiting += [(path.parent / target).resolve() for target in found if target]
    fragments = set((DOCS / "news.d").glob("*.md"))
    assert set(documents()) - {ROOT / "README.md"} - reached - fragments == set()


@pytest.mark.parametrize("path", documents(), ids=shown)
def test_commands_exist(path: Path) -> None:
    """A command named in a document is one of the command's, and so are its options."""
    wrong = [line for line in command_lines(path.read_text()) if _unknown(line)]
    assert wrong == []


def _unknown(line: str) -> bool:
    words = line.split()[1:]
    while words and words[0].startswith("--dir"):
        words = words[1 if "=" in words[0] else 2 :]
    if not words or words[0] in ("-h", "--help", "--version", "COMMAND", "CMD", "…", "..."):
        return False
    command = BY_NAME.get(words[0])
    if command is None:
        return True
    told = [word.partition("=")[0].strip("[]()") for word in words if word.startswith("--")]
    return bool(set(told) - _options(command))


def _options(command: Command) -> set[str]:
    known = {"--dir", "--help"}
    for argument in command.arguments:
        known |= {flag for flag in argument.name.split(",") if flag.startswith("--")}
    return known


def test_every_limit_is_in_the_reference() -> None:
    """docs/reference/config.md shows each limit that can be set, with its default."""
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", (DOCS / "reference" / "config.md").read_text(),
                      re.MULTILINE)  # fmt: skip
    assert {name: str(value) for name, value in Limits()._asdict().items()} == dict(rows)


def test_security_answers_every_hole() -> None:
    """docs/explanation/security.md has one row for each of H1 to H13, and a test names each."""
    text = (DOCS / "explanation" / "security.md").read_text()
    rows = re.findall(r"^\| (H\d+) \|", text, re.MULTILINE)
    assert [f"H{number}" for number in range(1, 14)] == rows
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    tried = {hole for path in tests for hole in re.findall(r"\bH\d+\b", path.read_text())}
    assert set(rows) <= tried


@pytest.mark.parametrize("path", ADRS, ids=shown)
def test_decisions_are_short_and_whole(path: Path) -> None:
    """A decision has its three parts, in at most 60 lines, and a number of its own."""
    text = path.read_text()
    assert re.findall(r"^## (\w+)", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= ADR_LINES
    assert path.name.startswith(f"{ADRS.index(path) + 1:04}-")


# ---- units ---------------------------------------------------------------------------------------


def _unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit, each with its values."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "contrib" / "systemd" / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(
    ("folder", "directory", "mode"),
    [("system", "/run/pagsrv", "0666"), ("user", "%t/pagsrv", "0600")],
)
def test_units_put_the_sockets_where_commands_look(folder: str, directory: str, mode: str) -> None:
    """Both sockets are in the broker's directory, with their modes, and start `pagsrv broker`."""
    sockets, service = _unit(f"{folder}/pagsrv.socket"), _unit(f"{folder}/pagsrv.service")
    assert [f"{directory}/board"] == sockets["ListenSequentialPacket"]
    assert [f"{directory}/varlink"] == sockets["ListenStream"]
    assert [mode] == sockets["SocketMode"]
    assert service["Type"] == ["notify"]
    assert service["ExecStart"][0].endswith(f"pagsrv broker --dir {directory}")


# ---- how examples are read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said", "fits"),
    [
        ("one\n", "one\n", True),
        ("one\n", "two\n", False),
        ("one\n", "one\ntwo\n", False),
        ("one\n...\n", "one\ntwo\nthree\n", True),
        ("...\nthree\n", "three\n", True),
        ("a ... z\n", "a b c z\n", True),
        ("a   b\n", "a b\n", True),
        ("<x>/<x>\n", "1/1\n", True),
        ("<x>/<x>\n", "1/2\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_shown_and_said_are_compared_as_promised(text: str, said: str, fits: bool) -> None:  # noqa: FBT001 -- a table
    """Text stands for itself, but for the three kinds of hole."""
    assert compare(text, said, {}) is fits


def test_a_word_stands_for_the_same_text_later() -> None:
    """What a <word> stood for is put into commands, and held against what they say."""
    known: dict[str, str] = {}
    assert compare("session:<ring>/db\n", "session:77/db\n", known)
    assert filled("pagsrv open session:<ring>/db <file", known) == "pagsrv open session:77/db <file"
    assert not compare("<ring>\n", "78\n", known)


def test_a_shell_started_in_the_terminal_takes_what_is_typed(tmp_path: Path) -> None:
    """Commands go to the innermost shell, until it exits; its status is told."""
    with Terminal(tmp_path, dict(os.environ)) as terminal:
        assert terminal.type("bash") == (0, "")
        assert terminal.type("x=inner; echo $x") == (0, "inner\n")
        assert terminal.type("exit 7")[0] == 7
        assert terminal.type("echo ${x-outer}") == (0, "outer\n")
