# SPDX-License-Identifier: MIT
"""The door's process: argv, who may be served, the mount, the loop, the end.

The law: made undumpable before the first descriptor could come in; who is served is said at
the start, in one sentence, and never widens afterwards; whatever ends it, the mount is gone. It
refuses to know the command line of the pagsrv command, which only execs this.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from pagsrv.doors.fuse.boards import Boards
from pagsrv.doors.fuse.callers import Callers, Everybody, SameUid, Session
from pagsrv.doors.fuse.door import Door
from pagsrv.doors.fuse.loop import ENDING, Loop
from pagsrv.doors.fuse.mounting import Mount
from pagsrv.doors.fuse.namespace import Namespace
from pagsrv.doors.fuse.nodes import Nodes
from pagsrv.doors.fuse.transfers import KICK
from pagsrv.errors import Denied, NoSession, PagsrvError
from pagsrv.kernel import threads
from pagsrv.kernel.acting import acting_as
from pagsrv.kernel.bpf import BpfFault
from pagsrv.kernel.manager import notify
from pagsrv.kernel.matelink import PATH, fetch
from pagsrv.kernel.process import undumpable
from pagsrv.kernel.tasks import Mates

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOBODY = 65534


def main(argv: Sequence[str]) -> int:
    """Serve in the foreground; the exit status of the process."""
    undumpable()
    parser = argparse.ArgumentParser(prog="pagsrv mount", add_help=False)
    parser.add_argument("path")
    parser.add_argument("--dir")
    parser.add_argument("--scope")
    parser.add_argument("--helper")
    parser.add_argument("--same-uid", action="store_true")
    given = parser.parse_args(argv)
    try:
        callers, words = choose(given.dir, given.helper, same_uid=given.same_uid)
        return serve(given, callers, words)
    except PagsrvError as error:
        sys.stderr.write(f"pagsrv: {error}\n")
        return error.status


def choose(directory: str | None, helper: str | None, *, same_uid: bool) -> tuple[Callers, str]:
    """Who is to be served, and that in words; PagsrvError if nobody can be proved."""
    if same_uid:
        return SameUid(), (
            f"every process of uid {os.geteuid()}, of whatever session, as this command itself "
            "(--same-uid: your sessions are not kept apart here)"
        )
    everybody = Everybody()
    if os.geteuid() == 0:
        _check_rights()
        with Boards(directory, None).lend() as board, threads.open_thread(os.getpid()) as own:
            try:
                board.names(on_behalf_of=own)
            except NoSession as error:
                raise NoSession(
                    f"no caller can be proved: {error}; --same-uid serves root's processes without"
                ) from None
            finally:
                board.close()
        return everybody, "every session its own entries"
    try:
        return Session(_mates(helper)), "the processes of this session, and no other's"
    except BpfFault as fault:
        raise NoSession(
            f"which processes are of this session cannot be told: {fault}; have root run "
            "`pagsrv peerkeyring serve`, or mount as root; or say --same-uid to serve every "
            "process of your uid, of whatever session"
        ) from None


def _check_rights() -> None:
    """Denied if bytes cannot be moved as whoever asks."""
    try:
        with acting_as(_NOBODY, _NOBODY):
            return
    except PermissionError as error:
        raise Denied(
            f"{error.strerror}, as root's mount does when others read and write: it takes "
            "CAP_SETUID and CAP_SETGID"
        ) from None


def _mates(helper: str | None) -> Mates:
    """Who is in our session, by an iterator that shows us; BpfFault."""
    mates = Mates(fetch(helper))
    if mates.includes(threading.get_native_id()):
        return mates
    raise BpfFault(
        f"what is given at {helper or PATH} does not show this process itself; is it in a session "
        "(`keyctl show @s`)?"
    )


def serve(given: argparse.Namespace, callers: Callers, words: str) -> int:
    """Mount, and serve until it is taken down or a signal comes."""
    # So that a thread's wait can be broken off (siginterrupt(3) is Python's way).
    signal.signal(KICK, lambda *_: None)
    # Whatever ends us from now on takes the mount down.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    boards = Boards(given.dir, callers.words)
    with boards.lend():
        pass  # no broker, no mount
    try:
        with Mount(given.path) as mount, Loop(mount.fd) as loop:
            everybody = mount.everybody and isinstance(callers, Everybody)
            space = Namespace(boards, callers, Nodes(everybody=everybody), scope=given.scope)
            Door(loop, space, mount.device, everybody=everybody)
            notify(f"READY=1\nSTATUS=serving {mount.path}")
            sys.stdout.write(f"serves at {mount.path}: {words}\n")
            sys.stdout.flush()
            loop.run()
            notify("STOPPING=1")
    finally:
        boards.close()
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Threads may still wait for files that nobody serves.
    os._exit(status)
