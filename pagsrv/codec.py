# SPDX-License-Identifier: MIT
"""Bytes to message and back: Varlink's JSON envelope lives here and nowhere else.

The law: any bytes become a message, a Refused or a ProtocolError, and nothing
else; a descriptor is never touched, only its index. It refuses to know sockets
and where one message ends in a stream (daemon and client do).
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from pagsrv.errors import (
    BOARD,
    SERVICE,
    InterfaceNotFound,
    InvalidParameter,
    MethodNotFound,
    PagsrvError,
    ProtocolError,
    from_wire,
)
from pagsrv.messages import REQUESTS, Reply, Request

T = TypeVar("T", bound=Reply)

NOTHING = b'{"parameters":{}}'
"""The encoded reply that says nothing but done."""


_NO_OBJECT = "the message is no JSON object: one call is one object"
_EMPTY = msgspec.Raw(b"{}")


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    method: str
    parameters: msgspec.Raw = _EMPTY
    more: bool = False
    oneway: bool = False
    upgrade: bool = False


class _Answer(msgspec.Struct):
    parameters: msgspec.Raw = _EMPTY
    error: str | None = None
    continues: bool = False


class Call(msgspec.Struct, frozen=True):
    """A request with the envelope's flags."""

    request: Request
    more: bool = False
    oneway: bool = False


class Answer(msgspec.Struct, frozen=True):
    """A reply as it came: its parameters still encoded, since only the asker knows the type."""

    parameters: bytes
    continues: bool = False


_envelope = msgspec.json.Decoder(_Envelope)
_answer = msgspec.json.Decoder(_Answer)
_encode = msgspec.json.Encoder().encode
_requests: dict[str, msgspec.json.Decoder[Request]] = {
    kind.METHOD: msgspec.json.Decoder(kind) for kind in REQUESTS
}
_replies: dict[type[Reply], msgspec.json.Decoder[Any]] = {}


def _given(parameters: msgspec.Raw) -> msgspec.Raw:
    """No parameters may be said by null, too."""
    return _EMPTY if bytes(parameters) == b"null" else parameters


def _fault(error: msgspec.ValidationError) -> InvalidParameter:
    text = str(error)
    field = ""
    if "`$." in text:
        field = text.split("`$.", 1)[1].split("`", 1)[0]
    elif "field `" in text:
        field = text.split("field `", 1)[1].split("`", 1)[0]
    return InvalidParameter(field, f"{text[:300]}; see the interface {BOARD}")


def _is_object(data: bytes) -> bool:
    """Whether *data* is one JSON object: a wrong field may be found before a missing brace."""
    try:
        return isinstance(msgspec.json.decode(data), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def decode(data: bytes) -> Call:
    """The call in *data*; ProtocolError if it is no JSON object, Refused if it is no call."""
    try:
        envelope = _envelope.decode(data)
        decoder = _requests.get(envelope.method)
        if decoder is None:
            raise _unknown(envelope.method)
        if envelope.upgrade:
            raise InvalidParameter("upgrade", "no method here upgrades its connection")
        request = decoder.decode(_given(envelope.parameters))
    except msgspec.ValidationError as error:
        raise (_fault(error) if _is_object(data) else ProtocolError(_NO_OBJECT)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(_NO_OBJECT) from None
    return Call(request, envelope.more, envelope.oneway)


def _unknown(method: str) -> PagsrvError:
    interface, dot, _ = method.rpartition(".")
    if not dot or interface not in (BOARD, SERVICE):
        return InterfaceNotFound(interface or method)
    return MethodNotFound(method)


def encode_call(request: Request, *, more: bool = False, oneway: bool = False) -> bytes:
    """*request* as the bytes of one call; fields left at their defaults are not sent."""
    parameters = {
        key: value for key, value in msgspec.to_builtins(request).items() if value is not None
    }
    call: dict[str, object] = {"method": request.METHOD, "parameters": parameters}
    if more:
        call["more"] = True
    if oneway:
        call["oneway"] = True
    return _encode(call)


def encode_reply(reply: Reply, *, continues: bool = False) -> bytes:
    """*reply* as the bytes of one message."""
    return wrap(_encode(reply), continues=continues)


def wrap(parameters: bytes, *, continues: bool = False) -> bytes:
    """Encoded parameters in the envelope of a reply."""
    if continues:
        return b'{"parameters":' + parameters + b',"continues":true}'
    return b'{"parameters":' + parameters + b"}"


def encode_value(value: object) -> bytes:
    """*value* as JSON, for whoever joins several of them into one reply."""
    return _encode(value)


def encode_error(error: PagsrvError) -> bytes:
    """*error* as the bytes of an error reply."""
    return _encode({"error": error.wire, "parameters": error.parameters()})


def decode_answer(data: bytes) -> Answer:
    """The reply in *data*; an error reply is raised as the exception it stands for."""
    try:
        answer = _answer.decode(data)
        parameters = bytes(_given(answer.parameters))
        if answer.error is not None:
            told = msgspec.json.decode(parameters)
            named = told if isinstance(told, dict) else {}
            raise from_wire(answer.error, {str(key): str(named[key]) for key in named})
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the broker's answer is no Varlink reply: {error}") from None
    return Answer(parameters, answer.continues)


def decode_parameters(parameters: bytes, kind: type[T]) -> T:
    """The parameters of an answer as *kind*; ProtocolError if they are something else."""
    decoder = _replies.get(kind)
    if decoder is None:
        decoder = _replies[kind] = msgspec.json.Decoder(kind)
    try:
        reply: T = decoder.decode(parameters)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the broker's answer is not the one asked for: {error}") from None
    return reply
