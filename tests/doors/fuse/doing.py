# SPDX-License-Identifier: MIT
"""What actors do in a mount: with the kernel's calls, to hear the errno; and with programs.

The law: a function holds what it opens in the actor's `held`, by a name, until told to close it. It
refuses to know what a test expects.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.actors import held
from tests.anybody import bare_environment
from tests.cli.command import Said

SECONDS = 20


def shell(script: str, *, argv: tuple[str, ...] = ("sh", "-c"), cwd: str = "/") -> Said:
    """Run *script* to its end, in the actor's session."""
    done = subprocess.run(
        [*argv, script], env=bare_environment(), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=SECONDS, cwd=cwd, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def fault(function: Callable[..., Any], *args: Any) -> str:  # noqa: ANN401 -- any call
    """The name of the errno that *function* fails with; '' if it does not."""
    try:
        function(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def open_at(path: str, flags: int, name: str = "file") -> int:
    """Open *path*, held as *name*."""
    held[name] = os.open(path, flags, 0o666)
    return int(held[name])


def close(*names: str) -> None:
    """Close what is held."""
    for name in names:
        os.close(held.pop(name))


def a_pipe() -> tuple[int, int]:
    """A pipe; its ends are held as `r` and `w`."""
    held["r"], held["w"] = os.pipe()
    return held["r"], held["w"]


def a_socketpair() -> tuple[int, int]:
    """A pair; its ends are held as `r` and `w`."""
    one, other = socket.socketpair()
    held["r"], held["w"] = one.detach(), other.detach()
    return held["r"], held["w"]


def a_file(path: str, text: bytes = b"") -> int:
    """A new file of that text, opened for reading and writing, held as `f`, its offset 0."""
    held["f"] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(held["f"], text)
    os.lseek(held["f"], 0, os.SEEK_SET)
    return int(held["f"])


def assign(path: str, number: int) -> str:
    """Write *number* into the file at *path*, made if need be; the errno's name, or ''."""
    return write_new(path, b"%d\n" % number)


def write_new(path: str, data: bytes, flags: int = os.O_WRONLY | os.O_CREAT) -> str:
    """Open *path* and write *data* into it; the errno's name, or ''."""
    try:
        fd = os.open(path, flags, 0o666)
    except OSError as error:
        return "open " + errno.errorcode[error.errno or 0]
    try:
        return fault(os.write, fd, data)
    finally:
        os.close(fd)


def write(name: str, data: bytes) -> int:
    """Write into what is held as *name*."""
    return os.write(held[name], data)


def write_at(name: str, data: bytes, offset: int) -> int:
    """The same, at *offset*."""
    return os.pwrite(held[name], data, offset)


def write_fault(name: str, data: bytes) -> str:
    """The errno's name of a write into what is held as *name*; '' if there is none."""
    return fault(os.write, held[name], data)


def write_at_fault(name: str, data: bytes, offset: int) -> str:
    """The same, at *offset*."""
    return fault(os.pwrite, held[name], data, offset)


def read(name: str, size: int = 4096) -> bytes:
    """Read from what is held as *name*."""
    return os.read(held[name], size)


def read_fault(name: str) -> str:
    """The errno's name of a read of what is held as *name*; '' if there is none."""
    return fault(os.read, held[name], 10)


def offset_of(name: str) -> int:
    """Where the offset of what is held as *name* is."""
    return os.lseek(held[name], 0, os.SEEK_CUR)


def read_path(path: str, size: int = 4096) -> bytes:
    """Open *path* and read from it once."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def set_nonblocking(name: str) -> None:
    """Set O_NONBLOCK of what is held as *name*."""
    flags = fcntl.fcntl(held[name], fcntl.F_GETFL)
    fcntl.fcntl(held[name], fcntl.F_SETFL, flags | os.O_NONBLOCK)


def polled(name: str, events: int, milliseconds: int = 0) -> int:
    """What poll(2) says of what is held as *name*."""
    look = select.poll()
    look.register(held[name], events)
    return next((found for _, found in look.poll(milliseconds)), 0)


def stays_polling(name: str, events: int) -> None:
    """Have a thread wait in poll(2), and then in epoll by edges; `heard` ends the wait."""
    held["heard"] = []

    def wait() -> None:
        held["heard"].append(polled(name, events, SECONDS * 1000))

    held["thread"] = threading.Thread(target=wait)
    held["thread"].start()


def stays_reading(path: str) -> None:
    """Have a thread open *path* and wait in read(2); `heard` has the errno's name it ends with."""
    held["heard"] = []
    opened = threading.Event()

    def wait() -> None:
        fd = os.open(path, os.O_RDONLY)
        opened.set()
        held["heard"].append(fault(os.read, fd, 10))
        os.close(fd)

    held["thread"] = threading.Thread(target=wait)
    held["thread"].start()
    assert opened.wait(SECONDS)
    wait_until_writing(held["thread"].native_id, "vfs_read")


def stays_looking(path: str) -> None:
    """Have a thread wait in stat(2) of *path*; `heard` has the errno's name it ends with."""
    held["heard"] = []
    held["thread"] = threading.Thread(target=lambda: held["heard"].append(fault(os.stat, path)))
    held["thread"].start()
    wait_until_writing(held["thread"].native_id, "statx")


def heard() -> list[Any]:
    """What the thread of `stays_polling` or `stays_reading` heard."""
    held.pop("thread").join(SECONDS)
    return list(held.pop("heard"))


def edges(name: str, events: int) -> None:
    """An edge-triggered epoll of what is held as *name*."""
    held["epoll"] = select.epoll()
    held["epoll"].register(held[name], events | select.EPOLLET)


def edge(seconds: float) -> int:
    """What that epoll hears next."""
    return next((found for _, found in held["epoll"].poll(seconds)), 0)


def end_edges() -> None:
    """Let go of it."""
    held.pop("epoll").close()


def start_reader(path: str, count: int = 1) -> list[int]:
    """Start *count* processes of cat(1) that read *path*; their ids, once they all have it open."""
    started = held.setdefault("readers", [])
    for _ in range(count):
        started.append(
            subprocess.Popen(
                ["cat", path],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=bare_environment(),
            )
        )
    return [one.pid for one in started]


def signal_readers(number: int = signal.SIGTERM) -> list[int]:
    """Send them a signal, and wait for each; how they ended."""
    for one in held.get("readers", []):
        one.send_signal(number)
    return end_readers()[0]


def end_readers() -> tuple[list[int], list[bytes]]:
    """Wait for each; how they ended, and what they read."""
    found = [(one, one.communicate(timeout=SECONDS)) for one in held.pop("readers", [])]
    return [one.returncode for one, _ in found], [told[0] for _, told in found]


def xattrs(path: str) -> dict[str, str]:
    """The extended attributes of *path*."""
    return {name: os.getxattr(path, name).decode() for name in os.listxattr(path)}


def cycle(path: str, times: int) -> None:
    """Open, read and close it so many times; its name is looked up once (O_PATH of open(2))."""
    place = os.open(path, os.O_PATH)
    for _ in range(times):
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY)
        os.read(fd, 10)
        os.close(fd)
    os.close(place)


def interrupted_read(name: str) -> str:
    """Read, and be interrupted by a timer's signal meanwhile: the errno's name."""
    import ctypes  # noqa: PLC0415 -- Python's own read would begin anew

    call = ctypes.CDLL(None, use_errno=True).read
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    buffer = ctypes.create_string_buffer(10)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        got = call(held[name], buffer, 10)
        return "" if got >= 0 else errno.errorcode[ctypes.get_errno()]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def number_of(name: str) -> int:
    """The number of what is held as *name*."""
    return int(held[name])


def post_held(directory: str, entry: str, name: str) -> None:
    """Post what is held as *name* as *entry*, by the library."""
    import pagsrv  # noqa: PLC0415 -- what an actor loads it loads itself

    with pagsrv.connect(directory) as board:
        board.post(entry, held[name])


def replace_held(directory: str, entry: str, name: str) -> None:
    """Have *entry* be what is held as *name*."""
    import pagsrv  # noqa: PLC0415 -- as above

    with pagsrv.connect(directory) as board:
        board.post(entry, held[name], replace=True)


def wait_until_reading() -> None:
    """Return when each process of `start_reader` waits for the mount."""
    deadline = time.monotonic() + SECONDS
    waiting = [one.pid for one in held["readers"]]
    while waiting:
        assert time.monotonic() < deadline, f"{waiting} do not wait"
        waiting = [pid for pid in waiting if not _waits(pid)]
        os.sched_yield()


def _waits(pid: int, call: str = "vfs_read") -> bool:
    """Whether thread *pid* is in that call of a file of FUSE's (proc_pid_stack(5))."""
    with open(f"/proc/{pid}/stack") as stack:
        told = stack.read()
    return call in told and "fuse" in told


def fill(name: str) -> int:
    """Write into what is held as *name*, which does not wait, until it takes no more; the bytes."""
    sent = 0
    try:
        while True:
            sent += os.write(held[name], bytes(4096))
    except BlockingIOError:
        return sent


def drain(name: str, size: int) -> int:
    """Read *size* bytes from what is held as *name*; how many came."""
    got = 0
    while got < size and (part := os.read(held[name], size - got)):
        got += len(part)
    return got


def shell_between(script: str, name: str, size: int) -> Said:
    """Run *script*, and read *size* bytes from what is held as *name* meanwhile."""
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.append(drain(name, size)))
    reader.start()
    said = shell(script)
    reader.join(SECONDS)
    assert found == [size]
    return said


def a_terminal() -> tuple[int, int]:
    """A terminal, held as `r`, and its other end, held as `w`."""
    held["w"], held["r"] = os.openpty()
    return held["r"], held["w"]


def an_eventfd() -> int:
    """One, held as `e`."""
    held["e"] = os.eventfd(0)
    return int(held["e"])


def start_writer(name: str) -> int:
    """A process that writes the number of a pipe of its own into what is held as *name*."""
    pid = os.fork()
    if pid == 0:
        try:
            reading, _ = os.pipe()
            os.write(held[name], b"%d" % reading)
        finally:
            os._exit(0)
    return pid


def wait_until_writing(pid: int, call: str = "vfs_write") -> None:
    """Return when thread *pid* waits for the mount, in that call."""
    deadline = time.monotonic() + SECONDS
    while not _waits(pid, call):
        assert time.monotonic() < deadline, f"{pid} does not wait"
        os.sched_yield()


def status_of(pid: int) -> int:
    """Wait for our child *pid*: its status, below zero the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def clear_nonblocking(name: str) -> None:
    """Clear O_NONBLOCK of what is held as *name*."""
    flags = fcntl.fcntl(held[name], fcntl.F_GETFL)
    fcntl.fcntl(held[name], fcntl.F_SETFL, flags & ~os.O_NONBLOCK)


def start_shell(script: str) -> int:
    """A child of ours that runs *script*; its id."""
    return os.posix_spawn("/bin/sh", ["sh", "-c", script], bare_environment())


def open_many(path: str, most: int) -> tuple[int, str]:
    """Open *path* up to so many times: how often that went well, and the errno's name."""
    held["many"] = []
    try:
        while len(held["many"]) < most:
            held["many"].append(os.open(path, os.O_WRONLY))
    except OSError as error:
        return len(held["many"]), errno.errorcode[error.errno or 0]
    return len(held["many"]), ""


def close_many() -> None:
    """Close them."""
    for fd in held.pop("many"):
        os.close(fd)


def first_to_end(pids: list[int]) -> int:
    """Which of our children ends first, with a failure."""
    pid, status = os.wait()
    assert pid in pids
    assert os.waitstatus_to_exitcode(status) == 1
    return pid


def reap() -> None:
    """Wait until none of our children is left."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return
