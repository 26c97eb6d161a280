# SPDX-License-Identifier: MIT
"""Somebody's file system that opens every file and then does not answer, as a hostile one would.

    with silent(directory) as path:
        …    # open(path) works; read(2) and close(2) of it wait

The law: whoever waits for it is told ECONNABORTED at the end. It refuses to know who waits.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSYS

from pagsrv.doors.fuse.mounting import Mount
from pagsrv.kernel import fuse
from pagsrv.kernel.fuse import Attributes, Question
from pagsrv.kernel.libc import libc

_FORCE, _DETACH = 1, 2  # MNT_FORCE, MNT_DETACH of sys/mount.h
_FILE, _ROOT_MODE = 2, stat.S_IFDIR | 0o777
_UNANSWERED = (fuse.READ, fuse.WRITE, fuse.FLUSH, fuse.FSYNC, fuse.POLL, fuse.SETATTR)


def _answer(question: Question) -> bytes | None:
    root = Attributes(fuse.ROOT, _ROOT_MODE, 0, 0, links=2)
    file = Attributes(_FILE, stat.S_IFREG | 0o666, 0, 0)
    match question.opcode:
        case fuse.INIT:
            _, minor, readahead, flags = question.fields(fuse.INIT_IN)
            return fuse.begun(minor, readahead, flags)
        case fuse.LOOKUP:
            return fuse.entry(_FILE, file)
        case fuse.GETATTR:
            return fuse.attributes_of(root if question.node == fuse.ROOT else file)
        case fuse.OPEN:
            return fuse.opened(1, fuse.DIRECT_IO)
    return None


def _serve(device: int) -> None:
    while True:
        try:
            raw = os.read(device, fuse.MOST_IO + 4096)
        except OSError:
            return  # taken down
        question = fuse.parse(memoryview(raw))
        if question.opcode in (*_UNANSWERED, fuse.FORGET, fuse.INTERRUPT):
            continue
        answer = _answer(question)
        os.write(device, fuse.reply(question.unique, answer or b"", 0 if answer else ENOSYS))


@contextmanager
def silent(directory: str) -> Iterator[str]:
    """A file of it, mounted at *directory*; only root can."""
    with Mount(directory) as mount:
        served = threading.Thread(target=_serve, args=(mount.fd.fileno(),), daemon=True)
        served.start()
        try:
            yield f"{mount.path}/file"
        finally:
            # Whoever waits is told; taken down alone it would wait on.
            libc().umount2(os.fsencode(mount.path), _FORCE)
            libc().umount2(os.fsencode(mount.path), _DETACH)
            served.join(10)
