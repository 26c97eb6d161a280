# SPDX-License-Identifier: MIT
"""What kind of program a command is: whether the loader would give it a library of ours.

The law: read from the file itself, as the kernel and the loader will (elf(5), execve(2),
ld.so(8)); a file that may not be read is not judged. It refuses to know what the
library does.
"""

from __future__ import annotations

import os
import shutil
import struct
from typing import NamedTuple

_MAGIC = b"\x7fELF"
_SCRIPT = b"#!"
_INTERP = 3  # PT_INTERP
_HEADERS = 0x10000
_LINE = 256  # BINPRM_BUF_SIZE: what the kernel reads of a script's first line
_SCRIPTS = 5  # how deep a script's interpreter may be a script


class Program(NamedTuple):
    """An ELF file: for which machine it is, and the loader it asks for ("" if static)."""

    machine: tuple[int, int, int]
    """Class, byte order and e_machine."""
    loader: str


def unreachable(command: str, library: str) -> str | None:
    """Why *command* would not load *library*, as the end of a sentence; None if it would.

    A script is judged by its interpreter, a name without / along PATH.
    """
    path = shutil.which(command)
    for _ in range(_SCRIPTS):
        if path is None:
            return None
        try:
            with open(path, "rb") as file:
                head = file.read(_LINE)
        except OSError:
            return None
        if not head.startswith(_SCRIPT):
            return _program(path, library)
        words = head[len(_SCRIPT) :].partition(b"\n")[0].split()
        path = os.fsdecode(words[0]) if words else None
    return None


def _program(path: str, library: str) -> str | None:
    program = read(path)
    if program is None:
        return None
    ours, self = read(library), read("/proc/self/exe")
    if not program.loader:
        return f"{path} is linked statically, and loads no library"
    if ours is not None and program.machine != ours.machine:
        return f"{path} is for another kind of machine than {library}"
    if self is not None and program.loader != self.loader:
        return f"{path} has another C library, whose loader is {program.loader}"
    return _privileged(path)


def _privileged(path: str) -> str | None:
    """Whether the loader ignores LD_PRELOAD, as it does where an exec gives rights."""
    status = os.stat(path)
    gives = (status.st_mode & 0o4000 and status.st_uid != os.getuid()) or (
        status.st_mode & 0o2010 == 0o2010 and status.st_gid != os.getgid()
    )
    if not gives and os.getuid() != 0:
        try:
            gives = bool(os.getxattr(path, "security.capability"))
        except OSError:
            gives = False
    if gives:
        return f"{path} gets rights of its own when it is executed (setuid, setgid or capabilities)"
    return None


def read(path: str) -> Program | None:
    """The ELF file at *path*; None if it is none, is cut short, or may not be read."""
    try:
        with open(path, "rb") as file:
            return _parse(file.read(_HEADERS))
    except (OSError, struct.error):
        return None


def _parse(head: bytes) -> Program | None:
    if len(head) < 64 or not head.startswith(_MAGIC):
        return None
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    (machine,) = struct.unpack_from(f"{order}H", head, 18)
    (table,) = struct.unpack_from(f"{order}Q" if wide else f"{order}I", head, 32 if wide else 28)
    size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
    kind = (head[4], head[5], machine)
    for number in range(count):
        at = table + number * size
        if at + size > len(head):
            return None
        (what,) = struct.unpack_from(f"{order}I", head, at)
        if what == _INTERP:
            loader = _loader(head, at, order, wide=wide)
            return Program(kind, loader) if loader else None
    return Program(kind, "")


def _loader(head: bytes, at: int, order: str, *, wide: bool) -> str:
    where, length = (
        (*struct.unpack_from(f"{order}Q", head, at + 8),
         *struct.unpack_from(f"{order}Q", head, at + 32))
        if wide
        else (*struct.unpack_from(f"{order}I", head, at + 4),
              *struct.unpack_from(f"{order}I", head, at + 16))
    )  # fmt: skip
    return os.fsdecode(head[where : where + length].split(b"\0")[0])
