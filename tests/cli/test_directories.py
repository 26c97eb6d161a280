# SPDX-License-Identifier: MIT
"""Posted directories from the command line: open, connect and ls go beneath, nothing else does.

The law: what is shown by ls is what open takes. It refuses to know whose rights these are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, Login
from tests.cli.test_opening import LISTEN
from tests.cli.test_teaching import COMPLETION

pytestmark = pytest.mark.kernel


@pytest.fixture
def docs(login: Login, name: str, short_tmp: Path) -> str:
    """An entry that is a directory."""
    (short_tmp / "sub").mkdir()
    (short_tmp / "sub" / "a.txt").write_text("beneath\n")
    (short_tmp / "b.txt").write_text("bb\n")
    (short_tmp / "out").symlink_to("/etc/passwd")
    os.utime(short_tmp / "sub", (0, 0))
    login.must("post", name, "--open", str(short_tmp))
    return name


def test_open(login: Login, docs: str) -> None:
    """Which descriptor it becomes, and what a service is told, are as for any entry."""
    said = login.must("open", f"{docs}/sub/a.txt", "--", "sh", "-c", f"cat <&3; {LISTEN}")
    assert said.out == f"beneath\n1|{docs}/sub/a.txt|mine\n"
    full = f"{login.scope()}/{docs}/b.txt"
    said = login.must("open", f"{docs}/sub/a.txt=5", full, "--", "sh", "-c", "cat <&5; cat <&3")
    assert said.out == "beneath\nbb\n"
    said = login.must("open", "--scope", "session", f"{docs}/b.txt", docs, "--", "sh", "-c",
                      "cat <&3; ls /dev/fd/4/")  # fmt: skip
    assert said.out == "bb\nb.txt\nout\nsub\n"
    assert login.must("connect", f"{docs}/sub/a.txt", stdin="").out == "beneath\n"


def test_writing(login: Login, docs: str, short_tmp: Path) -> None:
    """When it is asked for, and not otherwise."""
    write = ("--", "sh", "-c", "echo new >&3")
    assert login("open", f"{docs}/b.txt", *write).status != 0
    login.must("open", f"{docs}/b.txt", "--access", "rw", *write)
    login.must("open", f"{docs}/b.txt", f"{docs}/sub/a.txt", "--access", "w", *write)
    assert (short_tmp / "b.txt").read_text() == "new\n"
    login.must("setperm", docs, "als-rv" + "-" * 18)
    said = login("open", f"{docs}/b.txt", "--access", "w", *write)
    assert said.status == 4
    assert "gives you no write right" in said.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("open", "{}/missing", "--", "true"), 3, "there is no missing in session:"),
        (("open", "{}/sub/a.txt/x", "--", "true"), 3, "/sub/a.txt is no directory, so there is"),
        (("open", "{}/out", "--", "true"), 4, "/out is a link that leaves the posted directory"),
        (("open", "{}/../b.txt", "--", "true"), 2, "there is no way up"),
        (("open", "{}", "--access", "r", "--", "true"), 2, "is handed out as it was posted"),
        (("open", "{}/b.txt", "--access", "x", "--", "true"), 2, "is no access: say r, w or rw"),
        (("open", "{}/sub", "--access", "w", "--", "true"), 2, "is opened for reading"),
        (("take", "{}/b.txt", "--", "true"), 2, "is for open, connect and ls alone"),
        (("stat", "{}/b.txt"), 2, "is for open, connect and ls alone"),
        (("rm", "{}/b.txt"), 2, "is for open, connect and ls alone"),
        (("ls", "{}/missing"), 3, "there is no missing in session:"),
        (("ls", "--all", "{}/"), 2, "--all is for entries"),
        (("ls", "nothing-of-that-name/"), 3, "there is no entry nothing-of-that-name"),
    ],
)
def test_refusals(login: Login, docs: str, words: tuple[str, ...], status: int, said: str) -> None:
    """One sentence, that names what leads no further."""
    told = login(*(word.format(docs) for word in words))
    assert (told.status, told.out) == (status, "")
    assert said in told.err
    assert len(told.err.splitlines()) == 1


def test_what_is_no_directory(login: Login, name: str, short_tmp: Path) -> None:
    """Says what it is."""
    (short_tmp / "file").write_text("")
    login.must("post", name, "--open", str(short_tmp / "file"))
    for words in (("open", f"{name}/x", "--", "true"), ("ls", name), ("ls", f"{name}/")):
        told = login(*words)
        assert (told.status, told.out) == (3, "")
        assert "is a file and no directory, so nothing lies beneath it" in told.err


def test_ls(login: Login, docs: str) -> None:
    """By full names, a directory's with a / after it; a file alone; with and without the /."""
    at = f"{login.scope()}/{docs}"
    assert login.must("ls", f"{docs}/").out.splitlines() == [
        f"{at}/b.txt", f"{at}/out", f"{at}/sub/"
    ]  # fmt: skip
    assert login.must("ls", docs).out == login.must("ls", f"{at}/").out
    assert login.must("ls", f"{docs}/sub").out == f"{at}/sub/a.txt\n"
    assert login.must("ls", f"{docs}/sub/a.txt").out == f"{at}/sub/a.txt\n"
    assert login.must("ls", "--scope", "session", f"{docs}/sub").out == f"{at}/sub/a.txt\n"
    header, *rows = (line.split() for line in login.must("ls", "-l", f"{docs}/").out.splitlines())
    assert header == ["KIND", "SIZE", "AGE", "NAME"]
    assert [row[:2] + row[3:] for row in rows] == [
        ["file", "3", f"{at}/b.txt"], ["link", "-", f"{at}/out", "->", "/etc/passwd"],
        ["dir", "-", f"{at}/sub/"],
    ]  # fmt: skip


def test_ls_json(login: Login, docs: str) -> None:
    """An object a line, with where it lies."""
    at = f"{login.scope()}/{docs}"
    b, out, sub = login.must("ls", "--json", f"{docs}/").objects()
    assert b["modified"] > 1e9
    assert b | {"modified": 0} == {
        "at": at, "name": "b.txt", "kind": "file", "size": 3, "modified": 0, "target": None,
    }  # fmt: skip
    assert (out["kind"], out["target"]) == ("link", "/etc/passwd")
    assert sub == {"at": at, "name": "sub", "kind": "dir", "size": None, "modified": 0.0,
                   "target": None}  # fmt: skip


def test_watch_tells_what_was_opened(login: Login, docs: str) -> None:
    """And stat how often."""
    login.must("open", f"{docs}/sub/a.txt", "--", "true")
    assert login.must("stat", docs, "--json").objects()[0]["opens"] == 1


def test_completion(login: Login, docs: str) -> None:
    """Beneath a directory it goes on."""
    script = f'. {COMPLETION}; COMP_WORDS=("$@"); COMP_CWORD=2; _pagsrv; echo "${{COMPREPLY[@]}}"'
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for words, offered in (
        (("open", f"{docs}/"), f"{docs}/b.txt {docs}/out {docs}/sub/"),
        (("ls", f"{docs}/sub/a"), f"{docs}/sub/a.txt"), (("connect", docs), docs),
    ):  # fmt: skip
        said = login.execute(["bash", "--norc", "-c", script, "bash", "pagsrv", *words], env=env)
        assert said.out == f"{offered}\n", said


def test_completion_runs_no_name(login: Login, docs: str, name: str, short_tmp: Path) -> None:
    """Who may call a file, or an entry, something has nothing run by whoever presses Tab."""
    (short_tmp / "x$(touch ran) z").touch()
    login.must("post", f"{name}-$(touch ran)", "--open", "/etc/hostname")
    shell = f'cd {short_tmp}; . {COMPLETION}; COMP_WORDS=("$@"); COMP_CWORD=2; _pagsrv'
    script = shell + '; printf "%s\\n" "${COMPREPLY[@]}"'
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for words, offered in (
        (("open", f"{docs}/x"), f"{docs}/x\\$\\(touch\\ ran\\)\\ z"),
        (("rm", f"{name}-"), f"{name}-\\$\\(touch\\ ran\\)"),
    ):
        said = login.execute(["bash", "--norc", "-c", script, "bash", "pagsrv", *words], env=env)
        assert said.out == f"{offered}\n", said
    assert not (short_tmp / "ran").exists()


def test_doctor_tells_of_confinement(login: Login) -> None:
    """What is posted from there lends nobody any rights."""
    for words, said in (((), "lend your rights"), (("setpriv", "--no-new-privs"), "no_new_privs")):
        told = login.execute([*words, *COMMAND, "doctor", "--json"]).objects()
        (finding,) = (one for one in told if one["check"] == "directories")
        assert finding["ok"]
        assert said in finding["found"]


def test_confined_posters_lend_nothing(login: Login, name: str, short_tmp: Path) -> None:
    """The directory itself is had, and what lies beneath is refused with the reason."""
    (short_tmp / "a").touch()
    post = [*COMMAND, "post", name, "--open", str(short_tmp)]
    assert login.execute(["setpriv", "--no-new-privs", *post]).status == 0
    assert login.must("open", name, "--", "ls", "/dev/fd/3/").out == "a\n"
    said = login("open", f"{name}/a", "--", "true")
    assert said.status == 4
    assert "nobody can tell which: no_new_privs is set there" in said.err
