# SPDX-License-Identifier: MIT
"""What the commands say: the keys of --json, the text for people, nothing else.

The law: JSON is compared whole, key by key and in order; text that others chose cannot
steer a terminal. It refuses to know how an answer came about.
"""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pagsrv import __version__
from pagsrv.cli import sockets
from pagsrv.sockets import PeerProcess, SocketView
from tests.cli.command import COMMAND, TYPED, Login, environment, start, uid

pytestmark = pytest.mark.kernel

FILE = "/etc/passwd"
ENTRY = [
    "scope", "name", "assigned", "kind", "access", "mask", "rights", "owner", "poster", "until",
    "generation", "created", "last_opened", "opens", "labels", "granted_from",
]  # fmt: skip
WHOAMI = ["dir", "broker", "uid", "default", "scopes", "refused"]
EVENT = ["time", "event", "scope", "name", "generation", "by", "why"]
FINDING = ["check", "ok", "found", "do"]
CHECKS = {
    "versions", "keyrings", "session", "key quota", "pidfs", "sockets", "kernel proof",
    "mount", "PAG", "Yama", "descriptors", "directories", "doors", "broker",
}  # fmt: skip
PROOFS = ("kernel", "possession")
"""Of a session: which of them is the machine's affair."""
OF_A_BROKER = {
    "its version", "its memory", "its --until", "its proofs", "by peerkeyring", "by iterator",
    "by possession", "its room", "your scopes",
}  # fmt: skip


def test_an_entry_as_json(login: Login, name: str) -> None:
    """post, stat and ls show the same object, its keys as the contract has them."""
    words = ["--label", "b=2", "--label", "a=1", "--until", "ttl=600", "--until", "opens=3"]
    (posted,) = login.must("post", name, "--open", FILE, "--json", *words).objects()
    assert list(posted) == [*ENTRY, "deadline", "path"]
    assert posted["deadline"] == pytest.approx(posted["created"] + 600, abs=1)
    assert list(posted["owner"]) == ["uid", "gid"]
    assert list(posted["poster"]) == ["pid", "comm", "alive"]
    varies = {"generation": 0, "created": 0, "poster": None, "access": "", "deadline": 0}
    assert posted | varies == {
        "scope": login.scope(), "name": name, "assigned": True, "kind": "file", "access": "",
        "mask": "alswrv-----v------------", "rights": "alswrv",
        "owner": {"uid": uid(), "gid": os.getegid()}, "poster": None,
        "until": ["ttl=600", "opens=3", "revoked"], "generation": 0, "created": 0,
        "last_opened": None, "opens": 0, "labels": {"a": "1", "b": "2"}, "granted_from": None,
        "deadline": 0, "path": FILE,
    }  # fmt: skip
    (stat,) = login.must("stat", name, "--json").objects()
    assert stat | {"poster": posted["poster"]} == posted
    assert not stat["poster"]["alive"]
    assert login.must("ls", "--json", "--scope", "session").objects() == [stat]
    login.must("open", name, "--", "true")
    (opened,) = login.must("ls", "--json", "--scope", "session").objects()
    assert opened["opens"] == 1
    (stat,) = login.must("stat", name, "--json").objects()
    (opener,) = stat["openers"]
    assert (list(opener), opener["uid"]) == (["pid", "uid", "comm", "time", "alive"], uid())
    assert stat | {"openers": None} == opened | {"openers": None}
    assert opened["last_opened"] >= opened["created"]


def test_an_empty_entry_as_json(login: Login, name: str) -> None:
    """Nothing is known of what is not there yet."""
    (entry,) = login.must("post", name, "--empty", "--json").objects()
    assert (entry["assigned"], entry["kind"], entry["access"]) == (False, None, None)


def test_whoami_as_json(login: Login) -> None:
    """One object: the scopes proved, how, and why not the others."""
    (told,) = login.must("whoami", "--json").objects()
    assert list(told) == WHOAMI
    session, mine = told["scopes"]
    assert session["proof"] in PROOFS
    assert session | {"proof": ""} == {
        "scope": told["default"], "proof": "", "isolation": "isolated"
    }  # fmt: skip
    assert mine == {"scope": f"user:{uid()}", "proof": "user", "isolation": "none"}
    assert [list(one) for one in told["refused"]] == [["scope", "why"]]
    assert told["refused"][0]["scope"] == "pag"
    assert (told["dir"], told["uid"]) == (login.directory, uid())
    assert len(told["broker"]) == 32


def test_events_as_json(login: Login, name: str) -> None:
    """watch: an object for each event, as it happens, in order."""
    with start("watch", "--json", "--scope", "user", "--initial", directory=login.directory) as it:
        assert it.stdout is not None
        lines: list[Any] = []
        while '"live"' not in it.stdout.readline():
            pass
        login.must("post", name, "--open", FILE, "--scope", "user")
        login.must("open", name, "--", "true")
        login.must("mv", name, f"{name}-b")
        login.must("rm", f"{name}-b")
        while not lines or lines[-1]["event"] != "ended":
            event = json.loads(it.stdout.readline())
            lines += [event] if event["name"].startswith(name) else []
        it.terminate()
    assert {tuple(line) for line in lines} == {tuple(EVENT)}
    shown = [(line["event"], line["name"], line["scope"]) for line in lines]
    scope = f"user:{uid()}"
    assert shown == [
        ("posted", name, scope), ("opened", name, scope), ("renamed", f"{name}-b", scope),
        ("ended", f"{name}-b", scope),
    ]  # fmt: skip
    assert list(lines[0]["by"]) == ["uid", "pid", "comm"]
    assert lines[-1]["why"] == "removed"


def test_events_for_people(login: Login, name: str) -> None:
    """watch: a line for each event; ^C ends it, quietly, with 130."""
    with start("watch", "--initial", directory=login.directory) as it:
        assert it.stdout is not None
        assert it.stderr is not None
        while "live" not in it.stdout.readline():
            pass
        login.must("post", name, "--open", FILE, "--scope", "user")
        while name not in (line := it.stdout.readline()):
            pass
        it.send_signal(2)
        rest, complaint = it.communicate(timeout=30)
    assert f"posted     user:{uid()}/{name}  by " in line
    assert (it.returncode, rest, complaint) == (130, "", "")


def test_findings_as_json(login: Login) -> None:
    """doctor: an object for each check; 0 exactly if all is well."""
    said = login("doctor", "--json")
    findings = said.objects()
    assert {tuple(one) for one in findings} == {tuple(FINDING)}
    assert {one["check"] for one in findings} == CHECKS | OF_A_BROKER
    assert said.status == (0 if all(one["ok"] for one in findings) else 1)
    assert said.err == ""
    told = {one["check"]: one for one in findings}
    assert told["versions"]["found"].startswith(f"pagsrv {__version__}, Python 3.")
    assert "isolated" in told["session"]["found"]
    assert told["its proofs"]["found"].startswith("best first: ")
    assert login.directory in told["broker"]["found"]


def test_doctor_says_what_to_do(login: Login, short_tmp: Path) -> None:
    """Without a broker: 1, and how to start one, in text too."""
    said = login("doctor", "--dir", str(short_tmp))
    assert said.status == 1
    assert "! broker" in said.out
    assert "pagsrv broker" in said.out
    assert all(one["do"] for one in login("doctor", "--json").objects() if not one["ok"])


def test_lists_for_people(login: Login, other: Login, name: str) -> None:
    """ls: full names, which every command takes; -l a table; --all what is elsewhere."""
    scope = login.scope()
    login.must("post", name, "--open", FILE)
    assert login.must("ls", "--scope", "session").out == f"{scope}/{name}\n"
    header, row = login.must("ls", "-l", "--scope", "session").out.splitlines()
    assert header.split() == [
        "MASK", "RIGHTS", "KIND", "ACCESS", "OWNER", "OPENS", "AGE", "UNTIL", "NAME"
    ]  # fmt: skip
    assert row.split()[:3] == ["alswrv-----v------------", "alswrv", "file"]
    assert row.split()[-2:] == ["revoked", f"{scope}/{name}"]
    assert other.must("ls", "--scope", "session").out == ""
    assert f"{scope}/{name}" in other.must("ls", "--all").out.splitlines()
    assert f"{scope}/{name}" not in other.must("ls").out.splitlines()
    assert login.must("stat", f"{scope}/{name}").out.split()[:2] == ["scope", scope]


def test_whoami_for_people(login: Login) -> None:
    """It ends with where a post goes."""
    out = login.must("whoami").out
    line = next(line for line in out.splitlines() if line.startswith(login.scope()))
    assert line.split()[1] in PROOFS
    assert line.split()[2] == "isolated"
    assert "This broker takes, best first: " in out
    assert out.endswith(f"A post goes to {login.scope()} unless --scope is said.\n")


def test_post_says_nothing_unless_asked(login: Login, name: str) -> None:
    """Silence is success; -v says where it went."""
    assert login.must("post", name, "--empty").out == ""
    said = login.must("post", name, "--open", FILE, "-v", "--until", "ttl=60").out
    assert said.startswith("posted file (r")
    assert f" as {login.scope()}/{name}, generation " in said


def test_what_others_call_themselves_cannot_steer_a_terminal(login: Login, name: str) -> None:
    """Comm is any process's to choose; on the screen its control characters are visible."""
    program = (
        "import os, sys; open('/proc/self/comm', 'w').write('\\x1b[31m\\nx'); import pagsrv; "
        f"pagsrv.connect().post({name!r}, 0, scope='user')"
    )
    argv = [COMMAND[0], "-c", program]
    assert login.execute(argv).status == 0
    out = login.must("stat", name).out
    assert "\x1b" not in out
    assert "(?[31m" in out


def test_colours_go_to_terminals_only(login: Login) -> None:
    """A heading is bold on a terminal; not with NO_COLOR, and never into a pipe."""
    assert "\x1b" not in login.must("ls", "-l").out
    assert "\x1b[1m" in _on_terminal(login, {"TERM": "xterm"})
    assert "\x1b" not in _on_terminal(login, {"TERM": "xterm", "NO_COLOR": "1"})
    assert "\x1b" not in _on_terminal(login, {"TERM": "dumb"})


def _on_terminal(login: Login, env: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "ls", "-l"], env=environment(login.directory, env), stdout=theirs,
            stdin=subprocess.DEVNULL, check=True, timeout=30,
        )  # fmt: skip
        assert done.returncode == 0
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_nobody_reads_stdout(login: Login) -> None:
    """A reader that is gone ends the command quietly, as SIGPIPE would."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        for words in (["ls", "-l"], ["-h"], ["whoami", "--json"], ["doctor"]):
            with start(*words, directory=login.directory, stdout=writing) as it:
                _, complaint = it.communicate(timeout=30)
            assert (it.returncode, complaint) == (141, "")
    finally:
        os.close(writing)


def test_stdout_that_takes_nothing(login: Login) -> None:
    """A full disk is a sentence, and 1."""
    with (
        open("/dev/full", "w") as full,
        start("ls", "-l", directory=login.directory, stdout=full) as it,
    ):
        _, complaint = it.communicate(timeout=30)
    assert it.returncode == 1
    assert complaint == "pagsrv: stdout cannot be written to: No space left on device\n"


def test_a_stdout_that_is_closed_is_no_other_descriptor(login: Login, name: str) -> None:
    """What is written to 1 does not go to whatever was opened first."""
    login.must("post", name, "--open", FILE)
    for redirection in (">&-", ">&- 2>&-", "<&- >&- 2>&-"):
        for words in ("ls", f"stat {name}", "whoami"):
            said = login.execute(["sh", "-c", f"{TYPED} {words} {redirection}"])
            assert said == (0, "", "")
    said = login.execute(["sh", "-c", f"{TYPED} stat nothing 2>&-"])
    assert said == (3, "", "")


SOCKET = [
    "family", "type", "protocol", "state", "local", "peer", "inode", "peer_inode", "peer_process",
    "other_netns", "receive_queue", "send_queue", "waiting", "backlog", "tcp", "unknown",
]  # fmt: skip


def test_a_socket_as_json_and_in_words(login: Login, name: str) -> None:
    """One key more, in stat alone; and a line for each thing that is known."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        login.must("post", name, "--dial", f"tcp:{host}:{port}")
        with server.accept()[0] as accepted:
            accepted.sendall(b"12345")
            (entry,) = login.must("stat", name, "--json").objects()
            assert list(entry) == [*ENTRY, "socket"]
            assert list(entry["socket"]) == SOCKET
            assert entry["socket"]["peer"] == f"{host}:{port}"
            assert entry["socket"]["receive_queue"] == 5
            (listed,) = login.must("ls", "--json", "--scope", "session").objects()
            assert list(listed) == ENTRY
            said = login.must("stat", name).out
    assert "tcp stream inet, established" in said
    assert f"other end   {host}:{port}" in re.sub("  +", "   ", said)
    assert "5 bytes" in said
    assert "round trip" in said
    assert "not known" not in said


def test_what_is_not_known_of_a_socket_in_words() -> None:
    """One line for each reason, with the names of what it keeps from being known."""
    view = SocketView("unix", "stream", None, "connected", None, "@x", 7, 8)
    view.peer_process = PeerProcess(42, 1000, "", alive=False)
    view.unknown = {"receive_queue": "why", "send_queue": "why", "local": "because"}
    assert sockets.lines(view) == [
        ("socket", "stream unix, connected"),
        ("other end", "@x"),
        ("other socket", "inode 8"),
        ("connected to", "process 42 of uid 1000, which has exited"),
        ("not known", "receive queue, send queue: why"),
        ("not known", "local: because"),
    ]
    assert sockets.lines(SocketView(None))[0] == ("socket", "of an unknown family, state not known")
    listening = SocketView("inet", "stream", "tcp", "listening", waiting=1, backlog=7)
    assert sockets.lines(listening)[-1] == ("to be accepted", "1 of at most 7")
    alive = PeerProcess(42, 1000, "psql", alive=True)
    assert sockets.lines(SocketView("unix", peer_process=alive, other_netns=True))[1:] == [
        ("network", "another namespace than the broker's"),
        ("connected to", "process 42 of uid 1000 (psql)"),
    ]
