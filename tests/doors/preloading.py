# SPDX-License-Identifier: MIT
"""Commands through the preload door, in a session.

The law: the real command line, and shells as they are. It refuses to know what a test expects.
"""

from __future__ import annotations

import pytest

from tests.cli.command import COMMAND, Login, Said

shells = pytest.mark.parametrize("shell", ["dash", "bash"])


def through(
    login: Login, *command: str, at: str = "/srv", env: dict[str, str] | None = None
) -> Said:
    """Run *command* through the door."""
    return login.execute([*COMMAND, "exec", "--preload", "--at", at, "--", *command], env=env)


def typed(login: Login, shell: str, *lines: str) -> Said:
    """Type *lines* into a *shell* behind the door; no line but the last may fail."""
    return through(login, shell, "-ec", "\n".join(lines))
