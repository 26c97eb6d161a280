# SPDX-License-Identifier: MIT
"""Fuzz the codec: `python tests/fuzz/fuzz_codec.py [seconds]`, ten if it is not said.

The golden packets are the corpus. The law: what `except` names below is all that bytes
may bring about, and what is accepted is the same after it was written and read again.
"""

from __future__ import annotations

import json
import random
import sys
import time
from contextlib import suppress
from pathlib import Path

from pagsrv import codec
from pagsrv.errors import ProtocolError, Refused
from pagsrv.messages import EntryReply

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
_SPLICES = (b'"', b"{", b"}", b"[", b",", b":", b"null", b"1e999", b"\\ud800", b"\xff", b"-", b"0")


def one_input(data: bytes) -> None:
    """Whatever *data* is, it is read as a call and as an answer."""
    with suppress(Refused, ProtocolError):
        call = codec.decode(data)
        again = codec.encode_call(call.request, more=call.more, oneway=call.oneway)
        if codec.decode(again) != call:
            raise AssertionError(f"{data!r} reads as {call}, and not any more once written")
    with suppress(Refused, ProtocolError):
        codec.decode_parameters(codec.decode_answer(data).parameters, EntryReply)


def corpus() -> list[bytes]:
    """Every golden packet."""
    found: list[bytes] = []
    for path in sorted(VECTORS.glob("*.json")):
        found += [one["packet"].encode() for one in json.loads(path.read_text()) if "packet" in one]
    return found


def mutated(data: bytes, dice: random.Random) -> bytes:
    """*data* with a few bytes changed, cut, doubled or spliced."""
    text = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(text) + 1)
        way = dice.randrange(4)
        if way == 0 and at < len(text):
            text[at] = dice.randrange(256)
        elif way == 1:
            del text[at : at + dice.randrange(1, 9)]
        elif way == 2:
            text[at:at] = text[dice.randrange(len(text) + 1) :][:9]
        else:
            text[at:at] = dice.choice(_SPLICES)
    return bytes(text)


def search(seconds: float, seed: int = 0) -> int:
    """Try mutated packets for *seconds*; how many were tried."""
    dice = random.Random(seed)  # noqa: S311 -- to be repeated, not to be unforeseeable
    packets = corpus()
    end, tried = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        one_input(mutated(dice.choice(packets), dice))
        tried += 1
    return tried


def main() -> None:
    """Search, and say how far."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    sys.stdout.write(f"{search(seconds)} packets, nothing found\n")


if __name__ == "__main__":
    main()
