# SPDX-License-Identifier: MIT
"""`pagsrv exec --preload` before CMD runs: what it sets, and whom it turns away.

The law: what the library cannot reach is found from real programs of that kind. It refuses to
know what is done behind the door.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from pagsrv.doors import parts, preload, programs
from tests.cli.command import COMMAND, Login

LIBRARY = parts.library(preload.LIBRARY)


def refused(login: Login, *command: str) -> str:
    """Why `pagsrv exec --preload` does not run *command*."""
    said = login.execute([*COMMAND, "exec", "--preload", "--", *command])
    assert (said.status, said.out) == (126, "")
    assert said.err.startswith(f"pagsrv: --preload does not reach {command[0]}: ")
    assert said.err.count("\n") == 1
    return said.err


def program(path: Path, *options: str, compiler: str = "cc") -> str:
    """A program that does nothing, made with *options*."""
    source = path.with_suffix(".c")
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run([compiler, *options, "-o", str(path), str(source)], check=True)
    return str(path)


def test_a_static_program_is_turned_away(login: Login, short_tmp: Path) -> None:
    """With a sentence that says why, and what to do; a script is judged by its interpreter."""
    assert "busybox is linked statically" in refused(login, "busybox", "cat", "/srv/x")
    assert "leave --preload out" in refused(login, program(short_tmp / "pie", "-static-pie"))
    script = short_tmp / "script"
    script.write_text(f"#!{shutil.which('busybox')} sh\n")
    script.chmod(0o755)
    assert "is linked statically" in refused(login, str(script))


def test_another_c_library_is_turned_away(login: Login, short_tmp: Path) -> None:
    """Musl's loader would take ours for broken."""
    made = program(short_tmp / "musl", compiler="musl-gcc")
    assert "another C library, whose loader is /lib/ld-musl-" in refused(login, made)


def test_a_program_of_another_user_is_turned_away(
    login: Login, short_tmp: Path, other_uid: int
) -> None:
    """The loader ignores us where an exec gives rights."""
    made = program(short_tmp / "setuid")
    os.chown(made, other_uid, -1)
    os.chmod(made, 0o4755)  # noqa: S103 -- such files there are
    assert "gets rights of its own" in refused(login, made)
    os.chown(made, os.getuid(), other_uid)
    os.chmod(made, 0o2755)  # noqa: S103 -- such files there are
    assert "gets rights of its own" in refused(login, made)
    os.chmod(made, 0o755)  # noqa: S103 -- such files there are
    assert login.execute([*COMMAND, "exec", "--preload", "--", made]).status == 0


def test_what_cannot_be_judged_runs(login: Login, short_tmp: Path) -> None:
    """A command that is not there, or no program, is exec's to refuse."""
    said = login.execute([*COMMAND, "exec", "--preload", "--", "no-such-command"])
    assert said.status == 127
    (short_tmp / "text").write_text("no program")
    said = login.execute([*COMMAND, "exec", "--preload", "--", str(short_tmp / "text")])
    assert said.status == 126
    assert "cannot be run" in said.err


@pytest.mark.parametrize("cut", [0, 1, 40, 64, 200])
def test_a_file_cut_short_is_no_program(short_tmp: Path, cut: int) -> None:
    """Whatever is in the file, nothing is raised."""
    whole = Path("/bin/sh").resolve().read_bytes()
    (short_tmp / "cut").write_bytes(whole[:cut])
    assert programs.read(str(short_tmp / "cut")) is None
    assert programs.read("/bin/sh") == programs.read("/bin/cat")


def test_a_file_that_lies_about_itself_is_no_program(short_tmp: Path) -> None:
    """A program header that reaches behind the end, and a script that names no interpreter."""
    header = bytearray(Path("/bin/sh").resolve().read_bytes()[:64])
    struct.pack_into("<Q", header, 32, len(header))  # e_phoff; then e_phentsize and e_phnum
    struct.pack_into("<HH", header, 54, 4, 1)
    (short_tmp / "short").write_bytes(header + struct.pack("<I", 3))
    assert programs.read(str(short_tmp / "short")) is None
    (short_tmp / "script").write_text("#!")
    (short_tmp / "script").chmod(0o755)
    assert programs.unreachable(str(short_tmp / "script"), LIBRARY) is None


def test_the_environment() -> None:
    """Ours is first in LD_PRELOAD, once; whatever else is there stays."""
    made = preload.environment(["sh"], "/b/", "d", {"LD_PRELOAD": f"/a.so {LIBRARY}", "X": "y"})
    assert made == {
        "LD_PRELOAD": f"{LIBRARY}:/a.so", "X": "y", "PAGSRV_AT": "/b",
        "PAGSRV_DIR": os.path.abspath("d"),
    }  # fmt: skip
    assert "PAGSRV_DIR" not in preload.environment(["sh"], "/b", None, {})


@pytest.mark.parametrize("at", ["", "srv", "/", "//", "/srv/../etc", "/srv/.", "/a\0b"])
def test_a_place_that_is_none(at: str) -> None:
    """--at is an absolute path, plain, and not everything."""
    with pytest.raises(preload.NoPlace) as refusal:
        preload.place(at)
    assert refusal.value.status == 2


def test_no_broker_is_told_to_the_program(login: Login, short_tmp: Path) -> None:
    """Where nobody keeps entries, opening one is refused the connection; other files stay."""
    said = login.execute(
        [*COMMAND, "exec", "--preload", "--", "cat", "/srv/x", "/etc/hostname"],
        env={"PAGSRV_DIR": str(short_tmp)},
    )
    assert said.status == 1
    assert "/srv/x: Connection refused" in said.err
    assert said.out == Path("/etc/hostname").read_text()
