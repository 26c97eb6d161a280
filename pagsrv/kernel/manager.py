# SPDX-License-Identifier: MIT
"""What a service manager gives and takes: LISTEN_FDS, NOTIFY_SOCKET, its store of descriptors.

The law: the environment that gave descriptors is read once and cleared, so that no child
takes it for its own (sd_listen_fds(3)); what is sent stays the sender's, and whether it was
taken the manager does not say (sd_notify(3)). It refuses to know systemd's library.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from typing import TYPE_CHECKING, NamedTuple

from pagsrv.errors import PagsrvError
from pagsrv.kernel.fd import Fd
from pagsrv.kernel.process import own_inode
from pagsrv.kernel.scm import ancillary

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST = 3
NAME_BYTES = 255
"""The longest FDNAME=, which is ASCII without control characters and colons."""

WORDS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
"""What the environment of a process says of descriptors that it was started with."""

_DIGITS = 10
_UNNAMED = "unknown"
"""What sd_listen_fds_with_names(3) calls a descriptor that LISTEN_FDNAMES has no name for."""


class ManagerFault(PagsrvError):
    """The service manager, or what it gave us, is not as sd_notify(3) and sd_listen_fds(3) say."""


class Passed(NamedTuple):
    """A descriptor that the manager passed, and its name."""

    name: str
    fd: Fd


def listen_fds(*, strict: bool = False) -> list[Passed]:
    """The descriptors passed to this process, now the caller's, CLOEXEC; [] if there are none.

    Those of another process are none of ours. ManagerFault if one is not open; *strict*: also if
    there are some, of another process, or nobody knows how many.
    """
    pid, count, told, inode = (os.environ.pop(word, "") for word in WORDS)
    # int() takes no more than some thousands of digits.
    known = count.isascii() and count.isdigit() and len(count) <= _DIGITS
    if strict and count and not known:
        raise ManagerFault(f"no descriptors were passed: LISTEN_FDS is no number ({count[:20]!r})")
    numbers = range(FIRST, FIRST + (int(count) if known else 0))
    if pid != str(os.getpid()) or (inode and inode != str(own_inode())):
        if strict and numbers:
            raise ManagerFault(
                f"what LISTEN_FDS counts is for process {pid or 'none'}, and this is "
                f"{os.getpid()}: let the command take that one's place, by `exec`"
            )
        return []
    for fd in numbers:
        try:
            os.set_inheritable(fd, False)
        except OSError:
            raise ManagerFault(
                f"LISTEN_FDS counts {count} descriptors, and {fd} is not open: whoever started "
                "this command has closed it"
            ) from None
    names = told.split(":") if told else []
    names += [_UNNAMED] * (len(numbers) - len(names))
    return [Passed(name, Fd(fd)) for name, fd in zip(names, numbers, strict=False)]


def is_there() -> bool:
    """Whether a service manager wants to hear of us."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(state: str) -> None:
    """Tell the service manager *state*, as in READY=1; nothing if there is none to hear it."""
    if is_there():
        try:
            send(state)
        except OSError:
            # The manager is gone; what we do is not less done for that.
            return


def is_roots() -> bool:
    """Whether what is sent is root's to keep: root has made the socket that we notify.

    And nobody else can put one in its place between this and a send. Of an address without a
    file that is not known.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    ways = [path]
    while ways[-1].strip("/"):
        ways.append(os.path.dirname(ways[-1].rstrip("/")))
    try:
        there, *above = map(os.lstat, ways)
    except (OSError, ValueError):
        return False  # "" is no path: of a relative one it is not known, either
    return (
        stat.S_ISSOCK(there.st_mode)
        and all(one.st_uid == 0 for one in (there, *above))
        and not any(_lets_others_write(way.st_mode) for way in above)
    )


def _lets_others_write(mode: int) -> bool:
    """Whether others than its owner may change what is in a directory; of a link that may be."""
    return not stat.S_ISDIR(mode) or (bool(mode & 0o022) and not mode & stat.S_ISVTX)


def send(state: str, fds: Sequence[int] = (), *, seconds: float | None = None) -> None:
    """As notify(), with *fds*, the caller's still; OSError as sendmsg(2).

    Where the manager's queue is full it waits, *seconds* at most (TimeoutError).
    """
    address = os.environ["NOTIFY_SOCKET"]
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(seconds)
        sock.sendmsg([state.encode()], ancillary(fds), socket.MSG_NOSIGNAL, target)


def barrier(seconds: float) -> bool:
    """Wait until the manager has read all that was sent before; False if it has not in *seconds*.

    It closes a pipe's end as it comes to the message (sd_notify_barrier(3)). OSError as send().
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    with Fd(ours) as reading:
        with Fd(theirs) as writing:
            send("BARRIER=1", [writing.fileno()], seconds=seconds)
        poll = select.poll()
        poll.register(reading.fileno(), 0)  # a hang-up is told unasked
        return bool(poll.poll(seconds * 1000))
