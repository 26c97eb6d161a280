# SPDX-License-Identifier: MIT
"""Actors: forked processes with a uid and a session keyring of their own.

    with Actor(uid) as victim, Actor(uid) as outsider:
        ring = victim(keys.session_ring)
        assert outsider.fault(keys.add, "name", b"x", ring) == "denied"

The law: what is asked runs in the actor and is answered before the call returns, so
nobody waits for time to pass; the runner's own keyrings are never touched. Functions
are sent by name (pickle), so they stand at the top of a module. It refuses to know
what they do.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

from pagsrv.kernel import keys
from pagsrv.kernel.keys import KeyFault

P = ParamSpec("P")
R = TypeVar("R")

_BYTES = 1 << 20
_PATIENCE = 10_000  # milliseconds for an actor to end

_ours: WeakSet[socket.socket] = WeakSet()

held: dict[str, Any] = {}
"""What functions run in an actor keep from one call to the next; each actor has its own."""


class ActorError(Exception):
    """Something went wrong in the actor that it could not send; the text is its traceback."""


class Actor:
    """A forked process; as a uid that is not ours only root can make one.

    *ring*: None for a new anonymous session keyring, else the name of one to join or make.
    *groups* are its supplementary ones. *may_return*: it keeps root as its saved uid, for
    `turn_into`.
    """

    def __init__(
        self,
        uid: int | None = None,
        *,
        ring: str | None = None,
        groups: tuple[int, ...] = (),
        may_return: bool = False,
    ) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _ours.add(mine)
        self.pid = os.fork()
        if self.pid == 0:
            # Another actor's end held here too would keep that one from seeing ours closed.
            for sock in _ours:
                sock.close()
            try:
                _enter(uid, ring, groups, may_return=may_return)
                _serve(theirs)
            except BaseException:  # noqa: BLE001 -- a child never leaves the fork
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        theirs.close()
        self._sock = mine

    def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run *function* in the actor; what it returns or raises."""
        self._sock.send(pickle.dumps((function, args, kwargs)))
        answer = self._sock.recv(_BYTES)
        if not answer:
            raise ActorError("the actor has died")
        raised, value = pickle.loads(answer)  # noqa: S301 -- our own child's
        if raised:
            raise value
        result: R = value
        return result

    def fault(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> str:
        """Run *function* in the actor: the KeyFault's state, or "" if the kernel let it."""
        return self(_fault, function, args, kwargs)

    def close(self) -> None:
        """End it, and wait until it has."""
        if self._sock.fileno() < 0:
            return
        self._sock.close()
        pidfd = os.pidfd_open(self.pid)
        end = select.poll()
        end.register(pidfd, select.POLLIN)
        stuck = not end.poll(_PATIENCE)
        os.close(pidfd)
        if stuck:
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        if stuck:
            raise ActorError("the actor did not end when its asker left")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def session_leader() -> Iterator[int]:
    """The pidfd of a process that leads a session (setsid(2)).

    Ours may have no leader here: it has exited, or is outside our pid namespace.
    """
    with Actor() as actor:
        actor(os.setsid)
        pidfd = os.pidfd_open(actor.pid)
        try:
            yield pidfd
        finally:
            os.close(pidfd)


def turn_into(uid: int) -> None:
    """Become *uid* for good, keeping the keyrings, as su and sudo do (may_return needed)."""
    os.setresuid(0, 0, 0)
    _drop(uid, ())


def _drop(uid: int, groups: tuple[int, ...]) -> None:
    os.setgroups(groups)
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _enter(uid: int | None, ring: str | None, groups: tuple[int, ...], *, may_return: bool) -> None:
    if uid is not None and may_return:
        os.setgroups(groups)
        os.setresuid(uid, uid, 0)
    elif uid is not None:
        _drop(uid, groups)
    keys.join_session(ring)


def _serve(sock: socket.socket) -> None:
    while question := sock.recv(_BYTES):
        function, args, kwargs = pickle.loads(question)  # noqa: S301 -- our own parent's
        try:
            answer = pickle.dumps((False, function(*args, **kwargs)))
        except Exception as error:  # noqa: BLE001 -- whatever it is, the asker gets it
            answer = _sendable(error)
        sock.send(answer)


def _sendable(error: Exception) -> bytes:
    try:
        raw = pickle.dumps((True, error))
        pickle.loads(raw)  # noqa: S301 -- made in the line above
    except Exception:  # noqa: BLE001 -- some errors cannot be pickled
        return pickle.dumps((True, ActorError("".join(traceback.format_exception(error)))))
    return raw


def _fault(
    function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> str:
    try:
        function(*args, **kwargs)
    except KeyFault as fault:
        return fault.state
    return ""
