# SPDX-License-Identifier: MIT
"""broker, mount, tui and door: this command becomes the daemon, a door or the dashboard.

The law: exec in place, so that the process a service manager started is the one that
serves, with the sockets it was given; nothing of them is imported here. It
refuses to know how they work.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from pagsrv.cli.fail import Usage
from pagsrv.cli.opening import become
from pagsrv.errors import PagsrvError
from pagsrv.names import parse_scope

if TYPE_CHECKING:
    import argparse

# -P: without it, `-m` would look for modules in whatever directory this is first.
DAEMON = (sys.executable, "-P", "-m", "pagsrv.daemon")
MOUNT = (sys.executable, "-P", "-m", "pagsrv.doors.fuse")
DASHBOARD = (sys.executable, "-P", "-m", "pagsrv_tui")
DOORS = {"s6": (sys.executable, "-P", "-m", "pagsrv.doors.s6")}


class NotInstalled(PagsrvError):
    """A part of pagsrv that comes with an extra is not there."""


def broker(given: argparse.Namespace) -> NoReturn:
    """broker, from what the parser found; returns never."""
    words = [*DAEMON]
    if given.dir is not None:
        words.append(f"--dir={given.dir}")
    if given.config is not None:
        words.append(f"--config={given.config}")
    become(words)


def mount(given: argparse.Namespace) -> NoReturn:
    """mount, from what the parser found; returns never."""
    words = [*MOUNT]
    if given.dir is not None:
        words.append(f"--dir={given.dir}")
    if given.scope is not None:
        parse_scope(given.scope)
        words.append(f"--scope={given.scope}")
    if given.same_uid:
        words.append("--same-uid")
    become([*words, "--", given.path])


def tui(given: argparse.Namespace) -> NoReturn:
    """tui, from what the parser found; returns never."""
    from importlib.util import find_spec  # noqa: PLC0415 -- nothing else looks for packages

    if find_spec("pagsrv_tui") is None or find_spec("textual") is None:
        raise NotInstalled(
            "the dashboard is not installed: `pip install 'pagsrv[tui]'` brings what it needs"
        )
    words = [*DASHBOARD]
    if given.dir is not None:
        words.append(f"--dir={given.dir}")
    if given.read_only:
        words.append("--read-only")
    become(words)


def door(given: argparse.Namespace) -> NoReturn:
    """door, from what the parser found; returns never."""
    words = DOORS.get(given.kind)
    if words is None:
        raise Usage(f"{given.kind!r} is no door: there is s6", "door")
    if given.scope is not None:
        parse_scope(given.scope)
    told = [f"--{name}={value}" for name in ("dir", "scope") if (value := getattr(given, name))]
    become([*words, *told, *(["--same-uid"] if given.same_uid else []), "--", given.socket])
