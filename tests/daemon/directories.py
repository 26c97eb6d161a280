# SPDX-License-Identifier: MIT
"""A directory with files of several users, and what posters and openers do with it.

The law: what is opened is read and closed; a refusal is told by its name and its sentence. It
refuses to know who may.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pagsrv.kernel.fd import Fd
from tests.actors import Actor
from tests.anybody import OTHER_UID
from tests.daemon import members
from tests.daemon.members import mine
from tests.daemon.wire import Client, Parameters, Said
from tests.running import Running

SECOND_UID = OTHER_UID + 1
SHARED = 60777
"""A group that files are shared with."""

EVERYBODY = "alswrv" * 4


@pytest.fixture
def tree(short_tmp: Path, other_uid: int) -> Path:
    """A directory of *other_uid*'s, with files that it may read, and one that it may not."""
    short_tmp.chmod(0o755)
    top = short_tmp / "docs"
    (top / "sub").mkdir(parents=True)
    for name, mode in (("own", 0o600), ("sub/own", 0o600), ("shared", 0o640), ("roots", 0o600)):
        (top / name).write_text(f"{name} it is")
        (top / name).chmod(mode)
        if name != "roots":
            os.chown(top / name, other_uid, SHARED)
    os.chown(top / "shared", 0, SHARED)
    os.chown(top / "sub", other_uid, other_uid)
    (top / "sub").chmod(0o700)
    os.chown(top, other_uid, other_uid)
    top.chmod(0o700)
    return top


def post_directory(
    path: str, name: str = "docs", flags: int = os.O_RDONLY, **more: object
) -> Parameters:
    """Open the directory at *path* and post it, readable by everybody unless *more* says."""
    with Fd(os.open(path, flags | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        said = {"name": name, "fd": 0, "scope": "user", "mask": EVERYBODY, **more}
        entry: Parameters = mine().do("Post", [fd.fileno()], **said)["entry"]
    return entry


def read(name: str, client: Client | None = None, **more: object) -> str:
    """What is beneath, as text; Said for a refusal."""
    with (client or mine()).open(name, "Open", **more) as fd:
        return os.read(fd.fileno(), 100).decode()


def refusal(name: str, **more: object) -> tuple[str, str]:
    """The error of an open beneath, and its sentence."""
    try:
        return "", read(name, **more)
    except Said as said:
        return said.error, said.message


def kind_of(name: str) -> int:
    """What kind of file it is that is opened by that name."""
    with mine().open(name) as fd:
        return stat.S_IFMT(os.fstat(fd.fileno()).st_mode)


def directly(path: str) -> str:
    """What opening *path* oneself says."""
    try:
        with Fd(os.open(path, os.O_RDONLY)):
            return ""
    except OSError as error:
        return str(error.strerror)


def names(name: str) -> list[str]:
    """What lies there."""
    return [node["name"] for node in mine().do("Walk", name=name)["nodes"]]


@contextmanager
def member(broker: Running, uid: int, *, groups: tuple[int, ...] = ()) -> Iterator[Actor]:
    """A process of that uid, attached to the broker."""
    with Actor(uid, groups=groups) as actor:
        actor(members.join, broker.dir, "user")
        yield actor


def mine_do(method: str, **parameters: object) -> Parameters:
    """One call."""
    return mine().do(method, **parameters)


def children(pid: int) -> list[int]:
    """The processes that *pid* has made and that live."""
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in told.split()]


def walkers(broker: Running) -> list[int]:
    """The broker's walkers: children of its spawner."""
    return [walker for spawner in children(broker.pid) for walker in children(spawner)]


def beneath(pid: int, tree: Path) -> list[str]:
    """What process *pid* holds of *tree*."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return [link for link in found if link.startswith(str(tree))]
