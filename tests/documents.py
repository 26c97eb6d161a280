# SPDX-License-Identifier: MIT
"""The documents as data: fenced blocks, the steps in them, links, headings, commands.

How an example is written:

    ```console          runs, in the order of the document, in one shell of one session
    $ pagsrv ls         a command; lines that begin with "> ", or are ">", continue it
    session:<ring>/db   what it says, stdout and stderr as they come
    ...                 any number of lines, none too
    ```

Within a line `...` is any text, and `<word>` one word without blanks: the same text at
every place of the document, in later commands too. Any run of blanks is like any other.
A command of which nothing is shown says nothing, and must succeed; one that fails shows
its words, and `echo $?` after it its status. A ```python block is a program of its own,
run at its place in the same shell; it must end with 0, and warnings are errors. What is
not to be run is ```text, or in a language of its own.

The law: text only. It refuses to know how an example is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

_FENCE = re.compile(r"^ {0,3}(```+)\s*([\w-]*)\s*$")
_HOLE = re.compile(r"<([a-z][a-z0-9_-]*)>")
_TOKEN = re.compile(r"(<[a-z][a-z0-9_-]*>|\.\.\.|\s+)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line its text begins at."""

    language: str
    text: str
    line: int


class Step(NamedTuple):
    """A command as it is typed, and what it shows."""

    command: str
    shown: str
    line: int


def documents() -> list[Path]:
    """The README and everything under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document; ValueError if the last one is not closed."""
    fence, language, start = "", "", 0
    held: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.match(line)
        if fence and found and found[1] == fence and not found[2]:
            yield Block(language, "".join(f"{one}\n" for one in held), start)
            fence = ""
        elif fence:
            held.append(line)
        elif found:
            fence, language, start, held = found[1], found[2], number + 1, []
    if fence:
        raise ValueError(f"the block that begins at line {start} is not closed")


def prose(text: str) -> str:
    """A document without what is fenced."""
    inside = False
    kept = []
    for line in text.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def steps(block: Block) -> list[Step]:
    """The commands of a console block; ValueError if it begins with none."""
    found: list[Step] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            found.append(Step(line[2:], "", number))
        elif not found:
            raise ValueError(f"line {number} stands before the first command of its block")
        elif (line == ">" or line.startswith("> ")) and not found[-1].shown:
            found[-1] = found[-1]._replace(command=f"{found[-1].command}\n{line[2:]}")
        else:
            found[-1] = found[-1]._replace(shown=f"{found[-1].shown}{line}\n")
    return found


def filled(command: str, known: dict[str, str]) -> str:
    """*command* with every <word> that is known by now."""
    return _HOLE.sub(lambda hole: known.get(hole[1], hole[0]), command)


def compare(shown: str, said: str, known: dict[str, str]) -> bool:
    """Whether a command *said* what is *shown*; what a <word> stood for is added to *known*."""
    new: set[str] = set()
    pattern = "".join(_line(line, known, new) for line in shown.splitlines())
    found = re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in said.splitlines()))
    if found is None:
        return False
    known.update({word: found[word.replace("-", "_")] for word in new})
    return True


def _line(line: str, known: dict[str, str], new: set[str]) -> str:
    if line.strip() == "...":
        return r"(?:[^\n]*\n)*?"
    return "".join(_token(one, known, new) for one in _TOKEN.split(line.rstrip())) + r"\n"


def _token(token: str, known: dict[str, str], new: set[str]) -> str:
    if token == "...":  # noqa: S105 -- a piece of text
        return r"[^\n]*?"
    if token.isspace():
        return r"[ \t]+"
    hole = _HOLE.fullmatch(token)
    if hole is None:
        return re.escape(token)
    word, group = hole[1], hole[1].replace("-", "_")
    if word in known:
        return re.escape(known[word])
    if word in new:
        return f"(?P={group})"
    new.add(word)
    return rf"(?P<{group}>\S+?)"


def links(text: str) -> list[str]:
    """The targets of a document's links."""
    return _LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """The headings of a document as the fragments that lead to them."""
    found = re.findall(r"^#+ +(.+?) *$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def command_lines(text: str) -> Iterator[str]:
    """Every `pagsrv …` of a document: in code spans, in console and text blocks."""
    lines = [span for span in _SPAN.findall(prose(text)) if span.startswith("pagsrv ")]
    for block in blocks(text):
        if block.language == "console":
            lines += [step.command for step in steps(block)]
        elif block.language == "text":
            lines += [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    for line in lines:
        # As far as the command's own words go: neither CMD nor what stands beside it.
        for part in re.split(r"\||;|&&|\n|\$\(", line):
            words = part.strip()
            if words.startswith("pagsrv "):
                yield words.split(" -- ")[0].removesuffix(" --")
