# SPDX-License-Identifier: MIT
"""Where the broker lives: its directory, its configuration, its service manager.

The law: a place that others could write to is refused with a sentence that says what to
do; what is not the broker's own is left as it is.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.anybody import bare_environment
from tests.daemon.waiting import until
from tests.daemon.wire import Client, post, text_of
from tests.running import SECONDS, Running, running_broker

pytestmark = pytest.mark.kernel

TOP = Path(__file__).parent.parent.parent
BROKER = (sys.executable, "-m", "pagsrv.daemon")


def refused(*argv: str, env: Mapping[str, str] | None = None) -> str:
    """Run a broker that has to end at once with status 2; its one sentence."""
    done = subprocess.run(
        [*BROKER, *argv],
        env=bare_environment() | dict(env or {}),
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pagsrv broker: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


# ---- the directory -------------------------------------------------------------------------------


def test_directory_is_made(short_tmp: Path) -> None:
    """0755 with sockets for everybody for root's broker, 0700 and its own for a user's."""
    root = os.geteuid() == 0
    with running_broker(short_tmp) as broker:
        made = Path(broker.dir)
        assert made.stat().st_mode & 0o7777 == (0o755 if root else 0o700)
        for name in ("board", "varlink"):
            assert (made / name).stat().st_mode & 0o7777 == (0o666 if root else 0o600)
        assert (made / "id").stat().st_mode & 0o7777 == (0o644 if root else 0o600)


@pytest.mark.root
def test_directory_of_a_user(user_broker: Running) -> None:
    """For its uid alone."""
    made = Path(user_broker.dir)
    assert made.stat().st_mode & 0o7777 == 0o700
    for name in ("board", "varlink", "id"):
        assert (made / name).stat().st_mode & 0o7777 == 0o600


def test_directory_that_is_there_keeps_its_mode(short_tmp: Path) -> None:
    """Owned by us and writable by nobody else: it is used as it is."""
    (short_tmp / "b").mkdir(mode=0o711)
    (short_tmp / "b").chmod(0o711)
    with running_broker(short_tmp):
        assert (short_tmp / "b").stat().st_mode & 0o7777 == 0o711


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_directory_that_others_may_write(short_tmp: Path, mode: int) -> None:
    """Refused; the sticky bit does not mend it."""
    short_tmp.chmod(mode)
    assert "chmod go-w" in refused("--dir", str(short_tmp))
    assert list(short_tmp.iterdir()) == []


@pytest.mark.root
def test_directory_of_somebody_else(short_tmp: Path, other_uid: int) -> None:
    """Refused, though root could."""
    os.chown(short_tmp, other_uid, other_uid)
    assert f"belongs to uid {other_uid}" in refused("--dir", str(short_tmp))


def test_directory_that_is_none(short_tmp: Path) -> None:
    """A symlink, to a good one even, a file, a place that is not there, a path too long."""
    (short_tmp / "good").mkdir()
    (short_tmp / "link").symlink_to("good")
    (short_tmp / "file").touch()
    assert "no directory" in refused("--dir", str(short_tmp / "link"))
    assert "no directory" in refused("--dir", str(short_tmp / "file"))
    assert "cannot be made" in refused("--dir", str(short_tmp / "not" / "there"))
    assert "cannot be made" in refused("--dir", str(short_tmp / "file" / "b"))
    assert "too long" in refused("--dir", str(short_tmp / ("x" * 100)))


def test_second_broker_at_one_directory(broker: Running) -> None:
    """Refused while the first runs, which it does not disturb."""
    with Client(broker.dir) as client:
        client.attach("user")
        post(client, "db", scope="user")
        assert "another broker runs" in refused("--dir", broker.dir)
        assert text_of(client.open("db")) == b"text"
        with Client(broker.dir) as again:
            assert again.do("Health")["entries"] == 1


def test_id_is_kept_over_restarts(short_tmp: Path) -> None:
    """One proof key in a ring, however often it starts; a crash leaves nothing in the way."""
    with running_broker(short_tmp) as broker, Client(broker.dir) as client:
        first = client.do("Attach")["broker"]
        broker.kill()
    assert (short_tmp / "b" / "board").exists()
    with running_broker(short_tmp) as broker, Client(broker.dir) as client:
        assert client.do("Attach")["broker"] == first
    assert (short_tmp / "b" / "id").read_text() == f"{first}\n"
    assert len(first) == 32


@pytest.mark.parametrize(
    "text", ["x" * 32, "0" * 31, "0" * 33, "0" * 32 + "\nmore", "A" * 32, "\0"]
)
def test_id_that_is_none(short_tmp: Path, text: str) -> None:
    """Not overwritten: a proof is bound to it."""
    (short_tmp / "id").write_text(text)
    assert "holds no broker id" in refused("--dir", str(short_tmp))
    assert (short_tmp / "id").read_text() == text


def test_things_in_the_way(short_tmp: Path) -> None:
    """A symlink or directory where the id or a socket belongs: said, and left alone."""
    (short_tmp / "target").write_text("0" * 32)
    (short_tmp / "id").symlink_to("target")
    assert str(short_tmp / "id") in refused("--dir", str(short_tmp))
    (short_tmp / "id").unlink()
    (short_tmp / "board").mkdir()
    assert str(short_tmp / "board") in refused("--dir", str(short_tmp))
    assert (short_tmp / "board").is_dir()


def test_signals_end_it_in_order(short_tmp: Path) -> None:
    """SIGTERM, SIGINT, SIGHUP: status 0, clients hung up, its own sockets removed."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with running_broker(short_tmp) as broker, Client(broker.dir) as client:
            client.do("Health")
            broker.process.send_signal(number)
            assert client.gone()
            assert broker.process.wait(SECONDS) == 0
            assert "Traceback" not in broker.log
        assert os.listdir(short_tmp / "b") == ["id"]


def test_sockets_of_others_are_left(broker: Running) -> None:
    """Replaced by somebody else's meanwhile: at the end they stay, and what is ours goes."""
    place = Path(broker.dir, "board")
    place.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(str(place))
        with Client(broker.dir, stream=True) as client:
            until(
                lambda: "displaced socket=" in broker.log,
                lambda: client.do("Health"),
                "the broker notices",
            )
        broker.process.terminate()
        assert broker.process.wait(SECONDS) == 0
        assert sorted(os.listdir(broker.dir)) == ["board", "id"]


# ---- argv and configuration ----------------------------------------------------------------------


def test_wrong_arguments(short_tmp: Path) -> None:
    """The sentence says what there is."""
    assert "--force is unknown" in refused("--force")
    assert "needs a value" in refused("--dir")
    place = ("--dir", str(short_tmp / "b"))
    assert "no configuration file" in refused(*place, "--config", str(short_tmp / "none"))
    assert "cannot be read" in refused(*place, "--config", str(short_tmp))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("entries = 5", "entries is unknown"),
        ("[limit]\nentries_per_uid = 5", "limit is unknown"),
        ("limits = 5", "limits is unknown"),
        ("[limits]\nentries = 5", "limits.entries is unknown"),
        ("[limits]\nentries_per_uid = 0", "limits.entries_per_uid must be"),
        ("[limits]\nentries_per_uid = true", "limits.entries_per_uid must be"),
        ('[limits]\nentries_per_uid = "5"', "limits.entries_per_uid must be"),
        ("[pag]\nthree_groups = true", "pag.three_groups is unknown"),
        ("[pag]\ntwo_groups = 1", "pag.two_groups must be"),
        ("[proofs]\nways = []", "proofs.ways is unknown"),
        ("[proofs]\nuse = []", "proofs.use must be a list with at least one of peerkeyring"),
        ('[proofs]\nuse = "iterator"', "proofs.use must be a list"),
        ('[proofs]\nuse = ["iterator", "user"]', "there is no 'user'"),
        ("[proofs]\nuse = [1]", "there is no 1"),
        ('[proofs]\nhelper = "run/helper"', "proofs.helper must be"),
        ("[limits", "is no TOML"),
        ("\xff", "is no TOML"),
    ],
)
def test_wrong_configuration(short_tmp: Path, text: str, word: str) -> None:
    """Names the file and the key."""
    file = short_tmp / "pagsrv.toml"
    file.write_bytes(text.encode("latin-1"))
    sentence = refused("--dir", str(short_tmp / "b"), "--config", str(file))
    assert str(file) in sentence
    assert word in sentence
