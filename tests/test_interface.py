# SPDX-License-Identifier: MIT
"""The interface file says what the structs say: methods, fields, types, errors.

The law: org.pagsrv.Board.varlink is what other people's programs are written to; it
and messages.py differ in nothing, in either direction.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from varlink import scanner  # type: ignore[import-untyped]

import pagsrv
from pagsrv import messages
from pagsrv.errors import BOARD, TABLE
from pagsrv.messages import (
    METHODS,
    REQUESTS,
    Attached,
    EntryReply,
    EntryView,
    EventView,
    Fact,
    Identity,
    Known,
    LimitsView,
    Listed,
    ListedNames,
    ListedNamespaces,
    Opened,
    OpenedMany,
    ProofView,
    Proved,
    RefusedScope,
    Reply,
    Until,
    Vitals,
    Walked,
)
from pagsrv.nodes import Node
from pagsrv.people import ByView, Opener, Owner, Poster
from pagsrv.sockets import PeerProcess, SocketView, TcpView
from pagsrv.vitals import Activity, Budget, Latency, Leader, NamespaceView, Use, Way

DESCRIPTION = (Path(pagsrv.__file__).parent / f"{BOARD}.varlink").read_text(encoding="utf-8")
INTERFACE = scanner.Interface(DESCRIPTION)

TYPES: dict[str, type[msgspec.Struct]] = {
    "Proof": ProofView,
    "Limits": LimitsView,
    "Owner": Owner,
    "Poster": Poster,
    "PeerProcess": PeerProcess,
    "Tcp": TcpView,
    "Socket": SocketView,
    "Entry": EntryView,
    "Until": Until,
    "By": ByView,
    "RefusedScope": RefusedScope,
    "Fact": Fact,
    "Way": Way,
    "Node": Node,
    "Opener": Opener,
    "Use": Use,
    "Budget": Budget,
    "Latency": Latency,
    "Activity": Activity,
    "Leader": Leader,
    "Namespace": NamespaceView,
}
NAMES = {kind: name for name, kind in TYPES.items()}

REPLIES: dict[str, tuple[type[Reply], ...]] = {
    "Attach": (Attached,),
    "Prove": (Proved,),
    "Open": (Opened,),
    "Take": (Opened,),
    "OpenMany": (OpenedMany,),
    "TakeMany": (OpenedMany,),
    "Walk": (Walked,),
    "List": (Listed, ListedNames),
    "Remove": (Reply,),
    "Grant": (Reply,),
    "Ungrant": (Reply,),
    "Watch": (EventView,),
    "WhoAmI": (Identity,),
    "Whois": (Known,),
    "Health": (Vitals,),
    "Namespaces": (ListedNamespaces,),
    **dict.fromkeys(("Post", "Stat", "Rename", "SetMask", "SetTimeout", "Wait"), (EntryReply,)),
}
"""The replies of each method; where there are several, each brings some of the fields."""


def members(kind: str) -> dict[str, Any]:
    """Name and declaration of everything of that kind in the interface."""
    wanted = getattr(scanner, f"_{kind}")
    return {name: one for name, one in INTERFACE.members.items() if isinstance(one, wanted)}


def said(declared: Any) -> str:  # noqa: ANN401 -- the scanner's types are private
    """A type of the interface, as it is written; a choice of words is a string on the wire."""
    name = type(declared).__name__
    if name == "_Maybe":
        return f"?{said(declared.element_type)}"
    if name == "_Array":
        return f"[]{said(declared.element_type)}"
    if name == "_Dict":
        return f"[string]{said(declared.element_type)}"
    if name == "_CustomType":
        return str(declared.name)
    if name == "_Enum":
        return "string"
    return {"bool": "bool", "int": "int", "float": "float", "str": "string"}[name]


def meant(annotated: Any) -> str:  # noqa: ANN401 -- an annotation may be anything
    """The type of a struct's field, as the interface would write it."""
    origin, arguments = typing.get_origin(annotated), typing.get_args(annotated)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (one for one in arguments if one is not types.NoneType)
        return f"?{meant(inner)}"
    if origin in (list, tuple):
        return f"[]{meant(arguments[0])}"
    if origin is dict:
        return f"[string]{meant(arguments[1])}"
    plain = {bool: "bool", int: "int", float: "float", str: "string"}
    return plain.get(annotated) or NAMES[annotated]


def fields_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The fields of a struct as they are called on the wire."""
    return {one.encode_name: meant(one.type) for one in msgspec.structs.fields(struct)}


def declared(structure: Any) -> dict[str, str]:  # noqa: ANN401
    """The fields of a type of the interface."""
    return {name: said(kind) for name, kind in structure.fields.items()}


def test_interface_is_ours() -> None:
    """It has the name that every method begins with."""
    assert INTERFACE.name == BOARD


@pytest.mark.parametrize("name", sorted(TYPES))
def test_type_is_its_struct(name: str) -> None:
    """The same fields in the same order, of the same types, optional where they may be null."""
    alias = members("Alias")[name]
    assert list(declared(alias.type).items()) == list(fields_of(TYPES[name]).items())


def test_every_type_is_known() -> None:
    """A type of the interface has its struct."""
    assert set(members("Alias")) == set(TYPES)


@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if kind.METHOD in METHODS])
def test_method_is_its_struct(kind: type[messages.Request]) -> None:
    """What a call takes, and what may be left out."""
    method = members("Method")[kind.METHOD.rpartition(".")[2]]
    assert sorted(declared(method.in_type).items()) == sorted(fields_of(kind).items())
    optional = {name for name, said_ in declared(method.in_type).items() if said_[0] == "?"}
    assert optional == {one.encode_name for one in msgspec.structs.fields(kind) if not one.required}


@pytest.mark.parametrize("name", sorted(REPLIES))
def test_answer_is_its_struct(name: str) -> None:
    """What a method answers."""
    method = members("Method")[name]
    kinds = REPLIES[name]
    fields: dict[str, str] = {}
    for kind in kinds:
        alone = fields_of(kind)
        fields |= alone if len(kinds) == 1 else {name: f"?{one}" for name, one in alone.items()}
    assert declared(method.out_type) == fields


def test_every_method_is_known() -> None:
    """Methods of the interface, of the structs, and of Attach's answer are the same."""
    names = set(members("Method"))
    assert names == {method.rpartition(".")[2] for method in METHODS}
    assert names == set(REPLIES)


def test_every_error_is_known() -> None:
    """Each of ours, with its sentence; those of org.varlink.service are Varlink's."""
    errors = {name: declared(error.type) for name, error in members("Error").items()}
    ours = {kind.__name__ for kind in TABLE if kind.wire.startswith(BOARD)}
    assert errors == {name: {"message": "string"} for name in ours}
