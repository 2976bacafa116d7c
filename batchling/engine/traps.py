"""Notices two traps: a caller that waits for a limited time only, and a prompt cache mark that is too short.

The HTTP libraries' own timeouts do not run while a call is batched, but the program's timeouts do. Those that can be
seen are `asyncio.timeout`, `asyncio.wait_for`, and the scopes of anyio and trio, around the call in its own task or
around a task that waits for it. A timeout in another thread that waits for this one cannot be seen.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Any

import anyio

from batchling.core.model import JSON
from batchling.engine.waiter import Arrival
from batchling.providers.cache_marks import MARK, has_short_cache_mark

_FAR = 1_000
"""The maximum number of futures and tasks around a call that are examined."""


TRAP_CHECKS = 50
"""How many calls per scope are checked for a caller's timeout: programs that set one usually set it for all calls."""


class Traps:
    """Checks the calls of one scope for traps. `look` is called in the thread of each caller."""

    def __init__(self) -> None:
        self._checks = TRAP_CHECKS
        self._has_short_cache_mark = False

    def look(self, arrival: Arrival, body: dict[str, JSON]) -> None:
        """Note the traps on a call. Only a scope's first calls are checked for a timeout, since that takes time."""
        if self._checks > 0:
            self._checks -= 1
            arrival.limit = limit()
        if not self._has_short_cache_mark and MARK in arrival.request.body and has_short_cache_mark(body):
            self._has_short_cache_mark = arrival.has_short_cache_mark = True


def limit() -> float | None:
    """The seconds after which this task or thread stops waiting for the call that it is about to make; None if no limit
    can be seen. Never raises."""
    try:
        found = [_of_task(), _of_scopes()]
    except Exception:  # it reads internals of other libraries
        return None
    return min((seconds for seconds in found if seconds is not None), default=None)


def _of_task() -> float | None:
    """The limit set by asyncio's timers: those that end this task, or one that waits for it."""
    loop: Any = asyncio._get_running_loop()
    if loop is None or (task := asyncio.current_task()) is None:
        return None
    timers = [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]
    if not timers:
        return None
    waiting = _waiting_for(task)
    ends = [timer.when() for timer in timers if _ends(timer, waiting)]
    return min(ends) - loop.time() if ends else None


def _ends(timer: Any, waiting: dict[int, object]) -> bool:
    owner = getattr(timer._callback, "__self__", None)
    if isinstance(owner, asyncio.Timeout):
        return id(getattr(owner, "_task", None)) in waiting
    # In Python 3.11, `wait_for` creates its own task, and its timer resolves a future.
    return any(id(argument) in waiting for argument in timer._args)


def _waiting_for(task: object) -> dict[int, object]:
    """This task and the futures and tasks that wait for its end, by their ids: through `gather`, task groups,
    `asyncio.wait`, `as_completed` and whatever else is notified by a callback."""
    found: dict[int, object] = {}
    ahead = [task]
    while ahead and len(found) < _FAR:
        one = ahead.pop()
        if id(one) not in found:
            found[id(one)] = one
            ahead += _told_by(one)
    return found


def _told_by(one: Any) -> list[Any]:
    """The futures, tasks, groups and queues that are notified when one of them ends."""
    names = ("_parent_task", "_on_completed_fut", "_done")
    waited = [getattr(one, name, None) for name in names] + list(getattr(one, "_getters", None) or ())
    for call, _ in getattr(one, "_callbacks", None) or ():
        waited += [getattr(call, "__self__", None), *getattr(call, "args", ())]
        for cell in getattr(call, "__closure__", None) or ():
            with suppress(ValueError):  # an empty cell
                waited.append(cell.cell_contents)
    return [each for each in waited if asyncio.isfuture(each) or type(each).__module__.startswith("asyncio.")]


def _of_scopes() -> float | None:
    """The limit set by anyio's and trio's cancel scopes."""
    try:
        left = anyio.current_effective_deadline() - anyio.current_time()
    except Exception:  # no event loop in this thread: each version raises something else
        return None
    return left if math.isfinite(left) else None
