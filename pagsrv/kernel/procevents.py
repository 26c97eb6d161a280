# SPDX-License-Identifier: MIT
"""What processes do, told by the kernel as it happens: exec, setsid, a change of user id.

The netlink connector's process events (linux/cn_proc.h, linux/connector.h). The law: a
filter in the kernel lets through what was asked about, of the processes asked about, and
nothing else, so that nobody's other work wakes or floods us; events that were dropped are
reported (`Dropped`) and never passed over; only what the kernel itself sent counts. It
refuses to know what an event leads to.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from array import array
from collections.abc import Mapping
from contextlib import suppress
from errno import ECONNREFUSED, EINVAL, ENOMEM, EPERM
from typing import TYPE_CHECKING, NamedTuple, Self

from pagsrv.errors import PagsrvError

if TYPE_CHECKING:
    from types import TracebackType

FORK, EXEC, UID, SETSID = 0x1, 0x2, 0x4, 0x80
"""Kinds of events (enum proc_cn_event); fork: the number of a process has been given away anew."""

_CONNECTOR = 11  # NETLINK_CONNECTOR of linux/netlink.h
_PROC = 1  # CN_IDX_PROC and CN_VAL_PROC of linux/connector.h
_LISTEN, _IGNORE = 1, 2  # PROC_CN_MCAST_LISTEN, PROC_CN_MCAST_IGNORE
_DONE = 3  # NLMSG_DONE
_CONTROL = struct.Struct("=IHHII IIIIHH I")  # struct nlmsghdr, struct cn_msg, enum proc_cn_mcast_op
_ACKED, _WHAT, _ERR, _TGID, _CHILD_PID = 28, 36, 52, 56, 60
"""Offsets of cn_msg.ack, proc_event.what, .ack.err, .exec.process_tgid, .fork.child_pid."""
_EVENT = struct.Struct(f"={_WHAT}x I 16x i i")
_ACK = struct.Struct(f"={_ERR}x I")
_MOST_BYTES = 256
_BUFFER = 1 << 20  # bytes: more than a thousand events
_AT_ONCE = 4096
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h
_FIRST_NAMESPACES = {"pid": 0xEFFFFFFC, "user": 0xEFFFFFFD}  # PROC_*_INIT_INO of linux/proc_ns.h


class NoEvents(PagsrvError):
    """Process events are not to be had here; the sentence says what is missing, and what to do."""


class NoRoom(PagsrvError):
    """No filter for so many processes."""


class Dropped(PagsrvError):
    """Some events were dropped before they were read: what they told is not known."""


class Event(NamedTuple):
    """*kind* (EXEC, UID, SETSID) was done by process *pid*, or FORK: *pid* is a new process."""

    kind: int
    pid: int


class ProcessEvents:
    """A subscription; owns its socket. NoEvents where there is none to be had.

    It takes the first pid, user and network namespaces, and CAP_NET_ADMIN before Linux 6.6.
    Events are of processes (thread groups), whichever thread did it.
    """

    def __init__(self) -> None:
        try:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._sock = socket.socket(socket.AF_NETLINK, kind, _CONNECTOR)
        except OSError as error:
            raise NoEvents(
                f"the kernel gives no socket to its connector ({error.strerror}): it takes "
                "CONFIG_PROC_EVENTS, a seccomp profile that lets it through, and a descriptor"
            ) from None
        try:
            self._subscribe()
        except BaseException:
            self._sock.close()
            raise

    def _subscribe(self) -> None:
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        mark = int.from_bytes(os.urandom(3), "big")
        # Whatever others do or say, the acknowledgement is the first and only thing to come.
        self._attach(_only_answer(mark))
        try:
            self._sock.bind((0, _PROC))
            self._control(_LISTEN, mark)
        except OSError as error:
            raise NoEvents(_why_not(error)) from None
        try:
            answer, sender = self._sock.recvfrom(_MOST_BYTES)
        except BlockingIOError:
            raise NoEvents(_why_silent()) from None
        number = _ACK.unpack_from(answer)[0] if len(answer) >= _ACK.size else EINVAL
        if sender[0] != 0 or number:
            raise NoEvents(_why_not(OSError(number, os.strerror(number))))
        self.follow({})

    def _control(self, action: int, mark: int = 0) -> None:
        size = _CONTROL.size
        message = _CONTROL.pack(size, _DONE, 0, 0, 0, _PROC, _PROC, 0, mark, 4, 0, action)
        self._sock.sendto(message, (0, 0))

    def fileno(self) -> int:
        """Readable when there is something to `read`."""
        return self._sock.fileno()

    def follow(self, wanted: Mapping[int, int]) -> None:
        """From now on tell of these processes: by number, the kinds wanted, or-ed together.

        FORK is told of each. NoRoom leaves everything as it was.
        """
        self._attach(_only_these(wanted))

    def _attach(self, program: list[bytes]) -> None:
        code = array("B", b"".join(program))
        told = struct.pack("HP", len(program), code.buffer_info()[0])  # struct sock_fprog
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, told)
        except OSError as error:
            if error.errno in (EINVAL, ENOMEM):
                raise NoRoom("the kernel takes no filter for so many processes") from None
            raise NoEvents(f"the kernel takes no filter on them: {error.strerror}") from None

    def read(self) -> list[Event]:
        """What has happened, in the order it did; empty if nothing.

        Dropped if some of it is lost, or if there is no end to it.
        """
        found: list[Event] = []
        buffer = bytearray(_MOST_BYTES)
        dropped = False
        # To the end also after a loss: only an empty queue lets the kernel report the next one.
        for _ in range(_AT_ONCE):
            try:
                size, sender = self._sock.recvfrom_into(buffer)
            except BlockingIOError:
                break
            except OSError:
                dropped = True  # ENOBUFS; whatever else it is, something was not read
                continue
            if size >= _EVENT.size and sender[0] == 0:
                what, tgid, child = _EVENT.unpack_from(buffer)
                found.append(Event(what, child if what == FORK else tgid))
        else:
            dropped = True
        if dropped:
            raise Dropped("process events were dropped before they were read")
        return found

    def close(self) -> None:
        """Listen no more."""
        # Older kernels make events for as long as somebody who listened has not said so.
        with suppress(OSError):
            self._control(_IGNORE)
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _why_not(error: OSError) -> str:
    if error.errno == EPERM:
        return (
            "before Linux 6.6 the kernel tells process events only to who has CAP_NET_ADMIN; use "
            "root's broker"
        )
    if error.errno == ECONNREFUSED:
        return (
            "the kernel tells process events in the first network namespace only; run the broker "
            "outside"
        )
    return f"the kernel does not tell process events ({error.strerror})"


def _why_silent() -> str:
    for name, first in _FIRST_NAMESPACES.items():
        try:
            inside = os.stat(f"/proc/self/ns/{name}").st_ino != first
        except OSError:
            inside = False
        if inside:
            return (
                f"the kernel tells process events in the first {name} namespace only; run the "
                "broker outside"
            )
    return "this kernel tells no process events (CONFIG_PROC_EVENTS is off)"


# ── the filters: classic BPF (linux/filter.h), whose loads are big-endian ──

_LOAD, _RECALL, _STORE = 0x20, 0x60, 0x02  # BPF_LD+W+ABS, BPF_LD+MEM, BPF_ST
_GO, _IF_EQUAL, _IF_ANY, _RETURN = 0x05, 0x15, 0x45, 0x06  # BPF_JMP+JA, +JEQ, +JSET, BPF_RET
_INSN = struct.Struct("=HBBI")
_ALL, _NOTHING = 0xFFFFFFFF, 0
_BLOCK = 250  # a conditional jump goes 255 instructions far
_M_WHAT, _M_PID = 0, 1


def _insn(code: int, operand: int, then: int = 0, other: int = 0) -> bytes:
    return _INSN.pack(code, then, other, operand)


def _swapped(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, sys.byteorder), "big")


def _only_answer(mark: int) -> list[bytes]:
    """Lets through what answers our own message, of that *mark*: one more acknowledges it."""
    return [
        _insn(_LOAD, _WHAT),
        _insn(_IF_EQUAL, 0, 0, 2),  # PROC_EVENT_NONE
        _insn(_LOAD, _ACKED),
        _insn(_IF_EQUAL, _swapped(mark + 1), 1, 0),
        _insn(_RETURN, _NOTHING),
        _insn(_RETURN, _ALL),
    ]


def _only_these(wanted: Mapping[int, int]) -> list[bytes]:
    """Lets through, for each process number in *wanted*, its kinds of events and FORK."""
    alike: dict[int, list[int]] = {}
    for pid, kinds in wanted.items():
        alike.setdefault(kinds | FORK, []).append(pid)
    program = [
        _insn(_LOAD, _WHAT),
        _insn(_STORE, _M_WHAT),
        _insn(_IF_EQUAL, _swapped(FORK), 0, 2),
        _insn(_LOAD, _CHILD_PID),
        _insn(_GO, 1),
        _insn(_LOAD, _TGID),
        _insn(_STORE, _M_PID),
    ]
    for kinds, pids in alike.items():
        blocks = [
            one
            for start in range(0, len(pids), _BLOCK)
            for one in _one_of(pids[start : start + _BLOCK])
        ]
        program += [
            _insn(_RECALL, _M_WHAT),
            _insn(_IF_ANY, _swapped(kinds), 1, 0),
            _insn(_GO, len(blocks) + 1),
            _insn(_RECALL, _M_PID),
            *blocks,
        ]
    return [*program, _insn(_RETURN, _NOTHING)]


def _one_of(pids: list[int]) -> list[bytes]:
    """Lets through what is of one of these processes; goes on with the next block otherwise."""
    checks = [
        _insn(_IF_EQUAL, _swapped(pid), len(pids) - number, 0) for number, pid in enumerate(pids)
    ]
    return [*checks, _insn(_GO, 1), _insn(_RETURN, _ALL)]
