"""How long the caller of an intercepted call waits at most: limits that no HTTP library sets, as far as they can be seen.

The HTTP libraries' own timeouts do not tick for a call that is batched. What does is what the program put around it. Seen
are, around the call in its own task, `asyncio.timeout`, `asyncio.wait_for`, anyio's and trio's scopes; and the stragglers of
`dspy.Parallel`. A limit around a group of tasks, or one of another thread that waits for this one, cannot be seen.
"""

from __future__ import annotations

import asyncio
import math
import sys
from types import FrameType
from typing import Any

import anyio


def limit() -> float | None:
    """The seconds after which this task or thread stops waiting for the call that it is about to make; None if no limit
    can be seen. Never raises."""
    try:
        found = [_of_task(), _of_scopes(), _of_dspy()]
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


def _of_dspy() -> float | None:
    """`dspy.Parallel` asks its last items a second time after this long, whatever their first calls are waiting for."""
    if "dspy.utils.parallelizer" not in sys.modules:
        return None
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "dspy.utils.parallelizer":
            seconds = getattr(frame.f_locals.get("self"), "timeout", None)
            if isinstance(seconds, int | float) and seconds > 0:
                return float(seconds)
        frame = frame.f_back
    return None
