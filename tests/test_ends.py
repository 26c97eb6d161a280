# SPDX-License-Identifier: MIT
"""End conditions: each word is read as it is written, and a wrong one says why.

The law: parsing what a condition prints gives the condition.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.ends import DEEDS, KINDS, Ask, parse_end
from pagsrv.errors import InvalidParameter
from pagsrv.limits import OPENS, TTL_SECONDS
from tests.strategies import asks


@given(asks())
def test_condition_is_what_it_prints(ask: Ask) -> None:
    """parse(str(ask)) = ask, for the largest count and the smallest fraction too."""
    assert ask == parse_end(str(ask))


@given(st.one_of(st.text(), st.sampled_from(KINDS).flatmap(
    lambda kind: st.text("0123456789.-+e_ \N{ARABIC-INDIC DIGIT ONE}nainf").map(
        lambda number: f"{kind}={number}"))))  # fmt: skip
def test_any_text_is_a_condition_or_one_sentence(text: str) -> None:
    """Nothing but InvalidParameter; and what is accepted prints as something that says the same."""
    with suppress(InvalidParameter):
        ask = parse_end(text)
        assert ask == parse_end(str(ask))


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        ("exit", Ask("exit")),
        ("exit=12", Ask("exit", 12)),
        ("leader=2147483647", Ask("leader", 0x7FFFFFFF)),
        ("lease", Ask("lease")),
        ("hup", Ask("hup")),
        ("ttl=0.5", Ask("ttl", 0.5)),
        ("ttl=.5", Ask("ttl", 0.5)),
        ("ttl=1e2", Ask("ttl", 100)),
        (f"ttl={TTL_SECONDS}", Ask("ttl", TTL_SECONDS)),
        ("opens=1", Ask("opens", 1)),
        (f"opens={OPENS}", Ask("opens", OPENS)),
        *((kind, Ask(kind)) for kind in DEEDS),
        *((f"{kind}=12", Ask(kind, 12)) for kind in DEEDS),
        ("orphan", Ask("orphan")),
    ],
)
def test_condition_accepts(text: str, ask: Ask) -> None:
    """The words of the contract mean what it says."""
    assert ask == parse_end(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((f"{kind}=0", "a process id") for kind in DEEDS),
        *((f"{kind}=", "a process id") for kind in DEEDS),
        ("orphan=1", "takes no number"),
        ("fork", "no end condition"),
        ("", "no end condition"),
        ("exits", "no end condition"),
        ("revoked", "no end condition"),
        ("ttl", "needs a number"),
        ("opens", "needs a number"),
        ("lease=1", "takes no number"),
        ("hup=", "takes no number"),
        ("exit=", "a process id"),
        ("exit=0", "a process id"),
        ("exit=-1", "a process id"),
        ("exit=+1", "a process id"),
        ("exit=1_0", "a process id"),
        ("exit= 1", "a process id"),
        ("exit=2147483648", "a process id"),
        ("leader=x", "a process id"),
        ("opens=0", "a count"),
        ("opens=1.5", "a count"),
        ("opens=1\n", "a count"),
        (f"opens={OPENS + 1}", "a count"),
        ("opens=" + "9" * 5000, "a count"),
        ("ttl=0", "seconds"),
        ("ttl=-1", "seconds"),
        ("ttl=nan", "seconds"),
        ("ttl=inf", "seconds"),
        ("ttl=1_0", "seconds"),
        ("ttl=1e9", "seconds"),
        ("ttl=\N{ARABIC-INDIC DIGIT ONE}", "seconds"),
    ],
)
def test_condition_refuses(text: str, why: str) -> None:
    """A word that is none, a number out of range: one sentence says what to give."""
    with pytest.raises(InvalidParameter, match=why):
        parse_end(text)
