"""How long the caller of an intercepted call waits at most, as far as that can be seen.

The HTTP libraries' own timeouts do not tick for a call that is batched; what the program put around it does. Seen are
`asyncio.timeout`, `asyncio.wait_for`, and anyio's and trio's scopes, around the call in its own task. A limit around a
group of tasks, or one of another thread that waits for this one, cannot be seen.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio


def limit() -> float | None:
    """The seconds after which this task or thread stops waiting for the call that it is about to make; None if no limit
    can be seen. Never raises."""
    try:
        found = [_of_task(), _of_scopes()]
    except Exception:  # these are other people's insides
        return None
    return min((seconds for seconds in found if seconds is not None), default=None)


def _of_task() -> float | None:
    """By asyncio's own timers: those that end in this task."""
    loop: Any = asyncio._get_running_loop()
    if loop is None or (task := asyncio.current_task()) is None:
        return None
    # In Python 3.11 `wait_for` makes a task of its own, and hears of its end by a callback that holds what it waits on.
    released = [
        call.args[0] for call, _ in getattr(task, "_callbacks", None) or () if hasattr(call, "func") and call.args
    ]
    ends = [
        timer.when()
        for timer in getattr(loop, "_scheduled", ())
        if not timer.cancelled() and _ends(timer, task, released)
    ]
    return min(ends) - loop.time() if ends else None


def _ends(timer: Any, task: object, released: list[object]) -> bool:
    owner = getattr(timer._callback, "__self__", None)
    if isinstance(owner, asyncio.Timeout):
        return getattr(owner, "_task", None) is task
    return any(argument is future for argument in timer._args for future in released)


def _of_scopes() -> float | None:
    """By the deadlines of anyio's and trio's cancel scopes."""
    try:
        left = anyio.current_effective_deadline() - anyio.current_time()
    except Exception:  # a thread without an event loop; each version says so in its own way
        return None
    return left if math.isfinite(left) else None
