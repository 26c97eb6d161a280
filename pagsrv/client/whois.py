# SPDX-License-Identifier: MIT
"""Whois without a broker: what the kernel tells a process of the peer of its own socket.

The law: the socket stays the caller's, and what is no connection is refused, since the
kernel would name somebody for it who is at no other end. It refuses to know what is
done with the answer.
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from typing import TYPE_CHECKING

from pagsrv.client.identity import PeerIdentity
from pagsrv.client.until import number_of
from pagsrv.errors import InvalidParameter, PagsrvError
from pagsrv.proofs import whois as proof

if TYPE_CHECKING:
    from pagsrv.client.until import HasFileno
    from pagsrv.kernel.peerkeyring import PeerKeyring

_STREAMS = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)


def whois(sock: HasFileno | int) -> PeerIdentity:
    """What is known of the peer of *sock*, a connected Unix socket, which stays the caller's.

    Asked of the kernel directly; nothing is asked of the peer, and no right is needed.
    Of a socket of one's own accept(2) it speaks of whoever connected, as of that moment; of
    one's own connect(2) of whoever called listen(2); of a socketpair(2) of its maker. A gid in
    the range of PAGs is looked up in the group database, which may be slow, and is so once.
    InvalidParameter for what is no such socket, or has nobody at its other end.
    """
    if isinstance(sock, socket.socket):
        return _whois(sock)
    with _borrowed(number_of(sock)) as own:
        return _whois(own)


def peer_keyring(sock: HasFileno | int) -> PeerKeyring | None:
    """The kernel's record of the session keyring of the peer of *sock* (SO_PEERKEYRING).

    One getsockopt(2), which needs no right. None where nobody answers: it is not installed
    (`pagsrv peerkeyring status`), or *sock* is no connected stream or seqpacket socket of
    AF_UNIX. Whether the record makes a session is whois()'s to say.
    """
    from pagsrv.kernel.peerkeyring import ask  # noqa: PLC0415 -- calls what it is given

    if isinstance(sock, socket.socket):
        return ask(sock)
    with _borrowed(number_of(sock)) as own:
        return ask(own)


def _whois(sock: socket.socket) -> PeerIdentity:
    if sock.family != socket.AF_UNIX or sock.type not in _STREAMS:
        raise InvalidParameter("sock", "show a connected Unix socket, stream or seqpacket")
    try:
        return PeerIdentity(proof.of_socket(sock, has_name))
    except PagsrvError as error:
        raise InvalidParameter("sock", str(error)) from None


def _borrowed(number: int) -> socket.socket:
    """A socket object of its own for descriptor *number*, the caller's to close."""
    try:
        own = os.dup(number)
    except OSError as error:
        raise InvalidParameter("sock", f"descriptor {number}: {error.strerror}") from None
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise InvalidParameter("sock", f"descriptor {number} is no socket") from None


@lru_cache(maxsize=256)
def has_name(gid: int) -> bool:
    """Whether the group database has a name for *gid*: then it is a real group and no PAG."""
    import grp  # noqa: PLC0415 -- asks whatever name service there is, and only for a PAG

    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True
