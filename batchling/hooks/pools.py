"""The hook of `multiprocessing.pool.ThreadPool`, whose workers may be older than the scope that gives them work.

As with `ThreadPoolExecutor`, a task runs in the scope of the code that submitted it. Process pools are not touched.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from batchling.hooks.interception import marked
from batchling.hooks.patching import Patch
from batchling.hooks.threads import run_with
from batchling.system.gate import current

_SUBMITTING = ("apply_async", "_map_async", "imap", "imap_unordered")
"""Methods whose first argument is what to run; all others call one of these."""


def patches(pools: ModuleType) -> list[Patch]:
    """What to patch in `multiprocessing.pool`."""
    library: Any = pools

    def submit(wrapped: Any, pool: Any, args: Any, kwargs: Any) -> Any:
        if not isinstance(pool, library.ThreadPool):
            return wrapped(*args, **kwargs)
        if args:
            return wrapped(partial(run_with, current(), marked.get(), args[0]), *args[1:], **kwargs)
        if "func" in kwargs:
            kwargs = {**kwargs, "func": partial(run_with, current(), marked.get(), kwargs["func"])}
        return wrapped(**kwargs)

    return [Patch(library.Pool, name, submit) for name in _SUBMITTING]
