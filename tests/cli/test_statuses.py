# SPDX-License-Identifier: MIT
"""Every exit status of the table, each reached by what really leads to it.

The law: one sentence on stderr, that says what to do, and nothing on stdout. It refuses
to know how a status comes about inside.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pagsrv.errors import BUG_STATUS, TABLE
from tests.anybody import Anybody, bare_environment
from tests.cli.command import COMMAND, Login, Said, environment, execute
from tests.conftest import RunAs, identity
from tests.running import running_broker

pytestmark = pytest.mark.kernel

FILE = "/etc/passwd"


def refused(said: Said, status: int) -> str:
    """The one sentence of a command that ended with *status*."""
    assert (said.status, said.out) == (status, ""), said
    found = re.fullmatch(r"pagsrv: (.+)\n", said.err)
    assert found is not None, said.err
    return found[1]


def test_all_is_well(login: Login, name: str) -> None:
    """0, and not a word."""
    assert login("post", name, "--open", FILE) == (0, "", "")
    assert login("stat", name).status == 0


def test_anything_else_is_1(login: Login, name: str, short_tmp: Path) -> None:
    """Nobody listens where it dials."""
    nobody = short_tmp / "nobody"
    said = refused(login("post", name, "--dial", f"unix:{nobody}"), 1)
    assert f"unix:{nobody} cannot be dialled: No such file or directory" == said


USAGE = [
    (["nothing-like-it"], "there is no command"),
    (["--nothing"], "there is no option"),
    (["--dir"], "needs a directory"),
    (["stat"], "required: NAME"),
    (["post", "x"], "one of the arguments --fd --open --dial --listen --empty"),
    (["post", "--fd", "0"], "required: NAME"),
    (["post", "x", "--listen-fds"], "leave NAME out"),
    (["post", "--listen-fds"], "no descriptors were passed"),
    (["fdpass", "x"], "`ProxyUseFdpass yes`, or have the bytes copied by `pagsrv connect x`"),
    (["fdpass", "x", "--scope", "mine"], "no scope"),
    (["post", "x", "--fd", "0", "--empty"], "not allowed with"),
    (["post", "x", "--fd", "99"], "descriptor 99 is not open here"),
    (["post", "x", "--fd", "-1"], "no whole number"),
    (["post", "x", "--fd", str(10**30)], "is not open here"),
    (["post", "x", "--fd", "many"], "no whole number"),
    (["post", "x", "--fd", "9" * 5000], "too large a number"),
    (["post", "x", "--dial", f"tcp:localhost:{'9' * 5000}"], "is no address"),
    (["open", f"x={'9' * 5000}", "--", "true"], "no descriptor has a number above"),
    (["post", "a/b", "--fd", "0"], "a/b"),
    (["post", "..", "--fd", "0"], ".."),
    (["post", "x" * 256, "--fd", "0"], "255"),
    (["post", "user:1", "--fd", "0"], "form of a scope"),
    (["post", "x", "--empty", "--scope", "mine"], "no scope"),
    (["post", "x", "--empty", "--mask", "rwx"], "no mask"),
    (["post", "x", "--empty", "--until", "doomsday"], "no end condition"),
    (["post", "x", "--empty", "--until", "exec=0"], "a process id"),
    (["post", "x", "--empty", "--until", "exit=999999999"], "no such process"),
    (["post", "x", "--empty", "--label", "unvalued"], "K=V"),
    (["post", "x", "--empty", "--label", "a=1", "--label", "a=2"], "twice"),
    (["post", "x", "--empty", "--until", "hup"], "never hangs up"),
    (["post", "x", "--dial", "udp:localhost:53"], "no address"),
    (["post", "x", "--dial", "tcp:localhost"], "no address"),
    (["post", "x", "--dial", "tcp:localhost:0"], "no port"),
    (["post", "x", "--dial", "tcp:::1:80"], "brackets"),
    (["post", "x", "--listen", "tcp:localhost:65536"], "no address"),
    (["post", "x", "--listen", "unix:"], "no address"),
    (["open", "x"], "after -- comes the command"),
    (["open", "--", "true"], "required: NAME"),
    (["open", "x", "--"], "after -- comes the command"),
    (["open", "a=4", "b=4", "--", "true"], "same descriptor"),
    (["open", "a=99999999999", "--", "true"], "no descriptor has"),
    (["open", "a:b", "--", "true"], "LISTEN_FDNAMES"),
    (["open", "x", "--scope", "nobody", "--", "true"], "no scope"),
    (["open", "x", "--loud", "--", "true"], "unrecognized arguments: --loud"),
    (["session", "--"], "after -- comes the command"),
    (["session", "true"], "unrecognized arguments: true"),
    (["session", "--broker", "--dir", "/tmp", "--", "true"], "leave --dir out"),
    (["ls", "--scope", "everybody"], "no scope"),
    (["mv", "x", "a/b"], "a/b"),
    (["setperm", "x", "0777"], "no mask"),
    (["timeout", "x", "soon"], "no number of seconds"),
    (["timeout", "x", "nan"], "no number of seconds"),
    (["grant", "x"], "required: --to"),
    (["grant", "x", "--to", "session"], "exactly whose"),
    (["rm", "x", "--expect", "latest"], "no whole number"),
    (["watch", "--scope", "session:x"], "no scope"),
    (["fdstore"], "required: ACTION;"),
]


@pytest.mark.parametrize(("words", "why"), USAGE, ids=[" ".join(words)[:40] for words, _ in USAGE])
def test_usage_is_2(login: Login, words: list[str], why: str) -> None:
    """A wrong word, name, mask, condition or scope."""
    assert why in refused(login(*words), 2)


def test_no_entry_is_3(login: Login, other: Login, name: str) -> None:
    """What is not there; and a bare name of another session, which is the same."""
    assert "there is no entry" in refused(login("stat", name), 3)
    login.must("post", name, "--open", FILE)
    for words in (["stat", name], ["rm", name], ["open", name, "--", "true"], ["connect", name]):
        assert f"there is no entry {name}" in refused(other(*words), 3)


def test_denied_is_4(login: Login, other: Login, name: str) -> None:
    """By its full name another session sees that it is there, and may not open it."""
    login.must("post", name, "--open", FILE)
    full = f"{login.scope()}/{name}"
    assert other.must("stat", full, "--json").objects()[0]["rights"] == "v"
    assert "no" in refused(other("open", full, "--", "true"), 4)
    assert "setattr" in refused(other("rm", full), 4)


@pytest.mark.root
def test_a_broker_of_another_uid_is_4(
    login: Login, anybody_python: Anybody, other_uid: int, run_as: RunAs, short_tmp: Path
) -> None:
    """A user's broker serves that user only, and its directory keeps others out."""
    short_tmp.chmod(0o777)
    argv = [*anybody_python.argv, "-m", "pagsrv.daemon"]
    with running_broker(
        short_tmp, argv=argv, env=anybody_python.env, cwd="/", **identity(other_uid)
    ) as running:
        assert "uid" in refused(login("ls", "--dir", running.dir), 4)
        done = run_as(
            other_uid + 1, [*anybody_python.argv, "-m", "pagsrv", "ls"],
            env=anybody_python.env | {"PAGSRV_DIR": running.dir},
        )  # fmt: skip
        assert "another user's" in refused(Said(done.returncode, done.stdout, done.stderr), 4)


def test_exists_is_5(login: Login, name: str) -> None:
    """A name is taken once; --replace takes it again."""
    login.must("post", name, "--open", FILE)
    assert "--replace" in refused(login("post", name, "--open", FILE), 5)
    login.must("post", f"{name}-b", "--empty")
    assert "already there" in refused(login("mv", name, f"{name}-b"), 5)
    login.must("post", name, "--open", FILE, "--replace")


def test_no_broker_is_6(login: Login, short_tmp: Path) -> None:
    """Nobody answers there; the sentence says where it looked and how to start one."""
    elsewhere = str(short_tmp / "empty")
    said = refused(login("ls", "--dir", elsewhere), 6)
    assert elsewhere in said
    assert "pagsrv broker" in said


def test_no_session_is_7(login: Login, name: str) -> None:
    """A scope that is not proved, or none to post in."""
    assert "proved in no pag scope" in refused(login("ls", "--scope", "pag"), 7)
    assert "not proved in user:4242" in refused(
        login("post", name, "--empty", "--scope", "user:4242"), 7
    )
    # Outside every session: the ring is revoked, and the process has no other.
    argv = [sys.executable, "-c", _REVOKED, *COMMAND, "post", name, "--empty"]
    assert "--scope user" in refused(login.execute(argv), 7)


_REVOKED = (
    "import os, sys; from pagsrv.kernel import keys; keys.revoke(keys.join_session()); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def test_quota_is_8(login: Login, name: str, short_tmp: Path) -> None:
    """A broker with room for one entry."""
    with running_broker(short_tmp, config="[limits]\nentries_per_uid = 1\n") as running:
        small = Login(login.actor, running.dir)
        small.must("post", name, "--empty")
        assert "entries" in refused(small("post", f"{name}-b", "--empty"), 8)


def test_not_assigned_is_9(login: Login, name: str) -> None:
    """An empty entry can be seen and waited for, and not opened."""
    login.must("post", name, "--empty")
    login.must("stat", name)
    login.must("wait", name)
    for words in (["open", name, "--", "true"], ["take", name, "--", "true"], ["connect", name]):
        assert "empty" in refused(login(*words), 9)
    login.must("post", name, "--open", FILE)
    login.must("open", name, "--", "true")


def test_loop_is_10(login: Login, name: str) -> None:
    """The board does not hold a connection to itself."""
    dial = f"unix:{login.directory}/varlink"
    assert "itself" in refused(login("post", name, "--dial", dial), 10)


def test_timed_out_is_11(login: Login, name: str) -> None:
    """A name that does not come in time."""
    assert name in refused(login("wait", name, "--timeout", "0.01"), 11)


def test_stale_is_12(login: Login, name: str) -> None:
    """--expect holds for rm, mv, setperm and post."""
    entry = login.must("post", name, "--open", FILE, "--json").objects()[0]
    now = str(entry["generation"])
    wrong = str(entry["generation"] + 1)
    for words in (
        ["rm", name], ["mv", name, f"{name}-b"], ["setperm", name, "3f010000"],
        ["post", name, "--open", FILE],
    ):  # fmt: skip
        assert "generation" in refused(login(*words, "--expect", wrong), 12)
    login.must("rm", name, "--expect", now)


def test_a_bug_is_70() -> None:
    """What nobody foresaw is a traceback, a request to report it, and status 70."""
    program = (
        "import sys; from pagsrv.cli import main, grammar; del grammar.BY_NAME; "
        "sys.argv[1:] = ['ls']; sys.exit(main.main())"
    )
    said = execute([sys.executable, "-c", program], bare_environment(), None, ())
    assert (said.status, said.out) == (BUG_STATUS, "")
    assert "Traceback (most recent call last)" in said.err
    assert said.err.endswith(
        "pagsrv: this is a bug of pagsrv's, and nothing you did; please report the lines above\n"
    )


def test_command_not_run_is_126_and_127(login: Login, name: str, short_tmp: Path) -> None:
    """As the shell has them; and what would have been taken is still there."""
    login.must("post", name, "--open", FILE)
    plain = short_tmp / "plain"
    plain.write_text("no program\n")
    for verb in ("open", "take"):
        assert "cannot be run" in refused(login(verb, name, "--", "no-such-command"), 127)
        assert "Permission denied" in refused(login(verb, name, "--", str(plain)), 126)
        assert "Is a directory" in refused(login(verb, name, "--", str(short_tmp)), 126)
    for words in (["session"], ["session", "--broker"]):
        assert "cannot be run" in refused(login(*words, "--", "no-such-command"), 127)
        assert "Permission denied" in refused(login(*words, "--", str(plain)), 126)
    login.must("stat", name)


def test_the_commands_own_status_is_kept(login: Login, name: str) -> None:
    """Whatever CMD ends with."""
    login.must("post", name, "--open", FILE)
    assert login("open", name, "--", "sh", "-c", "exit 43").status == 43
    assert login("session", "--", "sh", "-c", "exit 44").status == 44


def test_every_status_of_the_table_is_here() -> None:
    """A new error wants a test here."""
    text = Path(__file__).read_text()
    tested = {int(number) for number in re.findall(r"_is_(\d+)\(", text)}
    assert {kind.status for kind in TABLE} | {2, BUG_STATUS} <= tested


def test_environment_is_bare() -> None:
    """The commands of these tests meet no broker of the machine's, by no variable."""
    assert {name for name in environment("/x") if "PAGSRV" in name} == {"PAGSRV_DIR"}
