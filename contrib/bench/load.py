# SPDX-License-Identifier: MIT
"""Posts the entries the benchmark opens, in plain JSON over the broker's own socket.

The law: it speaks the wire as the contract has it and imports nothing of
pagsrv, as a program in another language would.
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from pathlib import Path

from tools import UnmeasuredError

REPLY_BYTES = 64 * 1024


def entry_name(number: int) -> str:
    """The name of entry *number*, as bench.h makes it."""
    return f"bench-entry-of-the-board-{number:06}"


def post(path: Path, entries: int) -> None:
    """Post *entries* times /dev/null in the user scope of the broker behind *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as board:
        board.connect(str(path))
        call(board, "Attach", {"scopes": ["user"], "changes": True}, [])
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            for number in range(entries):
                entry = {"name": entry_name(number), "scope": "user", "fd": 0}
                call(board, "Post", entry, [fd])
        finally:
            os.close(fd)


def call(board: socket.socket, method: str, parameters: dict[str, object], fds: list[int]) -> None:
    """One call and its reply; an error reply ends the measuring of this broker."""
    message = {"method": f"org.pagsrv.Board.{method}", "parameters": parameters}
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
    board.sendmsg([json.dumps(message, separators=(",", ":")).encode()], rights)
    reply = board.recv(REPLY_BYTES)
    if not reply or "error" in json.loads(reply):
        msg = f"{method} was refused: {reply.decode(errors='replace') or 'hung up'}"
        raise UnmeasuredError(msg)
