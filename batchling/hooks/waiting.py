"""How an intercepted call waits for its answer: in a thread, or on asyncio or trio without blocking the loop.

A caller that stops waiting (Ctrl-C, a cancelled task, its own time limit) cancels the future, which withdraws
the request as long as it was not submitted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

import anyio
from anyio.lowlevel import current_token

T = TypeVar("T")
F = TypeVar("F")
"""What one loop's tasks wait on."""


def wait(future: Future[T]) -> T:
    """Block this thread until the future is done; its result, or what it raises."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def wait_async(future: Future[T]) -> T:
    """Await the future on this task's event loop, asyncio's or trio's; its result, or what it raises."""
    waker, native = _waker()
    done = waker.flag(native)
    future.add_done_callback(lambda _: waker.wake(done))
    try:
        await waker.wait(done)
    except BaseException:
        future.cancel()
        raise
    return future.result()


class _Waker(Generic[F]):
    """Raises flags on one event loop: one call into the loop serves all that are due until it comes.

    It keeps neither the loop nor, since flags know their loop, a flag alive: a program may use and drop one loop after
    the other. What is due belongs to the loop, which holds it until it has run.
    """

    _SOON: str
    """The method by which other threads call into the loop. Looked up each time: uvloop's are no methods that a
    weak reference could hold."""

    def __init__(self, loop: Any) -> None:
        self._loop = ref(loop)
        self._due: Callable[[], deque[F] | None] = _nothing

    def flag(self, loop: Any) -> F:
        """A flag that is not raised yet."""
        raise AssertionError("each kind of loop has its own flags")

    def set(self, flag: F) -> None:
        """Raise a flag, on the loop itself."""
        raise AssertionError("each kind of loop has its own flags")

    def wake(self, flag: F) -> None:
        """Raise the flag soon. Any thread."""
        current = self._due
        due = current()
        if due is not None:
            due.append(flag)
            if self._due is current:
                # The loop has not begun with these.
                return
            # It may have finished: it is called once more.
        else:
            due = deque([flag])
            # Two threads may both come here: each calls, and one call is superfluous.
            self._due = ref(due)
        if (loop := self._loop()) is None:
            return
        # Nobody is left to be woken when the loop is closed, or trio's run is over.
        with suppress(RuntimeError):
            getattr(loop, self._SOON)(self._set_all, due)

    def _set_all(self, due: deque[F]) -> None:
        self._due = _nothing
        while due:
            self.set(due.popleft())


def _nothing() -> None:
    """What is due when nothing is."""


class _AsyncioWaker(_Waker["asyncio.Future[None]"]):
    """A bare future is a third of the cost of an event, and half of our callers' time is spent here."""

    _SOON = "call_soon_threadsafe"

    def flag(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        return loop.create_future()

    def set(self, flag: asyncio.Future[None]) -> None:
        if not flag.done():
            flag.set_result(None)

    async def wait(self, flag: asyncio.Future[None]) -> None:
        await flag


class _AnyioWaker(_Waker[anyio.Event]):
    """For every other event loop: trio's."""

    _SOON = "run_sync_soon"

    def flag(self, loop: object) -> anyio.Event:
        return anyio.Event()

    def set(self, flag: anyio.Event) -> None:
        flag.set()

    async def wait(self, flag: anyio.Event) -> None:
        await flag.wait()


_wakers: WeakKeyDictionary[object, Any] = WeakKeyDictionary()
_adding = threading.Lock()


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
