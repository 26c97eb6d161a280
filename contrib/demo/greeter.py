# SPDX-License-Identifier: MIT
"""A small TCP server for the demo: it answers each whole request, and knows its connections.

    greeter.py PORTFILE

It listens on loopback and writes its port into PORTFILE. A request is `hello, I am NAME`
and ends with an empty line; the answer names the connection it came over, so that one can
see whether the second half of a request came over the same one as the first. The law: a
request may come in pieces, and half of one is no request. It refuses to know about pagsrv.
"""

from __future__ import annotations

import os
import socketserver
import sys
from itertools import count

_numbers = count(1)


class Greeting(socketserver.StreamRequestHandler):
    """One connection: its requests, answered in order."""

    def handle(self) -> None:
        """Answer until the other end hangs up."""
        number = next(_numbers)
        held: list[str] = []
        for raw in self.rfile:
            line = raw.decode(errors="replace").rstrip("\r\n")
            if line:
                held.append(line)
                continue
            who = " ".join(held).removeprefix("hello, I am ")
            told = f"welcome, {who}: your {len(held)} lines came over connection {number}\n"
            self.wfile.write(told.encode())
            held.clear()


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection; they end with the server."""

    daemon_threads = True


def main() -> None:
    """Serve until somebody ends us."""
    with Server(("127.0.0.1", 0), Greeting) as server:
        # Whole at once: whoever waits for the file must not read half a number.
        with open(f"{sys.argv[1]}.new", "w") as file:
            file.write(f"{server.server_address[1]}\n")
        os.replace(f"{sys.argv[1]}.new", sys.argv[1])
        server.serve_forever()


if __name__ == "__main__":
    main()
