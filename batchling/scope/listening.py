"""Tells a program's own callables what happens in a scope, without their being able to slow or break it.

Each has a queue and a daemon thread, which is started by the first thing to tell. A forked child begins with an empty
queue and a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Protocol, runtime_checkable

from batchling.core.events import Event
from batchling.engine.callers import resolve
from batchling.engine.waiter import Arrival
from batchling.system.forks import on_fork
from batchling.system.gate import outside

_log = logging.getLogger(__name__)

Call = Callable[[Event], object]
"""A program's own callable."""


@runtime_checkable
class Observer(Protocol):
    """A callable that also wants to see each call where it is made."""

    def begin(self, call: Arrival) -> Callable[[int], object]:
        """A call was made: in the caller's thread, before it waits. What this returns is called on the callable's own
        thread when the call is over, with the time of that in nanoseconds of the Unix clock."""


class Listener:
    """One callable and its thread. `post`, `begin` and `flush` may be called from any thread and never block."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._complained = False
        self.after_fork()
        _alive.add(self)

    def after_fork(self) -> None:
        """Start again: events that were queued before the fork are delivered by the parent."""
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._running = False
        self._closed = False

    def tell(self, event: Event) -> None:
        """Have the callable called with an event."""
        self._post(partial(self._call, event))

    def begin(self, call: Arrival) -> None:
        """Let an `Observer` look at a call that begins, in its caller's thread."""
        if not isinstance(self._call, Observer):
            return
        try:
            over = self._call.begin(call)
        except Exception:
            self._complain()
        else:
            call.add_done_callback(lambda _: self._post(partial(over, time.time_ns())))

    def flush(self) -> Future[None]:
        """Done when the callable has been told all there is by now."""
        told: Future[None] = Future()
        if self._running or not self._queue.empty():
            self._queue.put(partial(resolve, [told], None))
        else:
            told.set_result(None)
        return told

    def close(self) -> Future[None]:
        """As `flush`; then the thread ends, and nothing is told any more."""
        self._closed = True
        told = self.flush()
        self._queue.put(None)
        return told

    def _post(self, work: Callable[[], object]) -> None:
        if self._closed:
            return
        self._queue.put(work)
        if not self._running:
            with self._starting:
                if not self._running:
                    thread = threading.Thread(
                        target=self._run, args=(self._queue,), name="batchling-events", daemon=True
                    )
                    # As the engine's thread: a scope is nothing that a listener's own calls are in.
                    outside().run(thread.start)
                    self._running = True

    def _run(self, queue: SimpleQueue[Callable[[], object] | None]) -> None:
        while (work := queue.get()) is not None:
            try:
                work()
            except BaseException:  # an exit that a listener asks for would end its thread alone
                self._complain()

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            _log.exception(
                "batchling: on_event: %.200r raised an exception; it will still be called, and further exceptions are "
                "not logged",
                self._call,
            )


class Listeners:
    """All callables of a scope."""

    def __init__(self, calls: Iterable[Call] = ()) -> None:
        self._all = tuple(Listener(call) for call in calls)

    def __bool__(self) -> bool:
        return bool(self._all)

    def tell(self, event: Event) -> None:
        """Have each called with an event. Never blocks."""
        for listener in self._all:
            listener.tell(event)

    def begin(self, call: Arrival) -> None:
        """Let those that are `Observer`s look at a call that begins, in its caller's thread."""
        for listener in self._all:
            listener.begin(call)

    def flush(self) -> Future[None]:
        """Done when each has been told all there is by now."""
        return _all_of([listener.flush() for listener in self._all])

    def close(self) -> Future[None]:
        """As `flush`; then nothing is told any more."""
        return _all_of([listener.close() for listener in self._all])


def _all_of(futures: list[Future[None]]) -> Future[None]:
    together: Future[None] = Future()
    missing = len(futures)

    def one(_: Future[None]) -> None:
        nonlocal missing
        with lock:
            missing -= 1
        if missing == 0:
            resolve([together], None)

    lock = threading.Lock()
    for future in futures:
        future.add_done_callback(one)
    if not futures:
        together.set_result(None)
    return together


_alive: weakref.WeakSet[Listener] = weakref.WeakSet()


def _start_anew_after_fork() -> None:
    for listener in tuple(_alive):
        listener.after_fork()


on_fork(in_child=_start_anew_after_fork)
