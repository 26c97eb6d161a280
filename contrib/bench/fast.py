# SPDX-License-Identifier: MIT
# mypy: disable-error-code="import-not-found, misc, untyped-decorator, name-defined"
"""The D-Bus method of bus.c once more, both sides on dbus-fast.

    fast.py serve ADDRESS
    fast.py proxy|message ADDRESS SECONDS

The law: run by the environment that holds dbus-fast, never by the one of the
project (so mypy sees none of its types); its own line of JSON has the keys of bench.h.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus, ProxyInterface
from dbus_fast.service import ServiceInterface, dbus_method

NAME = "org.pagsrv.Bench"
PATH = "/org/pagsrv/Bench"
ENTRY = "bench-entry-of-the-board-000042"
WARM_UP_OPERATIONS = 50

Way = Callable[[MessageBus, ProxyInterface], Awaitable[None]]


class Bench(ServiceInterface):
    """One method that answers with /dev/null, as bus.c does."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    @dbus_method(name="Open")
    def open_entry(self, name: "s") -> "h":  # noqa: ARG002, F821, UP037
        """The descriptor; the library sends a duplicate of it."""
        return self.fd


async def serve(address: str) -> None:
    """Own the name until SIGTERM."""
    bus = await MessageBus(address, negotiate_unix_fd=True).connect()
    bus.export(PATH, Bench())
    await bus.request_name(NAME)
    print("ready", flush=True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, bus.disconnect)
    await bus.wait_for_disconnect()


async def interface(bus: MessageBus) -> ProxyInterface:
    """The other side's proxy, made from its own introspection, as its users get it."""
    description = await bus.introspect(NAME, PATH)
    return bus.get_proxy_object(NAME, PATH, description).get_interface(NAME)


async def by_proxy(_: MessageBus, bench: ProxyInterface) -> None:
    """One call by the proxy; the descriptor that came is closed."""
    os.close(await bench.call_open(ENTRY))


async def by_message(bus: MessageBus, _: ProxyInterface) -> None:
    """One call by a message made by hand, which the library offers below its proxies."""
    call = Message(NAME, PATH, NAME, "Open", signature="s", body=[ENTRY])
    reply = await bus.call(call)
    if reply is None or reply.message_type is not MessageType.METHOD_RETURN:
        sys.exit(f"D-Bus answered {reply and reply.body}")
    os.close(reply.unix_fds[reply.body[0]])


async def measure(open_once: Way, address: str, seconds: float) -> None:
    """Call for *seconds* and print the times in nanoseconds."""
    bus = await MessageBus(address, negotiate_unix_fd=True).connect()
    bench = await interface(bus)
    for _ in range(WARM_UP_OPERATIONS):
        await open_once(bus, bench)
    times: list[int] = []
    start = last = time.monotonic_ns()
    end = start + int(seconds * 1e9)
    while last < end:
        await open_once(bus, bench)
        now = time.monotonic_ns()
        times.append(now - last)
        last = now
    bus.disconnect()
    times.sort()
    count = len(times)
    figures = {
        "n": count,
        "p50": times[count // 2],
        "p99": times[count * 99 // 100],
        "rate": count * 1e9 / (last - start),
    }
    print(json.dumps(figures))


def main() -> None:
    """Serve, or open."""
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2]))
    else:
        way = by_proxy if sys.argv[1] == "proxy" else by_message
        asyncio.run(measure(way, sys.argv[2], float(sys.argv[3])))


if __name__ == "__main__":
    main()
