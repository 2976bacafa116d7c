"""Runs the store on a thread of its own, so work that blocks on a disk or a lock never blocks the engine's loop."""

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
    """Runs calls of a store one after another: `await disk(store.claim, draft)`. Belongs to the engine's loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._thread = ThreadPoolExecutor(1, "batchling-disk")

    async def __call__(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Call this on the disk thread, and return or raise what it does."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **options))

    def submit(self, work: Callable[[], None]) -> None:
        """Call this on the disk thread, without waiting for it; not at all if the scope is being closed."""
        with suppress(RuntimeError):
            self._thread.submit(work)

    async def release(self, batch_id: str) -> None:
        """Release the lock of a batch, even while the caller's task is being cancelled."""
        try:
            await asyncio.shield(self(self.store.release, batch_id))
        except RuntimeError:  # at interpreter exit, executors accept no more work
            self.store.release(batch_id)

    def close(self, *, wait: bool) -> None:
        """Release every lock and let the thread end. `wait`: do what is queued first, and block until then."""
        if wait:
            self._thread.shutdown()
        self.store.close()
        self._thread.shutdown(wait=False)
