# SPDX-License-Identifier: MIT
"""The public names of pagsrv: these, and no others, each loaded when it is first used.

The law: a name that appears or goes is a change of the interface, and is made here too.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pagsrv
from pagsrv.errors import TABLE
from tests.anybody import bare_environment

ROOT = Path(__file__).parent.parent

NAMES = [
    "Attached", "Board", "Denied", "Entry", "Event", "Events", "Exists", "Fact", "Fd",
    "HasFileno", "Identity", "InvalidParameter", "Loop", "Namespace", "NoBroker", "NoEntry",
    "NoSession", "Node", "NotAssigned", "PagsrvError", "PeerIdentity", "PeerKeyring",
    "ProtocolError", "QuotaExceeded", "Refused", "Socket", "Stale", "TimedOut", "Until", "Vitals",
    "Walked", "__version__", "aio", "connect", "peer_keyring", "whois",
]  # fmt: skip

WIRE_ONLY = {"ExpectedMore", "InterfaceNotFound", "MethodNotFound"}
"""Errors that a caller of the library never meets: it makes its calls rightly."""

METHODS = {
    "close", "create", "fileno", "grant", "health", "list", "look", "names", "namespaces", "open",
    "open_many", "post", "remove", "rename", "set_mask", "set_timeout", "stat", "take",
    "take_many", "ungrant", "wait", "walk", "watch", "whoami", "whois",
}  # fmt: skip
PROPERTIES = {"attached", "broker_id", "dir"}


def test_the_names_are_these() -> None:
    """__all__, dir() and what can be had agree."""
    assert sorted(pagsrv.__all__) == NAMES
    assert set(NAMES) <= set(dir(pagsrv))
    for name in NAMES:
        assert getattr(pagsrv, name) is not None
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = pagsrv.nonesuch  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names() -> None:
    """What is imported for them is what is there at run time."""
    tree = ast.parse(Path(inspect.getfile(pagsrv)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen | {"__version__"} == set(NAMES)
    places = {
        alias.asname: (node.module, alias.name)
        for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    for name, (module, original) in places.items():
        if name != "aio":
            value = getattr(pagsrv, str(name))
            assert (value.__module__, value.__name__) == (module, original)


def test_every_error_a_caller_meets_is_public() -> None:
    """The tree of errors.py, but for what only a wrong call on the wire brings."""
    for kind in TABLE:
        assert hasattr(pagsrv, kind.__name__) != (kind.__name__ in WIRE_ONLY)


@pytest.mark.parametrize("board", [pagsrv.Board, pagsrv.aio.Board])
def test_both_faces_have_the_same_methods(board: type) -> None:
    """The same names, with the same parameters."""
    public = {name for name in vars(board) if not name.startswith("_")}
    assert public == METHODS | PROPERTIES
    for name in METHODS:
        mine = inspect.signature(getattr(pagsrv.Board, name)).parameters
        assert list(inspect.signature(getattr(board, name)).parameters.values()) == list(
            mine.values()
        )
        assert getattr(board, name).__doc__
    assert (
        inspect.signature(pagsrv.connect).parameters
        == inspect.signature(pagsrv.aio.connect).parameters
    )


def test_the_reference_tells_of_every_name() -> None:
    """docs/reference/python.md names each public name, method and property."""
    told = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", told))))
    assert (METHODS | PROPERTIES | set(NAMES)) - {"HasFileno", "__version__"} - words == set()


def loaded_by(statement: str) -> set[str]:
    """The modules that *statement* loads in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{statement}\nprint(*sys.modules)"],
        env=bare_environment(), cwd=ROOT, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return set(done.stdout.split())


def test_importing_costs_nothing() -> None:
    """`import pagsrv` loads no part of it; connecting and opening load no codec and no loop."""
    assert {name for name in loaded_by("import pagsrv") if name.startswith("pagsrv.")} == set()
    heavy = {"asyncio", "msgspec", "pagsrv.codec", "pagsrv.messages", "socket", "json"}
    assert loaded_by("import pagsrv; pagsrv.connect") & heavy == set()
    assert "asyncio" not in loaded_by("import pagsrv, pagsrv.client.calls")
