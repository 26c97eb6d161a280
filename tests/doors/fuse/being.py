# SPDX-License-Identifier: MIT
"""Who actors are at a mount: another uid, another session, a thread of its own; and their doors.

The law: what changes an actor is said by its name, and lasts as long as the actor. It refuses to
know what a test expects.
"""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from pagsrv.kernel import keys, threads
from pagsrv.kernel.libc import libc
from tests.actors import held
from tests.doors.fuse.doing import SECONDS, assign, fault


def borrow(pid: int, number: int, name: str) -> None:
    """Hold descriptor *number* of process *pid*, as *name*."""
    with threads.open_thread(pid) as pidfd:
        held[name] = threads.descriptor(pidfd, number).detach()


def dumpable() -> None:
    """Let others of our uid trace us, as they may who has not changed its uid."""
    libc().prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE of linux/prctl.h


def set_fsuid(uid: int) -> None:
    """Be *uid* for files alone."""
    libc().setfsuid(uid)


def assign_in_a_thread(path: str) -> str:
    """Assign a pipe with text that one thread alone has; the errno's name, or ''."""
    found: list[str] = []

    def run() -> None:
        assert not libc().unshare(0x400)  # CLONE_FILES of linux/sched.h
        reading, writing = os.pipe()
        os.write(writing, b"of the thread")
        found.append(assign(path, reading))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def become_user(uid: int, place: str) -> None:
    """Be *uid* for good, who has a name and may use /dev/fuse, as usual: in a mount namespace."""
    assert not libc().unshare(0x20000)  # CLONE_NEWNS of linux/sched.h
    assert not libc().mount(None, b"/", None, 0x4000 | 1 << 18, None)  # MS_REC | MS_PRIVATE
    assert not libc().mount(b"none", place.encode(), b"tmpfs", 0, b"mode=0755")
    node = f"{place}/fuse"
    os.mknod(node, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    os.chmod(node, 0o666)  # noqa: S103 -- as distributions have it
    names = f"{place}/passwd"
    with open("/etc/passwd") as known, open(names, "w") as file:
        # fusermount3 mounts for nobody who has none.
        file.write(f"{known.read()}somebody:x:{uid}:{uid}::/:/bin/sh\n")
    for ours, theirs in ((node, b"/dev/fuse"), (names, b"/etc/passwd")):
        assert not libc().mount(ours.encode(), theirs, None, 0x1000, None)  # MS_BIND
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    keys.join_session(None)  # one of its own: root's would be nobody's session
    dumpable()


def start_door(words: list[str], env: dict[str, str]) -> tuple[int | None, str, str]:
    """Start a door in our session: its status if it has ended, its first line, its complaint."""
    door = subprocess.Popen(
        words, env=env, cwd="/", text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert door.stdout is not None
    said = door.stdout.readline()
    if said:
        held["door"] = door
        return None, said, ""
    _, complaint = door.communicate(timeout=SECONDS)
    return door.returncode, "", complaint


def end_door() -> int | None:
    """End it; its status, None if there is none."""
    door = held.pop("door", None)
    if door is None:
        return None
    door.terminate()
    _, complaint = door.communicate(timeout=SECONDS)
    assert complaint == ""
    return int(door.returncode)


def elsewhere(function: Callable[..., Any], *args: Any) -> str:  # noqa: ANN401 -- any call
    """As `fault`, in a child that has joined another session."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            keys.join_session(None)
            os.write(writing, fault(function, *args).encode() + b".")
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as told:
        found = told.read().decode()
    os.waitpid(pid, 0)
    assert found.endswith(".")
    return found[:-1]


def elsewhere_in_a_thread(function: Callable[..., Any], *args: Any) -> str:  # noqa: ANN401
    """As `elsewhere`, in a thread of our own that has joined another session."""
    found: list[str] = []

    def run() -> None:
        keys.join_session(None)
        found.append(fault(function, *args))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]
