# SPDX-License-Identifier: MIT
"""A ring's picture: what keyctl(1) would show, and nothing that moves a terminal."""

from __future__ import annotations

from pagsrv.rings import RingKey, draw, explain, rights

ODD = RingKey(7, "user", 1000, 100, 0x01020408, "odd\x1b[31m")
RING = RingKey(
    5, "keyring", 1000, 65534, 0x3F030000, "_ses",
    (ODD, RingKey(1234567890, "keyring", 0, 0, 0x1F3F0000, "sub",
                  (RingKey(9, fault="a key that cannot be looked at"),), "3 more are not shown")),
)  # fmt: skip


def test_ring_is_drawn_as_keyctl_does() -> None:
    """The same columns and the same tree; what is not known says so in its place."""
    assert [line.text for line in draw(RING, uid=1000, groups={100})] == [
        "         5 --alswrv   1000 65534  keyring: _ses",
        r"         7 ------rv   1000   100   \_ user: odd?[31m",
        r"1234567890 ---lswrv      0     0   \_ keyring: sub  (3 more are not shown)",
        r"         9 --??????      ?     ?       \_ a key that cannot be looked at",
    ]
    assert [line.key.serial for line in draw(RING, uid=1000)] == [5, 7, 1234567890, 9]


def test_rights_are_the_kernels_sum() -> None:
    """The possessor's and the first that matches of user, group and other."""
    assert rights(ODD, 1000, {100}) == 0x03
    assert rights(ODD, 2000, {100}) == 0x05
    assert rights(ODD, 2000, set()) == 0x09


def test_mask_is_told_in_words() -> None:
    """Each byte, and what that makes of a ring."""
    told = dict(explain(RING))
    assert told["possessor"] == "everything"
    assert told["user"] == "read, view"
    assert told["other"] == "nothing"
    assert "isolated" in told["what it is"]
    for mask in (0x3F130000, 0x3F030001, 0x3F030100):
        assert "linkable" in dict(explain(RING._replace(mask=mask)))["what it is"]
    assert "what it is" not in dict(explain(ODD))
    assert "proof key" in dict(explain(ODD._replace(name="pagsrv:proof:00")))["what it is"]
