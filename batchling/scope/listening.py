"""Reports what happens in a scope to a program's own callables, which cannot slow it down or break it.

Each callable has a queue and a daemon thread, which is started for the first item in the queue. A forked child starts
with an empty queue and its own thread.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from typing import Protocol, runtime_checkable

from batchling.core.events import Event
from batchling.engine.callers import resolve
from batchling.engine.waiter import Arrival
from batchling.system.forks import on_fork
from batchling.system.gate import outside
from batchling.system.pending import Pending

_log = logging.getLogger(__name__)

Call = Callable[[Event], object]
"""A program's own callable."""


@runtime_checkable
class Observer(Protocol):
    """A callable that also sees each call where it is made."""

    def begin(self, call: Arrival) -> Callable[[int], object]:
        """Called when a call is made, in the caller's thread, before it waits. The function that this returns is called
        on the callable's own thread when the call is over, with that time in nanoseconds of the Unix clock."""


class Listener:
    """One callable and its thread. `tell`, `begin` and `flush` may be called from any thread and never block."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._complained = False
        self.after_fork()
        _alive.add(self)

    def after_fork(self) -> None:
        """Reset: the parent delivers the events that were queued before the fork."""
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._running = False
        self._closed = False

    def tell(self, event: Event) -> None:
        """Queue a call of the callable with an event."""
        self._post(partial(self._call, event))

    def begin(self, call: Arrival) -> None:
        """Let an `Observer` see a call that begins, in its caller's thread."""
        if not isinstance(self._call, Observer):
            return
        try:
            over = self._call.begin(call)
        except Exception:
            self._complain()
        else:
            call.add_done_callback(lambda _: self._post(partial(over, time.time_ns())))

    def flush(self) -> Pending[None]:
        """A future that is done when the callable has received everything queued so far."""
        heard: Pending[None] = Pending()
        if self._running or not self._queue.empty():
            self._queue.put(partial(resolve, [heard], None))
        else:
            heard.set_result(None)
        return heard

    def close(self) -> Pending[None]:
        """Like `flush`; after that, the thread ends and nothing more is delivered."""
        self._closed = True
        heard = self.flush()
        self._queue.put(None)
        return heard

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
                    # Outside of scopes, like the engine's thread: a listener's own calls belong to no scope.
                    outside().run(thread.start)
                    self._running = True

    def _run(self, queue: SimpleQueue[Callable[[], object] | None]) -> None:
        while (work := queue.get()) is not None:
            try:
                work()
            except BaseException:  # if a listener exits, that would only end its thread
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
    """All of a scope's callables."""

    def __init__(self, calls: Iterable[Call] = ()) -> None:
        self._all = tuple(Listener(call) for call in calls)

    def __bool__(self) -> bool:
        return bool(self._all)

    def tell(self, event: Event) -> None:
        """Queue a call of each callable with an event. Never blocks."""
        for listener in self._all:
            listener.tell(event)

    def begin(self, call: Arrival) -> None:
        """Let those that are `Observer`s see a call that begins, in its caller's thread."""
        for listener in self._all:
            listener.begin(call)

    def flush(self) -> Pending[None]:
        """A future that is done when each callable has received everything queued so far."""
        return _all_of([listener.flush() for listener in self._all])

    def close(self) -> Pending[None]:
        """Like `flush`; after that, nothing more is delivered."""
        return _all_of([listener.close() for listener in self._all])


def _all_of(futures: list[Pending[None]]) -> Pending[None]:
    together: Pending[None] = Pending()
    missing = len(futures)

    def one(_: Pending[None]) -> None:
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
