# SPDX-License-Identifier: MIT
"""What is known of a peer, as a program reads it: every fact by its name, known or not.

The law: a fact that was not told is there all the same, not known, and says why; so
nobody takes silence for an answer. It refuses to know who told the facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import overload

from pagsrv.messages import Fact

_OF_THE_RING = ("keyring", "mask", "isolation")


class Named:
    """A fact as an attribute; what is said of it is said of the class's attribute."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._fact = name.replace("_", "-")

    @overload
    def __get__(self, peer: None, owner: type) -> Named: ...

    @overload
    def __get__(self, peer: PeerIdentity, owner: type) -> Fact: ...

    def __get__(self, peer: PeerIdentity | None, owner: type) -> Fact | Named:
        return self if peer is None else peer[self._fact]


class PeerIdentity:
    """The answer to whois: the facts told, in their order, and each by its name.

    A Fact has `value` (a text, None if it is not known), `evidence`, `strength` (kernel,
    procfs-racy, none) and `why` (it is not known, or a ring is linkable; else empty).
    """

    session = Named()
    """The scope of its session keyring as of connect(2), as `session:8192`."""
    keyring = Named()
    """What that ring is called: `_ses`, or its name."""
    mask = Named()
    """That ring's permissions, 24 letters."""
    isolation = Named()
    """`isolated`, `linkable` where other processes of the uid may join it, or `uid-wide` where they
    all have it, so that it is no session."""
    pag = Named()
    """The scope of its PAG as of connect(2), as `pag:1090519041`."""
    uid = Named()
    """Its effective uid as of connect(2)."""
    gid = Named()
    """Its effective gid as of connect(2)."""
    groups = Named()
    """Its supplementary groups as of connect(2), with blanks between."""
    process = Named()
    """Its pidfs inode, which no other process of this boot has."""
    alive = Named()
    """`yes` or `no`, at the moment of the question."""
    pid = Named()
    """Its number in the asker's process namespace; only while it lives is that its own."""
    audit_session = Named()
    """The session that audit(7) counts it to."""
    login_uid = Named()
    """The uid that logged in, whatever it has become since."""
    cgroup = Named()
    """The id of its cgroup."""
    logind_session = Named()
    """The session that its cgroup is named after by a login manager."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._facts = tuple(facts)
        self._by_name = {fact.fact: fact for fact in self._facts}

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __getitem__(self, name: str) -> Fact:
        """The fact called *name*, as whois calls it: `audit-session`."""
        found = self._by_name.get(name)
        return Fact(name, None, "", "none", self._why(name)) if found is None else found

    def _why(self, name: str) -> str:
        """Why a fact that was not told is not known."""
        session = self._by_name.get("session")
        if name in _OF_THE_RING and session is not None and session.value is None:
            return session.why
        if name == "pid" and self.alive.value == "no":
            return "the process has exited, and its number may be another's"
        return "whoever was asked did not tell it"

    def __eq__(self, other: object) -> bool:
        return self._facts == other._facts if isinstance(other, PeerIdentity) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple((fact.fact, fact.value) for fact in self._facts))

    def __repr__(self) -> str:
        told = ", ".join(f"{fact.fact}={fact.value!r}" for fact in self._facts)
        return f"<PeerIdentity {told}>"
