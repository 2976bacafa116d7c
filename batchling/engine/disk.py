"""The store on its one thread: what blocks on a disk or a lock never blocks the engine's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from batchling.cache import Store

P = ParamSpec("P")
T = TypeVar("T")


class Disk:
    """`await disk(store.claim, draft)`: work of a store, one piece after the other. Belongs to the engine's loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._thread = ThreadPoolExecutor(1, "batchling-disk")

    async def __call__(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """What the work returns or raises, done on the disk thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **options))

    def submit(self, work: Callable[[], None]) -> None:
        """Have work done on the disk thread, unless the scope is being closed. Nobody hears of its end."""
        with suppress(RuntimeError):
            self._thread.submit(work)

    async def release(self, batch_id: str) -> None:
        """Let go of the lock of a batch, also while the caller's task is cancelled."""
        try:
            await asyncio.shield(self(self.store.release, batch_id))
        except RuntimeError:  # at interpreter exit executors take no more work
            self.store.release(batch_id)

    def close(self, *, wait: bool) -> None:
        """Release every lock and let the thread end; `wait` for that."""
        if wait:
            self._thread.shutdown()
        self.store.close()
        self._thread.shutdown(wait=False)
