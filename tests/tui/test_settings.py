# SPDX-License-Identifier: MIT
"""What the dashboard remembers, and a file that is broken.

The law: whatever lies there, the dashboard starts and says what is wrong. It refuses to know
screens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv_tui.settings import Settings, load, path, save


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the settings lie."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pagsrv").mkdir()
    return tmp_path / "pagsrv"


def test_what_is_saved_is_loaded(folder: Path) -> None:
    """Every field, and no other file is left."""
    told = Settings("ends", reverse=True, theme="pagsrv-light", columns=("name", "peer"))
    assert save(told) == ""
    assert load() == (told, "")
    assert os.listdir(folder) == ["tui.toml"]


def test_no_file_is_no_fault(folder: Path) -> None:
    """The first start."""
    assert load() == (Settings(), "")
    assert path() == str(folder / "tui.toml")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('sort = "nonsense"', "'sort'"), ("columns = [1]", "'columns'"),
        ("reverse = 3", "'reverse'"),
        ("colour = 1", "'colour'"), ("sort = [", "no TOML"), ("\udcff", "no TOML"),
    ],
)  # fmt: skip
def test_a_broken_file_is_a_notice(folder: Path, text: str, wrong: str) -> None:
    """What it says rightly holds all the same."""
    (folder / "tui.toml").write_bytes(text.encode(errors="surrogateescape"))
    found, notice = load()
    assert found == Settings()
    assert wrong in notice


def test_a_file_that_cannot_be_read_is_a_notice(folder: Path) -> None:
    """Here it is a directory."""
    (folder / "tui.toml").mkdir()
    found, notice = load()
    assert found == Settings()
    assert "cannot be read" in notice


def test_what_cannot_be_written_is_a_notice(folder: Path) -> None:
    """And nothing is left beside it."""
    (folder / "tui.toml").mkdir()
    assert "cannot be written" in save(Settings())
    assert os.listdir(folder) == ["tui.toml"]
