# SPDX-License-Identifier: MIT
"""The pagsrv command: argv, the command it names, an exit status.

The law: whatever happens ends here, as a status and at most one sentence. It
refuses to know any command.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pagsrv.cli import fail, fast

if TYPE_CHECKING:
    from collections.abc import Callable

_HELP = ("-h", "--help")


def main() -> int:
    """Run the command in sys.argv; its exit status."""
    try:
        return run(sys.argv[1:])
    except Exception as error:  # noqa: BLE001 -- the one place where everything ends
        return fail.report(error)
    except KeyboardInterrupt as error:
        return fail.report(error)


def run(words: list[str]) -> int:
    """Run the command in *words*; raises what stops it."""
    opening = fast.parse(words)
    if opening is not None:
        from pagsrv.cli.opening import carry_out  # noqa: PLC0415 -- its imports count

        return carry_out(opening)
    return _by_the_book(words)


def _by_the_book(words: list[str]) -> int:
    from pagsrv.cli import grammar, help, render  # noqa: A004, PLC0415

    render.guard()
    directory, words = _leading(words)
    if not words or words[0] in _HELP:
        render.write(help.overview())
        return 0
    if words[0] == "--version":
        from pagsrv import __version__  # noqa: PLC0415

        render.line(f"pagsrv {__version__}")
        return 0
    command = grammar.BY_NAME.get(words[0])
    if command is None:
        raise fail.Usage(f"there is no command {words[0]!r}{_nearest(words[0])}")
    ours = words[1 : words.index("--")] if "--" in words else words[1:]
    if any(word in _HELP for word in ours):
        render.write(help.of(command))
        return 0
    from pagsrv.cli import parser  # noqa: PLC0415

    given = parser.parse(command, words[1:], directory)
    return _load(command.run)(given)


def _leading(words: list[str]) -> tuple[str | None, list[str]]:
    """The --dir that stands before the command's name, and the rest."""
    directory = None
    while words and (words[0] == "--dir" or words[0].startswith("--dir=")):
        name, equals, value = words[0].partition("=")
        if not equals and len(words) == 1:
            raise fail.Usage(f"{name} needs a directory")
        directory = value if equals else words[1]
        words = words[1 if equals else 2 :]
    if words and words[0].startswith("-") and words[0] not in (*_HELP, "--version"):
        raise fail.Usage(f"there is no option {words[0]!r} before the command's name")
    return directory, words


def _nearest(word: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415

    from pagsrv.cli.grammar import BY_NAME  # noqa: PLC0415

    found = get_close_matches(word, BY_NAME, 1)
    return f"; do you mean {found[0]}?" if found else ""


def _load(place: str) -> Callable[[object], int]:
    from importlib import import_module  # noqa: PLC0415

    module, _, name = place.partition(":")
    found: Callable[[object], int] = getattr(import_module(f"pagsrv.cli.{module}"), name)
    return found
