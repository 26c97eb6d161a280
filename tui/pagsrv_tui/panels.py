# SPDX-License-Identifier: MIT
"""What the tabs say, as lines of text in parts: of one entry, of the broker's health.

The law: pure; a part is a text and the role it plays, and roles become colours elsewhere.
What is not known is said to be so, with the reason if there is one. It refuses to know
widgets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from pagsrv_tui import words
from pagsrv_tui.actions import ACTIONS, why_not
from pagsrv_tui.view import Row, View
from pagsrv_tui.words import Marks, plain

if TYPE_CHECKING:
    from pagsrv.messages import EntryView, Vitals
    from pagsrv.sockets import SocketView

Role = Literal["", "title", "key", "dim", "good", "warn", "bad"]


class Part(NamedTuple):
    """A piece of a line."""

    text: str
    role: Role = ""


Line = tuple[Part, ...]

_KEY = 10


def pair(key: str, *parts: Part | str) -> Line:
    """A line that tells one thing."""
    told = [Part(one) if isinstance(one, str) else one for one in parts]
    return (Part(key.ljust(_KEY), "key"), Part(" "), *told)


# ── an entry ──


def entry_lines(view: View, row: Row, now: float, marks: Marks, *, read_only: bool) -> list[Line]:
    """Everything known of one entry."""
    title: Line = (Part(plain(str(row.key)), "title"),)
    entry = row.entry
    if entry is None:
        return [title, (Part("the broker has not told of it yet", "dim"),)]
    lines = [title, *_what(entry), pair("may", words.rights_of(entry.rights))]
    lines += _may_not(view, row, read_only=read_only)
    lines += _past_and_end(entry, now, marks)
    if entry.socket is not None:
        lines += _socket_lines(entry.socket, marks)
    return [*lines, *_copies(entry, now, marks), *_mask_lines(entry)]


def _what(entry: EntryView) -> Iterator[Line]:
    access = {"r": "reading", "w": "writing", "rw": "reading and writing"}
    what = f"{entry.kind}, {access.get(entry.access or '', 'no access')}"
    yield pair("what", what if entry.assigned else Part("empty: to be assigned", "warn"))
    if entry.path:
        yield pair("path", plain(entry.path))
    if entry.labels:
        yield pair(
            "labels", "  ".join(plain(f"{key}={text}") for key, text in entry.labels.items())
        )


def _past_and_end(entry: EntryView, now: float, marks: Marks) -> Iterator[Line]:
    if entry.poster is not None:
        state = Part(" lives", "good") if entry.poster.alive else Part(" has exited", "warn")
        yield pair("poster", words.poster(entry, marks), state)
    when = words.age(now - entry.created)
    yield pair("owner", f"uid {entry.owner.uid}, gid {entry.owner.gid}; posted {when} ago, "
                        f"generation {entry.generation}")  # fmt: skip
    opened = "never"
    if entry.last_opened is not None:
        opened = f"{entry.opens} times, last {words.age(now - entry.last_opened)} ago"
    yield pair("opened", opened)
    ends = " or ".join(plain(one) for one in entry.until) or "when it is removed"
    if entry.deadline is not None:
        ends += f"; {words.left(entry.deadline - now)} left"
    yield pair("ends", ends)
    if entry.granted_from:
        yield pair("granted", f"from {entry.granted_from}")


def _mask_lines(entry: EntryView) -> Iterator[Line]:
    key = "mask"
    for who, letters, may in words.explained(entry.mask):
        yield pair(key, f"{letters}  {who}: ", Part(may, "dim" if may == "nothing" else ""))
        key = ""


def _may_not(view: View, row: Row, *, read_only: bool) -> Iterator[Line]:
    """What is dimmed, and why: each reason once."""
    reasons: dict[str, list[str]] = {}
    for action in ACTIONS:
        if action.right:
            why = why_not(action, view, row, read_only=read_only)
            if why:
                reasons.setdefault(why, []).append(action.label.lower())
    for why, labels in reasons.items():
        yield pair("may not", Part(f"{', '.join(labels)}: {why}", "dim"))


def _socket_lines(sock: SocketView, marks: Marks) -> Iterator[Line]:
    kind = " ".join(one for one in (sock.family, sock.type, sock.protocol) if one)
    yield pair("socket", f"{kind} {sock.state or ''}".strip())
    ends = [plain(one) for one in (sock.local, sock.peer) if one]
    if ends:
        yield pair("addresses", f" {marks.dot} ".join(ends))
    if sock.peer_process is not None:
        by = sock.peer_process
        state = {True: "lives", False: "has exited"}.get(by.alive, "may live")  # type: ignore[arg-type]
        yield pair("peer", f"{plain(by.comm) or 'process'} {by.pid} of uid {by.uid}, {state} "
                           "(who connected or listened)")  # fmt: skip
    if sock.receive_queue is not None or sock.send_queue is not None:
        yield pair("queues", f"{words.bytes_of(sock.receive_queue or 0)} to read, "
                             f"{words.bytes_of(sock.send_queue or 0)} to send")  # fmt: skip
    if sock.backlog is not None:
        yield pair("backlog", f"{sock.waiting} of {sock.backlog} connections wait")
    if sock.tcp is not None:
        tcp = sock.tcp
        took = f"{words.microseconds(tcp.rtt)} (varies by {words.microseconds(tcp.rttvar)})"
        yield pair("rtt", f"{took}, {tcp.retransmits} sent again")
    for name, why in sock.unknown.items():
        yield pair("not known", Part(f"{name}: {plain(why)}", "dim"))


def _copies(entry: EntryView, now: float, marks: Marks) -> Iterator[Line]:
    if entry.openers is None:
        return
    key = "copies"
    for one in entry.openers:
        mark = {True: marks.alive, False: marks.gone}.get(one.alive, marks.unknown)  # type: ignore[arg-type]
        state = {True: "lives", False: "has exited"}.get(one.alive, "may live")  # type: ignore[arg-type]
        yield pair(key, f"{mark} {plain(one.comm) or 'process'} {one.pid} of uid {one.uid}, opened "
                        f"{words.age(now - one.time)} ago, {state}")  # fmt: skip
        key = ""


# ── health ──

_WARN, _BAD = 0.75, 0.9
_GAUGE = 20


def gauge(used: float, most: float, marks: Marks) -> Line:
    """How much of something is used: a bar, and the same in numbers and in a word."""
    share = used / most if most else 0.0
    filled = min(_GAUGE, round(share * _GAUGE))
    role: Role = "bad" if share >= _BAD else "warn" if share >= _WARN else "good"
    word = {"bad": "  nearly all", "warn": "  most of it", "good": ""}[role]
    bar = marks.full * filled
    rest = marks.empty * (_GAUGE - filled)
    return (
        Part(bar, role),
        Part(rest, "dim"),
        Part(f" {used:.0f} of {most:.0f}"),
        Part(word, role),
    )


def rates(view: View) -> tuple[list[float], list[float]]:
    """Calls and opens a second, a number for each pulse after the first."""
    calls, opens = [], []
    for before, after in zip(view.pulses, view.pulses[1:], strict=False):
        seconds = max(after.time - before.time, 1e-3)
        calls.append(max(0.0, (after.vitals.calls - before.vitals.calls) / seconds))
        opens.append(max(0.0, (after.vitals.opens - before.vitals.opens) / seconds))
    return calls, opens


class Quota(NamedTuple):
    """What a uid's keys use, and the most they may."""

    uid: int
    keys: int
    most_keys: int


def health_lines(view: View, quota: Quota | None, marks: Marks) -> list[Line]:
    """How the broker is, and what of its limits is used."""
    if not view.pulses:
        return [(Part("the broker has not told yet", "dim"),)]
    vitals = view.pulses[-1].vitals
    calls, opens = rates(view)
    now = f"{words.number(calls[-1])} calls/s, {words.number(opens[-1])} opens/s" if calls else "-"
    safe = Part("closed to same-uid thieves", "good")
    if vitals.dumpable:
        safe = Part("dumpable: processes of its uid can take its descriptors", "bad")
    lines: list[Line] = [
        pair("broker", f"pagsrv {vitals.version}, process {vitals.pid}, up "
                       f"{words.age(vitals.uptime)}; ", safe),
        pair("rate", f"{now}; {words.number(vitals.opens)} opens of "
                     f"{words.number(vitals.calls)} calls since it started"),
    ]  # fmt: skip
    lines += list(_activity(vitals, marks))
    lines += [
        pair("no end by", Part(f"{word}: {plain(why)}", "dim"))
        for word, why in vitals.unsupported.items()
    ]
    if quota is not None:
        line = pair("keys", *gauge(quota.keys, quota.most_keys, marks))
        near = quota.keys >= _WARN * quota.most_keys
        told = f"  of uid {quota.uid}" + (": at the limit no session begins" if near else "")
        lines.append((*line, Part(told, "dim")))
    lines += list(_budgets(vitals, marks))
    lost = Part(f"{vitals.events_lost} events lost to slow watchers", "warn")
    return [*lines, pair("watches", f"{vitals.watches}; ", lost)] if vitals.events_lost else lines


def _activity(vitals: Vitals, marks: Marks) -> Iterator[Line]:
    activity = vitals.activity
    if activity is None:
        yield pair("refused", f"{vitals.refusals} calls; by what reason is its owner's to know")
        return
    if activity.latency is not None:
        took = activity.latency
        yield pair("latency", f"p50 {words.microseconds(took.p50)}, p90 "
                              f"{words.microseconds(took.p90)}, p99 "
                              f"{words.microseconds(took.p99)} ({took.samples} calls)")  # fmt: skip
    use = activity.descriptors
    yield pair("fds", *gauge(use.used, use.most, marks))
    proofs = ", ".join(f"{kind} {count}" for kind, count in activity.proofs.items())
    yield pair("proofs", proofs or "none yet", f"; known here: {', '.join(vitals.proofs)}")
    refused = ", ".join(f"{plain(kind)} {count}" for kind, count in activity.refusals.items())
    yield pair("refused", refused or "nothing")
    if activity.unattended:
        told = f"{activity.unattended} sessions have entries and no member: their rings are pinned"
        yield pair("pinned", Part(told, "warn"))


def _budgets(vitals: Vitals, marks: Marks) -> Iterator[Line]:
    for budget in vitals.budgets[:3]:
        for name in ("connections", "entries"):
            use = budget.connections if name == "connections" else budget.entries
            line = pair(
                name if name == "entries" else "connects", *gauge(use.used, use.most, marks)
            )
            yield (*line, Part(f"  of uid {budget.uid}", "dim"))
