# SPDX-License-Identifier: MIT
"""Whois: all that is known of the peer of a socket, each fact with its evidence.

The law: a fact is what the kernel says, or it is not known and says why; no guess is
ever an answer, and what a peer says of itself is not asked. What /proc tells is read
between two looks at the pidfd. Nothing is asked twice, and what no fact needs not at all.
It refuses to know what anybody does with a fact.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pagsrv.kernel import peer, peerkeyring, process
from pagsrv.masks import format_mask
from pagsrv.messages import Fact
from pagsrv.names import Scope
from pagsrv.proofs import groups, kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pagsrv.facts import ProcessFacts
    from pagsrv.kernel.asking import Askable
    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.peer import PeerFacts
    from pagsrv.kernel.peerkeyring import PeerKeyring

    Ask = Callable[[Askable], tuple[PeerKeyring | None, str]]

_UNSET = "4294967295"
"""Audit session and login uid of a process that nobody logged in (pam_loginuid(8))."""

_IN_PROC = ("sessionid", "loginuid", "cgroup")
"""The files of /proc/PID that are read."""

_KERNEL, _RACY, _NONE = "kernel", "procfs-racy", "none"


def known(fact: str, value: object, evidence: str, strength: str = _KERNEL) -> Fact:
    """A fact that was learned."""
    return Fact(fact, str(value), evidence, strength, "")


def unknown(fact: str, evidence: str, why: str) -> Fact:
    """A fact that was not, and why."""
    return Fact(fact, None, evidence, _NONE, why)


def of_socket(
    sock: Askable,
    named: Callable[[int], bool | None],
    *,
    two_groups: bool = False,
    ask: Ask | None = None,
) -> list[Fact]:
    """What is known of the peer of *sock*, a connected Unix socket, still the caller's.

    *named* says whether a gid has a name; it may be slow. *two_groups*: the older form of a
    PAG counts, too. *ask* brings the kernel's record of the session, and its evidence, or why
    there is none; without it SO_PEERKEYRING is asked. PagsrvError if the socket has no peer
    the kernel would name.
    """
    found = peer.identify_shown(sock)
    pidfd = found.pidfd
    try:
        return [
            *session(sock, ask),
            *_credentials(found, named, two_groups=two_groups),
            *of_process(pidfd, "SO_PEERPIDFD", found.inode),
        ]
    finally:
        if pidfd is not None:
            pidfd.close()


def of_pidfd(pidfd: Fd, facts: ProcessFacts) -> list[Fact]:
    """What is known of the process of *pidfd*, whose *facts* are given; both the caller's.

    Of a process that is at the other end of no socket the kernel tells no session and no
    groups without a race.
    """
    why = "the kernel tells this of the peer of a socket only: show one that it connected"
    evidence = "pidfd, PIDFD_GET_INFO"
    return [
        unknown("session", "SO_PEERKEYRING", why),
        unknown("pag", "SO_PEERGROUPS", why),
        known("uid", facts.uid, evidence),
        known("gid", facts.gid, evidence),
        unknown("groups", "SO_PEERGROUPS", why),
        *of_process(pidfd, "pidfd"),
    ]


def session(sock: Askable, ask: Ask | None = None) -> Iterator[Fact]:
    """The session keyring of the peer of *sock* as of connect(2)."""
    evidence = "SO_PEERKEYRING"
    record, said = (peerkeyring.ask(sock), "") if ask is None else ask(sock)
    verdict = kernel.judge(record, time.time())
    if record is not None:
        evidence = said or evidence
    ring = verdict.ring
    if verdict.ok:
        yield known("session", Scope("session", ring.serial), evidence)
        kind, why = str(verdict.isolation), verdict.loose
    else:
        why = f"{verdict.why}: {said}" if record is None and said else verdict.why
        yield unknown("session", evidence, why)
        if not kernel.is_uid_wide(record):
            return
        kind, why = "uid-wide", "every process of its uid has this ring"
    yield known("keyring", ring.name, evidence)
    yield known("mask", format_mask(ring.mask), evidence)
    yield Fact("isolation", kind, evidence, _KERNEL, why)


def _credentials(
    found: PeerFacts, named: Callable[[int], bool | None], *, two_groups: bool
) -> Iterator[Fact]:
    reason = "the kernel gives no pidfd of the peer"
    if found.pidfd is not None:
        # Group numbers can be made up in a user namespace; without a group there is nothing to ask.
        looks_like_one = two_groups or groups.pag_candidates(found.groups)
        reason = peer.same_user_namespace(found.pidfd) if looks_like_one else ""
    pag, why = groups.judge(found.groups, named=named, userns_reason=reason, two_groups=two_groups)
    if pag is None:
        yield unknown("pag", "SO_PEERGROUPS", why)
    else:
        yield known("pag", Scope("pag", pag), "SO_PEERGROUPS")
    yield known("uid", found.uid, "SO_PEERCRED")
    yield known("gid", found.gid, "SO_PEERCRED")
    yield known("groups", " ".join(map(str, found.groups)), "SO_PEERGROUPS")


def of_process(pidfd: Fd | None, evidence: str, inode: int = 0) -> Iterator[Fact]:
    """What is known of the process of *pidfd*, still the caller's, at this moment.

    *inode* is the pidfd's, if it is known already.
    """
    if pidfd is None:
        why = "the kernel gives no pidfd that names this process for good"
        for fact in ("process", "alive", "audit-session", "login-uid", "cgroup", "logind-session"):
            yield unknown(fact, evidence, why)
        return
    pid, cgroup = process.standing(pidfd)
    told = {name: process.told(pid, name) if pid else None for name in _IN_PROC}
    # Alive after all that was read by number: so the number was its own meanwhile.
    alive = process.is_alive(pidfd)
    if not alive:
        told = dict.fromkeys(_IN_PROC)
    yield known("process", inode or process.inode_of(pidfd), f"{evidence}, pidfs inode")
    yield known("alive", "yes" if alive else "no", evidence)
    if alive and pid:
        yield known("pid", pid, f"{evidence}, PIDFD_GET_INFO")
    elif alive:
        why = "it is in no process namespace that is seen from here, and has no number"
        yield unknown("pid", f"{evidence}, PIDFD_GET_INFO", why)
    yield _audit("audit-session", "sessionid", told["sessionid"])
    yield _audit("login-uid", "loginuid", told["loginuid"])
    if cgroup:
        yield known("cgroup", cgroup, "PIDFD_GET_INFO")
    else:
        why = "the kernel does not tell it: it does since Linux 6.13, within a process namespace"
        yield unknown("cgroup", "PIDFD_GET_INFO", why)
    yield _logind(told["cgroup"])


def _audit(fact: str, name: str, told: str | None) -> Fact:
    evidence = f"/proc/PID/{name}"
    if told is None:
        return unknown(fact, evidence, "the process has exited, or /proc does not show it")
    if told == _UNSET:
        return unknown(fact, evidence, "nobody logged this process in (no pam_loginuid)")
    return known(fact, told, evidence, _RACY)


def _logind(told: str | None) -> Fact:
    fact, evidence = "logind-session", "/proc/PID/cgroup"
    if told is None:
        return unknown(fact, evidence, "the process has exited, or /proc is not shown")
    session = login_session(told)
    if session:
        return known(fact, session, evidence, _RACY)
    return unknown(fact, evidence, "its cgroup is no session's of a login manager")


def login_session(cgroups: str) -> str:
    """The session that /proc/PID/cgroup, *cgroups*, names where only the system manager names one.

    That is session-ID.scope as the first that is no slice (sd_pid_get_session(3)): beneath it,
    and beneath its service manager, a user names cgroups as it likes. '' if there is none.
    """
    if "/session-" not in cgroups:
        return ""
    found: set[str] = set()
    for line in cgroups.split("\n"):
        _, _, place = line.partition(":")
        controllers, _, path = place.partition(":")
        if controllers in ("", "name=systemd"):
            parts = (part for part in path.split("/") if part and not part.endswith(".slice"))
            found.add(next(parts, ""))
    found.discard("")
    unit = found.pop() if len(found) == 1 else ""
    if unit.startswith("session-") and unit.endswith(".scope"):
        return unit[len("session-") : -len(".scope")]
    return ""
