"""The one event-loop thread of this process, on which every scope's engine lives.

It runs in an empty context, so that our own calls never meet an active scope. It is a daemon: it never keeps the
interpreter alive. A forked child has no such thread and starts its own when it needs one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context

from batchling.system.clock import Loop
from batchling.system.forks import on_fork

_log = logging.getLogger(__name__)

_engine: dict[str, asyncio.AbstractEventLoop] = {}
"""The loop that runs, under its one name; a dictionary, since `setdefault` needs no lock."""
_inherited: list[asyncio.AbstractEventLoop] = []
"""Loops of parent processes. Kept for good: a loop that is collected closes itself, and that would take
the parent's wake-up pipe out of the epoll set which a forked child shares with it."""


def engine_loop() -> asyncio.AbstractEventLoop:
    """The running loop of this process's engine thread, which is started by the first call. Thread-safe, and without
    a lock: a signal's handler may call it from within itself."""
    loop = _engine.get("loop")
    if loop is None:
        made = Loop()
        thread = threading.Thread(target=_run, args=(made,), name="batchling", daemon=True)
        # Started in an empty context: neither a Python that lets threads inherit one nor our own
        # thread hook then carries the caller's scope over.
        Context().run(thread.start)
        loop = _engine.setdefault("loop", made)
        if loop is not made:
            made.call_soon_threadsafe(made.stop)
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


class Mailbox:
    """Work for the loop thread, from any thread, done in the order of posting.

    One wake-up of the loop serves all that is posted until it comes. In a burst the loop looks again a moment later
    instead of being woken for each post, which would cost two system calls and a thread switch. `context`
    makes the context that work runs in.
    """

    _PORTION = 500
    """Pieces of work done before the loop gets its turn for other things."""

    _LINGER = (0.002, 0.016)
    """Seconds after which the loop looks again in a burst: first, and at most. Each look interrupts the threads that
    post."""

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context
        self._work: deque[Callable[[], None]] = deque()
        self._awake = False
        self._linger = self._LINGER[0]

    def __bool__(self) -> bool:
        return bool(self._work)

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` called on the loop thread. Any thread; never blocks."""
        self._work.append(work)
        # Two threads may both see False and wake the loop twice: harmless. Nobody can see True and be
        # forgotten: the flag falls before the box is emptied.
        if not self._awake:
            self._awake = True
            engine_loop().call_soon_threadsafe(self._empty, context=self._context())

    def _empty(self) -> None:
        self._awake = False
        portion = min(len(self._work), self._PORTION)
        for _ in range(portion):
            work = self._work.popleft()
            try:
                work()
            except Exception:
                # The boundary of the loop thread: one bad piece of work must not stop the others.
                _log.exception("batchling failed at a piece of work; please report this")
        if self._work:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._empty)
            return
        if portion > 1:
            self._awake = True
            asyncio.get_running_loop().call_later(self._linger, self._empty)
            self._linger = min(2 * self._linger, self._LINGER[1])
        else:
            self._linger = self._LINGER[0]


def _forget_after_fork() -> None:
    _inherited.extend(_engine.values())
    _engine.clear()


on_fork(in_child=_forget_after_fork)
