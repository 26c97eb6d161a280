# SPDX-License-Identifier: MIT
"""gssd serves each login session its own credentials, against a real KDC.

The law: what a service finds in a token is the principal of the session, or of the PAG,
that the asking client is in; whoever is in none gets none. It refuses to know how the
broker knows.
"""

from __future__ import annotations

import os

import pytest

from tests.actors import Actor
from tests.anybody import OTHER_UID
from tests.gssd.login import ADMIN, ALICE, both, full, log_in
from tests.gssd.realm import Realm
from tests.gssd.running import Gssd
from tests.running import Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]

PAG = 0x41000000  # the first group that stands for a PAG


def test_each_session_is_served_its_own_credentials(
    kerberos: Realm, board_of_root: Running, gssd: Gssd, c_client: str, folder: str
) -> None:
    """One uid, two login sessions, two principals: each session's clients are its principal."""
    with Actor(OTHER_UID) as plain, Actor(OTHER_UID) as admin, Actor(OTHER_UID) as bare:
        plain(log_in, kerberos.environment, ALICE, folder, board_of_root.dir)
        admin(log_in, kerberos.environment, ADMIN, folder, board_of_root.dir)
        for ask in both(c_client):
            assert full(ALICE) == initiator(gssd, ask(plain, gssd.socket))
            assert full(ADMIN) == initiator(gssd, ask(admin, gssd.socket))
            refusal = ask(bare, gssd.socket)
            assert refusal.startswith("ERR nothing is posted as krb5cc in session:")


def test_each_pag_is_served_its_own_credentials(
    kerberos: Realm, board_of_root: Running, gssd: Gssd, c_client: str, folder: str
) -> None:
    """One uid, two PAGs: each PAG's clients are its principal, and others nobody.

    Their rings have names, and so are linkable: what is posted by the way goes to the PAG.
    """
    ring = f"gssd-{os.getpid()}"
    with (
        Actor(OTHER_UID, ring=ring, groups=(PAG + 0x111,)) as plain,
        Actor(OTHER_UID, ring=ring, groups=(PAG + 0x222,)) as admin,
        Actor(OTHER_UID, ring=ring, groups=(PAG + 0x333,)) as empty,
        Actor(OTHER_UID, ring=ring) as outside,
    ):
        plain(log_in, kerberos.environment, ALICE, folder, board_of_root.dir, "pag")
        admin(log_in, kerberos.environment, ADMIN, folder, board_of_root.dir, "pag")
        for ask in both(c_client):
            assert full(ALICE) == initiator(gssd, ask(plain, gssd.socket))
            assert full(ADMIN) == initiator(gssd, ask(admin, gssd.socket))
            for nobody in (empty, outside):
                assert ask(nobody, gssd.socket).startswith("ERR nothing is posted as krb5cc in ")


def test_session_of_another_uid_is_not_served(
    kerberos: Realm, board_of_root: Running, gssd: Gssd, c_client: str, folder: str
) -> None:
    """Credentials posted in one uid's session are nobody else's, root's neither."""
    with Actor(OTHER_UID) as owner, Actor(OTHER_UID + 1) as other, Actor() as root:
        owner(log_in, kerberos.environment, ALICE, folder, board_of_root.dir)
        for ask in both(c_client):
            for nobody in (other, root):
                assert ask(nobody, gssd.socket).startswith("ERR nothing is posted as krb5cc in ")
            assert full(ALICE) == initiator(gssd, ask(owner, gssd.socket))


def test_credentials_of_the_user_are_no_session_s(
    kerberos: Realm, board_of_root: Running, gssd: Gssd, c_client: str, folder: str
) -> None:
    """What a uid posts for all its sessions is none's own: nobody is served it by mistake."""
    with Actor(OTHER_UID) as owner:
        owner(log_in, kerberos.environment, ALICE, folder, board_of_root.dir, "user")
        for ask in both(c_client):
            assert ask(owner, gssd.socket).startswith("ERR nothing is posted as krb5cc in session:")


def initiator(gssd: Gssd, answer: str) -> str:
    """Whose credentials made the token in *answer*, which must be one."""
    assert answer.startswith("OK "), f"{answer}\n{gssd.log}"
    return gssd.initiator(answer.removeprefix("OK "))
