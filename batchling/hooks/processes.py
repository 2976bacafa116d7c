"""The hook of multiprocessing. It reports the first process that is started inside a scope but does not inherit it.

A forked child has a copy of its parent's memory, including the scope. A process that starts fresh (spawn, forkserver,
loky) has no scope.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from batchling.core.events import Spawned
from batchling.hooks.patching import Patch
from batchling.system.gate import current


def patches(process: ModuleType) -> list[Patch]:
    """What to patch in `multiprocessing.process`."""
    library: Any = process

    def start(wrapped: Any, child: Any, args: Any, kwargs: Any) -> Any:
        gate = current()
        if gate is not None and (method := _start_method(child)) != "fork" and not _is_manager(child):
            gate.notice(Spawned(method))
        return wrapped(*args, **kwargs)

    return [Patch(library.BaseProcess, "start", start, vital=False)]


def _start_method(child: Any) -> str:
    """How a process will start: according to its class, or to multiprocessing's setting."""
    method = getattr(child, "_start_method", None)
    if method is None:
        from multiprocessing import get_start_method

        method = get_start_method()
    return str(method)


def _is_manager(child: Any) -> bool:
    """Whether the process only holds objects for others: `multiprocessing.Manager()`."""
    return getattr(getattr(child, "_target", None), "__module__", "") == "multiprocessing.managers"
