# SPDX-License-Identifier: MIT
"""A board for open file descriptors, scoped by session: the public names.

    import pagsrv

    with pagsrv.connect() as board:
        board.post("db", sock)
        fd = board.open("db")

The law: every name here is public, and loaded when it is first used (PEP 562), so that
importing pagsrv costs nothing. docs/reference/python.md tells of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pagsrv.client import aio as aio
    from pagsrv.client.blocking import Board as Board
    from pagsrv.client.blocking import connect as connect
    from pagsrv.client.events import Events as Events
    from pagsrv.client.identity import PeerIdentity as PeerIdentity
    from pagsrv.client.until import HasFileno as HasFileno
    from pagsrv.client.whois import peer_keyring as peer_keyring
    from pagsrv.client.whois import whois as whois
    from pagsrv.errors import Denied as Denied
    from pagsrv.errors import Exists as Exists
    from pagsrv.errors import InvalidParameter as InvalidParameter
    from pagsrv.errors import Loop as Loop
    from pagsrv.errors import NoBroker as NoBroker
    from pagsrv.errors import NoEntry as NoEntry
    from pagsrv.errors import NoSession as NoSession
    from pagsrv.errors import NotAssigned as NotAssigned
    from pagsrv.errors import PagsrvError as PagsrvError
    from pagsrv.errors import ProtocolError as ProtocolError
    from pagsrv.errors import QuotaExceeded as QuotaExceeded
    from pagsrv.errors import Refused as Refused
    from pagsrv.errors import Stale as Stale
    from pagsrv.errors import TimedOut as TimedOut
    from pagsrv.kernel.fd import Fd as Fd
    from pagsrv.kernel.peerkeyring import PeerKeyring as PeerKeyring
    from pagsrv.messages import Attached as Attached
    from pagsrv.messages import EntryView as Entry
    from pagsrv.messages import EventView as Event
    from pagsrv.messages import Fact as Fact
    from pagsrv.messages import Identity as Identity
    from pagsrv.messages import Until as Until
    from pagsrv.messages import Vitals as Vitals
    from pagsrv.messages import Walked as Walked
    from pagsrv.nodes import Node as Node
    from pagsrv.sockets import SocketView as Socket
    from pagsrv.vitals import NamespaceView as Namespace

__version__ = "0.1.0"

__all__ = [
    "Attached", "Board", "Denied", "Entry", "Event", "Events", "Exists", "Fact", "Fd",
    "HasFileno", "Identity", "InvalidParameter", "Loop", "Namespace", "NoBroker", "NoEntry",
    "NoSession", "Node", "NotAssigned", "PagsrvError", "PeerIdentity", "PeerKeyring",
    "ProtocolError", "QuotaExceeded", "Refused", "Socket", "Stale", "TimedOut", "Until", "Vitals",
    "Walked", "__version__", "aio", "connect", "peer_keyring", "whois",
]  # fmt: skip

_ELSEWHERE = {
    "Board": "pagsrv.client.blocking",
    "Events": "pagsrv.client.events",
    "Fd": "pagsrv.kernel.fd",
    "HasFileno": "pagsrv.client.until",
    "Namespace": "pagsrv.vitals",
    "Node": "pagsrv.nodes",
    "PeerIdentity": "pagsrv.client.identity",
    "PeerKeyring": "pagsrv.kernel.peerkeyring",
    "Socket": "pagsrv.sockets",
    "connect": "pagsrv.client.blocking",
    "peer_keyring": "pagsrv.client.whois",
    "whois": "pagsrv.client.whois",
    **dict.fromkeys(
        ("Attached", "Entry", "Event", "Fact", "Identity", "Until", "Vitals", "Walked"),
        "pagsrv.messages",
    ),
}
_CALLED = {
    "Entry": "EntryView",
    "Event": "EventView",
    "Namespace": "NamespaceView",
    "Socket": "SocketView",
}


if not TYPE_CHECKING:  # or a name misspelt would be an object to them, and no error

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 -- whoever imports a part needs it not

        if name == "aio":
            return import_module("pagsrv.client.aio")
        value = getattr(
            import_module(_ELSEWHERE.get(name, "pagsrv.errors")), _CALLED.get(name, name)
        )
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
