# SPDX-License-Identifier: MIT
"""The picture of the dashboard in the documents: the application at a real board.

    python -m tests.tui.picture      paints docs/dashboard.svg anew

The law: broker, sessions and sockets are real; only the name of the directory is put in the usual
one's place. It refuses to know how anything is drawn.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pagsrv
from pagsrv.client.where import MACHINE
from tests.actors import Actor
from tests.running import running_broker
from tests.tui.driving import driven

PICTURE = Path(__file__).resolve().parent.parent.parent / "docs" / "dashboard.svg"

_kept = ExitStack()


def first(directory: str, tmp: str) -> None:
    """What the first session posts."""
    board = _kept.enter_context(pagsrv.connect(directory, changes=True))
    server = _kept.enter_context(socket.create_server(("127.0.0.1", 0)))
    line = _kept.enter_context(socket.create_connection(server.getsockname()))
    _kept.enter_context(server.accept()[0])
    one, other = socket.socketpair()
    _kept.enter_context(other)
    log = _kept.enter_context(Path(f"{tmp}/app.log").open("a+b"))  # noqa: SIM115 -- kept
    board.post("db", line, labels={"app": "psql"}, until=["ttl=900"])
    board.post("web", server, mask="3f0b0000", until=[f"exit={os.getpid()}"])
    board.post("agent", _kept.enter_context(one), until=["hup"])
    board.post("app.log", log)
    board.create("later")
    for _ in range(7):
        board.open("db").close()


def second(directory: str) -> None:
    """What the second session posts."""
    board = _kept.enter_context(pagsrv.connect(directory, changes=True))
    null = _kept.enter_context(Path(os.devnull).open("rb"))  # noqa: SIM115 -- kept
    for number in range(4):
        board.post(f"job-{number}", null, until=["opens=1"])
    board.post("shared", null, scope="user", mask="3f3f0000")


def paint(directory: str) -> str:
    """The dashboard in a session of its own, as SVG."""

    async def painted() -> str:
        async with driven(directory, size=(120, 36)) as at:
            await at.live()
            await at.press("down", "down")
            await at.until(lambda: at.entry() is not None and at.entry().socket is not None)
            await at.until(lambda: len(at.board.view.pulses) > 1)
            return at.app.export_screenshot(title="pagsrv tui")

    return asyncio.run(painted())


def main() -> None:
    """Paint it."""
    tmp = Path(tempfile.mkdtemp(prefix="pagsrv-", dir="/tmp"))
    os.environ["XDG_CONFIG_HOME"] = str(tmp)
    try:
        with running_broker(tmp) as broker, Actor() as one, Actor() as two:
            one(first, broker.dir, str(tmp))
            two(second, broker.dir)
            picture = one(paint, broker.dir)
    finally:
        shutil.rmtree(tmp)
    shown = picture.replace(f"{tmp}/b", MACHINE).replace(str(tmp), "/var/log")
    shown = re.sub(r"/tmp/pagsrv-\w+…", "/var/log/app.log", shown)  # cut off, and as wide
    shown = re.sub(r"@font-face \{.*?\}\s*", "", shown, flags=re.DOTALL)  # fonts from elsewhere
    lines = [line.rstrip() for line in shown.split("\n")]
    PICTURE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
