# SPDX-License-Identifier: MIT
"""Who asks: proved by the kernel while it waits for the answer, or refused.

The law: a thread that waits in a request cannot exit, nor change its credentials, before it is
answered, so that what the kernel says of its number is of the asker. Proof is asked for at every
question and never kept. The uid alone proves nothing, unless we were told that it shall. It
refuses to know what is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES
from typing import TYPE_CHECKING, Protocol

from pagsrv.errors import PagsrvError
from pagsrv.kernel import threads
from pagsrv.kernel.process import NoProcess

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pagsrv.kernel.fd import Fd
    from pagsrv.kernel.fuse import Question
    from pagsrv.kernel.tasks import Mates


class Unproved(PagsrvError):
    """Nobody shows that the asker may be served."""

    errno = EACCES


class Callers(Protocol):
    """How askers are known."""

    words: tuple[str, ...] | None
    """The scopes that we attach with; None for all."""

    def proved(self, question: Question) -> AbstractContextManager[Fd | None]:
        """On whose behalf to call for *question*: a pidfd of the asker; None: on our own. Unproved.

        Ours until the context ends.
        """


class SameUid:
    """Whoever has our uid is served as we are, of whatever session."""

    words: tuple[str, ...] | None = None

    @contextmanager
    def proved(self, question: Question) -> Iterator[Fd | None]:
        """As for any of them."""
        _check_uid(question)
        yield None


class Session:
    """Whoever is in the session keyring that we are in, by the kernel's word."""

    # Not the PAG: a session may hold processes of several.
    words: tuple[str, ...] | None = ("session", "user")

    def __init__(self, mates: Mates) -> None:
        self._mates = mates

    @contextmanager
    def proved(self, question: Question) -> Iterator[Fd | None]:
        """As for any of them."""
        _check_uid(question)
        if not question.tid or not self._mates.includes(question.tid):
            raise Unproved("the asker is not in the session that is served here")
        yield None


class Everybody:
    """Each in its own scopes: root's broker proves the asker by its pidfd."""

    words: tuple[str, ...] | None = None

    @contextmanager
    def proved(self, question: Question) -> Iterator[Fd | None]:
        """As for any of them."""
        with asker(question) as pidfd:
            found = threads.look(pidfd)
            if found is None or found.tid != question.tid:
                raise Unproved("the asker cannot be looked at")
            if not found.uid == found.fsuid == question.uid:
                # As NFS servers do: it acts as somebody whom it is not.
                raise Unproved("the asker has another uid for files than it has")
            yield pidfd


def asker(question: Question) -> Fd:
    """A pidfd of the thread that asks, the caller's; Unproved if it is outside our pid namespace.

    It is the right one: until it is answered its number is its own.
    """
    if not question.tid:
        raise Unproved("the asker is outside our pid namespace")
    try:
        return threads.open_thread(question.tid)
    except NoProcess as error:
        raise Unproved(str(error)) from error


def _check_uid(question: Question) -> None:
    if question.uid != os.geteuid():
        raise Unproved(f"uid {question.uid} is not served here")
