# SPDX-License-Identifier: MIT
"""Bytes and messages: what is written is read back, and anything else is refused in kind.

The law: decode(encode(m)) = m; any bytes are a message, a Refused or a ProtocolError;
the golden packets never change.
"""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagsrv import codec, errors, messages
from pagsrv.errors import (
    BOARD,
    InterfaceNotFound,
    InvalidParameter,
    MethodNotFound,
    PagsrvError,
    ProtocolError,
    Refused,
)
from pagsrv.messages import EntryReply, Opened, ProofView, Proved, Reply, Request
from tests.fuzz import fuzz_codec
from tests.strategies import almost_calls, requests

VECTORS = Path(__file__).with_name("vectors")


def vectors(name: str) -> list[Any]:
    """The golden packets of one file, each with its name."""
    found = json.loads((VECTORS / f"{name}.json").read_text())
    return [pytest.param(one, id=one["says"]) for one in found]


# ── laws ──


@given(requests(), st.booleans(), st.booleans())
def test_call_survives(request: Request, more: bool, oneway: bool) -> None:  # noqa: FBT001 -- drawn
    """decode(encode(call)) = call, flags included."""
    data = codec.encode_call(request, more=more, oneway=oneway)
    assert codec.Call(request, more, oneway) == codec.decode(data)


@given(almost_calls() | st.binary())
@example(b"")
@example(b"[" * 100_000)
@example(b'{"method":' * 100_000)
@example(b'{"method":"org.pagsrv.Board.Post","parameters":' + b'{"labels":' * 100_000)
@example(b'{"method":"org.pagsrv.Board.Open","parameters":{"name":"\\ud800"}}')
@example(b'{"method":"org.pagsrv.Board.Open","parameters":{"name":"\xff"}}')
@example(b'{"method":"org.pagsrv.Board.Wait","parameters":{"name":"a","timeout":1e999}}')
@example(b'{"method":"org.pagsrv.Board.Prove","parameters":{"ring":' + b"9" * 5000 + b"}}")
def test_any_bytes_are_a_call_or_refused(data: bytes) -> None:
    """Nothing but Refused and ProtocolError; what is accepted is the same after re-encoding."""
    with suppress(Refused, ProtocolError):
        call = codec.decode(data)
        again = codec.encode_call(call.request, more=call.more, oneway=call.oneway)
        assert call == codec.decode(again)


@given(almost_calls() | st.binary(), st.sampled_from((EntryReply, Opened, Proved, Reply)))
@example(b'{"parameters":' + b'{"entry":' * 100_000, EntryReply)
@example(b'{"error":"x","parameters":[1]}', Reply)
@example(b'{"error":"x","parameters":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reply)
@example(b'{"parameters":"a"}', Opened)
def test_any_bytes_are_an_answer_or_an_error(data: bytes, kind: type[Reply]) -> None:
    """A false broker can make the client raise PagsrvError, and nothing else."""
    with suppress(PagsrvError):
        assert isinstance(codec.decode_parameters(codec.decode_answer(data).parameters, kind), kind)


@given(st.text(max_size=40), st.sampled_from(errors.REFUSALS))
def test_error_survives(sentence: str, kind: type[Refused]) -> None:
    """An error reply raises at the other end what was meant at this one."""
    sent = InvalidParameter(sentence, "x") if kind is InvalidParameter else kind(sentence)
    with pytest.raises(kind) as caught:
        codec.decode_answer(codec.encode_error(sent))
    assert sent.parameters() == caught.value.parameters()


# ── golden packets ──


@pytest.mark.parametrize("vector", vectors("calls"))
def test_golden_call(vector: dict[str, Any]) -> None:
    """The packet says this request, and this request is written as the packet."""
    flags = {"more": vector.get("more", False)}
    call = codec.decode(vector["packet"].encode())
    assert msgspec.convert(vector["fields"], getattr(messages, vector["kind"])) == call.request
    assert flags["more"] == call.more
    assert vector["packet"].encode() == codec.encode_call(call.request, **flags)
    assert vector["fds"] == len(call.request.indices())


@pytest.mark.parametrize("vector", vectors("replies"))
def test_golden_reply(vector: dict[str, Any]) -> None:
    """The packet says this reply, and this reply is written as the packet."""
    kind = getattr(messages, vector["kind"])
    reply = msgspec.convert(vector["fields"], kind)
    continues = vector.get("continues", False)
    assert vector["packet"].encode() == codec.encode_reply(reply, continues=continues)
    answer = codec.decode_answer(vector["packet"].encode())
    assert continues == answer.continues
    assert reply == codec.decode_parameters(answer.parameters, kind)


@pytest.mark.parametrize("vector", vectors("errors"))
def test_golden_error(vector: dict[str, Any]) -> None:
    """The packet raises this error, and this error is written as the packet."""
    with pytest.raises(getattr(errors, vector["kind"])) as caught:
        codec.decode_answer(vector["packet"].encode())
    assert vector["parameters"] == caught.value.parameters()
    assert vector["packet"].encode() == codec.encode_error(caught.value)


def test_every_method_has_a_golden_packet() -> None:
    """A new method gets its packet, or this fails."""
    shown = {json.loads(one.values[0]["packet"])["method"] for one in vectors("calls")}
    assert set(messages.METHODS) == shown


# ── what is refused, and how ──


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"nul", b"{}{}", b'{"method":"a"', b'{"method":5', b"[]", b" 5", b'"x"', b"null",
     b"\xff\xfe", b'{"method":"a.b.C"}x', b"{'method':'a'}"],
)  # fmt: skip
def test_what_is_no_json_object_breaks_the_rules(data: bytes) -> None:
    """Malformed JSON, or JSON of another shape: the peer is hung up."""
    with pytest.raises(ProtocolError, match="no JSON object"):
        codec.decode(data)


@pytest.mark.parametrize(
    ("envelope", "field"),
    [
        ({}, "method"),
        ({"method": 5}, "method"),
        ({"method": f"{BOARD}.Health", "extra": True}, "extra"),
        ({"method": f"{BOARD}.Health", "more": 1}, "more"),
        ({"method": f"{BOARD}.Health", "upgrade": True}, "upgrade"),
        ({"method": f"{BOARD}.Health", "parameters": {"a": 1}}, "a"),
        ({"method": f"{BOARD}.Health", "parameters": []}, ""),
        ({"method": f"{BOARD}.Open"}, "name"),
        ({"method": f"{BOARD}.Open", "parameters": {"name": 5}}, "name"),
        ({"method": f"{BOARD}.OpenMany", "parameters": {"names": ["a", 5]}}, "names[1]"),
        ({"method": f"{BOARD}.Post", "parameters": {"name": "a", "fd": 0.5}}, "fd"),
        ({"method": f"{BOARD}.Post", "parameters": {"name": "a", "until": [{}]}}, "until[0]"),
        ({"method": f"{BOARD}.Ungrant", "parameters": {"name": "a", "from_": "b"}}, "from_"),
    ],
)
def test_bad_field_is_named(envelope: object, field: str) -> None:
    """A field unknown, missing or of another type: InvalidParameter names it."""
    with pytest.raises(InvalidParameter) as caught:
        codec.decode(json.dumps(envelope).encode())
    assert field in caught.value.parameter


@pytest.mark.parametrize(
    ("method", "kind", "parameter"),
    [
        (f"{BOARD}.Close", MethodNotFound, f"{BOARD}.Close"),
        ("org.varlink.service.Reboot", MethodNotFound, "org.varlink.service.Reboot"),
        ("org.example.Open", InterfaceNotFound, "org.example"),
        (f"{BOARD}x.Open", InterfaceNotFound, f"{BOARD}x"),
        ("Open", InterfaceNotFound, "Open"),
        ("", InterfaceNotFound, ""),
    ],
)
def test_unknown_method_is_told_from_unknown_interface(
    method: str, kind: type[Refused], parameter: str
) -> None:
    """The two errors of org.varlink.service, each with what was not found."""
    with pytest.raises(kind) as caught:
        codec.decode(json.dumps({"method": method}).encode())
    assert parameter in caught.value.parameters().values()


def test_no_parameters_may_be_null_or_absent() -> None:
    """{}, null and nothing say the same."""
    texts = ("{}", '{"parameters":null}', '{"parameters":{}}')
    calls = [json.dumps({"method": f"{BOARD}.WhoAmI"} | json.loads(text)) for text in texts]
    assert [codec.Call(messages.WhoAmI())] * 3 == [codec.decode(call.encode()) for call in calls]
    assert codec.decode_answer(b"{}") == codec.decode_answer(b'{"parameters":null}')


# ── what the daemon puts together itself ──


def test_parts_make_the_same_reply_as_the_whole() -> None:
    """wrap(encode_value(x)) writes what encode_reply does; NOTHING is the empty reply."""
    reply = Proved([ProofView("user:1", "user", "none")])
    parts = b'{"scopes":' + codec.encode_value(reply.scopes) + b"}"
    assert codec.encode_reply(reply) == codec.wrap(parts)
    assert codec.encode_reply(reply, continues=True) == codec.wrap(parts, continues=True)
    assert codec.encode_reply(Reply()) == codec.NOTHING


def test_newer_broker_may_say_more() -> None:
    """A client takes what it knows from an answer that has more fields."""
    answer = codec.decode_answer(b'{"parameters":{"fd":0,"new":1},"other":2}')
    assert codec.decode_parameters(answer.parameters, Opened) == Opened(0)


def test_fuzzer_finds_nothing_in_a_moment() -> None:
    """The harness runs, on every golden packet as it is and on some that are broken."""
    packets = fuzz_codec.corpus()
    assert len(packets) > len(messages.METHODS)
    dice = random.Random(1)  # noqa: S311 -- the same every time
    for packet in packets:
        fuzz_codec.one_input(packet)
        for _ in range(20):
            fuzz_codec.one_input(fuzz_codec.mutated(packet, dice))
