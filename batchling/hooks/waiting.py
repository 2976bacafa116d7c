"""How an intercepted call waits for its answer: in a thread, or on asyncio or trio without blocking the loop.

A caller that stops waiting (Ctrl-C, a cancelled task, its own time limit) cancels the future, which withdraws the
request if it has not been submitted yet.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

import anyio
from anyio.lowlevel import current_token

from batchling.system.forks import hold_across_forks
from batchling.system.pending import Pending

T = TypeVar("T")
F = TypeVar("F")
"""The type that the tasks of a loop wait on."""


def wait(future: Pending[T]) -> T:
    """Block this thread until the future is done; return its result, or raise its exception."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def wait_async(future: Pending[T]) -> T:
    """Await the future on this task's event loop (asyncio or trio); return its result, or raise its exception."""
    waker, native = _waker()
    done = waker.flag(native)
    future.notify(waker, done)
    try:
        await waker.waiting(done)
    except BaseException:
        future.cancel()
        raise
    return future.result()


_PORTION = 100
"""Flags that are raised before their loop gets its turn for other things: each of them resumes a task of the program.
"""


class _Waker(Generic[F]):
    """Raises flags on one event loop. One call into the loop serves all flags that are due by the time it runs, in
    portions.

    It does not keep the loop alive, nor any flag, since flags refer to their loop: a program may use and drop one loop
    after another. The loop owns the queue of due flags and holds it until it has been processed.
    """

    _SOON: str
    """The method that other threads use to call into the loop. Looked up each time, since uvloop's methods cannot be
    held by a weak reference."""

    def __init__(self, loop: Any) -> None:
        self._loop = ref(loop)
        self._due: Callable[[], deque[F] | None] = _nothing

    def flag(self, loop: Any) -> F:
        """A new flag, not raised yet."""
        raise AssertionError("each kind of loop has its own flags")

    def set(self, flag: F) -> None:
        """Raise a flag. Called on the loop itself."""
        raise AssertionError("each kind of loop has its own flags")

    def waiting(self, flag: F) -> Awaitable[None]:
        """What to await until a flag is raised: no coroutine of its own for each call where that can be helped."""
        raise AssertionError("each kind of loop has its own flags")

    def wake(self, flag: F) -> None:
        """Raise the flag soon. Any thread."""
        current = self._due
        due = current()
        if due is not None:
            due.append(flag)
            if self._due is current:
                # The loop has not started on these.
                return
            # It may have finished, so it is called once more.
        else:
            due = deque([flag])
            # Two threads may get here at once: each calls, and one of the calls is superfluous.
            self._due = ref(due)
        if (loop := self._loop()) is None:
            return
        self._call(loop, due)

    def _call(self, loop: Any, due: deque[F]) -> None:
        # When the loop is closed or trio's run is over, there is nobody left to wake.
        with suppress(RuntimeError):
            getattr(loop, self._SOON)(self._set_some, due)

    def _set_some(self, due: deque[F]) -> None:
        if len(due) <= _PORTION:
            self._due = _nothing
        for _ in range(min(len(due), _PORTION)):
            self.set(due.popleft())
        if due:
            self._call(self._loop(), due)


def _nothing() -> None:
    """What is due when nothing is."""


class _AsyncioWaker(_Waker["asyncio.Future[None]"]):
    """Uses bare futures: they cost a third of an event, and half of our callers' time is spent here."""

    _SOON = "call_soon_threadsafe"

    def flag(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        return loop.create_future()

    def set(self, flag: asyncio.Future[None]) -> None:
        if not flag.done():
            flag.set_result(None)

    def waiting(self, flag: asyncio.Future[None]) -> Awaitable[None]:
        return flag


class _AnyioWaker(_Waker[anyio.Event]):
    """For every other event loop, which means trio's."""

    _SOON = "run_sync_soon"

    def flag(self, loop: object) -> anyio.Event:
        return anyio.Event()

    def set(self, flag: anyio.Event) -> None:
        flag.set()

    def waiting(self, flag: anyio.Event) -> Awaitable[None]:
        return flag.wait()


_wakers: WeakKeyDictionary[object, Any] = WeakKeyDictionary()
_adding = threading.Lock()
hold_across_forks(_adding)


def _waker() -> tuple[Any, Any]:
    """The waker of the running event loop, and the loop."""
    native: Any = asyncio._get_running_loop()
    if native is None:
        # anyio's token wraps trio's, which lives as long as its loop runs.
        native = getattr(token := current_token(), "native_token", token)
    waker = _wakers.get(native)
    if waker is None:
        made = _AsyncioWaker(native) if hasattr(native, "call_soon_threadsafe") else _AnyioWaker(native)
        with _adding:
            waker = _wakers.setdefault(native, made)
    return waker, native
