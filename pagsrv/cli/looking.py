# SPDX-License-Identifier: MIT
"""whoami, ls, stat, wait and watch: what is there, and what happens.

The law: nothing here changes the board; JSON is the broker's answer as it came. It
refuses to know how text is written out.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import to_builtins

from pagsrv.cli import render, sockets
from pagsrv.cli.fail import Usage
from pagsrv.client.blocking import connect
from pagsrv.names import KINDS, parse_place, parse_reference, parse_scope

if TYPE_CHECKING:
    import argparse

    from pagsrv.messages import EntryView, EventView, Identity, Vitals
    from pagsrv.nodes import Node
    from pagsrv.people import Opener

_NODES = ("KIND", "SIZE", "AGE", "NAME")
_LISTED = ("MASK", "RIGHTS", "KIND", "ACCESS", "OWNER", "OPENS", "AGE", "UNTIL", "NAME")


def _check(given: argparse.Namespace) -> None:
    if given.scope is not None:
        parse_scope(given.scope)


_NAMED = {"peerkeyring": "SO_PEERKEYRING", "iterator": "an iterator"}


def whoami(given: argparse.Namespace) -> int:
    """whoami, from what the parser found."""
    with connect(given.dir) as board:
        identity = board.whoami()
        vitals = None if given.json else board.health()
    if vitals is None:
        render.as_json(identity)
    else:
        _introduce(identity, vitals)
    return 0


def _introduce(identity: Identity, vitals: Vitals) -> None:
    render.pairs([("uid", str(identity.uid)), ("broker", identity.broker), ("at", identity.dir)])
    render.line()
    proofs = [(proof.scope, proof.proof, proof.isolation) for proof in identity.scopes]
    render.table(("SCOPE", "PROVED BY", "ISOLATION"), proofs)
    if identity.refused:
        render.line()
        render.table(("NOT PROVED", "WHY"), [(one.scope, one.why) for one in identity.refused])
    render.line()
    render.line(_how(identity, vitals))
    if identity.default is None:
        render.line("A post needs --scope: there is no scope here that keeps others out.")
    else:
        render.line(f"A post goes to {render.plain(identity.default)} unless --scope is said.")


def _how(identity: Identity, vitals: Vitals) -> str:
    """By which of the broker's proofs, best first, the session was proved, and why by that."""
    told = f"This broker takes, best first: {render.plain(', '.join(vitals.proofs))}."
    by = {one.proof for one in identity.scopes if one.scope.startswith("session:")}
    kernel = [way for way in vitals.ways if way.way != "possession"]
    if "kernel" in by:
        names = [_NAMED.get(way.way, way.way) for way in kernel if way.taken]
        asked = render.plain(" or ".join(names) or "not asked any more")
        return f"{told} Your session is what the kernel itself says ({asked})."
    if by and "kernel" not in vitals.proofs:
        reasons = "; ".join(f"{_NAMED.get(way.way, way.way)}: {way.why}" for way in kernel)
        why = render.plain(reasons or "no reason is told")
        return f"{told} Your session is what you could show, since the kernel does not say ({why})."
    return told


def ls(given: argparse.Namespace) -> int:
    """ls, from what the parser found."""
    _check(given)
    if given.name is not None:
        return _beneath(given)
    with connect(given.dir) as board:
        entries = board.list(given.scope, all=given.all)
    entries.sort(key=_order)
    if given.json:
        for entry in entries:
            render.as_json(entry)
    elif given.long:
        now = time.time()
        render.table(_LISTED, [_row(entry, now) for entry in entries])
    else:
        for entry in entries:
            render.line(render.plain(f"{entry.scope}/{entry.name}"))
    return 0


def _beneath(given: argparse.Namespace) -> int:
    """What lies in a posted directory."""
    if given.all:
        raise Usage("--all is for entries, and NAME for what lies beneath one", "ls")
    parse_place(given.name)
    with connect(given.dir) as board:
        walked = board.walk(given.name, given.scope)
    if given.json:
        for node in walked.nodes:
            render.as_json({"at": walked.at, **to_builtins(node)})
    elif given.long:
        now = time.time()
        render.table(_NODES, [_node_row(walked.at, node, now) for node in walked.nodes])
    else:
        for node in walked.nodes:
            render.line(render.plain(_full(walked.at, node)))
    return 0


def _full(at: str, node: Node) -> str:
    return f"{at}/{node.name}/" if node.kind == "dir" else f"{at}/{node.name}"


def _node_row(at: str, node: Node, now: float) -> tuple[str, ...]:
    return (
        node.kind or "?",
        "-" if node.size is None else str(node.size),
        "-" if node.modified is None else render.age(now - node.modified),
        _full(at, node) + ("" if node.target is None else f" -> {node.target}"),
    )


def _order(entry: EntryView) -> tuple[int, int, str]:
    """Innermost scope first, as names are looked up."""
    kind, _, number = entry.scope.partition(":")
    rank = [*KINDS].index(kind) if kind in KINDS else len(KINDS)
    return rank, int(number) if number.isdigit() else 0, entry.name


def _row(entry: EntryView, now: float) -> tuple[str, ...]:
    return (
        entry.mask,
        entry.rights or "-",
        (entry.kind or "-") if entry.assigned else "empty",
        entry.access or "-",
        f"{entry.owner.uid}:{entry.owner.gid}",
        str(entry.opens),
        render.age(now - entry.created),
        ",".join(entry.until) or "-",
        f"{entry.scope}/{entry.name}",
    )


def stat(given: argparse.Namespace) -> int:
    """stat, from what the parser found."""
    _check(given)
    parse_reference(given.name)
    with connect(given.dir) as board:
        entry = board.stat(given.name, given.scope)
    if given.json:
        render.as_json(entry)
    else:
        render.pairs(_facts(entry))
    return 0


def _facts(entry: EntryView) -> list[tuple[str, str]]:
    what = f"{entry.kind}, {entry.access or 'no'} access" if entry.assigned else "empty"
    facts = [
        ("scope", entry.scope),
        ("name", entry.name),
        ("is", what),
        *([("at", entry.path)] if entry.path else []),
        ("mask", entry.mask),
        ("your rights", entry.rights or "none"),
        ("owner", f"uid {entry.owner.uid}, gid {entry.owner.gid}"),
        ("posted by", _poster(entry)),
        ("until", ", ".join(entry.until) or "removed"),
        *([("ends at", _moment(entry.deadline))] if entry.deadline is not None else []),
        ("generation", str(entry.generation)),
        ("created", _moment(entry.created)),
        ("opened", _opened(entry)),
        *(("opened by", _opener(one)) for one in entry.openers or ()),
    ]
    facts += [(f"label {key}", value) for key, value in entry.labels.items()]
    if entry.granted_from is not None:
        facts.append(("granted from", entry.granted_from))
    return facts if entry.socket is None else facts + sockets.lines(entry.socket)


def _opener(opener: Opener) -> str:
    lives = {True: f" ({opener.comm})", False: ", which has exited"}
    state = ", which may have exited" if opener.alive is None else lives[opener.alive]
    return f"process {opener.pid} of uid {opener.uid}{state}, last {_moment(opener.time)}"


def _poster(entry: EntryView) -> str:
    poster = entry.poster
    if poster is None:
        return "nobody known"
    gone = "" if poster.alive else ", which has exited"
    return f"process {poster.pid} ({poster.comm}){gone}"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _opened(entry: EntryView) -> str:
    if entry.last_opened is None:
        return "never"
    times = "once" if entry.opens == 1 else f"{entry.opens} times"
    return f"{times}, last {_moment(entry.last_opened)}"


def wait(given: argparse.Namespace) -> int:
    """wait, from what the parser found."""
    _check(given)
    parse_reference(given.name)
    with connect(given.dir) as board:
        board.wait(given.name, given.scope, timeout=given.timeout)
    return 0


def watch(given: argparse.Namespace) -> int:
    """watch, from what the parser found; ends by ^C, or with the broker."""
    _check(given)
    with connect(given.dir) as board:
        for event in board.watch(given.scope, initial=given.initial):
            if given.json:
                render.as_json(event)
            else:
                render.line(_event_line(event))
    return 0


def _event_line(event: EventView) -> str:
    stamp = time.strftime("%H:%M:%S", time.localtime(event.time))
    name = event.name if event.scope is None else f"{event.scope}/{event.name}"
    by = event.by
    who = "" if by is None else f"by {by.pid} ({by.comm}, uid {by.uid})"
    parts = [stamp, f"{event.event:<9}", name.removesuffix("/"), who, event.why]
    return render.plain("  ".join(part for part in parts if part)).rstrip()
