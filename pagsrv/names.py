# SPDX-License-Identifier: MIT
"""Names: of scopes, of entries, of an entry in a scope, of a place beneath one.

The law: text is parsed here, once, at the edge; what leaves is typed and never
parsed again. Bad text raises InvalidParameter with one sentence. It refuses to
know whether anything of that name exists.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, NewType

from pagsrv.errors import InvalidParameter
from pagsrv.limits import NAME_BYTES, PATH_BYTES

EntryName = NewType("EntryName", str)
ScopeKind = Literal["session", "pag", "user"]

KINDS: tuple[ScopeKind, ...] = ("session", "pag", "user")
"""Innermost first: the order in which a bare name is looked up."""

_LARGEST = {"session": 0x7FFFFFFF, "pag": 0xFFFFFFFF, "user": 0xFFFFFFFE}
_DIGITS = 10


class Scope(NamedTuple):
    """Who an entry exists for: a session keyring's serial, a PAG's number or a uid."""

    kind: ScopeKind
    number: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}"


ScopeWord = ScopeKind | Scope
"""What a person may say: a kind stands for the asker's own scope of that kind."""


class Reference(NamedTuple):
    """An entry as it was named: bare (scope None: looked up) or in full."""

    scope: ScopeWord | None
    name: EntryName

    def __str__(self) -> str:
        return self.name if self.scope is None else f"{self.scope}/{self.name}"


class Place(NamedTuple):
    """An entry, or what lies beneath one that is a directory: the names that lead down to it.

    *path* is None for the entry itself, and empty for the directory looked at from inside.
    """

    reference: Reference
    path: tuple[str, ...] | None

    def __str__(self) -> str:
        return "/".join((str(self.reference), *(self.path or ())))


def _scope_form(text: str) -> tuple[ScopeKind, str] | None:
    kind, colon, digits = text.partition(":")
    if colon and kind in KINDS and digits.isascii() and digits.isdigit():
        return kind, digits
    return None


def parse_scope(text: str, parameter: str = "scope") -> ScopeWord:
    """A scope word, or an exact scope; *parameter* names the field in the complaint."""
    if text in KINDS:
        return text
    form = _scope_form(text)
    if form is None:
        raise InvalidParameter(
            parameter,
            f"{text!r} is no scope: say session, pag or user for your own, "
            "or exactly session:N, pag:N or user:N with a decimal number",
        )
    kind, digits = form
    number = int(digits) if len(digits) <= _DIGITS else _LARGEST[kind] + 1
    if number > _LARGEST[kind]:
        raise InvalidParameter(
            parameter, f"{text[:40]!r} is no scope: the largest {kind} number is {_LARGEST[kind]}"
        )
    return Scope(kind, number)


def parse_name(text: str, parameter: str = "name") -> EntryName:
    """An entry's name: 1 to 255 bytes of UTF-8 that can also be a file's name."""
    why = _fault(text)
    if why:
        raise InvalidParameter(parameter, f"{text[:80]!r} cannot be an entry's name: {why}")
    return EntryName(text)


def _fault(text: str) -> str:
    if not text:
        return "it is empty"
    if text in (".", ".."):
        return "it would mean a directory; choose another"
    if "/" in text:
        return (
            "it holds a /; session:N/, pag:N/ or user:N/ may stand before a name, and what lies "
            "beneath a posted directory is for open, connect and ls alone"
        )
    if not text.isprintable() and any(ch < " " or "\x7f" <= ch < "\xa0" for ch in text):
        return "it holds a control character; leave it out"
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if size > NAME_BYTES:
        return f"it has {size} bytes, the most is {NAME_BYTES}"
    if _scope_form(text):
        return "it has the form of a scope; choose another"
    return ""


def parse_reference(text: str, parameter: str = "name") -> Reference:
    """NAME or S:N/NAME; what stands before the first / is a scope only in that form."""
    head, slash, rest = text.partition("/")
    if slash and _scope_form(head):
        return Reference(parse_scope(head, parameter), parse_name(rest, parameter))
    return Reference(None, parse_name(text, parameter))


def parse_place(text: str, parameter: str = "name") -> Place:
    """A reference, or one with a path beneath it: NAME/sub/path, S:N/NAME/sub/path, NAME/."""
    head, slash, rest = text.partition("/")
    if not slash:
        return Place(parse_reference(text, parameter), None)
    scope: ScopeWord | None = None
    if _scope_form(head):
        scope = parse_scope(head, parameter)
        head, slash, rest = rest.partition("/")
    reference = Reference(scope, parse_name(head, parameter))
    return Place(reference, _parse_path(rest, parameter) if slash else None)


def _parse_path(text: str, parameter: str) -> tuple[str, ...]:
    """The names of a path; those of files, which may hold what no entry's may."""
    path = tuple(part for part in text.split("/") if part not in ("", "."))
    why = ""
    if ".." in path:
        why = "beneath an entry there is no way up; leave .. out"
    elif "\0" in text:
        why = "no file's name holds a NUL"
    else:
        try:
            if len(text.encode()) > PATH_BYTES:
                why = f"it is longer than {PATH_BYTES} bytes; open a directory on the way first"
        except UnicodeEncodeError:
            why = "it is not UTF-8"
    if why:
        raise InvalidParameter(parameter, f"{text[:80]!r} is no path: {why}")
    return path
