# SPDX-License-Identifier: MIT
"""The dashboard's two themes, and what it draws with where there is no Unicode.

The law: colours repeat what words and symbols say, and are chosen to be told apart by those
who see no red or no green. It refuses to know widgets.
"""

from __future__ import annotations

import os

from textual.theme import Theme

DARK = Theme(
    name="pagsrv-dark", dark=True, primary="#5aa9e6", secondary="#7f8fa6", accent="#f6c177",
    foreground="#d8dee9", background="#10141b", surface="#151a23", panel="#1e2530",
    success="#7fc8a9", warning="#f6c177", error="#ef7a85",
)  # fmt: skip
LIGHT = Theme(
    name="pagsrv-light", dark=False, primary="#1f6fb2", secondary="#5b6573", accent="#9a5b00",
    foreground="#1d2430", background="#fbfbf8", surface="#f3f3ee", panel="#e4e6e4",
    success="#1c7c54", warning="#9a5b00", error="#b3263a",
)  # fmt: skip


def needs_ascii() -> bool:
    """Whether this terminal has no more than ASCII for certain: the console's font is small."""
    if os.environ.get("TERM") in ("linux", "vt100", "vt220", "dumb"):
        return True
    words = (os.environ.get(name) or "" for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    said = next((word for word in words if word), "")
    return "UTF-8" not in said.upper() and "UTF8" not in said.upper()
