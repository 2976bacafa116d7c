"""What one intercepted call waits for. Like `concurrent.futures.Future`, of which it has the methods that are needed,
at a tenth of its objects: a scope holds a hundred thousand of these, and a garbage collection visits every object."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError
from enum import Enum
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from batchling.system.forks import on_fork

_log = logging.getLogger(__name__)

T = TypeVar("T")

_changing = threading.RLock()
"""Held for a few instructions while the state of any of them changes. Reentrant: a garbage collection may happen in
between, and close a coroutine that gives up its call."""


class _State(Enum):
    WAITING = "waiting"
    RETURNED = "returned"
    RAISED = "raised"
    CANCELLED = "cancelled"


class Waker(Protocol):
    """Wakes whoever waits: `flag` stands for one of those that it knows."""

    def wake(self, flag: Any) -> None:
        """Called in any thread, once."""


class Pending(Generic[T]):
    """The outcome of a call, which is not known yet. Any thread."""

    __slots__ = ("__weakref__", "_flag", "_more", "_state", "_value", "_waker")

    _value: object
    """Set with the outcome."""

    def __init__(self) -> None:
        self._state = _State.WAITING
        self._waker: Waker | None = None
        self._flag: object = None
        self._more: list[tuple[Waker, object]] | None = None
        """Whoever else waits: there is hardly ever more than one."""

    def set_result(self, value: T) -> None:
        """Raises `InvalidStateError` if it has an outcome."""
        self._set(_State.RETURNED, value)

    def set_exception(self, fault: BaseException) -> None:
        """Raises `InvalidStateError` if it has an outcome."""
        self._set(_State.RAISED, fault)

    def cancel(self) -> bool:
        """Give up waiting. False if there is an outcome."""
        return self._finish(_State.CANCELLED, None) or self.cancelled()

    def cancelled(self) -> bool:
        """Whether the caller has given up."""
        return self._state is _State.CANCELLED

    def done(self) -> bool:
        """Whether there is an outcome, or the caller has given up."""
        return self._state is not _State.WAITING

    def result(self, timeout: float | None = None) -> T:
        """The result, or what the call raises. Blocks the thread until there is one, for `timeout` seconds at most;
        raises `TimeoutError` then."""
        if self._state is _State.RETURNED:
            return cast(T, self._value)
        fault = self.exception(timeout)
        if fault is not None:
            try:
                raise fault
            finally:
                del fault, self  # a traceback would keep them alive, and they the traceback
        return cast(T, self._value)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raises, or None for a result. Waits as `result` does; raises `CancelledError` if the caller has
        given up."""
        if not self.wait(timeout):
            raise TimeoutError
        if self._state is _State.CANCELLED:
            raise CancelledError
        return cast(BaseException, self._value) if self._state is _State.RAISED else None

    def wait(self, timeout: float | None = None) -> bool:
        """Block the thread until there is an outcome, for `timeout` seconds at most. Returns whether there is one."""
        if self._state is not _State.WAITING:
            return True
        lock = threading.Lock()
        lock.acquire()
        self.notify(_threads, lock)
        if lock.acquire(timeout=-1 if timeout is None else timeout):
            return True
        with _changing:
            if self._flag is lock:
                self._waker = self._flag = None
        return self.done()

    def notify(self, waker: Waker, flag: object) -> None:
        """Have `waker.wake(flag)` called once there is an outcome: now if there is one."""
        with _changing:
            if self._state is _State.WAITING:
                if self._waker is None:
                    self._waker, self._flag = waker, flag
                else:
                    self._more = [*(self._more or ()), (waker, flag)]
                return
        waker.wake(flag)

    def add_done_callback(self, call: Callable[[Self], object]) -> None:
        """Have this called with itself once there is an outcome: now if there is one. What it raises is logged."""
        self.notify(_callbacks, partial(call, self))

    def _set(self, state: _State, value: object) -> None:
        if not self._finish(state, value):
            raise InvalidStateError(f"it has {self._state.value} already")

    def _finish(self, state: _State, value: object) -> bool:
        """Set the outcome, and wake whoever waits. False if there is one already."""
        with _changing:
            if self._state is not _State.WAITING:
                return False
            self._value = value
            self._state = state
            waker, flag, more = self._waker, self._flag, self._more
            self._waker = self._flag = self._more = None
        if waker is not None:
            waker.wake(flag)
        if more is not None:
            for each, its_flag in more:
                each.wake(its_flag)
        return True


class _Threads:
    """Wakes threads, each of which waits for a lock."""

    def wake(self, flag: Any) -> None:
        flag.release()


_threads = _Threads()


class _Callbacks:
    """Calls functions. What one of them raises must not keep others asleep."""

    def wake(self, flag: Any) -> None:
        try:
            flag()
        except Exception:
            _log.exception("batchling: a callback failed; please report this")


_callbacks = _Callbacks()


def _renew_after_fork() -> None:
    """Another thread of the parent may have held the lock."""
    global _changing
    _changing = threading.RLock()


on_fork(in_child=_renew_after_fork)
