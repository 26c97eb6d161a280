# SPDX-License-Identifier: MIT
"""What only the asynchronous face has: many calls under way, and calls given up.

The law: answers find their calls whoever has gone meanwhile, and a descriptor that
nobody waits for is closed.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pagsrv
from tests.client.peer import ATTACHED, HANG_UP, HELLO, Say, Step, scripted
from tests.conftest import held_descriptors
from tests.running import Running

OPENED = Say(b'{"parameters":{"fd":0}}', 1)
NO_ENTRY = Say(b'{"error":"org.pagsrv.Board.NoEntry","parameters":{"message":"no"}}')


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run to the end, without a loop of ours before or after."""
    asyncio.run(coroutine)


@pytest.fixture
def null() -> Iterator[int]:
    """A descriptor to post."""
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def test_a_board_is_awaited_or_entered(broker: Running) -> None:
    """`await connect()` gives a Board to close, `async with connect()` closes it."""

    async def main() -> None:
        async with pagsrv.aio.connect(broker.dir, scopes=["user"]) as board:
            assert isinstance(await board.names(), list)
        with pytest.raises(ValueError, match="closed"):
            await board.names()
        board = await pagsrv.aio.connect(broker.dir, scopes=["user"])
        async with board:
            await board.health()
        with pytest.raises(ValueError, match="closed"):
            board.fileno()

    run(main())


def test_calls_of_many_tasks_are_under_way_together(broker: Running, name: str, null: int) -> None:
    """Each gets its own answer, refusals among them."""

    async def main() -> None:
        async with pagsrv.aio.connect(broker.dir, scopes=["user"]) as board:
            names = [f"{name}-{number}" for number in range(200)]
            made = await asyncio.gather(*(board.post(one, null, scope="user") for one in names))
            assert [entry.name for entry in made] == names
            asked = [board.stat(f"{one}{'-not' if number % 3 == 0 else ''}")
                     for number, one in enumerate(names)]  # fmt: skip
            for number, told in enumerate(await asyncio.gather(*asked, return_exceptions=True)):
                if number % 3 == 0:
                    assert isinstance(told, pagsrv.NoEntry)
                    assert names[number] in str(told)
                else:
                    assert isinstance(told, pagsrv.Entry)
                    assert told.name == names[number]
            fds = await asyncio.gather(*(board.open(one) for one in names))
            for fd in fds:
                fd.close()
            await asyncio.gather(*(board.remove(one) for one in names))

    run(main())


def test_several_first_changes_announce_once(short_tmp: Path) -> None:
    """Tasks that change something at the same time attach for it once."""
    done = Say(b'{"parameters":{}}')
    with scripted(short_tmp, [HELLO, HELLO, [done], [done], [done]]) as peer:

        async def main() -> None:
            async with pagsrv.aio.connect(peer.dir, scopes=["user", "pag"]) as board:
                await asyncio.gather(*(board.remove(one) for one in "abc"))

        run(main())
    attaches = [heard for heard in peer.heard if b"Attach" in heard]
    assert [b"changes" in attach for attach in attaches] == [False, True]
    assert len(peer.heard) == 5


@pytest.mark.parametrize("late", [[OPENED], [NO_ENTRY]])
def test_a_call_given_up_keeps_its_place(short_tmp: Path, late: Step) -> None:
    """Its answer comes late and goes nowhere, the next answer is the next call's."""
    mine = Say(b'{"parameters":{"names":["mine"]}}')
    with scripted(short_tmp, [HELLO, [], [*late, mine], [OPENED]]) as peer:

        async def main() -> None:
            async with pagsrv.aio.connect(peer.dir, scopes=["user"], changes=True) as board:
                before = held_descriptors()
                given_up = asyncio.create_task(board.open("x"))
                await asyncio.sleep(0)
                given_up.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up
                assert await board.names() == ["mine"]
                assert held_descriptors() == before
                (await board.open("x")).close()

        run(main())


def test_a_call_given_up_as_its_answer_comes_leaks_nothing(
    broker: Running, name: str, null: int
) -> None:
    """Cancelled between the answer's arrival and its being handed over."""

    async def main() -> None:
        async with pagsrv.aio.connect(broker.dir, scopes=["user"], changes=True) as board:
            await board.post(name, null, scope="user")
            before = held_descriptors()
            calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
                lambda: board.open(name),
                lambda: board.open_many([name, name]),
            ]
            for call in calls:
                task = asyncio.create_task(call())
                await asyncio.sleep(0)
                wait_readable(board.fileno())
                # One turn of the loop reads the answer, the next would hand it over.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert len(board._pipeline._line) == 0
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert held_descriptors() == before
            assert name in await board.names()

    run(main())


def wait_readable(fd: int) -> None:
    """Return when *fd* can be read."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(20_000)


def test_a_call_given_up_before_it_was_sent_is_not_made(
    broker: Running, name: str, null: int
) -> None:
    """With the socket full a call waits here; given up then, it never reaches the broker."""

    async def main() -> None:
        async with pagsrv.aio.connect(broker.dir, scopes=["user"], changes=True) as board:
            before = held_descriptors()
            posts = [
                asyncio.create_task(board.post(f"{name}-{number}", null, scope="user"))
                for number in range(2000)
            ]
            await asyncio.sleep(0)
            unsent = len(board._pipeline._unsent)
            assert unsent > 0
            gone = posts[-1]
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert len(board._pipeline._unsent) == unsent - 1
            await asyncio.gather(*posts[:-1])
            assert held_descriptors() == before
            names = {one for one in await board.names() if one.startswith(f"{name}-")}
            assert names == {f"{name}-{number}" for number in range(1999)}
            await asyncio.gather(*(board.remove(one) for one in names))

    run(main())


def test_closing_tells_whoever_waits(short_tmp: Path) -> None:
    """Calls under way end with ValueError, and their late answers are nobody's."""
    with scripted(short_tmp, [HELLO, []]) as peer:

        async def main() -> None:
            board = await pagsrv.aio.connect(peer.dir, scopes=["user"], changes=True)
            task = asyncio.create_task(board.open("x"))
            await asyncio.sleep(0)
            await board.close()
            with pytest.raises(ValueError, match="closed"):
                await task

        run(main())


def test_a_broker_that_goes_is_told_to_all(short_tmp: Path) -> None:
    """NoBroker for every call under way, and for the ones after."""
    with scripted(short_tmp, [HELLO, [HANG_UP]]) as peer:

        async def main() -> None:
            async with pagsrv.aio.connect(peer.dir, scopes=["user"], changes=True) as board:
                told = await asyncio.gather(
                    *(board.open(one) for one in "abc"), return_exceptions=True
                )
                assert {type(one) for one in told} == {pagsrv.NoBroker}
                with pytest.raises(pagsrv.NoBroker, match="hung up"):
                    await board.names()

        run(main())


def test_an_answer_nobody_asked_for_ends_the_connection(short_tmp: Path) -> None:
    """What comes unasked is no answer: the board is over, and its descriptor closed."""
    with scripted(short_tmp, [[Say(ATTACHED), OPENED]]) as peer:

        async def main() -> None:
            board = await pagsrv.aio.connect(peer.dir, scopes=["user"], changes=True)
            wait_readable(board.fileno())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with pytest.raises(pagsrv.NoBroker, match="nobody"):
                await board.names()

        run(main())


def test_a_watch_given_up_loses_no_event(own_broker: Running, name: str) -> None:
    """A task cancelled while it waits for an event leaves that event for the next."""

    async def main() -> None:
        async with (
            pagsrv.aio.connect(own_broker.dir, scopes=["user"]) as board,
            board.watch("user") as events,
        ):
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await board.create(name, scope="user")
            assert (await anext(events)).name == name

    run(main())


def test_a_watch_closed_is_over_for_who_waits(own_broker: Running) -> None:
    """Closing it elsewhere ends `async for` without an error."""

    async def main() -> None:
        async with pagsrv.aio.connect(own_broker.dir, scopes=["user"]) as board:
            events = board.watch("user")

            async def count() -> int:
                return len([event async for event in events])

            counting = asyncio.create_task(count())
            while events._waiting is None:  # noqa: ASYNC110 -- the loop has to turn for it
                await asyncio.sleep(0)
            await events.close()
            assert await counting == 0
            await events.close()
            early = board.watch("user")
            await early.close()
            assert [event async for event in early] == []

    run(main())


def test_a_watch_closed_while_it_connects_is_over(broker: Running) -> None:
    """No connection stays that nobody has."""

    async def main() -> None:
        async with pagsrv.aio.connect(broker.dir, scopes=["user"]) as board:
            events = board.watch("user")
            first = asyncio.create_task(anext(events))
            await asyncio.sleep(0)
            await events.close()
            with pytest.raises(StopAsyncIteration):
                await first

    run(main())


def test_a_full_queue_is_waited_for_beside_the_loop(short_tmp: Path) -> None:
    """A broker that does not accept yet holds up who connects, and nobody else."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as first,
    ):
        listener.bind(str(short_tmp / "board"))
        listener.listen(0)
        first.connect(str(short_tmp / "board"))

        async def main() -> None:
            connecting = [asyncio.ensure_future(_connect(str(short_tmp))) for _ in range(2)]
            await asyncio.sleep(0)
            connecting[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting[1]
            listener.accept()[0].close()
            peers = []
            for _ in range(2):
                peer = (await asyncio.to_thread(listener.accept))[0]
                peers.append(peer)
                with suppress(BrokenPipeError):  # the one that was given up
                    peer.send(ATTACHED)
            await (await connecting[0]).close()
            for peer in peers:
                peer.close()

        run(main())


async def _connect(dir: str) -> pagsrv.aio.Board:  # noqa: A002
    return await pagsrv.aio.connect(dir, scopes=["user"], changes=True)
