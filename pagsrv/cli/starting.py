# SPDX-License-Identifier: MIT
"""broker: this command becomes the daemon.

The law: exec in place, so that the process a service manager started is the one that
serves, with the sockets it was given; nothing of the broker is imported here. It
refuses to know how a broker works.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from pagsrv.cli.opening import become

if TYPE_CHECKING:
    import argparse

# -P: without it, `-m` would look for modules in whatever directory this is first.
DAEMON = (sys.executable, "-P", "-m", "pagsrv.daemon")


def broker(given: argparse.Namespace) -> NoReturn:
    """broker, from what the parser found; returns never."""
    words = [*DAEMON]
    if given.dir is not None:
        words.append(f"--dir={given.dir}")
    if given.config is not None:
        words.append(f"--config={given.config}")
    become(words)
