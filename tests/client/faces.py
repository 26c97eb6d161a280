# SPDX-License-Identifier: MIT
"""The two faces of the library behind one: what a test says, and who says it to the broker.

The law: nothing but awaiting differs. It refuses to know what is called.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, TypedDict, Unpack, cast

import pagsrv


class Options(TypedDict, total=False):
    """connect()'s own."""

    scopes: Sequence[str] | None
    changes: bool
    prove: bool


class Face(Protocol):
    """A way to connect."""

    def connect(self, dir: str, **options: Unpack[Options]) -> pagsrv.Board:  # noqa: A002
        """A board, or what behaves like one, to be closed."""


class BlockingFace:
    """pagsrv.connect as it is."""

    def connect(self, dir: str, **options: Unpack[Options]) -> pagsrv.Board:  # noqa: A002
        """A board, to be closed."""
        return pagsrv.connect(dir, **options)


class AioFace:
    """pagsrv.aio.connect, each call run to its end in one loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def connect(self, dir: str, **options: Unpack[Options]) -> pagsrv.Board:  # noqa: A002
        """A board that is awaited inside, to be closed."""

        async def connected() -> pagsrv.aio.Board:
            return await pagsrv.aio.connect(dir, **options)

        return cast("pagsrv.Board", Awaited(self._runner, self._runner.run(connected())))


class Awaited:
    """An object whose coroutines are run when they are called."""

    def __init__(self, runner: asyncio.Runner, inner: Any) -> None:  # noqa: ANN401 -- a Board or Events of aio
        self._runner = runner
        self._inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever it has
        found = getattr(self._inner, name)
        return self._run(found) if callable(found) else found

    def _run(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: object, **options: object) -> object:
            result = method(*arguments, **options)
            if inspect.iscoroutine(result):
                return self._runner.run(result)
            return Awaited(self._runner, result) if hasattr(result, "__anext__") else result

        return called

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> object:
        return self._runner.run(self._inner.__anext__())

    def __enter__(self) -> Self:
        self._runner.run(self._inner.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._inner.close())
