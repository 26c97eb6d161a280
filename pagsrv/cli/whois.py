# SPDX-License-Identifier: MIT
"""whois: what is known of the peer of a descriptor, or of a process, and how surely.

The law: a fact is shown as it was told, with its evidence; what is not known says why.
It refuses to know what a fact is worth.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pagsrv.cli import render
from pagsrv.cli.fail import Usage
from pagsrv.client.blocking import connect
from pagsrv.client.identity import PeerIdentity
from pagsrv.client.whois import whois as of_socket
from pagsrv.errors import InvalidParameter, NoBroker
from pagsrv.kernel import process
from pagsrv.proofs import whois as proof

if TYPE_CHECKING:
    import argparse

    from pagsrv.kernel.fd import Fd
    from pagsrv.messages import Fact

_HEAD = ("FACT", "VALUE", "STRENGTH", "EVIDENCE, OR WHY NOT")
_HERE = "the kernel, asked by this command"


def whois(given: argparse.Namespace) -> int:
    """whois, from what the parser found."""
    if given.fd is not None:
        identity, told_by = _of_descriptor(given.fd), _HERE
    else:
        with _pidfd(given.pid) as pidfd:
            identity, told_by = _of_process(pidfd, given.dir)
    if given.json:
        for fact in identity:
            render.as_json(fact)
    else:
        render.table(_HEAD, [_row(fact) for fact in identity])
        render.line(f"\nTold by {render.plain(told_by)}.")
    return 0


def _of_descriptor(number: int) -> PeerIdentity:
    try:
        os.fstat(number)
    except (OSError, OverflowError):
        raise Usage(
            f"descriptor {number} is not open here: give it to this command", "whois"
        ) from None
    try:
        return of_socket(number)
    except InvalidParameter as error:
        raise Usage(f"of descriptor {number} there is no peer: {error}", "whois") from None


def _pidfd(pid: int) -> Fd:
    try:
        return process.open_pidfd(pid)
    except process.NoProcess:
        raise process.NoProcess(f"there is no process {pid}") from None


def _of_process(pidfd: Fd, directory: str | None) -> tuple[PeerIdentity, str]:
    """What is known of the process of *pidfd*, still the caller's, and by whom."""
    try:
        with connect(directory, scopes=["user"], changes=True) as board:
            return board.whois(pidfd=pidfd), f"the broker at {board.dir}"
    except NoBroker as none:
        facts = process.from_pidfd(pidfd)
        if facts is None:
            raise process.NoProcess("that process has exited") from None
        # Whom a broker would answer: the kernel alone tells nothing that /proc does not show.
        if os.geteuid() not in (0, facts.uid):
            raise NoBroker(
                f"process {facts.pid} is uid {facts.uid}'s, and of others' processes only a "
                f"broker tells: {none}"
            ) from None
        return PeerIdentity(proof.of_pidfd(pidfd, facts)), f"{_HERE}: no broker answers"


def _row(fact: Fact) -> tuple[str, str, str, str]:
    if fact.value is None:
        return fact.fact, "not known", fact.strength, fact.why
    shown = f"{fact.evidence}: {fact.why}" if fact.why else fact.evidence
    return fact.fact, fact.value or "none", fact.strength, shown
