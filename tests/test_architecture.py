# SPDX-License-Identifier: MIT
"""The tree keeps the laws that no single file can show.

The law: what is checked here is checked of every file there is, so that a new
one need not be listed. It refuses to know what the files are about; who may
import whom is the import contracts' to say, in pyproject.toml.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.anybody import bare_environment

ROOT = Path(__file__).resolve().parent.parent

TOP = {
    ".ci",
    ".github",
    ".gitignore",
    "LICENSE",
    "README.md",
    "contrib",
    "docs",
    "pagsrv",
    "pyproject.toml",
    "tests",
    "tui",
}

FILE_LINES_DISCUSSED = 300
FILE_LINES = 500
FUNCTION_LINES = 40

# A file directly in pagsrv/ does no I/O: bytes, clock, randomness and facts come in as arguments.
WORLD = {
    *("asyncio", "concurrent", "ctypes", "fcntl", "glob", "io", "keyutils", "logging"),
    *("multiprocessing", "os", "pathlib", "pyroute2", "random", "resource", "secrets", "select"),
    *("selectors", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading"),
    *("time", "uuid"),
}
ENTRANCES = {"__init__.py", "__main__.py"}

HEAVY = {"asyncio", "pyroute2", "textual"}


@cache
def tracked() -> tuple[Path, ...]:
    """Every file git holds or would take up, relative to the top."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the tree is no git checkout: {done.stderr.decode().strip()}")
    names = {Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name}
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))


def sources() -> list[Path]:
    """Every tracked Python file."""
    return [name for name in tracked() if name.suffix == ".py"]


def text_of(name: Path) -> str:
    """What *name* says; empty where it is no text."""
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def modules_loaded_by(statement: str) -> set[str]:
    """Run *statement* in a fresh interpreter and tell what it has loaded by then."""
    probe = f"import sys; {statement}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd="/",
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_top_level_holds_the_agreed_names_only() -> None:
    """Nothing lies at the top but what the layout names."""
    assert {name.parts[0] for name in tracked()} - TOP == set()


def test_files_stay_short(capsys: pytest.CaptureFixture[str]) -> None:
    """A Python file over 500 lines fails; one over 300 is named, to be discussed."""
    lines = {str(name): text_of(name).count("\n") for name in sources()}
    discussed = {name: n for name, n in lines.items() if n > FILE_LINES_DISCUSSED}
    with capsys.disabled():
        for name, count in discussed.items():
            sys.stdout.write(f"\n{name}: {count} lines, more than {FILE_LINES_DISCUSSED}\n")
    assert {name: n for name, n in discussed.items() if n > FILE_LINES} == {}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in *tree*, methods and inner ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_functions_stay_short() -> None:
    """No function is longer than 40 lines, its docstring counted."""
    long = [
        f"{name}:{function.lineno} {function.name}: {length}"
        for name in sources()
        for function in functions(ast.parse(text_of(name)))
        if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


def test_files_begin_with_licence_and_law() -> None:
    """The SPDX line is first, and then a docstring that says what the file is."""
    licence = "# SPDX-License-Identifier: MIT\n"
    without = [str(name) for name in sources() if not text_of(name).startswith(licence)]
    assert without == []
    silent = [str(name) for name in sources() if not ast.get_docstring(ast.parse(text_of(name)))]
    assert silent == []


def test_programs_name_their_licence() -> None:
    """Whatever else is source has the SPDX line among its first three."""
    suffixes = {".sh", ".c", ".h"}
    others = [name for name in tracked() if name.suffix in suffixes or name.parts[0] == ".ci"]
    without = [
        str(name)
        for name in others
        if not any("SPDX-License-Identifier: MIT" in line for line in text_of(name).split("\n")[:3])
    ]
    assert without == []


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Give the dotted name of everything imported in *tree*, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_flat_files_do_no_io() -> None:
    """A file directly in pagsrv/ imports nothing that reaches the outside world."""
    flat = [n for n in sources() if n.parent == Path("pagsrv") and n.name not in ENTRANCES]
    assert len(flat) > 1
    reaching = {
        f"{name} imports {module}"
        for name in flat
        for module in imports_of(ast.parse(text_of(name)))
        if module.split(".")[0] in WORLD
    }
    calling = {
        f"{name}:{node.lineno} opens a file"
        for name in flat
        for node in ast.walk(ast.parse(text_of(name)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
    }
    assert reaching | calling == set()


def test_imports_are_absolute() -> None:
    """An import says whole where it comes from, so that the contracts can be read off it."""
    relative = {
        f"{name} imports {module}"
        for name in sources()
        for module in imports_of(ast.parse(text_of(name)))
        if module.startswith(".")
    }
    assert relative == set()


def test_library_is_light_to_import() -> None:
    """`import pagsrv` loads no event loop, no netlink, no toolkit."""
    assert modules_loaded_by("import pagsrv") & HEAVY == set()


def test_daemon_is_light_to_import() -> None:
    """The daemon starts without an event loop not its own, and without the command line."""
    loaded = modules_loaded_by("import pagsrv.daemon.main")
    assert "pagsrv.daemon.main" in loaded
    assert loaded & (HEAVY | {"pagsrv.cli"}) == set()


def test_command_is_light_to_import() -> None:
    """The command's common path loads neither the broker nor anything heavy."""
    loaded = modules_loaded_by("import pagsrv.cli.main")
    assert "pagsrv.cli.main" in loaded
    assert loaded & (HEAVY | {"pagsrv.daemon", "pagsrv.broker"}) == set()


def test_tree_names_no_place_of_this_machine() -> None:
    """No file names where this checkout lies, nor the home of whoever runs the tests."""
    everywhere = {"/", "/home", "/mnt", "/opt", "/run", "/srv", "/tmp", "/usr", "/var", "/var/tmp"}
    own = {str(ROOT), *map(str, ROOT.parents), os.path.expanduser("~")} - everywhere
    places = "|".join(re.escape(place) for place in sorted(own, key=len, reverse=True))
    names = re.compile(rf"(?<![\w.-])({places})(?![\w-])")
    naming = {str(name): found[0] for name in tracked() if (found := names.search(text_of(name)))}
    assert naming == {}
