# SPDX-License-Identifier: MIT
"""The specification is true: its packets are the golden ones, its numbers the code's.

The law: whoever writes a client by docs/reference/protocol.md alone meets no surprise.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, get_args

from pagsrv import limits, masks
from pagsrv.ends import KINDS
from pagsrv.errors import TABLE
from pagsrv.facts import FdKind
from pagsrv.messages import METHODS, REQUESTS
from pagsrv.model import EventKind
from pagsrv.proofs import possession

TEXT = (Path(__file__).parent.parent / "docs" / "reference" / "protocol.md").read_text()
VECTORS = Path(__file__).with_name("vectors")


def packets() -> set[str]:
    """Every golden packet."""
    found = (
        json.loads((VECTORS / f"{name}.json").read_text())
        for name in ("calls", "replies", "errors")
    )
    return {one["packet"] for vectors in found for one in vectors}


def proof() -> dict[str, Any]:
    """The worked example of a proof."""
    (vector,) = json.loads((VECTORS / "proof.json").read_text())
    assert isinstance(vector, dict)
    return vector


def words(name: str) -> set[str]:
    """What stands in a list of words, `word`, in the paragraph that begins with *name*."""
    (paragraph,) = re.findall(rf"^{name}.*?(?:\n\n|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`(\w+)`", paragraph))


def test_packets_shown_are_the_golden_ones() -> None:
    """Each is shown, and nothing is shown that is not one of them."""
    shown = {
        line
        for block in re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    }
    assert shown == packets()


def test_proof_shown_is_the_golden_one() -> None:
    """The digest is over exactly the strings named, and the payload shown is the result."""
    vector = proof()
    parts = [
        "pagsrv-proof-1",
        *(str(vector[key]) for key in ("nonce", "inode", "ring", "uid", "broker")),
    ]
    assert vector["text"] == "\n".join(parts)
    assert vector["payload"] == hashlib.sha256(vector["text"].encode("ascii")).hexdigest()
    for key in ("nonce", "inode", "ring", "uid", "broker", "payload"):
        assert str(vector[key]) in TEXT


def test_proof_is_the_librarys() -> None:
    """What the broker compares and the client writes is what the specification says."""
    vector = proof()
    payload = possession.digest(
        *(vector[key] for key in ("nonce", "inode", "ring", "uid", "broker"))
    )
    assert vector["payload"].encode() == payload
    assert vector["key"] == possession.key_name(vector["broker"])
    assert vector["mask"] == f"{possession.PROOF_MASK:08x}"
    assert f"`{vector['mask']}`" in TEXT


def test_every_method_is_described() -> None:
    """Each is in a heading of its own or shares one, and the changing ones are listed."""
    headings = set(re.findall(r"\w+", " ".join(re.findall(r"^### (.*)$", TEXT, re.MULTILINE))))
    assert {method.rpartition(".")[2] for method in METHODS} <= headings
    (listed,) = re.findall(r"^(Post, Take.*?) are taken only", TEXT, re.MULTILINE | re.DOTALL)
    changing = {kind.__name__ for kind in REQUESTS if kind.CHANGES}
    assert changing == set(re.findall(r"[A-Z]\w+", listed))


def test_every_error_named_exists() -> None:
    """Words in code that look like an error are one."""
    known = {kind.__name__ for kind in TABLE}
    named = set(
        re.findall(r"`(?:org\.[a-z.]+\.)?([A-Z][a-z]+[A-Z]\w+|Denied|Exists|Loop|Stale)`", TEXT)
    )
    assert named <= known
    assert len(named) > 5


def test_numbers_are_the_limits() -> None:
    """Each row of the table of limits."""
    rows = dict(re.findall(r"^\| (.*?) \| (\d+).* \|$", TEXT, re.MULTILINE))
    assert {
        "one message": str(limits.MESSAGE_BYTES),
        "descriptors with one message": str(limits.MESSAGE_FDS),
        "bytes waiting for a reader": str(limits.OUT_QUEUE_BYTES),
        "names in one call": str(limits.MESSAGE_FDS),
        "scopes in one Attach": str(limits.SCOPES_ASKED),
    }.items() <= rows.items()
    assert f"{limits.NONCE_SECONDS * 1000:.0f} ms" in TEXT
    assert f"{limits.NONCE_LIFE:.0f} s" in TEXT
    for number in (limits.ENDS, limits.LABELS):
        assert f"{number} at most" in TEXT
    sizes = (
        f"keys of 1 to {limits.LABEL_KEY_BYTES} bytes, values of up to {limits.LABEL_VALUE_BYTES}"
    )
    assert sizes in TEXT
    assert f"`{masks.format_mask(masks.DEFAULT)}`" in TEXT


def test_words_are_the_codes() -> None:
    """End conditions, events and kinds of descriptors: all of them, and no other."""
    conditions = set(
        re.findall(r"^\| `(\w+)[=`].*\| (?:when|that long|with the)", TEXT, re.MULTILINE)
    )
    assert conditions == set(KINDS)
    assert words("Watch tells") - {"why", "name", "initial", "generation"} == set(
        get_args(EventKind)
    )
    (kinds,) = re.findall(r"`kind` is one of ([a-z,\s]*);", TEXT)
    assert re.findall(r"\w+", kinds) == list(get_args(FdKind))
