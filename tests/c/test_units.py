# SPDX-License-Identifier: MIT
"""The parts of libpagsrv that need no broker: SHA-256, the proof's payload, the JSON reader.

The law: compared with what Python makes of the same bytes, by the sanitizers' build. It
refuses to know brokers.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.c.building import run

VECTORS = Path(__file__).parent.parent / "vectors"
DEPTH = 32
SECONDS = 120
ROUNDS = 400_000


def ask(unit: Path, *words: str, texts: Sequence[bytes]) -> list[str]:
    """What the program says to *texts*, each ended by NUL."""
    done = subprocess.run(
        [unit, *words], input=b"".join(text + b"\0" for text in texts), capture_output=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout.decode().splitlines()


# ── SHA-256 and the proof ──


@pytest.mark.parametrize("size", [0, 1, 3, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000])
def test_sha256_is_that_of_everybody(unit: Path, size: int) -> None:
    """At and around the ends of its blocks."""
    text = bytes(number % 251 for number in range(size))
    assert run(unit, "sha", input=text).strip() == hashlib.sha256(text).hexdigest()


def test_the_proof_is_the_golden_one(unit: Path) -> None:
    """tests/vectors/proof.json, as the page on the protocol shows it."""
    for one in json.loads((VECTORS / "proof.json").read_text()):
        words = [str(one[word]) for word in ("nonce", "inode", "ring", "uid", "broker")]
        assert run(unit, "proof", *words).strip() == one["payload"]


# ── JSON ──


def shown(value: object, key: str) -> str:
    """A value of Python's as the program shows one of its own; objects by their member *key*."""
    match value:
        case bool() | None:
            return {True: "c", False: "b", None: "0"}[value]
        case str():
            if "\0" in value or len(value.encode()) >= 4096:
                return "-"
            return f'"{value.encode().hex()}"'
        case int() if 0 <= value < 1 << 64:
            return f"u{value}"
        case int() | float():
            return f"d{float(value):.17g}"
        case list():
            return "[" + "".join(f"{shown(one, key)}," for one in value) + "]"
        case dict():
            return "{" + (shown(value[key], key) if key in value else ".") + "}"
    raise AssertionError(value)


GOOD = [
    "{}", "[]", ' {"a" : [ 1 , 2.5,-3, true,false , null ]} ', '{"b":1,"a":{"a":"x"}}',
    '{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00fc\\u20ac\\ud83d\\ude00"}', '{"a":"ü€😀"}', '"plain"',
    '{"\\u0061":1}', '{"a":"a\\u0000b"}', '{"a":18446744073709551615}', "1760000000.5", "1e3",
    "0.1", "1760000000.123456", "123456789012345678", "1E-7", "2.2250738585072014e-308", "-0.0",
    "-17", "0", '{"aa":[{"a":[[]]}],"a":"}]\\\\"}', "[" * DEPTH + "]" * DEPTH, '{"":1}',
]  # fmt: skip


def test_json_is_read_as_python_reads_it(unit: Path) -> None:
    """Strings, numbers, lists and members."""
    said = ask(unit, "json", "a", texts=[text.encode() for text in GOOD])
    assert said == [shown(json.loads(text), "a") for text in GOOD]


BAD = [
    b" ", b"{", b"}", b"{]", b"[1,]", b'{"a":1,}', b'{"a" 1}', b"{1:2}", b"[1 2]", b"t", b"nul",
    b"01", b"1.", b".5", b"-", b"+1", b"1e", b"0x1", b"NaN", b"'a'", b'"', b'"\\', b'"\\x"',
    b'"\\u12"', b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"', b'"\x01"', b'"\xff"',
    b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"', b"{}{}", b"[]x",
    b"\xef\xbb\xbf{}", b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), b"[" * 60000,
]  # fmt: skip


def test_what_is_no_json_is_none(unit: Path) -> None:
    """And says nothing else."""
    assert ask(unit, "json", "a", texts=BAD) == ["!"] * len(BAD)


def sound(text: bytes) -> bool:
    """Whether Python calls it JSON, without what it takes and RFC 8259 or our reader does not."""

    def never(word: str) -> float:
        raise ValueError(word)

    try:
        value = json.loads(text.decode(), parse_constant=never)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


_MARKS = b'{}[]",:\\u0e.-tfn \xc3\xa4d8'


def test_spoilt_messages_are_judged_as_python_judges_them(unit: Path) -> None:
    """Golden packets with a few bytes changed: the same are JSON, and read the same."""
    chance = random.Random(5)  # noqa: S311 -- the same in every run
    corpus = packets()
    texts = []
    for _ in range(2000):
        text = bytearray(chance.choice(corpus))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text))
            text[at : at + chance.randint(0, 2)] = bytes([chance.choice(_MARKS)])
        texts.append(bytes(text).replace(b"\0", b""))
    said = ask(unit, "json", "parameters", texts=texts)
    for text, told in zip(texts, said, strict=True):
        assert (told != "!") == sound(text), text
        if told != "!":
            value = json.loads(text)
            assert told == shown(value, "parameters") or _differs_in_keys(text), text
    assert 50 < sum(told != "!" for told in said) < len(said)


def _differs_in_keys(text: bytes) -> bool:
    """Whether *text* says a member twice, of which Python keeps the last and we the first."""
    twice: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: twice.append(len({key for key, _ in pairs})
                                                                  < len(pairs)))  # fmt: skip
    return any(twice)


def test_any_bytes_are_read_within_their_room(unit: Path) -> None:
    """A fuzz that is the same in every run: nothing is read beyond the text, says the sanitizer."""
    (told,) = ask(unit, "fuzz", str(ROUNDS), texts=packets())
    valid, seen = map(int, told.split())
    assert 0 < valid < ROUNDS
    assert seen > valid


def packets() -> list[bytes]:
    """Every golden packet."""
    return [
        vector["packet"].encode()
        for name in ("calls", "replies", "errors")
        for vector in json.loads((VECTORS / f"{name}.json").read_text())
    ]
