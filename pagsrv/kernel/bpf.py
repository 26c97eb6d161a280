# SPDX-License-Identifier: MIT
"""Programs for the kernel: loaded, attached and pinned by libbpf.so.1.

The law: what libbpf or the kernel refuses is a BpfFault with a sentence that says
what is missing here; descriptors are owned, and what is loaded goes with its
owner unless it was pinned. It refuses to know what a program does.
"""

from __future__ import annotations

import os
import struct
from errno import EACCES, EINVAL, ENOENT, EPERM, ESRCH
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Self

from pagsrv.errors import PagsrvError
from pagsrv.kernel.fd import Fd

if TYPE_CHECKING:
    import ctypes
    from types import ModuleType, TracebackType

OBJECT = os.path.join(os.path.dirname(__file__), "peerkeyring.bpf.o")
"""What contrib/bpf/build.sh compiles; package data."""

_BTF = "/sys/kernel/btf/vmlinux"
_LOCKDOWN = "/sys/kernel/security/lockdown"
_ROOT_INODE = 1  # of the root cgroup of the one cgroup2 hierarchy (kernel/cgroup/cgroup.c)
_READ = 65536  # bytes
_TASK = struct.Struct("4I")  # tid, pid and pid_fd of union bpf_iter_link_info (linux/bpf.h)
_LINK = struct.Struct("@NIPI36x")  # struct bpf_link_create_opts (bpf/bpf.h), its union left 0


class BpfFault(PagsrvError):
    """The kernel, or libbpf, does not take a program; `number` is the errno, 0 if there is none."""

    def __init__(self, sentence: str, number: int = 0) -> None:
        self.number = number
        super().__init__(sentence)


class _Library(NamedTuple):
    """libbpf.so.1 with the types of the calls used here; ctypes is loaded by whoever needs it."""

    ctypes: ModuleType
    calls: ctypes.CDLL
    quiet: object


@lru_cache(maxsize=1)
def _library() -> _Library:
    import ctypes  # noqa: PLC0415 -- costs milliseconds that the commands save

    try:
        calls = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise BpfFault("there is no libbpf.so.1 here: install libbpf (Debian: libbpf1)") from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    shapes = {
        "bpf_object__open_file": (pointer, (text, pointer)),
        "bpf_object__load": (number, (pointer,)),
        "bpf_object__close": (None, (pointer,)),
        "bpf_object__next_program": (pointer, (pointer, pointer)),
        "bpf_object__find_program_by_name": (pointer, (pointer, text)),
        "bpf_program__set_autoload": (number, (pointer, ctypes.c_bool)),
        "bpf_program__name": (text, (pointer,)),
        "bpf_program__fd": (number, (pointer,)),
        "bpf_program__expected_attach_type": (number, (pointer,)),
        "bpf_link_create": (number, (number, number, number, pointer)),
        "bpf_link_update": (number, (number, number, pointer)),
        "bpf_link_detach": (number, (number,)),
        "bpf_iter_create": (number, (number,)),
        "bpf_obj_pin": (number, (number, text)),
        "bpf_obj_get": (number, (text,)),
    }
    for name, (result, arguments) in shapes.items():
        call = getattr(calls, name)
        call.restype, call.argtypes = result, arguments
    # What libbpf tells, it tells on stderr, at length; the reason is said here in a sentence.
    quiet = ctypes.CFUNCTYPE(number, number, text, pointer)(lambda *_: 0)
    calls.libbpf_set_print(quiet)
    return _Library(ctypes, calls, quiet)


def _fault(what: str, number: int) -> BpfFault:
    """The sentence for *what* having failed with errno *number*."""
    return BpfFault(f"{what} failed: {os.strerror(number)}{_hint(number)}", number)


def _hint(number: int) -> str:
    if number in (EPERM, EACCES) and "[confidentiality]" in _first_line(_LOCKDOWN):
        return "; the kernel is locked down (confidentiality) and shows itself to no program"
    if number == EPERM:
        return "; it takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, as root has outside containers"
    if number in (EACCES, EINVAL, ENOENT, ESRCH):
        return "; this kernel may be too old for it (Linux 6.2), or have no BPF for cgroups"
    return ""


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline()
    except OSError:
        return ""


def _number(result: int, what: str) -> int:
    """*result* of a call that gives a number, or its errno below zero."""
    if result < 0:
        raise _fault(what, -result)
    return result


def missing(path: str = OBJECT) -> str:
    """What is not here that loading the object file *path* takes; '' if it all is."""
    try:
        _library()
    except BpfFault as fault:
        return str(fault)
    if not os.path.exists(path):
        return (
            f"{path} is not there: contrib/bpf/build.sh compiles it where clang and libbpf's "
            "headers are (Debian: clang, libbpf-dev)"
        )
    if not os.path.exists(_BTF):
        return f"this kernel does not describe itself to programs: there is no {_BTF}"
    return ""


class Program:
    """A loaded program of an object file; goes with close(), but for what is attached of it."""

    def __init__(self, name: str, path: str = OBJECT) -> None:
        """Load the program *name* of the object file *path*, and no other of it."""
        self._object: int | None = None
        why = missing(path)
        if why:
            raise BpfFault(why)
        ctypes, calls, _ = _library()
        self._object = calls.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise _fault(f"opening {path}", ctypes.get_errno())
        try:
            self._program = self._only(name)
            _number(calls.bpf_object__load(self._object), f"loading the program {name}")
            self.fd = calls.bpf_program__fd(self._program)
            self._type = calls.bpf_program__expected_attach_type(self._program)
        except BaseException:
            self.close()
            raise

    def _only(self, name: str) -> int:
        calls = _library().calls
        program: int | None = calls.bpf_object__find_program_by_name(self._object, name.encode())
        if not program:
            raise BpfFault(f"there is no program {name} in the object file")
        other = calls.bpf_object__next_program(self._object, None)
        while other:
            calls.bpf_program__set_autoload(other, other == program)
            other = calls.bpf_object__next_program(self._object, other)
        return program

    def attach_cgroup(self, cgroup: int) -> Fd:
        """Attach it to the cgroup of that descriptor, beside others; the link, the caller's."""
        made = _library().calls.bpf_link_create(self.fd, cgroup, self._type, None)
        return Fd(_number(made, "attaching to the cgroup"))

    def attach_iterator(self, *, pid: int = 0, tid: int = 0) -> Fd:
        """An iterator over process *pid*'s part, or thread *tid*'s, or over everybody's.

        The link, the caller's. The number is looked up anew, in the reader's process namespace,
        whenever somebody reads.
        """
        ctypes, calls, _ = _library()
        info = ctypes.create_string_buffer(_TASK.pack(tid, pid, 0, 0), _TASK.size)
        options = None
        if pid or tid:
            raw = _LINK.pack(_LINK.size, 0, ctypes.addressof(info), _TASK.size)
            options = ctypes.create_string_buffer(raw, _LINK.size)
        made = calls.bpf_link_create(self.fd, 0, self._type, options)
        return Fd(_number(made, "attaching the iterator"))

    def replace_in(self, link: Fd) -> None:
        """Have *link* run this program from now on, without a moment in which none runs."""
        done = _library().calls.bpf_link_update(link.fileno(), self.fd, None)
        _number(done, "replacing the program")

    def close(self) -> None:
        """Forget it; what is attached runs on while its link lives."""
        if self._object:
            _library().calls.bpf_object__close(self._object)
            self._object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def detach(link: Fd) -> None:
    """Stop the program of *link* now, whoever else holds or has pinned it."""
    _number(_library().calls.bpf_link_detach(link.fileno()), "detaching")


def pin(link: Fd, path: str) -> None:
    """Keep *link* alive under *path*, in a bpf file system, after every descriptor of it."""
    _number(_library().calls.bpf_obj_pin(link.fileno(), os.fsencode(path)), f"pinning at {path}")


def pinned(path: str) -> Fd | None:
    """What is pinned at *path*, the caller's; None if nothing is."""
    got = _library().calls.bpf_obj_get(os.fsencode(path))
    return None if got == -ENOENT else Fd(_number(got, f"taking what is pinned at {path}"))


def read_iterator(link: Fd) -> bytes:
    """Run the iterator of *link* once, to its end: everything it writes."""
    made = _library().calls.bpf_iter_create(link.fileno())
    parts = []
    with Fd(_number(made, "starting the iterator")) as run:
        try:
            while part := os.read(run.fileno(), _READ):
                parts.append(part)
        except OSError as error:
            raise _fault("reading the iterator", error.errno or 0) from error
    return b"".join(parts)


# ---- the root cgroup -----------------------------------------------------------------------------


def root_cgroup() -> Fd:
    """The root of the cgroup v2 hierarchy, the caller's; BpfFault where it is not to be had."""
    found = ""
    for path, kind in mounts():
        if kind != "cgroup2":
            continue
        try:
            cgroup = Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError:
            continue
        if os.fstat(cgroup.fileno()).st_ino == _ROOT_INODE:
            return cgroup
        cgroup.close()
        found = path
    if found:
        raise BpfFault(
            f"{found} is a part of the cgroups only, as in a container, where not every socket "
            "would be covered: do this on the host"
        )
    raise BpfFault("no cgroup v2 is mounted here (cgroup2 in /proc/self/mountinfo)")


def mounts() -> list[tuple[str, str]]:
    """Each mount's place and kind of file system (proc_pid_mountinfo(5)), later ones on top."""
    found = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            before, _, after = line.partition(b" - ")
            path = before.split(b" ")[4].decode("unicode_escape").encode("latin-1")
            found.append((os.fsdecode(path), os.fsdecode(after.split(b" ")[0])))
    return found
