# SPDX-License-Identifier: MIT
"""What every Varlink service answers, and Health: the daemon's own calls.

The law: nothing here changes anything, and what others do is told to root and the broker's
own uid only. It refuses to know the board's entries.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pagsrv
from pagsrv import __version__
from pagsrv.ends import DEEDS
from pagsrv.errors import BOARD, SERVICE, InterfaceNotFound
from pagsrv.kernel.process import descriptors, dumpable
from pagsrv.messages import (
    Description,
    GetInfo,
    GetInterfaceDescription,
    Health,
    Info,
    Reply,
    Vitals,
)
from pagsrv.model import Peer
from pagsrv.vitals import Activity, Use

if TYPE_CHECKING:
    from pagsrv.daemon.daemon import Daemon

_SERVICE_INTERFACE = """\
# The Varlink Service Interface is provided by every varlink service.
interface org.varlink.service

method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)

error MethodNotFound (method: string)

error MethodNotImplemented (method: string)

error InvalidParameter (parameter: string)
"""


def answer(
    request: GetInfo | GetInterfaceDescription | Health, asker: Peer, daemon: Daemon
) -> Reply:
    """The answer to one of the daemon's own calls."""
    if isinstance(request, GetInfo):
        return Info("The pagsrv authors", "pagsrv", __version__, "", [SERVICE, BOARD])
    if isinstance(request, GetInterfaceDescription):
        if request.interface == SERVICE:
            return Description(_SERVICE_INTERFACE)
        if request.interface != BOARD:
            raise InterfaceNotFound(request.interface)
        path = os.path.join(os.path.dirname(pagsrv.__file__), f"{BOARD}.varlink")
        with open(path, encoding="utf-8") as file:
            return Description(file.read())
    return _vitals(asker, daemon)


def _vitals(asker: Peer, daemon: Daemon) -> Vitals:
    broker = daemon.broker
    store = broker.board.store
    return Vitals(
        __version__,
        os.getpid(),
        daemon.uptime(),
        dumpable() == 1,
        daemon.sessions.proofs,
        len(daemon.connections),
        len(store.spaces),
        store.count,
        len(daemon.watchers),
        store.epoch,
        broker.calls,
        broker.board.opens,
        broker.refusals,
        daemon.events_lost,
        _unsupported(daemon),
        daemon.sessions.ways.views(),
        broker.budgets(asker),
        _activity(daemon) if broker.oversees(asker) else None,
    )


def _activity(daemon: Daemon) -> Activity:
    from pagsrv.survey import unattended  # noqa: PLC0415 -- most brokers are never asked

    broker = daemon.broker
    return Activity(
        Use(descriptors(), daemon.most_fds),
        daemon.timing.latency(),
        dict.fromkeys(daemon.sessions.proofs, 0) | broker.scopes.proved,
        dict(broker.reasons),
        unattended(broker.board),
    )


def _unsupported(daemon: Daemon) -> dict[str, str]:
    """The end conditions that are not to be had here, each with why."""
    words = (*DEEDS, "orphan")
    whys = (*(daemon.deeds.why_not() for _ in DEEDS), daemon.sessions.count_members())
    return {word: why for word, why in zip(words, whys, strict=True) if why}
