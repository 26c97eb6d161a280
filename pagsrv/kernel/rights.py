# SPDX-License-Identifier: MIT
"""The rights of the calling process that it may change itself: its groups.

The law: it changes the calling process and nothing else, and says in one sentence
what is missing when the kernel refuses. It refuses to know what a PAG is good for.
"""

from __future__ import annotations

import grp
import os

from pagsrv.errors import Denied

_PAG, _PAG_MASK = 0x41000000, 0x00FFFFFF  # the range of OpenAFS's one-group PAGs
_TRIES = 64


def new_pag() -> int:
    """Put the calling process into a new PAG and out of any other; its number, a group id.

    Denied without the right to change groups. Threads go along (setgroups(2), nptl(7)).
    """
    groups = os.getgroups()
    pag = _unused(groups)
    kept = [gid for gid in groups if gid & ~_PAG_MASK != _PAG]
    try:
        os.setgroups([*kept, pag])
    except PermissionError as error:
        raise Denied(
            "a new PAG needs the right to change groups (CAP_SETGID): run it as root, "
            "or use a new session instead: pagsrv session"
        ) from error
    except OSError as error:
        raise Denied(
            f"the kernel did not take the group of a new PAG: {error.strerror}; "
            "in a user namespace that does not map it there are no PAGs"
        ) from error
    return pag


def _unused(groups: list[int]) -> int:
    """A number that is no group's, by name or by membership; random, since nobody keeps a list."""
    for _ in range(_TRIES):
        pag = _PAG | int.from_bytes(os.getrandom(3))
        if pag in groups:
            continue
        try:
            grp.getgrgid(pag)
        except KeyError:
            return pag
    raise Denied("every group number tried for a new PAG has a name: ask who gives them out")
