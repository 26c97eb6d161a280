# SPDX-License-Identifier: MIT
"""gssd serves each PAG its own credentials, in PAGs made by `pagsrv pagsh`.

The law: as in test_gssd.py, by nothing but commands: kinit, pagsrv and a client that has never
heard of either. It refuses to know how the broker knows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.anybody import OTHER_UID, Anybody
from tests.gssd.login import ADMIN, ALICE, PASSWORD, full
from tests.gssd.realm import SERVICE, Realm
from tests.gssd.running import ROOT, Gssd
from tests.running import SECONDS, Running

pytestmark = [pytest.mark.kernel, pytest.mark.root]

_END = "that was all"


class Pagsh:
    """A shell of the other uid in a PAG; root's command has started it, as sudo would."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, command: str) -> str:
        """Run *command*; what it said on both its outputs."""
        said, heard = self._process.stdin, self._process.stdout
        assert said is not None
        assert heard is not None
        said.write(f"{{ {command}; }} 2>&1; echo; echo '{_END}'\n")
        said.flush()
        lines: list[str] = []
        for line in heard:
            if line.strip() == _END:
                return "".join(lines).strip()
            lines.append(line)
        raise AssertionError(f"the shell has ended: {''.join(lines)}")


@contextmanager
def pagsh(environment: dict[str, str]) -> Iterator[Pagsh]:
    """A new PAG, with a new session keyring that is root's, and so no session of the uid's."""
    drop = ("setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--keep-groups", "sh")
    with subprocess.Popen(
        [sys.executable, "-m", "pagsrv", "pagsh", "--", *drop], env=environment, text=True,
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            yield Pagsh(process)
            process.communicate(timeout=SECONDS)
        finally:
            process.kill()


@pytest.fixture
def outside(
    kerberos: Realm, board_of_root: Running, anybody_python: Anybody
) -> tuple[Realm, Running, Anybody]:
    """What a shell is told of: the realm, the broker, and how to run pagsrv."""
    return kerberos, board_of_root, anybody_python


def test_each_pagsh_is_served_its_own_credentials(
    outside: tuple[Realm, Running, Anybody], gssd: Gssd, c_client: str, folder: str
) -> None:
    """One uid, two PAGs: each one's clients are its principal; a third, without, is refused."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (Debian: util-linux) is not on this machine")
    kerberos, board_of_root, anybody_python = outside
    environment = kerberos.environment | anybody_python.env | {"PAGSRV_DIR": board_of_root.dir}
    command = " ".join((*anybody_python.argv, "-m", "pagsrv"))
    clients = (
        f"{c_client} {gssd.socket} {SERVICE}",
        f"echo {SERVICE} | socat -t {SECONDS} - UNIX-CONNECT:{gssd.socket}",
    )
    with pagsh(environment) as plain, pagsh(environment) as admin, pagsh(environment) as bare:
        for shell, principal in ((plain, ALICE), (admin, ADMIN)):
            cache = f"{folder}/cache"
            assert "Password for" in shell(f"echo {PASSWORD} | kinit -c FILE:{cache} {principal}")
            assert shell(f"{command} post --scope pag --fd 3 krb5cc 3<{cache}") == ""
            os.unlink(cache)
        for client in clients:
            for shell, principal in ((plain, ALICE), (admin, ADMIN)):
                token = shell(client).removeprefix("OK ")
                assert full(principal) == gssd.initiator(token), gssd.log
            assert "nothing is posted as krb5cc in pag:" in bare(client)
        for shell in (plain, admin):
            assert shell(f"{command} rm --scope pag krb5cc") == ""
    assert not list(Path(folder).iterdir())
