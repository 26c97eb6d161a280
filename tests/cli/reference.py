# SPDX-License-Identifier: MIT
"""The parts of the reference and of the manual that are the grammar in other words.

    python -m tests.cli.reference      writes both anew

The law: one function, one part; what people write around the parts is left alone. It
refuses to know what a command does.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

from pagsrv.cli.grammar import COMMANDS, Command
from pagsrv.cli.help import label, statuses, usage

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
MANUAL = ROOT / "docs" / "man" / "pagsrv.1.rst"

_WIDTH = 100
_COLUMN = 51


def _wrapped(text: str, indent: str = "") -> str:
    return fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def section(command: Command) -> str:
    """*command* in docs/reference/cli.md."""
    summary = f"{command.summary[0].upper()}{command.summary[1:]}."
    parts = [f"### {command.name}\n", f"{summary}\n", f"```text\n{usage(command)}\n```\n"]
    parts.append(f"{_wrapped(command.text)}\n")
    rows = [f"| `{label(one)}` | {one.help} |" for one in command.arguments]
    if rows:
        parts.append("\n".join(["| word or option | what it says |", "| --- | --- |", *rows, ""]))
    lines = [f"$ {line.ljust(_COLUMN)} # {what}" for line, what in command.examples]
    parts.append("\n".join(["```text", *lines, "```", ""]))
    return "\n".join(parts)


def status_rows() -> str:
    """The table of exit statuses in docs/reference/cli.md."""
    rows = [f"| {status} | {what} |" for status, what in statuses()]
    return "\n".join(["| status | means |", "| --- | --- |", *rows, ""])


def manual_section(command: Command) -> str:
    """*command* in docs/man/pagsrv.1.rst."""
    title = usage(command)
    parts = [f"{title}\n{'-' * len(title)}\n", f"{_wrapped(_literal(command.text))}\n"]
    parts += [
        f"``{label(one)}``\n{_wrapped(_literal(one.help), '    ')}\n" for one in command.arguments
    ]
    return "\n".join(parts)


def _literal(text: str) -> str:
    """*text* with what reStructuredText would take for markup made plain."""
    return re.sub(r"`([^`]+)`", r"``\1``", text.replace("\\", "\\\\")).replace("*", r"\*")


def manual_statuses() -> str:
    """The exit statuses in docs/man/pagsrv.1.rst."""
    return "\n".join(f"{status}\n    {what}" for status, what in statuses()) + "\n"


def _replace(text: str, begin: str, end: str, part: str) -> str:
    """*text* with what stands from the line *begin* up to the line *end* replaced by *part*."""
    start = text.index(begin)
    stop = text.index(end, start + len(begin))
    return f"{text[:start]}{part.rstrip()}\n\n{text[stop:].lstrip()}"


def main() -> None:
    """Write every part into its place."""
    text = REFERENCE.read_text()
    for command in COMMANDS:
        begin = text.index(f"### {command.name}\n")
        found = re.compile(r"^##", re.MULTILINE).search(text, begin + 3)
        stop = found.start() if found else len(text)
        text = f"{text[:begin]}{section(command)}\n{text[stop:]}"
    REFERENCE.write_text(_replace(text, "| status |", "\n##", status_rows()))
    manual = MANUAL.read_text()
    told = "\n".join(manual_section(command) for command in COMMANDS)
    manual = _replace(manual, "pagsrv broker", "EXIT STATUS\n", told)
    MANUAL.write_text(_replace(manual, "0\n    ", "ENVIRONMENT\n", manual_statuses()))


if __name__ == "__main__":
    main()
