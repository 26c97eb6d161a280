# SPDX-License-Identifier: MIT
"""Fixtures of the gssd example: a realm, a broker of root's, gssd itself, its clients.

The law: they are the real ones, processes of their own; what they need and is not here is
said in the reason of the skip. It refuses to know who is in which session.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_short_directory
from tests.gssd.login import ADMIN, ALICE, PASSWORD
from tests.gssd.realm import Realm, missing_tools, realm
from tests.gssd.running import GSSD, Gssd, running_gssd
from tests.installing import peerkeyring_installed
from tests.running import KERNEL, SECONDS, Running, running_broker


@pytest.fixture(scope="module")
def kerberos() -> Iterator[Realm]:
    """A realm in which alice and alice/admin can log in."""
    if os.geteuid() != 0:
        pytest.skip("only root can serve the sessions of other uids")
    missing = missing_tools()
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)} (Debian: krb5-kdc, "
                    "krb5-admin-server, krb5-user)")  # fmt: skip
    if importlib.util.find_spec("gssapi") is None:
        pytest.skip("the Python package gssapi is not here")
    path = make_short_directory()
    with realm(path) as served:
        for principal in (ALICE, ADMIN):
            served.add(principal, PASSWORD)
        yield served
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def board_of_root(kerberos: Realm) -> Iterator[Running]:  # noqa: ARG001 -- its skips are ours
    """The machine's broker, which proves the sessions of every uid, since the kernel answers."""
    path = make_short_directory()
    with peerkeyring_installed(), running_broker(path, use=KERNEL) as running:
        yield running
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def gssd(kerberos: Realm, board_of_root: Running) -> Iterator[Gssd]:
    """The example at its socket, asking that broker."""
    path = make_short_directory()
    with running_gssd(path, kerberos, board_of_root.dir) as running:
        yield running
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def c_client(kerberos: Realm) -> Iterator[str]:  # noqa: ARG001 -- its skips are ours
    """The client in C, compiled: it has never heard of a board."""
    path = make_short_directory()
    made = str(path / "client")
    source = str(GSSD.parent / "client.c")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", made, source], check=True,
                   timeout=SECONDS)  # fmt: skip
    yield made
    shutil.rmtree(path)


@pytest.fixture
def folder(short_tmp: Path, other_uid: int) -> str:
    """A directory of the other uid's own."""
    path = short_tmp / "home"
    path.mkdir(mode=0o700)
    os.chown(path, other_uid, other_uid)
    return str(path)
