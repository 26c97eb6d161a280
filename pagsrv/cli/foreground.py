# SPDX-License-Identifier: MIT
"""A command in the foreground, as a shell would run it, with this process behind it.

The law: the command stays in our process group, so that the terminal's signals reach
it without us; what is sent to us alone is passed on; its status becomes ours. Signals
are taken one by one and never interrupt, so that whoever called us can tidy up. It
refuses to know why somebody stands behind a command.
"""

from __future__ import annotations

import os
import signal

from pagsrv.cli.fail import NotRun

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_THE_TERMINALS = (signal.SIGINT, signal.SIGQUIT)
_TAKEN = (*_PASSED_ON, *_THE_TERMINALS, signal.SIGCHLD)
# Python ignores these, and what is ignored stays so over an exec (signal(7)).
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


def run(command: list[str]) -> int:
    """Run *command* to its end; its status, or 128 + the number of the signal that ended it.

    The signals taken stay blocked when this returns.
    """
    # Somebody who ignores it gets no status of any child (wait(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
    try:
        child = os.posix_spawnp(
            command[0], command, os.environ, setsigmask=before, setsigdef=_RESTORED
        )
    except OSError as error:
        raise NotRun(command[0], error) from None
    while True:
        status = _ended(child)
        if status is not None:
            return status
        number = signal.sigwait(_TAKEN)
        if number in _PASSED_ON:
            # Not reaped yet, so its number is its own.
            os.kill(child, number)


def _ended(child: int) -> int | None:
    """The status of *child*, reaped, if it has ended; if it has stopped, so do we."""
    seen = os.waitid(os.P_PID, child, os.WEXITED | os.WSTOPPED | os.WNOHANG)
    if seen is None:
        return None
    if seen.si_code == os.CLD_EXITED:
        return seen.si_status
    if seen.si_code != os.CLD_STOPPED:
        return 128 + seen.si_status
    if os.isatty(0) and seen.si_status != signal.SIGTSTP:
        # So that the shell above gets the terminal back; ^Z has stopped us with the command.
        os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(child, signal.SIGCONT)
    return None
