# SPDX-License-Identifier: MIT
"""The preload library under the address and undefined-behaviour sanitizers.

The law: the same programs as ever; a report of a sanitizer's is a failure. It refuses to know
what they do.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.command import Login
from tests.documents import ROOT

pytestmark = pytest.mark.kernel

SANITIZED = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined"

COMMANDS = (
    "stream /srv/x", "flags /srv/x", "lowest /srv/x", "close_all /srv/x", "children /srv/x",
    "vforked /srv/x", "threads /srv/x", "rejoin /srv/x", "kinds /srv/x", "again /srv/x 100",
)  # fmt: skip

WRITTEN = (
    "numbers /srv/n 0 0 99 a -1 000000000000000000000 3", "print /srv/p 0", "reopen /srv/r",
    "offset /srv/o", "own /srv/w",
)  # fmt: skip


@pytest.fixture(scope="module")
def preloaded(built: Path) -> str:
    """What LD_PRELOAD says: the sanitizer first, then our library made with it."""
    library = built / "sanitized" / "libpagsrv-preload.so"
    subprocess.run(
        ["make", "--silent", "-C", str(ROOT / "contrib" / "c"), f"BUILD={library.parent}",
         f"CFLAGS={SANITIZED}", str(library)],
        check=True,
    )  # fmt: skip
    found = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    )
    return f"{found.stdout.strip()}:{library}"


def test_nothing_is_reported(
    login: Login, subject: str, writer: str, preloaded: str, short_tmp: Path
) -> None:
    """Neither of memory nor of arithmetic, whatever a program does; and nothing of ours leaks."""
    (short_tmp / "file").write_text("hello\n")
    login.must("post", "x", "--open", str(short_tmp / "file"))
    env = {"LD_PRELOAD": preloaded, "ASAN_OPTIONS": "exitcode=99", "LSAN_OPTIONS": "exitcode=99"}
    commands = [(subject, one) for one in COMMANDS] + [(writer, one) for one in WRITTEN]
    for program, command in commands:
        said = login.execute([program, *command.split()], env=env)
        assert (said.status, said.err) == (0, ""), command
    for stock in (["ls", "-l", "/srv"], ["cat", "/srv/x"], ["stat", "/srv/x"], ["rm", "/srv/x"]):
        # They leave memory of their own to the end.
        said = login.execute(stock, env=env | {"ASAN_OPTIONS": "exitcode=99:detect_leaks=0"})
        assert (said.status, said.err) == (0, ""), stock
