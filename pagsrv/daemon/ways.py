# SPDX-License-Identifier: MIT
"""The ways to learn a peer's session: which are taken here, best first, and why others are not.

The law: what the configuration leaves out is not asked; a way that fails is left for the
next one and looked for again once a second; none is waited for but once, at the start. An
iterator takes a hundred times as long as SO_PEERKEYRING, so it is asked only when a session may
matter. It refuses to know what an answer is worth.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock
from typing import TYPE_CHECKING

from pagsrv.daemon.log import log
from pagsrv.errors import PagsrvError
from pagsrv.kernel import peerkeyring
from pagsrv.kernel.bpf import BpfFault
from pagsrv.vitals import Way

if TYPE_CHECKING:
    from pagsrv.daemon.config import Config
    from pagsrv.kernel.asking import Askable
    from pagsrv.kernel.iterlink import Asker
    from pagsrv.kernel.peerkeyring import PeerKeyring

_LEFT_OUT = "not asked: the configuration leaves it out ([proofs] use)"
_NOTHING = object()
_NOT_NEEDED = "not asked: there is a better way"
_PATIENCE = 1.0  # seconds for a thread to wait for its turn
_AGAIN = 60.0  # seconds until what was in vain is tried once more
_BEGINNING = 10.0  # seconds for a process to get its iterator, for which it waits on others
_BRIEFLY = 0.1  # the same for the loop: who asks all the time keeps nobody from being proved


class Ways:
    """What is asked about peers; owns the asker of the iterator while there is one.

    *kernel*: SO_PEERKEYRING is answered; *possession*: a session may be proved that way;
    *kernels*: one may be by a way of the kernel's.
    """

    def __init__(self, config: Config, *, root: bool) -> None:
        self._use = config.ways
        self._root = root
        self._helper = config.helper
        self._asker: Asker | None = None
        self._ending: list[Asker] = []
        self._tried: object = _NOTHING
        self._begun = 0.0
        self._why = _NOT_NEEDED
        self._lost = False  # and whether there will be another is not known yet
        self._turn = allocate_lock()  # one question at a time
        self.possession = "possession" in self._use
        self.kernels = bool({"peerkeyring", "iterator"} & set(self._use))
        self.kernel = False
        self.kernel = self._answered()
        if not self.kernel:
            self._start()

    def wait(self) -> None:
        """Wait until the iterator is there or known not to be: at the start, and never again."""
        if self._asker is not None:
            self._check(wait=True)

    @property
    def taken(self) -> list[str]:
        """The proofs of sessions taken at this moment, best first."""
        kernel = self.kernel or self._ready
        return [*(["kernel"] if kernel else []), *(["possession"] if self.possession else [])]

    @property
    def tells(self) -> bool:
        """Whether the kernel tells of sessions; of a peer it did not tell of it is asked again."""
        return self.kernel or self._ready or self._lost

    @property
    def _ready(self) -> bool:
        asker = self._asker  # the loop may lose it while a thread looks
        return asker is not None and asker.ready

    def views(self) -> list[Way]:
        """Every way, best first: whether it is taken, and by what or why not."""
        return [self._view(way) for way in ("peerkeyring", "iterator", "possession")]

    def _view(self, way: str) -> Way:
        if way not in self._use:
            return Way(way, False, _LEFT_OUT)
        if way == "peerkeyring":
            why = "asked as a peer connects" if self.kernel else "SO_PEERKEYRING is not answered"
            return Way(way, self.kernel, why)
        if way == "iterator":
            return Way(way, self._ready, "asked at the first call that may need it"
                       if self._ready else self._why)  # fmt: skip
        return Way(way, True, "asked where no better way answers; for sessions of its own uid")

    def why_not(self) -> str:
        """Why the kernel tells no session, where it tells none."""
        first, second, _ = self.views()
        if first.why == second.why:
            return f"SO_PEERKEYRING and iterator: {first.why}"
        if first.taken:
            return "SO_PEERKEYRING does not answer about this peer"
        name = "" if "SO_PEERKEYRING" in first.why else "SO_PEERKEYRING: "
        why = "it does not tell of this peer" if second.taken else second.why
        return f"{name}{first.why}; iterator: {why}"

    # ── asked ──

    def at_once(self, sock: Askable) -> PeerKeyring | None:
        """The kernel's record for the peer of *sock*, if a microsecond brings it."""
        return self._directly(sock) if self.kernel else None

    def _directly(self, sock: Askable) -> PeerKeyring | None:
        if "peerkeyring" not in self._use:
            return None
        try:
            return peerkeyring.ask(sock)
        except PagsrvError:
            return None  # somebody else's program answers in its own way

    def ask(self, sock: Askable) -> PeerKeyring | None:
        """The kernel's record for the peer of *sock* by the best way; None if nobody answers."""
        try:
            return self.at_once(sock) or self._by_iterator(sock, _BRIEFLY)
        except BpfFault as fault:
            self._lose(str(fault))
            return None

    def _by_iterator(self, sock: Askable, patience: float) -> PeerKeyring | None:
        """None also if somebody else's question keeps it busy for *patience* seconds."""
        asker = self._asker
        if asker is None or not asker.ready or not self._turn.acquire(timeout=patience):
            return None
        try:
            return asker.ask(sock)
        finally:
            self._turn.release()

    def with_evidence(self, sock: Askable) -> tuple[PeerKeyring | None, str]:
        """As `ask`, and whose answer that is; or None, and why nobody answers."""
        record = self._directly(sock)
        if record is not None:
            return record, "SO_PEERKEYRING"
        record = self.ask(sock)
        return record, self.why_not() if record is None else "BPF iterator, SO_COOKIE"

    def in_a_thread(self, sock: Askable) -> tuple[PeerKeyring | None, str]:
        """As `with_evidence`, of a socket whose lock may be held; the loop goes on meanwhile."""
        record = self._directly(sock)
        if record is not None:
            return record, "SO_PEERKEYRING"
        try:
            record = self._by_iterator(sock, _PATIENCE)
        except BpfFault as fault:
            return None, str(fault)  # whoever asks next in the loop will find it lost
        return record, self.why_not() if record is None else "BPF iterator, SO_COOKIE"

    # ── looked after ──

    def sweep(self) -> None:
        """Once a second: see what is there, take what is better, look for what was lost."""
        self._end()
        was, self.kernel = self.kernel, self._answered()
        self._lost = self._lost or was
        if self.kernel:
            self._tried = _NOTHING
            self._stop(_NOT_NEEDED)
        elif self._asker is None:
            self._start()
        else:
            self._check()

    def _answered(self) -> bool:
        if "peerkeyring" not in self._use:
            return False
        try:
            return peerkeyring.answers()
        except PagsrvError:
            return False
        except OSError:
            return self.kernel  # no descriptors left to find out

    def _start(self) -> None:
        """Have a child get its iterator, if that may come out otherwise than the last time.

        What stood in the way may have passed without a trace: once a minute it is tried anyhow.
        """
        lost, self._lost = self._lost, False
        if "iterator" not in self._use:
            return
        from pagsrv.kernel import iterlink  # noqa: PLC0415 -- few brokers need it

        path = self._helper or iterlink.PATH
        try:
            seen = os.stat(path)
            there: object = (seen.st_dev, seen.st_ino, seen.st_ctime_ns)
        except OSError as error:
            there = None
            self._why = f"nobody gives an iterator at {path}: {error.strerror}"
        lately = time.monotonic() - self._begun < _AGAIN
        if (there == self._tried and lately) or not (there or self._root):
            return
        self._tried, self._begun = there, time.monotonic()
        try:
            self._asker = iterlink.Asker(path, itself=self._root, wait=False)
        except BpfFault as fault:
            self._why = str(fault)
        else:
            self._why, self._lost = "it is being asked for", lost

    def _check(self, *, wait: bool = False) -> None:
        if self._asker is None:
            return
        if self._asker.ready:
            if not self._asker.lives():
                self._lose("the process that reads it has ended")
            return
        try:
            self._asker.begin(wait=wait)
        except BpfFault as fault:
            self._stop(str(fault))
            return
        if not self._ready and time.monotonic() - self._begun >= _BEGINNING:
            self._stop("the process that was to read it does not begin")

    def _lose(self, why: str) -> None:
        log("the iterator is lost", why=why)
        self._tried = _NOTHING
        self._stop(why)
        self._lost = True

    def _stop(self, why: str) -> None:
        asker, self._asker = self._asker, None
        self._lost = False
        self._why = why
        if asker is not None:
            self._ending.append(asker)
            self._end()

    def _end(self) -> None:
        """End what is not asked any more, but never while a thread asks: its number lives on."""
        if self._ending and self._turn.acquire(blocking=False):
            try:
                self._ending = [asker for asker in self._ending if not asker.end()]
            finally:
                self._turn.release()

    def close(self) -> None:
        """Ask nobody any more."""
        self._stop("it is over")
        self._ending = [asker for asker in self._ending if not asker.end()]
