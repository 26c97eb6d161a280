# SPDX-License-Identifier: MIT
"""What lies beneath a posted directory, through the doors that resolve there.

The law: stock programs, which know nothing of it. It refuses to know whose rights that takes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import COMMAND, Login

pytestmark = pytest.mark.kernel

doors = pytest.mark.parametrize("door", [(), ("--preload",)], ids=["seccomp", "preload"])


@doors
def test_files_are_read(login: Login, name: str, short_tmp: Path, door: tuple[str, ...]) -> None:
    """They have their size, kind and contents; directories are listed."""
    (short_tmp / "a").mkdir()
    (short_tmp / "a" / "b.txt").write_text("inside\n")
    login.must("post", name, "--open", str(short_tmp))
    below = f"/srv/{name}/a"
    script = (
        f"cat {below}/b.txt; stat -c '%s %F' {below}/b.txt {below}; ls {below}; "
        f"test -r {below}/b.txt && echo there; test -e {below}/c || echo and no more"
    )
    said = login.execute([*COMMAND, "exec", *door, "--", "sh", "-c", script])
    size = (short_tmp / "a").stat().st_size
    assert said == (
        0,
        f"inside\n7 regular file\n{size} directory\nb.txt\nthere\nand no more\n",
        "",
    )


@doors
def test_nothing_is_written_and_nothing_leaves(
    login: Login, name: str, short_tmp: Path, door: tuple[str, ...]
) -> None:
    """Without the write right the files stay as they are; and links lead nowhere else."""
    (short_tmp / "b.txt").write_text("inside\n")
    (short_tmp / "out").symlink_to("/etc/passwd")
    login.must("post", name, "--open", str(short_tmp))
    login.must("setperm", name, "als-rv------------------")
    below = f"/srv/{name}"
    tries = (
        f"echo > {below}/b.txt", f"echo >> {below}/b.txt", f": > {below}/new", f"rm {below}/b.txt",
        f"mv {below}/b.txt {below}/c.txt", f"mkdir {below}/d", f"cat {below}/out",
    )  # fmt: skip
    script = "; ".join(f"({one}) 2>/dev/null && echo done" for one in tries)
    said = login.execute([*COMMAND, "exec", *door, "--", "sh", "-c", f"{script}; true"])
    assert said == (0, "", "")
    assert sorted(one.name for one in short_tmp.iterdir()) == ["b.txt", "out"]
    assert (short_tmp / "b.txt").read_text() == "inside\n"
