"""Tasks of the loop that are started one by one, and awaited or cancelled together; and long work done in portions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

PORTION = 500
"""Requests that are handled before the loop gets its turn for other things: a few milliseconds."""


async def portions(things: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """All of these, in portions."""
    for start in range(0, len(things), PORTION):
        if start:
            await asyncio.sleep(0)
        yield things[start : start + PORTION]


class Background:
    """A set of running tasks, which drops those that have ended. Belongs to the engine's loop thread."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        return iter(tuple(self._tasks))

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Start this as a task, once the current step of the loop is over."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ended(self) -> None:
        """Wait until all have ended, including those started in the meantime."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def cancel(self) -> None:
        """Cancel all."""
        for task in self:
            task.cancel()
