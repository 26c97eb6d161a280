# SPDX-License-Identifier: MIT
"""Where keyctl(2) is forbidden, as in many a container: what still works, and what is said.

The law: a real seccomp filter stands before the command. It refuses to know which
container has which.
"""

from __future__ import annotations

import errno
import platform
import sys

import pytest

from tests.cli.command import COMMAND, Login, Said

pytestmark = pytest.mark.kernel

# The numbers of add_key, request_key and keyctl: asm/unistd.h
CALLS = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}

# seccomp(2): SECCOMP_RET_ERRNO for three calls, SECCOMP_RET_ALLOW for the others.
FORBID = """
import ctypes, os, struct, sys
number, *words = sys.argv[1:]
def step(code, yes, no, k): return struct.pack("HBBI", code, yes, no, k)
program = step(0x20, 0, 0, 0)
for call in CALLS:
    program += step(0x15, 0, 1, call) + step(0x06, 0, 0, 0x00050000 | int(number))
program += step(0x06, 0, 0, 0x7FFF0000)
held = ctypes.create_string_buffer(program)
filter = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter, 0, 0):
    sys.exit("no filter: " + os.strerror(ctypes.get_errno()))
os.execv(words[0], words)
"""


@pytest.fixture(params=[errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
def forbidden(request: pytest.FixtureRequest) -> list[str]:
    """What stands before a command to forbid it the calls for keys, with that errno."""
    calls = CALLS.get(platform.machine())
    if calls is None:
        pytest.skip(f"the numbers of {platform.machine()}'s system calls are not known here")
    return [sys.executable, "-c", f"CALLS = {calls}\n{FORBID}", str(request.param), *COMMAND]


def test_other_scopes_serve_without_keys(login: Login, forbidden: list[str], name: str) -> None:
    """There is the user scope; whoami and a post without a scope say why there is no session."""

    def ask(*words: str) -> Said:
        return login.execute([*forbidden, *words])

    said = ask("whoami", "--json")
    told = said.objects()[0]
    assert (said.status, [one["proof"] for one in told["scopes"]]) == (0, ["user"])
    (why,) = [one["why"] for one in told["refused"] if one["scope"] == "session"]
    assert "a container may forbid keyctl" in why
    assert told["default"] is None
    assert ask("post", name, "--empty").status == 7
    assert ask("post", name, "--empty", "--scope", "user") == (0, "", "")
    assert ask("rm", name) == (0, "", "")


def test_no_session_is_promised_without_keys(login: Login, forbidden: list[str]) -> None:
    """A session is 7; doctor says what to let through, and does not send people in a circle."""
    said = login.execute([*forbidden, "session", "--", "echo", "ran"])
    assert (said.status, said.out) == (7, "")
    assert "a container may forbid keyctl" in said.err
    told = login.execute([*forbidden, "doctor", "--json"]).objects()
    findings = {one["check"]: one for one in told}
    for check in ("keyrings", "session"):
        assert not findings[check]["ok"]
        assert "seccomp" in findings[check]["do"]
        assert "pagsrv session" not in findings[check]["do"]
