# SPDX-License-Identifier: MIT
"""The seccomp door with programs that mean no good, and with what ends at the wrong moment.

The law: afterwards the door serves as before, and holds what it held. It refuses to know what
honest programs do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.cli.command import COMMAND, Login, Said, environment
from tests.conftest import RunAs
from tests.doors.test_seccomp import through, typed
from tests.running import Running, running_broker

pytestmark = pytest.mark.kernel

INSIDER = str(Path(__file__).with_name("insider.py"))
PATIENCE = 60


def inside(login: Login, *words: str, runtime: str = "/nonexistent") -> Said:
    """Run insider.py behind the door, whose directory is made in *runtime*."""
    argv = [*COMMAND, "exec", "--at", os.path.dirname(words[1]), "--", sys.executable, INSIDER]
    return login.execute([*argv, *words], env={"XDG_RUNTIME_DIR": runtime})


@pytest.fixture
def posted(login: Login, name: str, short_tmp: Path) -> str:
    """The name of an entry whose file says posted."""
    path = short_tmp / "file"
    path.write_text("posted\n")
    login.must("post", name, "--open", str(path))
    return name


# ---- memory, processes, floods -------------------------------------------------------------------


def test_a_forged_path_opens_nothing_strange(
    login: Login, posted: str, raw: str, short_tmp: Path
) -> None:
    """While a thread turns the path into another: one of the two files, or none."""
    own = short_tmp / "own"
    own.write_text("own\n")
    said = through(login, raw, "flip", f"/srv/{posted}", str(own), "4000")
    assert (said.status, said.err) == (0, "")
    assert said.out.endswith("0 strange\n")
    assert "posted" in said.out
    assert "own" in said.out


def test_paths_at_the_edge_of_memory(login: Login, posted: str, raw: str) -> None:
    """Across two pages, to the last byte of one, into one that is not there, and from nowhere."""
    said = through(login, raw, "edge", f"/srv/{posted}")
    assert said.out == "stays posted\n\nstays \nopen: Bad address\nopen: Bad address\n"


def test_a_path_too_long_is_the_kernels(login: Login, posted: str, raw: str) -> None:
    """Longer than any path may be, and of the longest there is."""
    slashes = "/" * (4096 - len(f"/srv{posted}") - 1)
    for more, answer in (("", "stays posted\n\n"), ("/", "open: Filename too long\n")):
        assert through(login, raw, "open", f"/srv{slashes}{more}{posted}").out == answer


def test_a_flood_is_answered(login: Login, posted: str, raw: str) -> None:
    """More threads than the queue has places, each of them."""
    said = through(login, raw, "flood", f"/srv/{posted}", "150", "30")
    assert said == (0, "0 failed\n", "")


def test_callers_that_are_killed_leave_nothing(login: Login, posted: str, raw: str) -> None:
    """Ended at any moment of their calls; then the door answers as before."""
    assert through(login, raw, "gone", f"/srv/{posted}", "200").out == "stays posted\n\n"


def test_nothing_is_left_of_many_opens(raw: str, short_tmp: Path, other_uid: int) -> None:
    """10,000 opens: caller, supervisor and broker hold what they held."""
    assert other_uid  # so that we are root, who may look at a broker
    with running_broker(short_tmp) as alone, Actor() as actor:
        login = Login(actor, alone.dir)
        login.must("post", "x", "--open", "/etc/hostname")
        said = inside(login, "leaks", "/no/where/x", "10000", str(alone.pid))
        before, after = json.loads(said.out)
        assert before == after
        said = through(login, raw, "many", "/srv/x", "5000")
        assert said == (0, "0 failed, 0 more\n", "")


def test_a_listing_led_elsewhere_clears_nothing_there(
    login: Login, posted: str, short_tmp: Path
) -> None:
    """Where the door's own directory was, somebody has put a symlink; or nothing is there."""
    (short_tmp / "precious").mkdir()
    (short_tmp / "precious" / "file").write_text("kept")
    code = (
        "import os, shutil, sys\n"
        "def names():\n"
        "    try: return os.listdir('/srv')\n"
        "    except OSError: return None\n"
        "print(names())\n"
        "there = os.readlink(f'/proc/self/fd/{os.open(\"/srv\", os.O_RDONLY)}')\n"
        "base = os.path.dirname(there)\n"
        "os.rename(base, base + '-old')\n"
        "print(names())\n"
        "os.rename(base, base + '-new')\n"
        "os.mkdir(base + '-evil')\n"
        "os.symlink(sys.argv[1], base + '-evil/at')\n"
        "os.rename(base + '-evil', base)\n"
        "print(names())\n"
        "for one in ('-old', '-new'):\n"
        "    os.chmod(base + one + '/at', 0o700)\n"
        "    shutil.rmtree(base + one)\n"
    )
    said = through(login, sys.executable, "-c", code, str(short_tmp / "precious"))
    assert said == (0, f"{[posted]}\n{[posted]}\nNone\n", "")
    assert os.listdir(short_tmp / "precious") == ["file"]


# ---- somebody else -------------------------------------------------------------------------------


def test_a_caller_with_another_root_is_not_served(
    login: Login, posted: str, raw: str, short_tmp: Path, other_uid: int
) -> None:
    """Its /srv is another directory."""
    assert other_uid
    (short_tmp / "srv").mkdir()
    (short_tmp / "srv" / posted).write_text("inside\n")
    said = through(login, raw, "chroot", str(short_tmp), f"/srv/{posted}")
    assert said == (0, "stays inside\n\n", "")


def test_a_caller_of_another_user_is_not_served(
    login: Login, posted: str, raw: str, other_uid: int
) -> None:
    """It is in no scope of the one who started the door, and the others are served on."""
    script = f"{raw} become {other_uid} /srv/{posted}; cat /srv/{posted}"
    said = typed(login, "bash", f"set +e; {script}")
    assert said == (0, "open: No such file or directory\nposted\n", "")


def test_there_is_no_other_session_behind_the_door(login: Login, posted: str) -> None:
    """A process there cannot leave the session that the door serves, and is told."""
    said = through(login, *COMMAND, "session", "--", "cat", f"/srv/{posted}")
    assert (said.status, said.out) == (7, "")
    assert "behind `pagsrv exec`" in said.err
    inner = ("session", "--", *COMMAND, "exec", "--", "cat", f"/srv/{posted}")
    assert login(*inner).err.endswith("No such file or directory\n")


def test_numbers_of_other_architectures_let_nobody_out(
    login: Login, posted: str, raw: str, other_uid: int
) -> None:
    """32-bit opens see what is really there; a session is not left by them, nor a user unseen."""
    said = through(login, raw, "foreign", str(other_uid), f"/srv/{posted}")
    if said.status == 77:
        pytest.skip("this kernel has no other system calls than its own")
    no = "No such file or directory"
    refused = "Operation not permitted"
    if said.out.startswith("Function not implemented"):
        pytest.skip("this kernel runs no 32-bit programs")
    first = f"{no}, {refused}, {refused}, {refused}, stays posted\n\n"
    assert said.out == f"{first}done, open: {no}\n"


def test_any_user_may(
    broker: Running, run_as: RunAs, other_uid: int, short_tmp: Path, anybody_python: object
) -> None:
    """No right is needed: here a user with a broker of its own."""
    assert broker
    assert anybody_python
    os.chmod(short_tmp, 0o777)  # noqa: S103 -- the other user's broker makes its directory here
    identity = {"user": other_uid, "group": other_uid, "extra_groups": []}
    with running_broker(short_tmp, use=None, **identity) as theirs:
        lines = (
            "exec 3</etc/hostname; echo 3 >/srv/own; cat /srv/own; ls -l /srv; "
            # Past the door there is no empty file to be taken for the entry.
            "! cat /proc/self/fd/5/own 5</srv 2>/dev/null"
        )
        argv = [*COMMAND, "session", "--", *COMMAND, "exec", "--", "dash", "-ec", lines]
        done = run_as(other_uid, argv, env=environment(theirs.dir))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(Path("/etc/hostname").read_text() + "total 0\n-rw-r--r-- 1 ")


# ---- the supervisor ------------------------------------------------------------------------------


def test_a_supervisor_that_dies_is_replaced(login: Login, posted: str) -> None:
    """Killed again and again, either of the two: no open fails, none is lost."""
    said = inside(login, "survives", f"/no/{posted}/{posted}")
    killed, good, strange = json.loads(said.out)
    assert (killed, good, strange) == (6, "posted\n", [])


def test_the_supervisor_has_no_more_than_its_callers(login: Login, posted: str) -> None:
    """Who lends a posted directory's rights is told that they cannot get any (no_new_privs)."""
    said = inside(login, "rights", f"/no/{posted}/{posted}")
    assert json.loads(said.out) == [True, True]


def test_without_any_supervisor_opens_fail_and_nobody_dies(
    login: Login, posted: str, short_tmp: Path
) -> None:
    """Both killed at once: Linux answers ENOSYS to every call that it would have shown."""
    said = inside(login, "alone", f"/no/{posted}/{posted}", runtime=str(short_tmp))
    assert json.loads(said.out) == ["ENOSYS", "ENOSYS", True]


def test_what_is_not_ours_waits_for_no_broker(login: Login, posted: str, broker: Running) -> None:
    """A broker that stands still keeps those waiting who ask it, and nobody else."""
    said = inside(login, "waits", f"/no/{posted}/{posted}", str(broker.pid))
    assert json.loads(said.out) == [True, True]


def test_children_that_outlive_the_command_are_served(login: Login, posted: str) -> None:
    """Until the last of them ends; then the supervisor does, and takes its directory along."""
    path = f"/no/{posted}/{posted}"
    words = [*COMMAND, "exec", "--at", os.path.dirname(path), "--"]
    told = login.actor(
        subprocess.check_output, [*words, sys.executable, INSIDER, "leaves", path],
        env=environment(login.directory), timeout=PATIENCE,
    )  # fmt: skip
    assert json.loads(told) == "posted\n"


def test_a_broker_that_comes_back_is_found(name: str, short_tmp: Path) -> None:
    """The door outlives its broker, and says meanwhile that there is none."""
    lines = (
        f"exec 3</etc/hostname; echo 3 >/srv/{name}; cat /srv/{name} >/dev/null; echo up; read go",
        f"cat /srv/{name} || echo none; read go; exec 3</etc/hostname",
        f"echo 3 >/srv/{name}; cat /srv/{name} >/dev/null; echo up again",
    )
    with running_broker(short_tmp) as first:
        words = [*COMMAND, "session", "--", *COMMAND, "exec", "--", "dash", "-c", "\n".join(lines)]
        command = subprocess.Popen(
            words, env=environment(first.dir), text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert command.stdout is not None
        assert command.stdin is not None
        assert command.stdout.readline() == "up\n"
    command.stdin.write("go\n")
    command.stdin.flush()
    assert command.stdout.readline() == "none\n"
    with running_broker(short_tmp):
        out, err = command.communicate("go\n", timeout=PATIENCE)
    assert (command.returncode, out) == (0, "up again\n")
    assert err == f"cat: /srv/{name}: Connection refused\n"
