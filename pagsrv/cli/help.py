# SPDX-License-Identifier: MIT
"""What `pagsrv` alone and `-h` teach, made from the grammar.

The law: text only, and every command's help has an example that can be typed. It
refuses to know argparse.
"""

from __future__ import annotations

from textwrap import fill

from pagsrv.cli.fail import NOT_EXECUTABLE, NOT_FOUND
from pagsrv.cli.grammar import COMMANDS, DIR, Argument, Command
from pagsrv.errors import BUG_STATUS, TABLE, InvalidParameter

_WIDTH = 80
_COLUMN = 24

_OVERVIEW = """\
pagsrv: a bulletin board for open file descriptors

A process posts an open descriptor under a name: a connection, a file, a socket
that listens. Another process of the same login session opens it by that name and
goes on with the very same open file. Other sessions cannot, be they of the same user.

Try it
  pagsrv session --broker                      a shell in a session, with a board
  pagsrv post hello --open /etc/hostname       leave an open file there
  pagsrv ls -l                                 look
  pagsrv open hello -- sh -c 'cat <&3'         another process reads it
  exit                                         the session ends, its entries too

Commands (`pagsrv COMMAND -h` teaches each)
"""

_PLACE = """\
Everywhere
  --dir DIR             the broker's directory, before or after the command's name;
                        else $PAGSRV_DIR, else $XDG_RUNTIME_DIR/pagsrv (not for root),
                        else /run/pagsrv
  -h, --help            teach
  --version             which pagsrv this is

NAME is looked up in your session, then your PAG, then your user scope; S:N/NAME, as
in session:8192/db, names one entry in full. NAME/PATH is what lies beneath a posted
directory, for open, connect and ls.

"""

_STATUSES = {
    1: "anything else", InvalidParameter.status: "usage; a bad name, mask, condition or scope",
    BUG_STATUS: "a bug of pagsrv's", NOT_EXECUTABLE: "CMD could not be run",
    NOT_FOUND: "CMD was not found",
}  # fmt: skip


def statuses() -> list[tuple[int, str]]:
    """Every exit status of ours, with what it means."""
    known = {0: "all is well"} | _STATUSES
    for kind in TABLE:
        if kind.status not in known:
            sentence = (kind.__doc__ or "").partition("\n")[0]
            known[kind.status] = sentence[0].lower() + sentence[1:].rstrip(".")
    return sorted(known.items())


def overview() -> str:
    """What `pagsrv` alone says."""
    listed = "".join(f"  {one.name:<{_COLUMN - 4}}  {one.summary}\n" for one in COMMANDS)
    shown = "".join(f"  {status:<{_COLUMN - 4}}  {what}\n" for status, what in statuses())
    return f"{_OVERVIEW}{listed}\n{_PLACE}Exit status\n{shown}"


def usage(command: Command) -> str:
    """The one line that shows how to write *command*."""
    return f"pagsrv {command.name} {command.usage}"


def label(argument: Argument) -> str:
    """How *argument* is written in a list of options."""
    return f"{argument.name.replace(',', ', ')} {argument.metavar}".rstrip()


def of(command: Command) -> str:
    """What `pagsrv COMMAND -h` says."""
    parts = [f"pagsrv {command.name}: {command.summary}\n", f"  {usage(command)}\n"]
    parts.append(fill(command.text, _WIDTH) + "\n")
    help_option = Argument("-h,--help", "teach", kind="flag")
    told = [_option(one) for one in (*command.arguments, DIR, help_option)]
    parts.append("Words and options\n" + "".join(told))
    examples = "".join(f"  {line}\n      {what}\n" for line, what in command.examples)
    parts.append(f"Examples\n{examples}")
    return "\n".join(parts)


def _option(argument: Argument) -> str:
    head = f"  {label(argument)}"
    indent = " " * _COLUMN
    body = fill(argument.help, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    if len(head) + 2 <= _COLUMN:
        return head.ljust(_COLUMN) + body.lstrip() + "\n"
    return f"{head}\n{body}\n"
