# SPDX-License-Identifier: MIT
"""contrib/bpf/build.sh where not everything is here: one sentence, and the set-up goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pagsrv.kernel import bpf

ROOT = Path(__file__).parent.parent.parent
_WORDS = ("sh", "dirname", "mv", "rm", "grep", "uname")


def build(top: Path, clang: str | None) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run a copy of it beneath *top*, with *clang* a shell script; and what it would have made."""
    tree, tools = top / "tree", top / "bin"
    for part in ("bpf", "c"):
        shutil.copytree(ROOT / "contrib" / part, tree / "contrib" / part)
    made = tree / "pagsrv" / "kernel" / Path(bpf.OBJECT).name
    made.parent.mkdir(parents=True)
    tools.mkdir()
    for word in _WORDS:
        (tools / word).symlink_to(shutil.which(word) or pytest.fail(f"there is no {word}"))
    if clang is not None:
        (tools / "clang").write_text(f"#!{tools}/sh\n{clang}\n")
        (tools / "clang").chmod(0o755)
    script = tree / "contrib" / "bpf" / "build.sh"
    done = subprocess.run(
        [shutil.which("sh") or "sh", script], env={"PATH": str(tools)}, capture_output=True,
        text=True, timeout=30, check=False,
    )  # fmt: skip
    return done, made


@pytest.mark.parametrize(
    ("clang", "why"),
    [
        (None, "without clang"),
        ("exit 1", "without libbpf-dev"),
        ('case "$*" in *bpf*) echo "error: unknown target triple" >&2; exit 1;; esac',
         "unknown target triple"),
        ('case "$*" in *bpf*) exit 1;; esac', "does not say why"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_told_and_is_no_failure(
    short_tmp: Path, clang: str | None, why: str
) -> None:
    """Nothing is made then, nor left of a compiler that was stopped half-way."""
    done, made = build(short_tmp, clang)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", 1)
    assert why in done.stderr
    assert "all else works" in done.stderr
    assert os.listdir(made.parent) == []
    assert "clang" in bpf.missing(str(made))
