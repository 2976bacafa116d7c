"""Carries the active scope into worker threads: a context variable alone does not reach them (Python 3.11 to 3.13).

Only our one variable is carried, and only for the duration of the job: a pool's worker gets the scope of whoever
submitted the job, not of whoever happened to start the worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from batchling.errors import Detached
from batchling.hooks.gate import Gate, active, current
from batchling.hooks.patching import Patch


def patches() -> list[Patch]:
    """What to patch in the standard library. `ThreadPoolExecutor.map` and `loop.run_in_executor` submit too."""
    return [Patch(ThreadPoolExecutor, "submit", _submit), Patch(threading.Thread, "start", _start)]


def _run_with(gate: Gate | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    token = active.set(gate)
    try:
        return function(*args, **kwargs)
    finally:
        active.reset(token)


def _submit(wrapped: Any, executor: Any, args: Any, kwargs: Any) -> Any:
    if not args:
        return wrapped(*args, **kwargs)  # raises the library's own TypeError
    return wrapped(_run_with, current(), *args, **kwargs)


def _start(wrapped: Any, thread: Any, args: Any, kwargs: Any) -> Any:
    gate = current()
    if gate is None:
        return wrapped(*args, **kwargs)
    run = thread.run

    def run_in_scope() -> None:
        # Taken away first, so that the thread object does not keep the scope alive afterwards.
        thread.__dict__.pop("run", None)
        # A thread whose call was detached ends in silence: the scope has said what goes on, and a traceback for each
        # of a thousand threads would bury it (and can abort CPython when daemon threads print at its end).
        with suppress(Detached):
            _run_with(gate, run)

    thread.run = run_in_scope
    try:
        return wrapped(*args, **kwargs)
    except BaseException:
        thread.__dict__.pop("run", None)
        raise
