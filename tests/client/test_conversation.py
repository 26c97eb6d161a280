# SPDX-License-Identifier: MIT
"""The conversation without a socket: bytes out, packets in.

The law: what is written by hand here is what the codec would have written; what is
recognised here is what the codec would have read; a flow asks for exactly the calls
it needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv import codec
from pagsrv.client import calls, conversation
from pagsrv.client.conversation import MORE, Call, Line
from pagsrv.errors import Denied, InvalidParameter, NoEntry, NoSession, ProtocolError
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.scm import Packet
from pagsrv.messages import (
    Attach,
    Attached,
    LimitsView,
    Listed,
    ListedNames,
    Open,
    Opened,
    OpenedMany,
    OpenMany,
    ProofView,
    Prove,
    Proved,
    Take,
    TakeMany,
)

NONCE = "0123456789abcdef0123456789abcdef"
BROKER = "ffeeddccbbaa99887766554433221100"
LIMITS = LimitsView(65536, 253, 255, 16)
USER = ProofView("user:7", "user", "none")
SESSION = ProofView("session:9", "possession", "isolated")

texts = st.text()
words = st.none() | st.lists(texts, max_size=5)


def attached(nonce: str | None = None, broker: str = BROKER) -> Packet:
    """Our broker's answer to Attach."""
    told = Attached(broker, 7, LIMITS, ["org.pagsrv.Board.Open"], [USER], nonce)
    return Packet(codec.encode_reply(told))


def some_fds(count: int) -> list[Fd]:
    """That many descriptors."""
    return [Fd(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)) for _ in range(count)]


@given(texts, st.none() | texts)
def test_opening_is_written_as_the_codec_reads_it(name: str, scope: str | None) -> None:
    """Open and Take, for any text that is UTF-8."""
    try:
        packets = [conversation.open_one(name, scope), conversation.take_one(name, scope)]
    except InvalidParameter:
        with pytest.raises(UnicodeEncodeError):
            (name + (scope or "")).encode()
        return
    assert [Open(name, scope), Take(name, scope)] == [
        codec.decode(call.packet).request for call in packets
    ]
    assert [call.changes for call in packets] == [False, True]


@given(words, st.booleans(), st.integers(0, 2**31))
def test_attaching_is_written_as_the_codec_reads_it(
    scopes: list[str] | None, changes: bool, ring: int  # noqa: FBT001 -- hypothesis gives it so
) -> None:  # fmt: skip
    """Attach, Prove and OpenMany too."""
    call = codec.decode(conversation.attach(scopes, changes=changes).packet)
    assert call.request == Attach(scopes, changes or None)
    assert codec.decode(conversation.prove(ring).packet).request == Prove(ring)
    names = scopes or []
    many, taking = conversation.open_many(names), conversation.take_many(names)
    assert codec.decode(many.packet).request == OpenMany(names)
    assert codec.decode(taking.packet).request == TakeMany(names)
    assert (many.changes, taking.changes) == (False, True)


@given(st.none() | st.just(NONCE), st.text(alphabet="0123456789abcdef"))
def test_attached_is_recognised_as_the_codec_reads_it(nonce: str | None, broker: str) -> None:
    """The parts taken out of the bytes are those of the decoded answer."""
    packet = attached(nonce, broker)
    seen = conversation.attach(None, changes=False).read(packet)
    read = calls.read_attached(packet)
    assert isinstance(seen, conversation.Attachment)
    for one in (seen, read):
        assert (one.broker, one.uid, one.nonce, one.answer) == (broker, 7, nonce, packet.data)


@pytest.mark.parametrize(
    "nonce", ['"},"x":"', '","nonce":null', "not hexadecimal", "\\u0030", '\\",\\"nonce\\":null']
)
def test_attached_of_another_shape_goes_to_the_codec(nonce: str) -> None:
    """Nothing in a text of the answer is taken for the answer's own shape."""
    told = Attached(BROKER, 7, LIMITS, [], [ProofView(nonce, nonce, nonce)], nonce)
    data = codec.encode_reply(told)
    seen = conversation.attach(None, changes=False).read(Packet(data))
    assert isinstance(seen, conversation.Attachment)
    assert (seen.broker, seen.uid, seen.nonce) == (BROKER, 7, nonce)


def test_opened_is_what_our_broker_writes() -> None:
    """The bytes recognised are those the codec writes for Opened and OpenedMany."""
    assert codec.encode_reply(Opened(0)) == conversation.OPENED
    for count in (1, 2, 253):
        call = conversation.open_many(["x"] * count)
        with Packet(codec.encode_reply(OpenedMany(list(range(count)))), some_fds(count)) as packet:
            fds = call.read(packet)
            assert not packet.fds
        assert isinstance(fds, list)
        assert len(fds) == count
        for fd in fds:
            fd.close()


def test_an_answer_of_many_parts_is_joined() -> None:
    """MORE while it continues, and then all of it."""
    call = calls.list_names(None, every=False)
    parts = [["a", "b"], [], ["c"]]
    results = [
        call.read(Packet(codec.encode_reply(ListedNames(names), continues=number < 2)))
        for number, names in enumerate(parts)
    ]
    assert results == [MORE, MORE, ["a", "b", "c"]]
    assert calls.list_entries(None, every=True).read(Packet(codec.encode_reply(Listed([])))) == []


class Prover:
    """Answers nonces for ring 9; *hopes* says for how many more it has hope."""

    def __init__(self, hopes: int = 99) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self._hopes = hopes

    @property
    def hopeless(self) -> bool:
        """Whether another try is in vain."""
        return len(self.asked) > self._hopes

    @hopeless.setter
    def hopeless(self, value: bool) -> None:
        raise AttributeError(value)

    def answer(self, nonce: str, uid: int, broker: str) -> int:
        """Remember."""
        self.asked.append((nonce, uid, broker))
        return 9


def converse(
    prover: Prover | None, answer: Callable[[object], Packet | Exception]
) -> tuple[list[object], conversation.Attachment]:
    """Run the flow against *answer*; the requests made and what came of it."""
    made: list[object] = []
    flow = conversation.attaching(None, prover, changes=True)
    try:
        call = next(flow)
        while True:
            request = codec.decode(call.packet).request
            made.append(request)
            reply = answer(request)
            if isinstance(reply, Exception):
                call = flow.throw(reply)
            else:
                call = flow.send(call.read(reply))
    except StopIteration as done:
        return made, done.value


PROVED = Packet(codec.encode_reply(Proved([SESSION, USER])))
ATTACH = Attach(None, changes=True)


def test_without_a_nonce_nothing_is_proved() -> None:
    """One call."""
    made, result = converse(Prover(), lambda _: attached())
    assert made == [ATTACH]
    assert calls.told(result).scopes == [USER]


def test_a_nonce_is_answered() -> None:
    """Attach and Prove; the scopes are then those of Prove, and the nonce is nobody's business."""
    prover = Prover()
    made, result = converse(
        prover, lambda request: PROVED if isinstance(request, Prove) else attached(NONCE)
    )
    assert made == [ATTACH, Prove(9)]
    assert prover.asked == [(NONCE, 7, BROKER)]
    assert calls.told(result).scopes == [SESSION, USER]
    assert calls.told(result).nonce is None


def test_a_nonce_that_nobody_can_answer_is_left() -> None:
    """Without a prover nothing is sent for it."""
    made, _ = converse(None, lambda _: attached(NONCE))
    assert made == [ATTACH]


def test_an_overtaken_proof_is_tried_again() -> None:
    """Each try with a nonce of its own; the last failure leaves what was proved without it."""
    fails: Iterator[Packet | Exception] = iter(
        [NoSession("overtaken"), NoSession("overtaken"), PROVED]
    )
    made, result = converse(
        Prover(), lambda request: next(fails) if isinstance(request, Prove) else attached(NONCE)
    )
    assert made == [ATTACH, Prove(9)] * 3
    assert result.proved is not None
    made, result = converse(
        Prover(),
        lambda request: NoSession("no") if isinstance(request, Prove) else attached(NONCE),
    )
    assert made == [ATTACH, Prove(9)] * 4
    assert result.proved is None
    assert calls.told(result).scopes == [USER]


def test_a_hopeless_proof_is_tried_once() -> None:
    """The nonce is answered all the same, so that nobody waits behind it."""
    made, result = converse(
        Prover(hopes=0),
        lambda request: NoSession("no") if isinstance(request, Prove) else attached(NONCE),
    )
    assert made == [ATTACH, Prove(9)]
    assert result.proved is None


def test_a_failed_proof_is_recognised_as_the_codec_writes_it() -> None:
    """Its sentence is whoami's to tell, so that it need not be decoded."""
    call = conversation.prove(9)
    with pytest.raises(NoSession, match="whoami"):
        call.read(Packet(codec.encode_error(NoSession("a long story"))))
    with pytest.raises(Denied, match="short"):
        call.read(Packet(codec.encode_error(Denied("short"))))


def test_another_refusal_is_nobodys_to_hide() -> None:
    """Only NoSession means that the other scopes serve."""
    with pytest.raises(Denied):
        converse(
            Prover(),
            lambda request: Denied("no") if isinstance(request, Prove) else attached(NONCE),
        )


def refusal() -> Packet:
    """An error reply."""
    return Packet(codec.encode_error(NoEntry("not there")))


def test_a_line_answers_in_order() -> None:
    """The first answer is the first call's, refusals too; a list takes as many as it takes."""
    line: Line[str] = Line()
    line.asked(calls.list_names(None, every=False), "list")
    line.asked(conversation.open_one("x", None), "open")
    line.asked(calls.stat("x", None), "stat")
    assert len(line) == 3
    first = Packet(codec.encode_reply(ListedNames(["a"]), continues=True))
    assert line.answered(first) is None
    assert line.answered(Packet(codec.encode_reply(ListedNames(["b"])))) == (
        "list", ["a", "b"], None,
    )  # fmt: skip
    with Packet(codec.encode_reply(Opened(0)), some_fds(1)) as packet:
        answered = line.answered(packet)
    assert answered is not None
    token, fd, refused = answered
    assert (token, refused) == ("open", None)
    assert isinstance(fd, Fd)
    fd.close()
    answered = line.answered(refusal())
    assert answered is not None
    assert answered[:2] == ("stat", None)
    assert isinstance(answered[2], NoEntry)
    with pytest.raises(ProtocolError, match="nobody"):
        line.answered(refusal())


def test_a_line_forgets_what_was_not_sent() -> None:
    """A call taken back leaves the others their places; what is over leaves none."""
    line: Line[str] = Line()
    for token in ("a", "b", "c", "d"):
        line.asked(Call(b"", lambda _: None), token)
    line.unasked("b")
    assert line.answered(Packet(b"")) == ("a", None, None)
    assert line.lost() == "c"
    assert line.over() == ["d"]
    assert line.lost() is None
    assert not len(line)
