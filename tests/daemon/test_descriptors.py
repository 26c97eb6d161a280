# SPDX-License-Identifier: MIT
"""Descriptors that should not have come, and all sorts that may.

The law: whatever was sent is on the board, handed out or closed; every test ends with a
count of what the broker holds (conftest.py).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

import pytest

from pagsrv.kernel import scm
from pagsrv.kernel.fd import Fd
from tests.actors import Actor, session_leader
from tests.daemon import members
from tests.daemon.conftest import House
from tests.daemon.waiting import exited
from tests.daemon.wire import Client, Said, call, memory, text_of
from tests.running import Running

pytestmark = pytest.mark.kernel


def _refuses_rights() -> bool:
    """Whether the kernel has SO_PASSRIGHTS (Linux 6.16)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, scm.SO_PASSRIGHTS, 0)
        except OSError:
            return False
    return True


needs_passrights = pytest.mark.skipif(
    not _refuses_rights(), reason="this kernel has no SO_PASSRIGHTS (Linux 6.16)"
)


def test_three_hundred_descriptors(house: House) -> None:
    """More than the kernel sends at once (SCM_MAX_FD), in parts of one message: hung up, too."""
    with memory(b"") as fd, Client(house.dir, stream=True) as client:
        client.attach("user")
        whole = call("Post", {"name": "many", "fd": 0}) + b"\0"
        client.push(whole[:5], [fd.fileno()] * 253)
        with suppress(BrokenPipeError, ConnectionResetError):
            client.push(whole[5:], [fd.fileno()] * 47)
        with suppress(ConnectionResetError):
            assert client.hear().error == "ProtocolError"
        assert client.gone()
        assert house.neighbour.refusal("Stat", name="many") == "NoEntry"


@pytest.mark.parametrize("stream", [False, True], ids=["seqpacket", "stream"])
@pytest.mark.parametrize(
    ("method", "parameters", "number"),
    [
        ("Post", {"fd": 0}, 0),
        ("Post", {}, 1),
        ("Post", {}, 253),
        ("Post", {"fd": 0}, 2),
        ("Post", {"fd": 0}, 253),
        ("Post", {"fd": 0, "until": [{"cond": "exit", "fd": 1}]}, 1),
        ("Open", {}, 1),
        ("Remove", {}, 253),
    ],
)
def test_number_of_descriptors_is_as_the_message_says(
    house: House,
    stream: bool,  # noqa: FBT001
    method: str,
    parameters: dict[str, object],
    number: int,
) -> None:
    """None where one is named, one where none is, as many as go in: said, and hung up."""
    with memory(b"") as fd, Client(house.dir, stream=stream) as client:
        client.attach("user")
        given = {"name": "neighbour", **parameters}
        assert client.talk(method, given, [fd.fileno()] * number).error == "ProtocolError"
        assert client.gone()


@pytest.mark.parametrize("index", [1, 253, -1, 2**31, 2**62])
def test_index_out_of_range(client: Client, name: str, index: int) -> None:
    """There is no such descriptor: refused, and the connection lives."""
    with memory(b"") as fd:
        sent = [fd.fileno()]
        assert client.refusal("Post", sent, name=name, fd=index) == "InvalidParameter"
        until = [{"cond": "exit", "fd": index}]
        assert client.refusal("Post", sent, name=name, until=until) == "InvalidParameter"
    assert client.refusal("Stat", name=name) == "NoEntry"


def test_one_descriptor_for_two_fields(client: Client, name: str) -> None:
    """A pidfd posted as the entry that it also ends would have two owners: refused."""
    with Fd(os.pidfd_open(os.getpid())) as pidfd:
        sent = [pidfd.fileno()]
        until = [{"cond": "exit", "fd": 0}]
        assert client.refusal("Post", sent, name=name, fd=0, until=until) == "InvalidParameter"
        until = [{"cond": "exit", "fd": 0}, {"cond": "leader", "fd": 0}]
        assert client.refusal("Post", sent, name=name, until=until) == "InvalidParameter"
    assert client.refusal("Stat", name=name) == "NoEntry"


def _pushed(client: Client, fd: Fd) -> str:
    """Send *fd* along; the kernel's error, '' for none."""
    try:
        client.push(call("Health"), [fd.fileno()])
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


@needs_passrights
def test_descriptors_without_announcement(house: House) -> None:
    """H9: a connection that has not announced changes: the kernel refuses the sender."""
    for stream in (False, True):
        with memory(b"") as fd, Client(house.dir, stream=stream) as client:
            assert _pushed(client, fd) == "EPERM"
            assert client.do("Health")
            assert client.refusal("Post", name="x", scope="user") == "Denied"
            assert client.refusal("Take", name="neighbour") == "Denied"
            assert client.refusal("Remove", name="neighbour") == "Denied"


@needs_passrights
def test_descriptors_before_accept(broker: Running) -> None:
    """H9: sent before the broker has seen the connection; the listening socket refuses them."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        for stream in (False, True):
            with memory(b"") as fd, Client(broker.dir, stream=stream) as client:
                assert _pushed(client, fd) == "EPERM"
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    with Client(broker.dir) as client:
        assert client.do("Health")["entries"] == 0


def _epoll_of_all(client: Client) -> int:
    """An epoll that watches our own connection to the broker."""
    watch = select.epoll()
    watch.register(client.sock, select.EPOLLIN)
    number = os.dup(watch.fileno())
    watch.close()
    return number


def _epoll(_: Client) -> int:
    with select.epoll() as watch:
        return os.dup(watch.fileno())


SORTS: dict[str, tuple[Callable[[Client], int], str, str | None]] = {
    "memfd": (lambda _: os.memfd_create("x"), "memfd", "rw"),
    "file": (lambda _: os.open(__file__, os.O_RDONLY), "file", "r"),
    "directory": (lambda _: os.open("/tmp", os.O_RDONLY), "dir", "r"),
    "O_PATH": (lambda _: os.open(__file__, os.O_PATH), "file", None),
    "O_PATH of a directory": (lambda _: os.open("/proc/self", os.O_PATH), "dir", None),
    "device": (lambda _: os.open("/dev/null", os.O_WRONLY), "char", "w"),
    "pidfd": (lambda _: os.pidfd_open(os.getpid()), "pidfd", "rw"),
    "pidfd of the broker": (lambda client: os.pidfd_open(client.do("Health")["pid"]),
                            "pidfd", "rw"),
    "eventfd": (lambda _: os.eventfd(0), "anon", "rw"),
    "epoll": (_epoll, "anon", "rw"),
    "epoll of our connection": (_epoll_of_all, "anon", "rw"),
    "TCP listener": (lambda _: socket.create_server(("127.0.0.1", 0)).detach(), "socket", "rw"),
    "unbound socket": (lambda _: socket.socket(socket.AF_UNIX).detach(), "socket", "rw"),
    "datagrams": (lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
                  "socket", "rw"),
    "the broker's /proc": (lambda client: os.open(f"/proc/{client.do('Health')['pid']}",
                                                  os.O_RDONLY), "dir", "r"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "access"), SORTS.values(), ids=SORTS.keys())
def test_any_sort_of_descriptor(
    client: Client, name: str, make: Callable[[Client], int], kind: str, access: str | None
) -> None:
    """It is what it is, comes back as the same, and `hup` is refused only where none can come."""
    with Fd(make(client)) as fd:
        sent = [fd.fileno()]
        entry = client.do("Post", sent, name=name, fd=0, scope="user")["entry"]
        assert (entry["kind"], entry["access"]) == (kind, access)
        with client.open(name) as same:
            assert os.fstat(same.fileno()).st_ino == os.fstat(fd.fileno()).st_ino
        until = [{"cond": "hup"}]
        again = {"name": name, "fd": 0, "scope": "user", "replace": True, "until": until}
        assert client.refusal("Post", sent, **again) in ("", "InvalidParameter")
        assert client.do("Health")


@pytest.mark.parametrize("stream", [False, True], ids=["seqpacket", "stream"])
def test_board_does_not_hold_itself(house: House, name: str, stream: bool) -> None:  # noqa: FBT001
    """Loop: a connection to the broker, one's own or another, of either kind."""
    with (
        Client(house.dir) as client,
        Client(house.dir, stream=stream) as other,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as unused,
    ):
        client.attach("user")
        unused.connect(f"{house.dir}/board")
        for sock in (client.sock, other.sock, unused):
            assert client.refusal("Post", [sock.fileno()], name=name, fd=0, scope="user") == "Loop"
        assert client.refusal("Stat", name=name) == "NoEntry"


def test_epolls_in_epolls(client: Client, name: str) -> None:
    """As deep as the kernel lets them; the broker's own would be one too many."""
    with ExitStack() as kept:
        inner = client.sock.fileno()
        for _ in range(5):
            outer = kept.enter_context(select.epoll())
            try:
                outer.register(inner, select.EPOLLIN)
            except OSError:
                break
            inner = outer.fileno()
            post = {"name": name, "fd": 0, "scope": "user", "replace": True}
            error = client.refusal("Post", [inner], **post, until=[{"cond": "hup"}])
            assert error in ("", "InvalidParameter")
        assert error == "InvalidParameter"
        assert client.refusal("Post", [inner], **post) == ""


def test_connection_of_others_is_no_loop(client: Client, name: str) -> None:
    """Sockets that lead elsewhere are what the board is for."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert client.refusal("Post", [ours.fileno()], name=name, fd=0, scope="user") == ""
    with closing(client.open(name)):
        pass


def test_descriptor_that_is_on_its_way_in_itself(client: Client, name: str) -> None:
    """A socket in its own queue, posted and removed: the kernel's collector gets it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [ours.fileno(), theirs.fileno()])
        client.do("Post", [theirs.fileno()], name=name, fd=0, scope="user")
    client.do("Remove", name=name)


def test_process_named_must_be_there(client: Client, name: str) -> None:
    """Something that is no pidfd, or one whose process is gone, ends no entry."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    with Fd(os.pidfd_open(pid)) as gone, memory(b"") as memfd:
        exited(pid)
        for fd in (gone, memfd):
            for cond in ("exit", "leader"):
                until = [{"cond": cond, "fd": 0}]
                with pytest.raises(Said) as said:
                    client.do("Post", [fd.fileno()], name=name, scope="user", until=until)
                assert said.value.error == "InvalidParameter"
    assert client.refusal("Stat", name=name) == "NoEntry"


@pytest.mark.root
def test_process_of_another_uid_is_not_waited_for(house: House, other_uid: int, name: str) -> None:
    """A user names processes of its own only."""
    with Actor(other_uid) as other:
        other(members.join, house.dir, "user")
        assert other(_until_exit_of, os.getpid(), name) == "Denied"
        assert other(_until_exit_of, other.pid, name) == ""
        other(members.do, "Remove", name=name)


def _until_exit_of(pid: int, name: str) -> str:
    with Fd(os.pidfd_open(pid)) as pidfd:
        until = [{"cond": f"exit={pid}", "fd": 0}]
        return members.mine().refusal(
            "Post", [pidfd.fileno()], name=name, scope="user", until=until
        )


def test_nothing_survives_an_exec(house: House, client: Client, name: str) -> None:
    """Every descriptor of the broker but the three ends is close-on-exec."""
    if os.geteuid() != 0:
        pytest.skip("only root may look at the descriptors of an undumpable process")
    shared = []
    with session_leader() as pidfd, memory(b"text") as fd:
        until = [{"cond": "leader", "fd": 1}]
        client.do("Post", [fd.fileno(), pidfd], name=name, fd=0, scope="user", until=until)
        text_of(client.open(name))
        for number in os.listdir(f"/proc/{house.broker.pid}/fdinfo"):
            with open(f"/proc/{house.broker.pid}/fdinfo/{number}", encoding="ascii") as file:
                flags = next(line for line in file if line.startswith("flags:"))
            if not int(flags.split()[1], 8) & os.O_CLOEXEC:
                shared.append(int(number))
    assert sorted(shared) == [0, 1, 2]
