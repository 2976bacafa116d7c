"""How an intercepted call waits for its answer: in a thread, or on asyncio or trio without blocking the loop.

Whoever stops waiting (Ctrl-C, a cancelled task, a time limit of the caller's own) cancels the future, which withdraws
the request as long as it was not submitted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

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
    waker = _waker()
    done = waker.flag()
    future.add_done_callback(lambda _: waker.wake(done))
    try:
        await waker.wait(done)
    except BaseException:
        future.cancel()
        raise
    return future.result()


class _Waker(Generic[F]):
    """Raises flags on one event loop: one call into the loop serves all that are due until it comes."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._due: deque[F] = deque()
        self._awake = False

    def set(self, flag: F) -> None:
        """Raise a flag, on the loop itself."""
        raise AssertionError("each kind of loop has its own flags")

    def wake(self, flag: F) -> None:
        """Raise the flag soon. Any thread."""
        self._due.append(flag)
        # Two threads may both see False and call twice: harmless. See `batchling.loop.Mailbox`.
        if not self._awake:
            self._awake = True
            try:
                self._call_soon(self._set_all)
            except RuntimeError:
                # The loop is closed, or trio's run is over: nobody is left to be woken.
                self._due.clear()

    def _set_all(self) -> None:
        self._awake = False
        while self._due:
            self.set(self._due.popleft())


class _AsyncioWaker(_Waker["asyncio.Future[None]"]):
    """A bare future is a third of the cost of an event, and half of our callers' time is spent here."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop.call_soon_threadsafe)
        self.flag = loop.create_future

    def set(self, flag: asyncio.Future[None]) -> None:
        if not flag.done():
            flag.set_result(None)

    async def wait(self, flag: asyncio.Future[None]) -> None:
        await flag


class _AnyioWaker(_Waker[anyio.Event]):
    """For every other event loop: trio's."""

    flag = anyio.Event

    def set(self, flag: anyio.Event) -> None:
        flag.set()

    async def wait(self, flag: anyio.Event) -> None:
        await flag.wait()


_wakers: WeakKeyDictionary[object, Any] = WeakKeyDictionary()
_adding = threading.Lock()


def _waker() -> Any:
    """The waker of the running event loop."""
    native: Any = asyncio._get_running_loop()
    if native is None:
        # anyio's token wraps trio's, which lives as long as its loop runs.
        native = getattr(token := current_token(), "native_token", token)
    waker = _wakers.get(native)
    if waker is None:
        made = _AsyncioWaker(native) if hasattr(native, "call_soon_threadsafe") else _AnyioWaker(native.run_sync_soon)
        with _adding:
            waker = _wakers.setdefault(native, made)
    return waker
