# SPDX-License-Identifier: MIT
"""doctor: what this kernel, this login and this broker offer, and what to do.

The law: each check is a finding with what to do about it; one that cannot be made is a
finding too. `ok` means that nothing need be done, and not that everything is there. It
refuses to change anything.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from pagsrv import __version__
from pagsrv.cli import render
from pagsrv.client.whois import has_name
from pagsrv.errors import PagsrvError
from pagsrv.kernel import iterlink, keys, matelink, peer, peerkeyring, process
from pagsrv.proofs import groups, possession

if TYPE_CHECKING:
    import argparse

    from pagsrv.client.blocking import Board
    from pagsrv.messages import Identity, Vitals

_FEW_KEYS = 10
_FEW_FILES = 256
_NEARLY_FULL = 0.9
_BUDGETS = ("connections", "entries", "namespaces", "watches", "processes", "grants")
_FUSE = "/dev/fuse"
_HARD_LINKS = "/proc/sys/fs/protected_hardlinks"
_YAMA = "/proc/sys/kernel/yama/ptrace_scope"
_LET_KEYCTL = (
    "let keyctl, add_key and request_key through the container's seccomp profile, or use "
    "--scope user"
)
_COST = "it adds up to 0.4 µs to every getsockopt call of the machine"
_NO_KERNEL_PROOF = (
    "have root run `pagsrv peerkeyring install` (SO_PEERKEYRING), if sessions of several users "
    "are to be served, or clients that know nothing of pagsrv"
)
_OTHERS = (
    "until then other users' sessions at a root broker are not served: use user and pag scopes "
    "there, or a broker of your own (`pagsrv session --broker`)"
)


class Finding(Struct):
    """One check, as --json shows it; *do* is empty where there is nothing to do."""

    check: str
    ok: bool
    found: str
    do: str = ""


def doctor(given: argparse.Namespace) -> int:
    """doctor, from what the parser found; 0 if all is well, else 1."""
    findings = []
    for finding in _all(given.dir):
        findings.append(finding)
        if given.json:
            render.as_json(finding)
        else:
            _show(finding)
    well = all(finding.ok for finding in findings)
    if not given.json:
        render.line("\nAll is well." if well else "\nSee what to do at each line with an !")
    return 0 if well else 1


def _show(finding: Finding) -> None:
    text = render.plain(f"{finding.check:<14}  {finding.found}")
    render.line(f"  {text}" if finding.ok else render.red(f"! {text}"))
    if finding.do:
        render.line(f"{'':<18}{render.plain(finding.do)}")


def _all(directory: str | None) -> Iterator[Finding]:
    checks: tuple[Callable[[], Finding], ...] = (
        _versions, _keyrings, _session, _quota, _pidfs, _sockets, _kernel_proof, _mount, _pag,
        _yama, _files, _directories, _doors,
    )  # fmt: skip
    for check in checks:
        yield check()
    yield from _broker(directory)


# ── this machine and this login ──


def _versions() -> Finding:
    kernel = f"{platform.system()} {platform.release()}"
    return Finding(
        "versions", True, f"pagsrv {__version__}, Python {platform.python_version()}, {kernel}"
    )


def _keyrings() -> Finding:
    try:
        serial = keys.session_ring()
    except keys.KeyFault as fault:
        if fault.state != "unsupported":
            return Finding("keyrings", True, f"there; {fault}")
        return Finding("keyrings", False, str(fault), _LET_KEYCTL)
    return Finding("keyrings", True, f"there; @s is {serial}")


def _session() -> Finding:
    uid = os.geteuid()
    try:
        facts = keys.ring_facts(keys.session_ring())
    except keys.KeyFault as fault:
        do = (
            _LET_KEYCTL if fault.state == "unsupported" else "start a new one with `pagsrv session`"
        )
        return Finding("session", False, str(fault), do)
    found = f"ring {facts.serial} ({facts.name or facts.state}), mask {facts.mask:08x}"
    why = possession.refusal(facts, uid)
    if why:
        return Finding("session", False, found, why)
    isolation, loose = possession.isolation(facts)
    return Finding("session", isolation == "isolated", f"{found}, {isolation}", loose)


def _quota() -> Finding:
    uid = os.geteuid()
    quota = keys.quota(uid)
    if quota is None:
        return Finding("key quota", True, f"uid {uid} has no keys yet, or /proc does not say")
    left, room = quota.most_keys - quota.keys, quota.most_bytes - quota.bytes
    found = f"{left} of {quota.most_keys} keys and {room} of {quota.most_bytes} bytes left"
    well = left >= _FEW_KEYS
    do = "end sessions that are done with, or raise kernel.keys.maxkeys (sysctl)"
    return Finding("key quota", well, found, "" if well else do)


def _pidfs() -> Finding:
    if process.has_pidfs():
        return Finding("pidfs", True, "there: a process is told from every other of this boot")
    return Finding(
        "pidfs", False, "not there",
        "sessions cannot be proved by possession: run Linux 6.9 or newer, or use --scope user",
    )  # fmt: skip


def _sockets() -> Finding:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        options = peer.prepare_listener(probe)
    found = ", ".join(options) or "neither SO_PASSRIGHTS nor SO_PASSPIDFD"
    if "SO_PASSRIGHTS=0" in options:
        return Finding("sockets", True, found)
    return Finding(
        "sockets", True, f"{found}; no SO_PASSRIGHTS",
        "with Linux 6.16 or newer a broker takes no descriptor from who has not announced one",
    )  # fmt: skip


def _kernel_proof() -> Finding:
    status = peerkeyring.status()
    if status.ok:
        return Finding("kernel proof", True, f"{status.found}; {_COST} while installed", status.do)
    if os.path.exists(iterlink.PATH):
        given = f"{status.found}; iterators are given at {iterlink.PATH}"
        return Finding("kernel proof", True, given, "")
    # Whether it is wanted is the administrator's choice, and not amiss either way.
    do = f"{_NO_KERNEL_PROOF}; {_COST}" if status.do else ""
    return Finding("kernel proof", True, status.found, do)


def _mount() -> Finding:
    """Whether `pagsrv mount` would do, and for whom."""
    if not os.path.exists(_FUSE):
        return Finding("mount", True, f"not to be had: there is no {_FUSE}")
    if not os.access(_FUSE, os.R_OK | os.W_OK):
        return Finding("mount", True, f"not to be had: {_FUSE} does not let you open it")
    if os.geteuid() == 0:
        return Finding("mount", True, "at root's broker each session is shown its own entries")
    if shutil.which("fusermount3") is None:
        return Finding("mount", True, "not to be had: there is no fusermount3", "install fuse3")
    if os.path.exists(matelink.PATH):
        return Finding(
            "mount", True, f"for a session's programs: {matelink.PATH} tells who they are"
        )
    do = "have root run `pagsrv peerkeyring serve`, to mount for the programs of one session"
    return Finding("mount", True, "with --same-uid only: nobody tells who is in a session", do)


def _pag() -> Finding:
    pag, why = groups.judge(os.getgroups(), named=has_name)
    if pag is not None:
        return Finding("PAG", True, f"pag:{pag}")
    return Finding("PAG", True, "none", f"{why} (it needs CAP_SETGID)")


def _yama() -> Finding:
    try:
        with open(_YAMA) as file:
            scope = file.read().strip()
    except OSError:
        return Finding("Yama", True, "not there: your processes may trace and read each other")
    told = {"0": "any of your processes", "1": "a parent only", "2": "root only", "3": "nobody"}
    return Finding("Yama", True, f"ptrace_scope {scope}: {told.get(scope, '?')} may trace yours")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    well = soft == resource.RLIM_INFINITY or soft >= _FEW_FILES
    do = "raise it: ulimit -n; a broker started from here holds one descriptor for each entry"
    return Finding("descriptors", well, f"{soft} (at most {hard})", "" if well else do)


def _directories() -> Finding:
    if process.confined():
        found = "no_new_privs is set here: nobody may go beneath those that are posted from here"
        return Finding("directories", True, found)
    try:
        with open(_HARD_LINKS) as file:
            loose = file.read().strip() == "0"
    except OSError:
        loose = False
    found = "those posted from here lend your rights to what lies beneath"
    do = "others may link files of yours into one: set fs.protected_hardlinks to 1 (sysctl)"
    return Finding("directories", not loose, found, do if loose else "")


def _doors() -> Finding:
    from pagsrv.doors import preload, seccomp  # noqa: PLC0415 -- no other check needs them

    why, without = seccomp.missing(), preload.missing()
    if why and without:
        return Finding("doors", True, "no `pagsrv exec`", why)
    if why:
        return Finding("doors", True, f"no `pagsrv exec` but with --preload: {why}")
    if without:
        return Finding("doors", True, "`pagsrv exec` by seccomp, without --preload", without)
    return Finding("doors", True, "`pagsrv exec` by seccomp, and --preload")


# ── the broker ──


def _broker(directory: str | None) -> Iterator[Finding]:
    from pagsrv.client.blocking import connect  # noqa: PLC0415

    try:
        with connect(directory) as board:
            yield from _of_broker(board)
    except PagsrvError as error:
        yield Finding("broker", False, "none that serves you", str(error))


def _of_broker(board: Board) -> Iterator[Finding]:
    identity, vitals = board.whoami(), board.health()
    owner = _owner(identity.dir)
    yield Finding("broker", True, f"answers at {identity.dir}, uid {owner}, process {vitals.pid}, "
                  f"{vitals.entries} entries, {vitals.connections} connections")  # fmt: skip
    same = vitals.version == __version__
    yield Finding("its version", same, vitals.version, "" if same else "restart the broker")
    yield Finding(
        "its memory", not vitals.dumpable,
        "open: processes of its uid can take its descriptors" if vitals.dumpable
        else "closed: its descriptors cannot be taken by processes of its uid",
        "restart it with `pagsrv broker`, and nothing around it" if vitals.dumpable else "",
    )  # fmt: skip
    yield _ends(vitals)
    yield _proofs(vitals, ours=owner == os.geteuid())
    for way in vitals.ways:
        yield Finding(f"by {way.way}", True, f"{'taken' if way.taken else 'not taken'}: {way.why}")
    yield _room(vitals)
    yield _scopes(identity)


def _room(vitals: Vitals) -> Finding:
    """How much of what our uid may use there is used, and of the broker's own descriptors."""
    own = vitals.budgets[0]
    uses = [(name, getattr(own, name)) for name in _BUDGETS]
    if vitals.activity is not None:
        uses.append(("descriptors", vitals.activity.descriptors))
    full = [name for name, use in uses if use.used >= _NEARLY_FULL * use.most]
    found = ", ".join(f"{name} {use.used} of {use.most}" for name, use in uses if use.used)
    do = f"close or remove some of your {' and '.join(full)}, or raise [limits]" if full else ""
    return Finding("its room", not full, f"you use {found}", do)


def _owner(directory: str) -> int:
    try:
        return os.stat(os.path.join(directory, "board")).st_uid
    except OSError:
        return -1


def _ends(vitals: Vitals) -> Finding:
    whys = dict.fromkeys(vitals.unsupported.values())
    if not whys:
        return Finding("its --until", True, "every end condition is to be had")
    found = [
        f"{', '.join(word for word, told in vitals.unsupported.items() if told == why)}: {why}"
        for why in whys
    ]
    return Finding("its --until", True, f"not to be had: {', '.join(vitals.unsupported)}",
                   "; ".join(found))  # fmt: skip


def _proofs(vitals: Vitals, *, ours: bool) -> Finding:
    found = f"best first: {', '.join(vitals.proofs)}"
    if "kernel" in vitals.proofs:
        return Finding("its proofs", True, found)
    found = f"{found}; kernel is absent"
    if ours:
        return Finding("its proofs", True, found)
    return Finding("its proofs", False, found, f"{_NO_KERNEL_PROOF}; {_OTHERS}")


def _scopes(identity: Identity) -> Finding:
    found = ", ".join(f"{one.scope} ({one.proof}, {one.isolation})" for one in identity.scopes)
    refused = "; ".join(f"{one.scope}: {one.why}" for one in identity.refused)
    if identity.default is not None:
        return Finding("your scopes", True, f"{found}; a post goes to {identity.default}")
    return Finding("your scopes", False, f"{found}; a post needs --scope", refused)
