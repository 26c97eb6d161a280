# SPDX-License-Identifier: MIT
"""gssd and those who do it wrong, on purpose or not.

The law: who misbehaves is told why in a sentence, and after it a neighbour is served as
before. It refuses to know whose credentials are whose (test_gssd.py does).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.anybody import OTHER_UID
from tests.gssd import login
from tests.gssd.login import ALICE, full, log_in, say
from tests.gssd.realm import SERVICE, Realm
from tests.gssd.running import GSSD, Gssd, running_gssd
from tests.running import SECONDS, Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]

ASKING = f"{SERVICE}\n".encode()
PER_UID = 8
BAD_LINES = {
    "nothing": b"",
    "empty": b"\n",
    "unended": b"host@files.board.test",
    "no host": b"host\n",
    "principal": b"host/files.board.test@BOARD.TEST\n",
    "two words": b"host@files.board.test session:1\n",
    "NUL": b"host@files\0.board.test\n",
    "no text": b"\xff\xfe@\xff\n",
    "long": b"x" * 100_000,
    "long host": b"host@" + b"x" * 300 + b"\n",
}


@pytest.fixture
def neighbour(
    kerberos: Realm, board_of_root: Running, gssd: Gssd, folder: str
) -> Iterator[Callable[[], None]]:
    """Call it to see that alice, in a session and of a uid not the culprit's, is served."""
    with Actor(OTHER_UID) as actor:
        actor(log_in, kerberos.environment, ALICE, folder, board_of_root.dir)

        def check() -> None:
            assert full(ALICE) == gssd.initiator(actor(say, gssd.socket, ASKING)[3:])

        yield check


@pytest.fixture
def culprit() -> Iterator[Actor]:
    """Somebody of another uid."""
    with Actor(OTHER_UID + 1) as actor:
        yield actor


# ---- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_bad_line_is_refused(
    gssd: Gssd, neighbour: Callable[[], None], culprit: Actor, line: bytes
) -> None:
    """What is no line of the form SERVICE@HOST gets a sentence that says what would be."""
    answer = culprit(say, gssd.socket, line)
    assert answer == "ERR ask with one line, SERVICE@HOST, as in host@files.example.org\n"
    neighbour()


def test_unknown_service_is_refused(
    kerberos: Realm, board_of_root: Running, gssd: Gssd, folder: str
) -> None:
    """A service the realm does not know is refused in Kerberos' own words."""
    with Actor(OTHER_UID) as actor:
        actor(log_in, kerberos.environment, ALICE, folder, board_of_root.dir)
        answer = actor(say, gssd.socket, b"ldap@files.board.test\n")
    assert answer.startswith("ERR Kerberos gives no token: Server ldap/files.board.test@")


# ---- what is posted ------------------------------------------------------------------------------

_NO_CCACHE = {
    "empty": b"",
    "no ccache": b"I am a ccache, believe me\n",
    "cut": b"\5\4\0\14\0\1\0\10\377\377\377\377\0\0\0\0\0\0\0\1\0\0\0\1\0\0",
    "great lengths": b"\5\4\0\0\0\0\0\1" + b"\x7f\xff\xff\xff" * 1000,
    "zeros": bytes(1 << 16),
}


@pytest.mark.parametrize("content", _NO_CCACHE.values(), ids=_NO_CCACHE)
def test_what_is_no_ccache_is_refused(
    board_of_root: Running,
    gssd: Gssd,
    neighbour: Callable[[], None],
    culprit: Actor,
    content: bytes,
) -> None:
    """A file that holds no credentials gives no token, and its poster a sentence."""
    culprit(login.post_bytes, board_of_root.dir, content)
    answer = culprit(say, gssd.socket, ASKING)
    assert answer.startswith("ERR Kerberos gives no token: ")
    assert answer.count("\n") == 1
    neighbour()


def test_large_file_is_refused(
    board_of_root: Running, gssd: Gssd, neighbour: Callable[[], None], culprit: Actor
) -> None:
    """A file of more than 1 MiB is not read to its end."""
    culprit(login.post_bytes, board_of_root.dir, b"", (1 << 20) + 1)
    answer = culprit(say, gssd.socket, ASKING)
    assert answer == "ERR what is posted is larger than 1048576 bytes\n"
    neighbour()


def test_pipe_is_refused(
    board_of_root: Running, gssd: Gssd, neighbour: Callable[[], None], culprit: Actor
) -> None:
    """What would make a reader wait is not read."""
    culprit(login.post_pipe, board_of_root.dir)
    answer = culprit(say, gssd.socket, ASKING)
    assert answer == "ERR what is posted is no regular file, as a credentials cache is\n"
    neighbour()


def test_what_is_posted_is_left_alone(
    kerberos: Realm, board_of_root: Running, gssd: Gssd, folder: str
) -> None:
    """The shared offset stays, the file gets no ticket added, and a lock on it stops nobody."""
    with Actor(OTHER_UID) as actor:
        content = actor(
            login.log_in_and_hold, kerberos.environment, ALICE, folder, board_of_root.dir
        )
        assert full(ALICE) == gssd.initiator(actor(say, gssd.socket, ASKING)[3:])
        assert (7, content) == actor(login.look_at_held)


# ---- who asks ------------------------------------------------------------------------------------


def test_silent_clients_use_up_their_own_uid_only(
    gssd: Gssd, neighbour: Callable[[], None], culprit: Actor
) -> None:
    """A uid has eight requests under way; the ninth is refused, and other uids notice nothing."""
    culprit(login.connect_silently, gssd.socket, PER_UID)
    answer = culprit(say, gssd.socket, ASKING)
    assert answer == f"ERR uid {OTHER_UID + 1} has 8 requests under way already\n"
    neighbour()
    refusals = culprit(login.hang_up)
    assert {"ERR ask with one line, SERVICE@HOST, as in host@files.example.org\n"} == {*refusals}
    assert len(refusals) == PER_UID
    # Each of them has ended with its answer, so there is room again.
    assert culprit(say, gssd.socket, ASKING).startswith("ERR nothing is posted as krb5cc in ")


def test_client_is_served_without_rights(
    kerberos: Realm, board_of_root: Running, gssd: Gssd, folder: str
) -> None:
    """Whoever talks to the KDC has the client's uid, no groups, and no other client's socket."""
    with Actor(OTHER_UID) as actor, Actor(OTHER_UID + 1) as other:
        actor(log_in, kerberos.environment, ALICE, folder, board_of_root.dir)
        other(login.connect_silently, gssd.socket, 1)
        with kerberos.paused():
            actor(login.ask_silently, gssd.socket)
            process = wait_for_child(gssd.pid, OTHER_UID)
            status = Path(f"/proc/{process}/status").read_text()
            unix = unix_sockets(process)
        assert f"{OTHER_UID}\t{OTHER_UID}\t{OTHER_UID}\t{OTHER_UID}" in field(status, "Uid")
        assert f"{OTHER_UID}\t{OTHER_UID}\t{OTHER_UID}\t{OTHER_UID}" in field(status, "Gid")
        assert field(status, "Groups") == ""
        assert int(field(status, "CapPrm"), 16) == 0
        assert unix == 1, "its client's socket and no other"
        (answer,) = actor(login.hear)
        assert full(ALICE) == gssd.initiator(answer[3:])
        other(login.hang_up)


def field(status: str, name: str) -> str:
    """One line of /proc/PID/status."""
    return next(
        line.partition(":")[2].strip() for line in status.split("\n") if line.startswith(f"{name}:")
    )


def unix_sockets(pid: int) -> int:
    """How many Unix sockets *pid* holds."""
    inodes = {line.split()[6] for line in Path("/proc/net/unix").read_text().split("\n")[1:-1]}
    held = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # it is at work
            held.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sum(name.removeprefix("socket:[").removesuffix("]") in inodes for name in held)


def wait_for_child(pid: int, uid: int) -> int:
    """The first child of *pid* that has become *uid*, once there is one."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                if os.stat(f"/proc/{child}").st_uid in (uid, 0) and f"\t{uid}\t" in field(
                    Path(f"/proc/{child}/status").read_text(), "Uid"
                ):
                    return int(child)
            except FileNotFoundError:
                continue
    raise AssertionError(f"no child of {pid} became uid {uid}")


def test_stuck_kdc_ends_by_the_deadline(
    kerberos: Realm, board_of_root: Running, short_tmp: Path, folder: str
) -> None:
    """Whoever waits for what does not come is told so when the time is over."""
    with (
        Actor(OTHER_UID) as actor,
        running_gssd(short_tmp, kerberos, board_of_root.dir, ["--seconds", "1"]) as hasty,
    ):
        actor(log_in, kerberos.environment, ALICE, folder, board_of_root.dir)
        with kerberos.paused():
            assert actor(say, hasty.socket, ASKING) == "ERR it took longer than 1 s\n"
        assert full(ALICE) == hasty.initiator(actor(say, hasty.socket, ASKING)[3:])


def test_stopped_by_its_own_uid_ends_by_the_deadline(
    kerberos: Realm, board_of_root: Running, short_tmp: Path, folder: str
) -> None:
    """A client may stop the process that has its uid, and holds up nobody by it."""
    with (
        Actor(OTHER_UID) as actor,
        running_gssd(short_tmp, kerberos, board_of_root.dir, ["--seconds", "1"]) as hasty,
    ):
        actor(log_in, kerberos.environment, ALICE, folder, board_of_root.dir)
        with kerberos.paused():
            actor(login.ask_silently, hasty.socket)
            actor(os.kill, wait_for_child(hasty.pid, OTHER_UID), signal.SIGSTOP)
            assert actor(login.hear) == ["ERR it took longer than 1 s\n"]
        assert full(ALICE) == hasty.initiator(actor(say, hasty.socket, ASKING)[3:])


def test_absent_broker_is_said(kerberos: Realm, short_tmp: Path) -> None:
    """Without a broker gssd serves nobody, and says why."""
    with Actor(OTHER_UID) as actor, running_gssd(short_tmp, kerberos, "/nowhere") as alone:
        answer = actor(say, alone.socket, ASKING)
    assert answer.startswith("ERR ")
    assert "broker" in answer


# ---- how it is installed -------------------------------------------------------------------------


def test_it_installs_as_a_command(
    kerberos: Realm, board_of_root: Running, short_tmp: Path, folder: str
) -> None:
    """What pip makes of the directory, in an environment that has what it names, serves."""
    source, made = short_tmp / "source", short_tmp / "made"
    shutil.copytree(GSSD.parent, source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    venv.create(made)
    (site,) = made.glob("lib/python*/site-packages")
    ours = sysconfig.get_path("purelib")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
    subprocess.run(
        [*pip, str(made / "bin" / "python"), "install", "--quiet", "--no-index",
         "--no-build-isolation", "--root-user-action=ignore", str(source)],
        check=True, timeout=SECONDS,
    )  # fmt: skip
    command = [str(made / "bin" / "pagsrv-gssd")]
    with (
        Actor(OTHER_UID) as actor,
        running_gssd(short_tmp, kerberos, board_of_root.dir, command=command) as installed,
    ):
        actor(log_in, kerberos.environment, ALICE, folder, board_of_root.dir)
        assert full(ALICE) == installed.initiator(actor(say, installed.socket, ASKING)[3:])
