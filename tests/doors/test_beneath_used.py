# SPDX-License-Identifier: MIT
"""What lies beneath a posted directory, through `pagsrv exec` and its library, by stock programs.

The law: it is opened with its poster's rights, for what is asked; nothing is made there. It
refuses to know how a door reaches it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Login

pytestmark = pytest.mark.kernel

DOORS = ("exec", "exec --preload")


@pytest.fixture
def tree(short_tmp: Path) -> Path:
    """A directory with a few files in it."""
    top = short_tmp / "docs"
    (top / "a").mkdir(parents=True)
    (top / "a" / "b.txt").write_text("one\ntwo\n")
    (top / "readme").write_text("read me\n")
    (top / "first").symlink_to("a/b.txt")
    (top / "out").symlink_to("/etc/passwd")
    return top


READS = (
    ("cat {}/a/b.txt", "one\ntwo\n"),
    ("cat {}/first", "one\ntwo\n"),
    ("ls {}", "a\nfirst\nout\nreadme\n"),
    ("ls {}/a {}/", "{}/:\na\nfirst\nout\nreadme\n\n{}/a:\nb.txt\n"),
    ("stat -c %F {} {}/a {}/readme", "directory\ndirectory\nregular file\n"),
    ("stat -c %s {}/a/b.txt", "8\n"),
    ("find {} -name b.txt", "{}/a/b.txt\n"),
    ("exec 3<{}/a/b.txt; read line <&3; cat <&3", "two\n"),
    ("test -d {}/a && test -r {}/readme && test -w {}/readme && test ! -e {}/no && echo y", "y\n"),
    ("grep -rh two {}/a", "two\n"),
)  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("said_of", READS, ids=lambda pair: pair[0])
def test_stock_programs_look_and_read(
    login: Login, name: str, tree: Path, door: str, said_of: tuple[str, str]
) -> None:
    """As in any directory."""
    script, says = said_of
    login.must("post", name, "--open", str(tree))
    at = f"/srv/{name}"
    said = login(*door.split(), "--", "sh", "-c", script.replace("{}", at))
    assert said == (0, says.replace("{}", at), "")


def test_going_there(login: Login, name: str, tree: Path) -> None:
    """The library takes its program along; no supervisor can move another process (chdir(2))."""
    login.must("post", name, "--open", str(tree))
    words = ["sh", "-c", f"cd /srv/{name} && cat a/b.txt"]
    assert login("exec", "--preload", "--", *words) == (0, "one\ntwo\n", "")
    assert "can't cd" in login("exec", "--", *words).err


@pytest.mark.parametrize("door", DOORS)
def test_writing(login: Login, name: str, tree: Path, door: str) -> None:
    """`>` empties, `>>` appends, where the mask gives write."""
    login.must("post", name, "--open", str(tree))
    at = f"/srv/{name}"
    script = f"echo new >{at}/readme; echo more >>{at}/readme; exec 3<>{at}/a/b.txt; echo 1 >&3"
    assert login(*door.split(), "--", "sh", "-c", script) == (0, "", "")
    assert (tree / "readme").read_text() == "new\nmore\n"
    assert (tree / "a" / "b.txt").read_text() == "1\ne\ntwo\n"
    login.must("setperm", name, "als-rv------------------")
    said = login(*door.split(), "--", "sh", "-c", f"echo x >{at}/readme")
    assert "Permission denied" in said.err
    assert (tree / "readme").read_text() == "new\nmore\n"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "refused",
    [
        ("echo x >{}/new", "Read-only file system"),
        ("rm -f {}/readme", "Read-only file system"),
        ("mv -T {}/readme {}/again", "Read-only file system"),
        ("cat {}/no", "No such file or directory"),
        ("cat {}/out", "Permission denied"),
        ("echo x >{}/a", "Is a directory"),
        ("set -C; echo x >{}/readme", "File exists"),
    ],
    ids=lambda pair: pair[0],
)
def test_what_is_refused(
    login: Login, name: str, tree: Path, door: str, refused: tuple[str, str]
) -> None:
    """Each with what a file system says."""
    script, why = refused
    login.must("post", name, "--open", str(tree))
    before = sorted(str(one) for one in tree.rglob("*"))
    said = login(*door.split(), "--", "sh", "-c", script.replace("{}", f"/srv/{name}"))
    assert said.status != 0
    assert why in said.err.replace("Directory nonexistent", "No such file or directory")
    assert sorted(str(one) for one in tree.rglob("*")) == before
