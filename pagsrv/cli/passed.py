# SPDX-License-Identifier: MIT
"""What a service manager has passed to this command, to be posted under LISTEN_FDNAMES.

The law: only what is meant for this very process is taken (sd_listen_fds(3)), all of it or
nothing, and each descriptor has a name of its own. It refuses to know who passed it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pagsrv.cli.fail import Usage
from pagsrv.kernel import manager
from pagsrv.names import parse_name

if TYPE_CHECKING:
    from contextlib import ExitStack

    from pagsrv.kernel.fd import Fd


def names(stack: ExitStack) -> dict[str, Fd]:
    """What was passed, the *stack*'s, by name; Usage if it is not to be used."""
    called = os.environ.get("LISTEN_FDNAMES", "").split(":")
    try:
        found = manager.listen_fds(strict=True)
    except manager.ManagerFault as error:
        raise Usage(str(error), "post") from None
    for _, fd in found:
        stack.enter_context(fd)
    if not found:
        raise Usage(
            "no descriptors were passed: LISTEN_FDS is not set to a number of them, as a service "
            "manager and `pagsrv open NAME -- CMD` do",
            "post",
        )
    if len(called) != len(found):
        raise _unusable(
            f"LISTEN_FDNAMES does not name each of the {len(found)} descriptors that LISTEN_FDS "
            "counts"
        )
    twice = {name for name in called if called.count(name) > 1}
    if twice:
        raise _unusable(f"several descriptors are called {min(twice)} in LISTEN_FDNAMES")
    return {parse_name(name, "LISTEN_FDNAMES"): fd for name, fd in found}


def _unusable(why: str) -> Usage:
    return Usage(
        f"{why}: post them one by one, as in `pagsrv post NAME --fd {manager.FIRST}`", "post"
    )
