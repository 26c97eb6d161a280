# SPDX-License-Identifier: MIT
"""Whose rights a posted directory is walked with: asked of the kernel as it is posted.

The law: what connect(2) said of the poster and what it is at the post are the same, or
nobody walks; and nobody walks with more rights than the poster had. It refuses to know
what is posted, and how it is walked.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pagsrv.kernel import process
from pagsrv.kernel.peer import confinement
from pagsrv.kernel.rights import own_groups
from pagsrv.nodes import Credentials

if TYPE_CHECKING:
    from pagsrv.kernel.fd import Fd
    from pagsrv.model import Peer


def of_poster(poster: Peer, pidfd: Fd | None) -> Credentials:
    """Those of *poster*, whose process is *pidfd*'s, still the caller's."""
    groups = tuple(sorted(poster.groups))
    return Credentials(poster.uid, poster.gid, groups, _why_not(poster, pidfd))


def _why_not(poster: Peer, pidfd: Fd | None) -> str:
    """Why nobody may have the rights of *poster*; '' if that can be."""
    if poster.asker is not None:
        return "it was posted on somebody's behalf, and no rights to files are lent that way"
    status = None if pidfd is None else process.status_of(pidfd)
    if status is None:
        return "the kernel does not show what rights its poster had as it posted"
    uid, gid = (poster.uid,) * 4, (poster.gid,) * 4
    if (status.uids, status.gids, status.groups) != (uid, gid, poster.groups):
        return (
            "its poster had other rights when it connected than when it posted, or several user "
            "ids at once; post it over a new connection"
        )
    confined = "" if pidfd is None else confinement(pidfd)
    if confined:
        return (
            f"its poster may have given up rights, and nobody can tell which: {confined}; post it "
            "from a process that is not so confined"
        )
    if os.getuid() != 0 and own_groups() != {poster.gid, *poster.groups}:
        return (
            "its poster is in other groups than this broker, which cannot change its own; post it "
            "from a process of the same groups, or to root's broker"
        )
    return ""
