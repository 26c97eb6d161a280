# SPDX-License-Identifier: MIT
"""new_pag(): into one PAG, out of any other, or a sentence; become(): somebody else, for good."""

from __future__ import annotations

import grp
import os

import pytest

from pagsrv.errors import Denied
from pagsrv.kernel import process, rights
from pagsrv.proofs.groups import FIRST, LAST, pag_candidates
from tests.actors import Actor
from tests.anybody import OTHER_UID

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


# ---- becoming somebody ---------------------------------------------------------------------------


def _become_and_tell(uid: int, gid: int, groups: tuple[int, ...]) -> dict[str, list[str]]:
    """Become, and what /proc says of us then; read before, since it is not ours any more."""
    with open("/proc/self/status") as status:
        rights.become(uid, gid, groups)
        status.seek(0)
        lines = [line.split() for line in status]
    return {words[0]: words[1:] for words in lines}


@pytest.mark.parametrize("groups", [(), (27, FIRST + 1), (OTHER_UID,)])
@pytest.mark.parametrize("uid", [0, OTHER_UID])
def test_become(other_uid: int, uid: int, groups: tuple[int, ...]) -> None:
    """All ids, just those groups, no capability, no way back, and nobody's to trace."""
    assert other_uid
    with Actor() as actor:
        told = actor(_become_and_tell, uid, uid, groups)
        assert told["Uid:"] == told["Gid:"] == [str(uid)] * 4
        assert told["Groups:"] == sorted(map(str, groups), key=int)
        for kind in ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:"):
            assert int(told[kind][0], 16) == 0
        assert told["NoNewPrivs:"] == ["1"]
        assert actor(process.dumpable) == 0
        with pytest.raises(PermissionError):
            actor(os.setgroups, [0])
        with pytest.raises(PermissionError):
            actor(os.setresuid, 12345, 12345, 12345)


def test_become_who_one_is(other_uid: int) -> None:
    """Without any right; the effective group counts wherever it stands."""
    with Actor(other_uid, groups=(27,)) as actor:
        told = actor(_become_and_tell, other_uid, 27, (other_uid,))
        assert told["Gid:"] == [str(other_uid)] * 4
        assert told["NoNewPrivs:"] == ["1"]


@pytest.mark.parametrize(
    ("uid", "groups"), [(OTHER_UID, ()), (OTHER_UID, (27, 28)), (12345, (27,))]
)
def test_become_somebody_else_needs_the_right(
    other_uid: int, uid: int, groups: tuple[int, ...]
) -> None:
    """A group more or less is somebody else."""
    with Actor(other_uid, groups=(27,)) as actor, pytest.raises(Denied):
        actor(rights.become, uid, other_uid, groups)
