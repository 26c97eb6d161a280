# SPDX-License-Identifier: MIT
"""Text as it is written out: columns, escapes, lengths of time, a writer that has to wait.

The law: whatever is written arrives whole. It refuses to know what is said.
"""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagsrv.cli import fail, render
from pagsrv.errors import MethodNotFound, NoEntry


@given(st.text())
def test_plain_text_is_printable_and_keeps_what_was(text: str) -> None:
    """No control character is left, and printable text is not touched."""
    shown = render.plain(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


def test_columns_line_up(capfd: pytest.CaptureFixture[str]) -> None:
    """Each as wide as its widest cell, the last as it is; nothing trails."""
    render.table(("A", "BEE", "C"), [("long one", "x", "y"), ("s", "also long", "")])
    assert capfd.readouterr().out == (
        "A         BEE        C\nlong one  x          y\ns         also long\n"
    )
    render.table(("A", "B"), [])
    assert capfd.readouterr().out == "A  B\n"
    render.pairs([("a", "1\n2"), ("long", "x")])
    assert capfd.readouterr().out == "a     1\\n2\nlong  x\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86400, "1d"),
     (1e7, "115d")],
)  # fmt: skip
def test_lengths_of_time(seconds: float, shown: str) -> None:
    """One number and its unit."""
    assert render.age(seconds) == shown


def test_a_stdout_that_is_not_blocking_gets_everything() -> None:
    """Somebody else made it so; the writer waits for room."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    text = "x" * 300_000
    saved = os.dup(1)
    got = bytearray()

    def read() -> None:
        while piece := os.read(reading, 4096):
            got.extend(piece)

    reader = threading.Thread(target=read)
    try:
        os.dup2(writing, 1)
        os.close(writing)
        reader.start()
        render.write(text)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        reader.join()
        os.close(reading)
    assert got.decode() == text


def test_what_goes_wrong_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a name holds, the sentence stays one line; the status is the error's."""
    assert fail.report(NoEntry("there is no \x1b[2J\nx")) == 3
    assert capfd.readouterr().err == "pagsrv: there is no \\x1b[2J\\nx\n"
    assert fail.report(MethodNotFound("org.pagsrv.Board.Juggle")) == 1
    assert "another version" in capfd.readouterr().err
    assert fail.report(OSError(24, "Too many open files")) == 1
    assert capfd.readouterr().err == (
        "pagsrv: the system is short of something: Too many open files; see `ulimit -a`\n"
    )
    assert fail.report(KeyboardInterrupt()) == 130
    assert fail.report(render.Closed("x")) == 141
    assert capfd.readouterr() == ("", "")
