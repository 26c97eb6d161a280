# SPDX-License-Identifier: MIT
"""session and pagsh: a command in a session keyring of its own, revoked when it ends.

The law: this process stays, in the new ring, until the command has ended, and its
status becomes ours; whatever was made for the session is gone afterwards. It refuses
to know what a session is good for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pagsrv.cli import fail
from pagsrv.cli.foreground import run
from pagsrv.cli.opening import become
from pagsrv.errors import NoSession, QuotaExceeded
from pagsrv.kernel import keys, rights

if TYPE_CHECKING:
    import argparse

_OVER = ("revoked", "expired", "gone")


def session(given: argparse.Namespace) -> int:
    """session, from what the parser found; CMD's exit status."""
    command = given.command or _shell()
    if not given.broker:
        if given.dir is not None:
            os.environ["PAGSRV_DIR"] = os.path.abspath(given.dir)
        return _in_a_new_ring(command)
    if given.dir is not None:
        raise fail.Usage("--broker makes a directory of its own: leave --dir out", "session")
    from pagsrv.cli.own_broker import own_broker  # noqa: PLC0415 -- few sessions have one

    # Before the ring is joined: the broker is of no session, least of all of this one.
    with own_broker() as directory:
        os.environ["PAGSRV_DIR"] = directory
        return _in_a_new_ring(command)


def pagsh(given: argparse.Namespace) -> int:
    """pagsh, from what the parser found; CMD's exit status."""
    command = given.command or _shell()
    rights.new_pag()
    if given.dir is not None:
        os.environ["PAGSRV_DIR"] = os.path.abspath(given.dir)
    if given.keep_session:
        become(command)
    return _in_a_new_ring(command)


def _shell() -> list[str]:
    return [os.environ.get("SHELL") or "/bin/sh"]


def _in_a_new_ring(command: list[str]) -> int:
    ring = _join()
    try:
        return run(command)
    finally:
        _revoke(ring)


def _join() -> int:
    try:
        return keys.join_session()
    except keys.KeyFault as fault:
        if fault.state == "quota":
            raise QuotaExceeded(
                f"there is no room for another session keyring: {fault}; end sessions that are "
                "done with, and see `pagsrv doctor`"
            ) from None
        do = "`pagsrv doctor` tells more"
        if fault.state == "unsupported":
            do += ", and behind `pagsrv exec` there is one session: start it first, and exec in it"
        raise NoSession(f"there can be no new session keyring here: {fault}; {do}") from None


def _revoke(ring: int) -> None:
    try:
        keys.revoke(ring)
    except keys.KeyFault as fault:
        if fault.state not in _OVER:
            fail.say(f"the session keyring {ring} could not be revoked: {fault}")
