# SPDX-License-Identifier: MIT
"""Proof by the kernel: what a record proves, and what it does not."""

from __future__ import annotations

import pytest

from pagsrv.kernel.peerkeyring import PeerKeyring
from pagsrv.proofs.kernel import judge

NOW = 1_000_000.0
HONEST = PeerKeyring(77, 0x3F030000, 1000, 0x404, 2**63 - 1, 1, 1000, 0, True, "_ses")


def test_honest_record_proves_an_isolated_session() -> None:
    """Serial, owner and name are the ring's."""
    verdict = judge(HONEST, NOW)
    assert (
        verdict.ok, verdict.why, verdict.isolation, verdict.loose
    ) == (True, "", "isolated", "")  # fmt: skip
    assert (
        verdict.ring.serial, verdict.ring.uid, verdict.ring.name, verdict.ring.state
    ) == (77, 1000, "_ses", "live")  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        HONEST._replace(expiry=0),
        HONEST._replace(expiry=1_000_001),
        HONEST._replace(userns_level=3),
        HONEST._replace(mask=0x3F010000),
        HONEST._replace(mask=0x3F000000),
        HONEST._replace(euid=0, key_uid=0),
    ],
)
def test_records_that_prove(record: PeerKeyring) -> None:
    """No expiry, one to come, a namespace of its own, a tighter mask."""
    assert judge(record, NOW).isolation == "isolated"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, "does not say"),
        (HONEST._replace(has_cred=False, serial=0), "no credentials"),
        (HONEST._replace(serial=0), "no session keyring"),
        (HONEST._replace(flags=0x406), "revoked"),
        (HONEST._replace(flags=0x405), "gone"),
        (HONEST._replace(flags=0x424), "gone"),
        (HONEST._replace(state=0), "gone"),
        (HONEST._replace(state=-126), "gone"),
        (HONEST._replace(expiry=1_000_000), "expired"),
        (HONEST._replace(flags=0x604, mask=0x1F3F0000, name="_uid_ses.1000"), "uid's own"),
        # The flag's number, or the name, may change: either alone is enough.
        (HONEST._replace(flags=0x604), "uid's own"),
        (HONEST._replace(name="_uid_ses.1000"), "uid's own"),
        (HONEST._replace(name="_persistent.1000"), "persistent"),
        (HONEST._replace(euid=1001), "belongs to uid 1000 and not to uid 1001"),
        (HONEST._replace(key_uid=0), "belongs to uid 0"),
        (HONEST._replace(euid=0), "belongs to uid 1000"),
    ],
)
def test_records_that_do_not(record: PeerKeyring | None, words: str) -> None:
    """Not knowing, no ring, a ring that is over, the uid's own, another's: with the reason."""
    verdict = judge(record, NOW)
    assert not verdict.ok
    assert words in verdict.why
    assert (verdict.isolation, verdict.loose) == ("none", "")


@pytest.mark.parametrize("mask", [0x3F130000, 0x3F0B0000, 0x3F070000, 0x3F030100, 0x3F030001])
def test_records_of_rings_that_others_reach(mask: int) -> None:
    """The peer is in that session; the session keeps nobody out."""
    verdict = judge(HONEST._replace(mask=mask), NOW)
    assert verdict.ok
    assert verdict.isolation == "linkable"
    assert "mask" in verdict.loose
