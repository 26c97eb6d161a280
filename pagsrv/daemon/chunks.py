# SPDX-License-Identifier: MIT
"""Long listings, cut into messages that fit.

The law: every message but the last says that more continues, none is larger
than a message may be, and an empty listing is one message too. With *whole* what
comes are the pieces of one message, made as they are drawn: it may be larger than
anybody should hold for a reader that does not read. It refuses to know who asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from pagsrv.codec import encode_value, wrap
from pagsrv.limits import MESSAGE_BYTES
from pagsrv.messages import EntryView
from pagsrv.vitals import NamespaceView

_SPARE = 256
"""Room for the envelope around the items of one message."""

_MOST = MESSAGE_BYTES - _SPARE
_ROOM = _MOST * 15 // 16
"""What a message is filled to, with items of about the size of those before."""

_TOGETHER = 128
"""Items of the first message: about as many entries as fit."""

T = TypeVar("T")


def of_entries(entries: Iterable[EntryView], *, whole: bool) -> Iterator[bytes]:
    """The replies of List with whole entries."""
    return _pack(b'{"entries":', entries, whole=whole)


def of_names(names: Iterable[str], *, whole: bool) -> Iterator[bytes]:
    """The replies of List with names only."""
    return _pack(b'{"names":', names, whole=whole)


def of_namespaces(namespaces: Iterable[NamespaceView], *, whole: bool) -> Iterator[bytes]:
    """The replies of Namespaces."""
    return _pack(b'{"namespaces":', namespaces, whole=whole)


def _pack(head: bytes, items: Iterable[T], *, whole: bool) -> Iterator[bytes]:
    source = iter(items)
    if whole:
        before, after = wrap(head + b"[]}").rsplit(b"[]", 1)
        opening = before + b"["
        while batch := list(islice(source, _TOGETHER)):
            yield opening + encode_value(batch)[1:-1]
            opening = b","
        yield (before + b"[]" if opening != b"," else b"]") + after
        return
    ready: bytes | None = None
    together = _TOGETHER
    while batch := list(islice(source, together)):
        for part in _fit(batch):
            if ready is not None:
                yield wrap(head + ready + b"}", continues=True)
            ready = part
        # As many more as would have filled the message, were they all like these.
        together = max(1, len(batch) * _ROOM // max(1, len(ready or b"")))
    yield wrap(head + (ready or b"[]") + b"}")


def _fit(batch: list[T]) -> Iterator[bytes]:
    """*batch* encoded, in as many parts as it takes; a single item always fits."""
    encoded = encode_value(batch)
    if len(encoded) <= _MOST or len(batch) == 1:
        yield encoded
        return
    half = len(batch) // 2
    yield from _fit(batch[:half])
    yield from _fit(batch[half:])
