# SPDX-License-Identifier: MIT
"""libpagsrv at a broker that is none: what it says is no answer, too much, or nothing.

The law: EPROTO or no broker, the connection is over, no descriptor stays, and the sanitizers
and valgrind have nothing to say. It refuses to know what a broker of ours would answer.
"""

from __future__ import annotations

import errno
import json
import resource
from pathlib import Path

import pytest

from pagsrv.errors import REFUSALS, InterfaceNotFound, InvalidParameter, MethodNotFound
from tests.c.building import Built
from tests.c.driving import Driver, driver, entry
from tests.client.peer import ATTACHED, HANG_UP, HELLO, Say, Step, scripted

VECTORS = Path(__file__).parent.parent / "vectors"
CHANGES = 1


def vectors(name: str) -> list[dict[str, object]]:
    """The golden packets of that file."""
    found: list[dict[str, object]] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


def packet(kind: str, place: int = 0) -> Say:
    """A golden reply of that kind, with its descriptors."""
    one = [vector for vector in vectors("replies") if vector["kind"] == kind][place]
    return Say(str(one["packet"]).encode(), int(str(one["fds"])))


def attached(one: Driver, directory: str) -> Driver:
    """Connected, and attached at once."""
    assert one("connect", directory, CHANGES).result == 0
    assert one("attach", "user").result == 0
    return one


ENTRY = packet("EntryReply").data.decode()
NO_ANSWERS = {
    "no-json": (Say(b"nonsense"), "stat"),
    "cut": (Say(b'{"parameters":{"fd":0'), "open"),
    "a-list": (Say(b"[]"), "stat"),
    "parameters-a-list": (Say(b'{"parameters":[]}'), "stat"),
    "not-utf8": (Say(b'{"parameters":{"entry":"\xff"}}'), "stat"),
    "deep": (Say(b'{"parameters":' + b"[" * 5000 + b"]" * 5000 + b"}"), "stat"),
    "a-nul": (Say(b'{"parameters":{"fd":0}}\0', 1), "open"),
    "no-fd": (Say(b'{"parameters":{"fd":0}}'), "open"),
    "no-index": (Say(b'{"parameters":{}}', 1), "open"),
    "another-index": (Say(b'{"parameters":{"fd":1}}', 1), "open"),
    "an-index-of-none": (Say(b'{"parameters":{"fd":4294967296}}', 1), "open"),
    "two-fds": (Say(b'{"parameters":{"fd":0}}', 2), "open"),
    "253-fds": (Say(b'{"parameters":{"fd":0}}', 253), "take"),
    "many-too-few": (Say(b'{"parameters":{"fds":[0]}}', 1), "many"),
    "many-twice": (Say(b'{"parameters":{"fds":[0,0]}}', 2), "many"),
    "many-backwards": (Say(b'{"parameters":{"fds":[1,0]}}', 2), "many"),
    "many-no-list": (Say(b'{"parameters":{"fds":0}}', 2), "many"),
    "more-than-promised": (Say(b'{"parameters":{"fd":0},"continues":true}', 1), "open"),
    "an-fd-unasked": (Say(ENTRY.encode(), 3), "stat"),
    "no-entry": (Say(b'{"parameters":{"entry":{}}}'), "stat"),
    "a-long-name": (Say(ENTRY.replace('"name":"db"', f'"name":"{"x" * 256}"').encode()), "stat"),
    "a-nul-in-a-name": (Say(ENTRY.replace('"name":"db"', '"name":"d\\u0000"').encode()), "stat"),
    "a-long-scope": (Say(ENTRY.replace("session:", f"session:{'7' * 40}").encode()), "stat"),
    "a-fraction": (Say(ENTRY.replace('"generation":7', '"generation":7.5').encode()), "stat"),
    "a-huge-number": (Say(ENTRY.replace('"opens":0', f'"opens":{"9" * 30}').encode()), "stat"),
    "entries-of-none": (Say(b'{"parameters":{"entries":[1]}}'), "list"),
    "no-entries": (Say(b'{"parameters":{"names":[]}}'), "list"),
    "entries-with-fds": (Say(b'{"parameters":{"entries":[]}}', 2), "list"),
    "scopes-of-none": (Say(b'{"parameters":{"scopes":[{}]}}'), "scopes"),
    "facts-of-none": (Say(b'{"parameters":{"facts":[{"value":"x"}]}}'), "whois"),
    "an-error-unknown": (Say(b'{"error":"org.example.No","parameters":{}}', 2), "open"),
    "an-error-of-none": (Say(b'{"error":7,"parameters":{}}'), "open"),
    "a-broken-rule": (Say(b'{"error":"org.pagsrv.Board.ProtocolError"}'), "open"),
    "too-long": (Say(b" " * 65537), "stat"),
}
WORDS = {
    "open": ("open", "x", None), "take": ("take", "x", None), "stat": ("stat", "x", None),
    "many": ("many", "x", "y"), "list": ("list", None), "scopes": ("scopes",),
    "whois": ("whois", 0),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_ANSWERS)
def test_no_answer_is_eproto_and_the_end(built: Built, short_tmp: Path, case: str) -> None:
    """Every descriptor that came is closed; whoever goes on is told to connect again."""
    say, what = NO_ANSWERS[case]
    with scripted(short_tmp, [HELLO, [say]]) as peer, driver(built) as one:
        attached(one, peer.dir)
        held = one("fds").result
        said = one(*WORDS[what])
        assert said[:3] == (-1, "EPROTO", 1), said
        assert said.sentence
        assert one("fds").result == held
        again = one("open", "x", None)
        assert again[:3] == (-1, "ECONNREFUSED", 6)
        assert "given up in the middle of a call" in again.sentence
        assert one("close").result == 0
        assert one("fds").result == held - 1


@pytest.mark.parametrize(
    "hello",
    [
        b"{}", b'{"parameters":{}}', ATTACHED.replace(b'"uid":0', b'"uid":-1'),
        ATTACHED.replace(b"00112233", b"0" * 200), ATTACHED.replace(b"00112233", b"0011223\\n"),
        ATTACHED.replace(b"null", b'"%s\\n%s"' % (b"0" * 16, b"1" * 15)),
        ATTACHED.replace(b"null", b'""'), ATTACHED.replace(b"null", b'"%s"' % (b"a" * 99)),
    ],
)  # fmt: skip
def test_an_attach_that_is_answered_with_nonsense(
    built: Built, short_tmp: Path, hello: bytes
) -> None:
    """EPROTO."""
    with scripted(short_tmp, [[Say(hello)]]) as peer, driver(built) as one:
        one("connect", peer.dir, CHANGES)
        assert one("attach", "user")[:3] == (-1, "EPROTO", 1)
        one("close")


HUNG_UP: dict[str, list[Step]] = {
    "before-attach": [[HANG_UP]],
    "before-the-answer": [HELLO, [HANG_UP]],
    "amid-a-list": [HELLO, [packet("Listed"), HANG_UP]],
}


@pytest.mark.parametrize("case", HUNG_UP)
def test_a_broker_that_hangs_up(built: Built, short_tmp: Path, case: str) -> None:
    """No broker, from then on."""
    with scripted(short_tmp, HUNG_UP[case]) as peer, driver(built) as one:
        one("connect", peer.dir, CHANGES)
        one("attach", "user")
        for _ in range(2):
            said = one("list", None)
            assert said[:3] == (-1, "ECONNREFUSED", 6)
            assert "hung up" in said.sentence
        one("close")


def test_a_refusal_before_a_hang_up_is_heard(built: Built, short_tmp: Path) -> None:
    """The broker's reason, though what was sent is not read any more."""
    no = b'{"error":"org.pagsrv.Board.Denied","parameters":{"message":"you are not served"}}'
    with scripted(short_tmp, [], unasked=[Say(no), HANG_UP]) as peer, driver(built) as one:
        one("connect", peer.dir, CHANGES)
        assert one("attach", "user")[:4] == (-1, "EACCES", 4, "you are not served")
        one("close")


def test_every_refusal_has_its_errno_and_status(built: Built, short_tmp: Path) -> None:
    """Those of the one table (pagsrv/errors.py); the sentence is the broker's, the board lives."""
    named = (InterfaceNotFound, MethodNotFound)
    steps = [
        [Say(json.dumps({"error": kind.wire, "parameters": {
            "message": f"no: {kind.__name__}", "method": "M", "parameter": "p"}}).encode(), 1)]
        for kind in REFUSALS
    ]  # fmt: skip
    steps.append([packet("EntryReply")])
    with scripted(short_tmp, [HELLO, *steps]) as peer, driver(built) as one:
        attached(one, peer.dir)
        held = one("fds").result
        for kind in REFUSALS:
            said = one("open", "x", None)
            assert said[:3] == (-1, errno.errorcode[kind.errno], kind.status)
            if kind not in named:
                assert said.sentence == f"no: {kind.__name__}"
        assert one("fds").result == held
        assert one("stat", "db", None).result == 0
        one("close")
    assert InvalidParameter in REFUSALS


def test_a_sentence_is_one_line_whatever_was_said(built: Built, short_tmp: Path) -> None:
    """No control characters, and cut between characters."""
    long = json.dumps("a\nb\x1b[1m\t" + "ü" * 2000, ensure_ascii=False)
    no = f'{{"error":"org.pagsrv.Board.Denied","parameters":{{"message":{long}}}}}'
    with scripted(short_tmp, [HELLO, [Say(no.encode())]]) as peer, driver(built) as one:
        said = attached(one, peer.dir)("open", "x", None)
        assert said.sentence.startswith("a b [1m ü")
        assert said.sentence.isprintable()
        assert 1000 < len(said.sentence.encode()) < 1024
        one("close")


def test_descriptors_beyond_the_limit_are_said_and_survived(built: Built, short_tmp: Path) -> None:
    """EMFILE; what could be received is closed, and the next call is answered."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))

    many = Say(b'{"parameters":{"fds":[0,1]}}', 200)
    script = [HELLO, [many], [packet("EntryReply")]]
    with scripted(short_tmp, script) as peer, driver(built, preexec_fn=few) as one:
        attached(one, peer.dir)
        held = one("fds").result
        said = one("many", "x", "y")
        assert said[:3] == (-1, "EMFILE", 1)
        assert "ulimit -n" in said.sentence
        assert one("fds").result == held
        assert one("stat", "db", None).result == 0
        one("close")


# ── vectors ──

SAID: dict[str, tuple[str | int | None, ...]] = {
    'Post {"name":"later","scope":"user"}': ("post", "later", -1, "scope=user"),
    'Post {"name":"db","fd":0,"expect":7}': ("post", "db", 0, "expect=7"),
    'Open {"name":"db"}': ("open", "db", None),
    'Open {"name":"session:771208543/db"}': ("open", "session:771208543/db", None),
    'Take {"name":"db"}': ("take", "db", None),
    'OpenMany {"names":["db","user:1000/later"]}': ("many", "db", "user:1000/later"),
    "List {}": ("list", None),
    'Stat {"name":"db"}': ("stat", "db", None),
    'Remove {"name":"db","expect":7}': ("remove", "db", None, 7),
    'Rename {"name":"db","to":"db-old"}': ("rename", "db", "db-old", None),
    'SetMask {"name":"db","mask":"3f010000"}': ("mask", "db", None, "3f010000"),
    'Wait {"name":"db","timeout":2.5}': ("wait", "db", None, 2500),
    "WhoAmI {}": ("scopes",),
    'Whois {"fd":0}': ("whois", 0),
}
"""What is to be done so that a golden call is said; any other is said by `call`."""


def test_calls_are_the_golden_ones(built: Built, short_tmp: Path) -> None:
    """Each means what its vector means; what C has no function for is said by any other call."""
    no = Say(b'{"error":"org.pagsrv.Board.NoEntry","parameters":{"message":"no"}}')
    golden = [
        (json.loads(str(vector["packet"])), int(str(vector["fds"]))) for vector in vectors("calls")
    ]
    told, left = [], dict(SAID)
    with scripted(short_tmp, [HELLO, *[[no]] * len(golden)]) as peer, driver(built) as one:
        attached(one, peer.dir)
        for call, count in golden:
            parameters = json.dumps(call["parameters"], separators=(",", ":"))
            said = left.pop(f"{call['method'].rpartition('.')[2]} {parameters}", None)
            if said is None:
                # What comes in several replies is not for `call`.
                if call.get("more"):
                    continue
                said = ("call", call["method"], parameters, None, *[0] * count)
            assert one(*said)[1] == "ENOENT"
            told.append(call)
        one("close")
    assert left == {}
    attach = {"scopes": ["user"], "changes": True}
    expected = [{"method": "org.pagsrv.Board.Attach", "parameters": attach}, *told]
    assert [json.loads(heard) for heard in peer.heard] == expected


def test_replies_are_understood(built: Built, short_tmp: Path) -> None:
    """Every golden reply that a function of C has, in every field it keeps."""
    steps: list[Step] = [
        HELLO, [packet("EntryReply", 1)], [packet("Opened")], [packet("OpenedMany")],
        [packet("Reply")], [packet("Listed"), packet("Listed", 1)], [packet("Identity")],
        [packet("Known")], [packet("Vitals")],
    ]  # fmt: skip
    with scripted(short_tmp, steps) as peer, driver(built) as one:
        attached(one, peer.dir)
        told = entry(one("stat", "log", None).more[0])
        assert (told["full"], told["kind"], told["access"]) == (
            "session:771208543/log", "file", "r"
        )  # fmt: skip
        assert (told["uid"], told["gid"], told["pid"], told["comm"], told["generation"]) == (
            "1000", "1000", "4711", "psql-proxy", "9"
        )  # fmt: skip
        assert (told["opens"], told["created"], told["last_opened"]) == (
            "3", "1760000003.000000", "1760000010.500000"
        )  # fmt: skip
        assert one("closefd", one("open", "db", None).result).result == 0
        assert [one("closefd", fd).result for fd in one("many", "a", "b").more] == [0, 0]
        assert one("remove", "db", None, 0).result == 0
        db, later = [entry(each) for each in one("list", None).more]
        assert (db["full"], later["full"]) == ("session:771208543/db", "user:1000/later")
        assert (later["kind"], later["access"], later["assigned"]) == ("", "", "0")
        assert one("scopes").more == [
            "session:771208543|possession|isolated", "user:1000|user|none"
        ]  # fmt: skip
        assert one("whois", 0).more == ["1|0|0|0|771208543|isolated|kernel|0|0|1000|0"]
        health = json.loads(one("call", "Health").more[0])
        assert health == json.loads(packet("Vitals").data)["parameters"]
        one("close")


def test_under_valgrind(watched: Built, short_tmp: Path) -> None:
    """The same, watched for what it reads before it was written, loses or leaves open."""
    steps: list[Step] = [HELLO, *[[say] for say, what in NO_ANSWERS.values()]]
    with scripted(short_tmp, *[[HELLO, step] for step in steps[1:]]) as peer:
        one = Driver(watched)
        for _, what in NO_ANSWERS.values():
            attached(one, peer.dir)
            assert one(*WORDS[what])[:2] == (-1, "EPROTO")
            one("close")
        ended = one.end()
    assert ended == (0, "")
