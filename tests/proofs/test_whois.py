# SPDX-License-Identifier: MIT
"""What of whois is read from text.

The law: what a user could have written is no fact. It refuses to know who asks.
"""

from __future__ import annotations

import pytest

from pagsrv.proofs.whois import login_session

LOGIN = "/user.slice/user-1000.slice/session-3.scope"
MANAGER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("cgroups", "session"),
    [
        (f"0::{LOGIN}\n", "3"),
        (f"0::{LOGIN}/beneath/session-4.scope\n", "3"),
        (f"12:pids:/elsewhere\n1:name=systemd:{LOGIN}\n0::{LOGIN}\n", "3"),
        ("0::/user.slice/user-0.slice/session-c1.scope\n", "c1"),
        (f"0::{MANAGER}/app.slice/session-5.scope\n", ""),
        (f"0::{MANAGER}/session-5.scope\n", ""),
        ("0::/../session-5.scope\n", ""),
        ("0::/system.slice/a.service/user.slice/session-5.scope\n", ""),
        (f"12:pids:{LOGIN}\n0::/\n", ""),
        (f"1:name=systemd:{LOGIN}\n0::{MANAGER}\n", ""),
        ("0::/\n", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_login_session_is_where_only_the_manager_makes_one(cgroups: str, session: str) -> None:
    """A user's manager makes a cgroup of any name beneath its own; that is no login session."""
    assert login_session(cgroups) == session
