# SPDX-License-Identifier: MIT
"""Every hypothesis strategy: names, masks, ends, messages, and bytes that are almost one.

The law: a strategy says what it makes in its docstring and makes nothing else, so
that a test may rely on it. It refuses to know what is tested with it.
"""

from __future__ import annotations

import json

import msgspec
from hypothesis import strategies as st

from pagsrv import codec
from pagsrv.ends import DEEDS, Ask
from pagsrv.limits import NAME_BYTES, OPENS, TTL_SECONDS
from pagsrv.messages import REQUESTS, Request, Until
from pagsrv.names import KINDS, Scope

SearchStrategy = st.SearchStrategy

LARGEST = {"session": 0x7FFFFFFF, "pag": 0xFFFFFFFF, "user": 0xFFFFFFFE}


def scopes() -> SearchStrategy[Scope]:
    """Exact scopes of each kind, within what the kernel can number."""
    return st.one_of(
        *(st.builds(Scope, st.just(kind), st.integers(0, LARGEST[kind])) for kind in KINDS)
    )


def _is_name(text: str) -> bool:
    kind, colon, digits = text.partition(":")
    scope_form = bool(colon) and kind in KINDS and digits.isascii() and digits.isdigit()
    return text not in (".", "..") and not scope_form and len(text.encode()) <= NAME_BYTES


def names() -> SearchStrategy[str]:
    """Texts that may be an entry's name."""
    alphabet = st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/")
    return st.text(alphabet, min_size=1, max_size=NAME_BYTES).filter(_is_name)


def masks() -> SearchStrategy[int]:
    """Masks: four bytes of six bits."""
    six = st.integers(0, 0x3F)
    return st.tuples(six, six, six, six).map(
        lambda four: four[0] << 24 | four[1] << 16 | four[2] << 8 | four[3]
    )


def asks() -> SearchStrategy[Ask]:
    """End conditions of each kind, with and without their number."""
    pids = st.integers(0, 0x7FFFFFFF)
    return st.one_of(
        st.builds(Ask, st.just("exit"), pids),
        st.builds(Ask, st.just("leader"), pids),
        st.builds(Ask, st.sampled_from(DEEDS), pids),
        st.just(Ask("orphan")),
        st.just(Ask("lease")),
        st.just(Ask("hup")),
        st.builds(Ask, st.just("ttl"), st.floats(0, TTL_SECONDS, exclude_min=True)),
        st.builds(Ask, st.just("opens"), st.integers(1, OPENS)),
    )


_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
_NUMBER = st.integers(-(1 << 63), (1 << 63) - 1)

_FIELDS: dict[object, SearchStrategy[object]] = {
    str: _TEXT,
    int: _NUMBER,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    list[str]: st.lists(_TEXT, max_size=4),
    dict[str, str]: st.dictionaries(_TEXT, _TEXT, max_size=4),
    list[Until]: st.lists(st.builds(Until, _TEXT, st.none() | _NUMBER), max_size=4),
}


def _field(kind: object) -> SearchStrategy[object]:
    kinds = getattr(kind, "__args__", ())
    optional = type(None) in kinds and kind not in _FIELDS
    if not optional:
        return _FIELDS[kind]
    (inner,) = (one for one in kinds if one is not type(None))
    return st.none() | _FIELDS[inner]


def requests() -> SearchStrategy[Request]:
    """Requests of every method with fields of the right type, sensible or not."""
    return st.one_of(
        *(
            st.builds(
                kind,
                **{one.name: _field(one.type) for one in msgspec.structs.fields(kind)},
            )
            for kind in REQUESTS
        )
    )


def _json() -> SearchStrategy[object]:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    )


@st.composite
def almost_calls(draw: st.DrawFn) -> bytes:
    """Bytes near a call: one that was cut, spliced or given another value somewhere."""
    whole = codec.encode_call(draw(requests()))
    how = draw(st.sampled_from(("cut", "splice", "value", "json")))
    if how == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    if how == "splice":
        at = draw(st.integers(0, len(whole)))
        return whole[:at] + draw(st.binary(max_size=6)) + whole[at:]
    if how == "json":
        return json.dumps(draw(_json())).encode()
    call = json.loads(whole)
    where = call if draw(st.booleans()) else call["parameters"]
    keys = st.sampled_from(sorted(where)) if where else st.text(max_size=8)
    where[draw(keys | st.text(max_size=8))] = draw(_json())
    return json.dumps(call).encode()
