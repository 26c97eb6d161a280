# SPDX-License-Identifier: MIT
"""What can go wrong, said once: exception, wire name, exit status and errno.

PagsrvError
├── ProtocolError            the peer broke the rules of the wire: it is hung up
├── Refused                  understood, and no; the connection lives
│   ├── InterfaceNotFound    no such Varlink interface
│   ├── MethodNotFound       no such method
│   ├── InvalidParameter     a field unknown, missing or wrong
│   ├── ExpectedMore         the call must be made with `more`
│   ├── NoEntry              no such entry, or none the asker may see
│   ├── Denied               the entry is there, the right is not
│   ├── Exists               the name is taken
│   ├── NoSession            the scope is not proved, or there is none to post in
│   ├── QuotaExceeded        a budget is used up
│   ├── NotAssigned          the entry is empty
│   ├── Loop                 the board may not hold itself
│   ├── TimedOut             the wait was not answered in time
│   └── Stale                the generation differs
└── NoBroker                 nobody answers at the directory

The law: a new refusal is a new class here and nowhere else; the wire, the
command's exit statuses and docs/reference/errors.md are read off this file.
It refuses to know how any of them came about.
"""

from __future__ import annotations

import errno
from typing import ClassVar

BOARD = "org.pagsrv.Board"
SERVICE = "org.varlink.service"

BUG_STATUS = 70
"""Exit status of a bug of ours (EX_SOFTWARE of sysexits.h)."""


class PagsrvError(Exception):
    """Anything pagsrv raises on purpose; `str()` of it is one sentence for a person."""

    wire: ClassVar[str] = ""
    status: ClassVar[int] = 1
    errno: ClassVar[int] = errno.EIO

    def parameters(self) -> dict[str, str]:
        """The parameters of the Varlink error reply."""
        return {"message": str(self)}


class ProtocolError(PagsrvError):
    """The peer broke the rules of the wire; one error reply, then hang-up."""

    wire = f"{BOARD}.ProtocolError"
    errno = errno.EPROTO


class NoBroker(PagsrvError):
    """No broker answers at the directory."""

    status = 6
    errno = errno.ECONNREFUSED


class Refused(PagsrvError):
    """Understood, and no; nothing has changed and the connection lives."""


class InterfaceNotFound(Refused):
    """No such Varlink interface; the argument is its name."""

    wire = f"{SERVICE}.InterfaceNotFound"
    errno = errno.ENOSYS

    def parameters(self) -> dict[str, str]:
        """The interface, as org.varlink.service has it."""
        return {"interface": str(self)}


class MethodNotFound(Refused):
    """No such method; the argument is its full name."""

    wire = f"{SERVICE}.MethodNotFound"
    errno = errno.ENOSYS

    def parameters(self) -> dict[str, str]:
        """The method, as org.varlink.service has it."""
        return {"method": str(self)}


class InvalidParameter(Refused):
    """A field unknown, missing or wrong; *parameter* names it."""

    wire = f"{SERVICE}.InvalidParameter"
    status = 2
    errno = errno.EINVAL

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter

    def parameters(self) -> dict[str, str]:
        """The field, as org.varlink.service has it, and our sentence beside it."""
        return {"parameter": self.parameter, "message": str(self)}


class ExpectedMore(Refused):
    """The call must be made with `more`."""

    wire = f"{BOARD}.ExpectedMore"
    errno = errno.EPROTO


class NoEntry(Refused):
    """No such entry, or none that the asker may see."""

    wire = f"{BOARD}.NoEntry"
    status = 3
    errno = errno.ENOENT


class Denied(Refused):
    """The entry is there, the right is not; or this broker does not serve this uid."""

    wire = f"{BOARD}.Denied"
    status = 4
    errno = errno.EACCES


class Exists(Refused):
    """The name is taken."""

    wire = f"{BOARD}.Exists"
    status = 5
    errno = errno.EEXIST


class NoSession(Refused):
    """A scope named but not proved, a ring revoked, or nothing to post in."""

    wire = f"{BOARD}.NoSession"
    status = 7
    errno = errno.ENOKEY


class QuotaExceeded(Refused):
    """A budget is used up."""

    wire = f"{BOARD}.QuotaExceeded"
    status = 8
    errno = errno.EDQUOT


class NotAssigned(Refused):
    """The entry is empty: no descriptor has been given for it yet."""

    wire = f"{BOARD}.NotAssigned"
    status = 9
    errno = errno.ENXIO


class Loop(Refused):
    """The board may not hold itself."""

    wire = f"{BOARD}.Loop"
    status = 10
    errno = errno.ELOOP


class TimedOut(Refused):
    """The wait was not answered in time."""

    wire = f"{BOARD}.TimedOut"
    status = 11
    errno = errno.ETIMEDOUT


class Stale(Refused):
    """The generation differs from the one expected."""

    wire = f"{BOARD}.Stale"
    status = 12
    errno = errno.ESTALE


REFUSALS: tuple[type[Refused], ...] = (
    InterfaceNotFound, MethodNotFound, InvalidParameter, ExpectedMore, NoEntry, Denied, Exists,
    NoSession, QuotaExceeded, NotAssigned, Loop, TimedOut, Stale,
)  # fmt: skip

TABLE: tuple[type[PagsrvError], ...] = (*REFUSALS, ProtocolError, NoBroker)
"""Every concrete error, in the order the reference shows them."""

_BY_WIRE: dict[str, type[PagsrvError]] = {kind.wire: kind for kind in TABLE if kind.wire}


def from_wire(name: str, parameters: dict[str, str]) -> PagsrvError:
    """The exception an error reply stands for; an unknown name is a ProtocolError."""
    message = parameters.get("message", "")
    kind = _BY_WIRE.get(name)
    if kind is InvalidParameter:
        return InvalidParameter(parameters.get("parameter", ""), message or "a field is wrong")
    if kind is InterfaceNotFound:
        return InterfaceNotFound(parameters.get("interface", message))
    if kind is MethodNotFound:
        return MethodNotFound(parameters.get("method", message))
    if kind is None:
        return ProtocolError(f"the broker answered with an error we do not know: {name}")
    return kind(message)
