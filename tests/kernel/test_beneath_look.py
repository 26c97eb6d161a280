# SPDX-License-Identifier: MIT
"""One place beneath a directory, looked at by itself.

The law: a link at the end is told as a link, one on the way is followed as long as it stays. It
refuses to know who asks.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pagsrv.errors import Denied, NoEntry
from pagsrv.kernel.beneath import look
from pagsrv.kernel.fd import Fd

pytestmark = pytest.mark.kernel


def seen(top: Path, *path: str) -> tuple[str, str, str | None, int | None, str | None]:
    """Where it is, and what: name, kind, size and target."""
    with Fd(os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        at, (node,) = look(fd, "docs", path)
    return at, node.name, node.kind, node.size, node.target


def test_each_kind_is_told_alone(tmp_path: Path) -> None:
    """A file, a directory, a link to either, and the top itself."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("12345")
    (tmp_path / "link").symlink_to("sub")
    (tmp_path / "out").symlink_to("/etc")
    os.mkfifo(tmp_path / "fifo")
    assert seen(tmp_path) == ("docs", ".", "dir", None, None)
    assert seen(tmp_path, "sub") == ("docs", "sub", "dir", None, None)
    assert seen(tmp_path, "sub", "file") == ("docs/sub", "file", "file", 5, None)
    assert seen(tmp_path, "link") == ("docs", "link", "link", None, "sub")
    assert seen(tmp_path, "link", "file") == ("docs/link", "file", "file", 5, None)
    assert seen(tmp_path, "out") == ("docs", "out", "link", None, "/etc")
    assert seen(tmp_path, "fifo") == ("docs", "fifo", "fifo", None, None)


def test_what_leads_out_or_nowhere(tmp_path: Path) -> None:
    """No way goes through a link that leaves, nor through what is not there."""
    (tmp_path / "out").symlink_to("/etc")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Denied, match="a link that leaves"):
        seen(tmp_path, "out", "passwd")
    with pytest.raises(NoEntry, match="there is no missing in docs"):
        seen(tmp_path, "missing", "more")
    assert len(os.listdir("/proc/self/fd")) == before
