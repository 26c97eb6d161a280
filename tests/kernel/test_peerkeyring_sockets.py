# SPDX-License-Identifier: MIT
"""SO_PEERKEYRING, asked of each kind of socket; the record, and the others who read it."""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from pagsrv.errors import PagsrvError
from pagsrv.kernel import keys, peerkeyring
from pagsrv.kernel.peer import identify
from pagsrv.kernel.peerkeyring import PeerKeyring, ask, parse
from tests import peers
from tests.actors import Actor, held, turn_into
from tests.peers import Door, known

pytestmark = [pytest.mark.kernel, pytest.mark.root]

ROOT = Path(__file__).resolve().parent.parent.parent
SES_MASK = 0x3F030000  # of an anonymous session keyring
REVOKED, INVALIDATED, UID_KEYRING = 0x02, 0x20, 0x200  # linux/key.h


# ---- which sockets -------------------------------------------------------------------------------


def test_socketpair_speaks_for_its_maker(peer: Actor) -> None:
    """Whoever holds an end of it now."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        assert peer(keys.session_ring) == peer(_own_pair, kind)


def _own_pair(kind: socket.SocketKind) -> int:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    with one, other:
        return known(one).serial


def test_clients_end_speaks_for_the_listener(peer: Actor, short_tmp: Path) -> None:
    """The connector sees whoever called listen()."""
    short_tmp.chmod(0o777)
    ring = peer(_listen, str(short_tmp / "s"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(str(short_tmp / "s"))
        assert ring == known(sock).serial


def _listen(path: str) -> int:
    held["listener"] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    held["listener"].bind(path)
    held["listener"].listen()
    return keys.session_ring()


def test_sockets_that_are_refused(installed: str, short_tmp: Path, door: Door) -> None:  # noqa: ARG001
    """Datagram, listening, unconnected and Internet sockets get no answer."""
    assert ask(door.listener) is None
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            assert ask(sock) is None
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        assert ask(one) is None
    path = str(short_tmp / "d")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connected,
    ):
        bound.bind(path)
        connected.connect(path)
        assert ask(bound) is None
        assert ask(connected) is None
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            assert ask(sock) is None


def test_connected_internet_socket_is_refused(installed: str) -> None:  # noqa: ARG001
    """Also one whose both ends are processes of this machine."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as sock,
    ):
        assert ask(sock) is None
        assert ask(client) is None


def test_what_is_no_socket_is_an_error(installed: str) -> None:  # noqa: ARG001
    """Our own mistake is not called an absence."""
    sock = socket.socket(socket.AF_UNIX)
    sock.close()
    with pytest.raises(PagsrvError):
        ask(sock)


def test_other_levels_and_sizes_are_left_alone(installed: str) -> None:  # noqa: ARG001
    """Neither another option of ours, nor too small a buffer, gets anything."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        for option, size in ((0, 256), (2, 256), (1, 79), (1, 8), (1, 1)):
            with pytest.raises(OSError, match=r"not supported|Protocol not available"):
                one.getsockopt(0x50414753, option, size)
        assert len(one.getsockopt(0x50414753, 1, 80)) == 80
        assert len(one.getsockopt(0x50414753, 1, 1000)) == 80


def test_other_options_answer_as_before(
    installed: str, door: Door, other_uid: int  # noqa: ARG001 -- while it is installed
) -> None:  # fmt: skip
    """Also those whose answer is longer than what a program may look at, one page."""
    groups = tuple(range(100000, 160000))
    with Actor(other_uid, groups=groups) as peer:
        peer(peers.connect, door.path)
        with door.accept() as sock:
            facts = identify(sock)
    assert facts.pidfd is not None
    facts.pidfd.close()
    assert (peer.pid, other_uid, groups) == (facts.pid, facts.uid, facts.groups)


# ---- the record ----------------------------------------------------------------------------------


def test_records_that_are_not_ours_are_nothing() -> None:
    """Magic, version, size and length have to be right; a longer record is a later one's."""
    right = struct.pack(
        "=IHHqiIIIiIII32s", 0x6B676170, 1, 80, 5, 7, 1, 2, 3, 1, 4, 6, 1, b"_ses".ljust(32, b"\0")
    )
    assert PeerKeyring(7, 1, 2, 3, 5, 1, 4, 6, True, "_ses") == parse(right)
    longer = right[:6] + struct.pack("=H", 88) + right[8:] + bytes(8)
    assert parse(longer) == parse(right)
    for wrong in (
        b"", right[:79], right + bytes(1), bytes(80), bytes(4) + right[4:],
        right[:4] + b"\2" + right[5:],
    ):  # fmt: skip
        assert parse(wrong) is None


def test_header_and_library_agree() -> None:
    """contrib/c/peerkeyring.h says the same numbers."""
    text = (ROOT / "contrib" / "c" / "peerkeyring.h").read_text(encoding="utf-8")
    said = dict(re.findall(r"^#define (\w+) (\w+)", text, re.MULTILINE))
    assert {
        "SOL_PEERKEYRING": hex(peerkeyring._LEVEL),
        "SO_PEERKEYRING": str(peerkeyring._OPTION),
        "PEERKEYRING_MAGIC": hex(peerkeyring._MAGIC),
        "PEERKEYRING_OVER": "0x23",
        "PEERKEYRING_UID_RING": "0x200",
    } == said


def test_program_in_c(
    peer: Actor, short_tmp: Path, other_uid: int, request: pytest.FixtureRequest
) -> None:
    """The example for other languages compiles, and tells each peer its session."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    source = ROOT / "contrib" / "c" / "peerkeyring.c"
    program, path = str(short_tmp / "example"), str(short_tmp / "s")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    with subprocess.Popen([program, path], stdout=subprocess.PIPE, text=True) as example:
        request.addfinalizer(example.kill)
        assert example.stdout is not None
        assert example.stdout.readline() == "listening\n"
        Path(path).chmod(0o666)
        ring = peer(keys.session_ring)
        assert f"session:{ring} of uid {other_uid}\n" == peer(_be_told, path)
        peer(keys.revoke, ring)
        assert peer(_be_told, path) == "none: the session is over\n"
        with Actor(other_uid, may_return=True) as sued:
            sued(turn_into, other_uid + 1)
            assert sued(_be_told, path) == "none: the session is another user's\n"
        example.kill()


def _be_told(path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)
        return sock.makefile("r").readline()
