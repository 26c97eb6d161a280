# SPDX-License-Identifier: MIT
"""argv to values, by argparse, for one command of the grammar.

The law: a wrong word is a Usage with one sentence; nothing is printed and nobody
exits from here. It refuses to know what the values are for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from pagsrv.cli.fail import Usage
from pagsrv.cli.grammar import DIR, Argument, Command

_DIGITS = 40  # more than any number of ours has; int() refuses some thousands


class Parser(argparse.ArgumentParser):
    """argparse, raising where it would print and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise Usage(message.replace("\n", " "), self.prog)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    if len(text) > _DIGITS:
        raise argparse.ArgumentTypeError(f"{text[:_DIGITS]}... is too large a number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds: give 0 or more")
    return number


_TYPES: dict[str, Callable[[str], object]] = {"text": str, "whole": _whole, "seconds": _seconds}


def flags(argument: Argument) -> list[str]:
    """The ways to write an option; empty for a word in its place."""
    return argument.name.split(",") if argument.name.startswith("-") else []


def destination(argument: Argument) -> str:
    """The name its value has: the long option's, or the word's."""
    name = (flags(argument) or [argument.name.partition("[")[0]])[-1]
    return name.lstrip("-").lower().replace("-", "_")


def build(command: Command) -> Parser:
    """The parser of what follows *command*'s name, up to --."""
    parser = Parser(prog=command.name, add_help=False, allow_abbrev=False)
    chosen = None
    if command.choice:
        chosen = parser.add_mutually_exclusive_group(required=True)
    for argument in (*command.arguments, DIR):
        if argument.name == "CMD":
            continue
        into: argparse._ActionsContainer = parser
        if chosen is not None and argument.name in command.choice:
            into = chosen
        _add(into, argument)
    return parser


def _add(parser: argparse._ActionsContainer, argument: Argument) -> None:
    names, where = flags(argument), destination(argument)
    if not names:
        # A word may be missing here so that the complaint is ours, with every word named.
        count = {"many": "+", "maybe": "?", "any": "*"}.get(argument.kind)
        reader = _TYPES["text" if count else argument.kind]
        # With a default argparse knows that none of these will do.
        more: dict[str, Any] = {"default": []} if argument.kind == "any" else {}
        parser.add_argument(where, metavar=argument.name, nargs=count, type=reader, **more)
    elif argument.kind == "flag":
        parser.add_argument(*names, dest=where, action="store_true")
    elif argument.kind == "many":
        parser.add_argument(
            *names, dest=where, metavar=argument.metavar, action="append", default=[]
        )
    else:
        parser.add_argument(
            *names, dest=where, metavar=argument.metavar, type=_TYPES[argument.kind],
            required=argument.needed,
        )  # fmt: skip


def parse(command: Command, words: list[str], directory: str | None) -> argparse.Namespace:
    """The values of *words*; `command` holds what follows --, `verb` the command's name."""
    words, rest = _split(command, words)
    found = build(command).parse_intermixed_args(words)
    found.dir = found.dir or directory
    found.verb = command.name
    found.command = rest
    return found


def _split(command: Command, words: list[str]) -> tuple[list[str], list[str]]:
    if command.command == "no":
        return words, []
    place = words.index("--") if "--" in words else len(words)
    rest = words[place + 1 :]
    if not rest and (command.command == "must" or place < len(words)):
        raise Usage("after -- comes the command to run", command.name)
    return words[:place], rest
