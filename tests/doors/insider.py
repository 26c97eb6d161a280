# SPDX-License-Identifier: MIT
"""What a process behind the seccomp door sees of its supervisor, and does to it; one JSON line.

    python insider.py leaks PATH COUNT BROKER    descriptors held before and after COUNT opens
    python insider.py survives PATH              opened while either supervisor is killed
    python insider.py rights PATH                what the supervisors could still get
    python insider.py alone PATH                 opened when both are
    python insider.py leaves PATH                a child that outlives this process opens it
    python insider.py waits PATH BROKER          other files while the broker is stopped

The law: it knows its supervisor by the door's directory in its words, and touches no other
process. Nothing here waits for time to pass. It refuses to know what should be so.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import threading
from pathlib import Path


def supervisors(path: str) -> list[int]:
    """The processes that serve the directory of *path*, the older first; zombies left out."""
    word = f"--at={os.path.dirname(path)}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if word in words and words[0].endswith(b"pagsrv-exec"):
                started = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[19]
                found.append((int(started), int(name)))
        except OSError:
            continue
    return [pid for _, pid in sorted(found)]


def held(pid: int) -> int:
    """How many descriptors process *pid* holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def kill(pid: int) -> None:
    """End *pid*; it is gone when this returns."""
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([pidfd], [], [])
    os.close(pidfd)


def read(path: str) -> str:
    """What is in *path*, or the name of the error."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    text = os.pread(fd, 100, 0)
    os.close(fd)
    return text.decode()


def leaks(path: str, count: str, broker: str) -> object:
    """Descriptors of ours, the supervisor's and the broker's: before, after."""
    read(path)
    everybody = [os.getpid(), supervisors(path)[0], int(broker)]
    before = [held(pid) for pid in everybody]
    for _ in range(int(count)):
        os.close(os.open(path, os.O_RDONLY))
    return [before, [held(pid) for pid in everybody]]


def survives(path: str) -> object:
    """Who was killed, and everything read meanwhile that was not the file."""
    strange: list[str] = []
    over = threading.Event()
    good = read(path)

    def opens() -> None:
        while not over.is_set():
            text = read(path)
            if text != good:
                strange.append(text)

    threads = [threading.Thread(target=opens) for _ in range(4)]
    for thread in threads:
        thread.start()
    killed = []
    for turn in range(6):
        here: list[int] = []
        while len(here) < 2:
            here = supervisors(path)
        kill(here[turn % 2])
        killed.append(here[turn % 2])
        read(path)
    over.set()
    for thread in threads:
        thread.join()
    return [len(set(killed)), good, strange]


def rights(path: str) -> object:
    """Whether each supervisor can get rights by executing something."""
    told = [Path(f"/proc/{pid}/status").read_text() for pid in supervisors(path)]
    return ["NoNewPrivs:\t1\n" in one for one in told]


def alone(path: str) -> object:
    """What an open is answered when nobody is left to answer."""
    both = supervisors(path)
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    for pid in both:
        kill(pid)
    return [read(path), read("/etc/passwd"), os.getpid() > 0]


def leaves(path: str) -> object:
    """Nothing of ours: the child's word comes when we are gone, by descriptor 1."""
    ours = os.pidfd_open(os.getpid())
    if os.fork():
        os._exit(0)
    select.select([ours], [], [])
    return read(path)


def waits(path: str, broker: str) -> object:
    """Whether another file could be opened while opens of *path* waited for the broker."""
    os.kill(int(broker), signal.SIGSTOP)
    try:
        threads = [threading.Thread(target=read, args=(path,)) for _ in range(200)]
        for thread in threads:
            thread.start()
        other = [len(read("/etc/passwd")) > 0 for _ in range(20)]
        alive = all(thread.is_alive() for thread in threads)
    finally:
        os.kill(int(broker), signal.SIGCONT)
    for thread in threads:
        thread.join()
    return [all(other), alive]


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(globals()[sys.argv[1]](*sys.argv[2:]))}\n")
