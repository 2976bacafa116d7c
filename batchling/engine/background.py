"""Tasks of the loop that nobody awaits one by one: begun, waited for and cancelled together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator


class Background:
    """A set of tasks under way; it forgets those that have ended. Belongs to the engine's loop thread."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        return iter(tuple(self._tasks))

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Begin this once the present step is over."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ended(self) -> None:
        """Wait until all have ended, those too that begin meanwhile."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def cancel(self) -> None:
        """Cancel all."""
        for task in self:
            task.cancel()
