# SPDX-License-Identifier: MIT
"""new_pag(): into one PAG, out of any other, or a sentence."""

from __future__ import annotations

import grp
import os

import pytest

from pagsrv.errors import Denied
from pagsrv.kernel import rights
from pagsrv.proofs.groups import FIRST, LAST, pag_candidates
from tests.actors import Actor

pytestmark = [pytest.mark.kernel, pytest.mark.root]


def test_new_pag_replaces_the_old_one(other_uid: int) -> None:
    """The other groups stay, a PAG before goes, the new one has no name."""
    assert other_uid
    with Actor() as actor:
        actor(os.setgroups, [27, FIRST + 1, 1000])
        pag = actor(rights.new_pag)
        groups = actor(os.getgroups)
        assert set(groups) == {27, 1000, pag}
        second = actor(rights.new_pag)
        assert pag_candidates(actor(os.getgroups)) == [second]
    assert FIRST <= pag <= LAST
    assert pag != second
    with pytest.raises(KeyError):
        grp.getgrgid(pag)


def test_new_pag_needs_the_right(other_uid: int) -> None:
    """Without CAP_SETGID nothing changes, and the sentence names it."""
    with Actor(other_uid, groups=(27,)) as actor:
        with pytest.raises(Denied, match="CAP_SETGID"):
            actor(rights.new_pag)
        assert actor(os.getgroups) == [27]
