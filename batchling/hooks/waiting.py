"""How an intercepted call waits for its answer: in a thread, or on asyncio or trio without blocking the loop.

Whoever stops waiting (Ctrl-C, a cancelled task, a time limit of the caller's own) cancels the future, which withdraws
the request as long as it was not submitted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

T = TypeVar("T")


def wait(future: Future[T]) -> T:
    """Block this thread until the future is done; its result, or what it raises."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def wait_async(future: Future[T]) -> T:
    """Await the future on this task's event loop, asyncio's or trio's; its result, or what it raises."""
    event = anyio.Event()
    waker = _waker()
    future.add_done_callback(lambda _: waker.wake(event))
    try:
        await event.wait()
    except BaseException:
        future.cancel()
        raise
    return future.result()


class _Waker:
    """Sets events on one event loop: one call into the loop serves all that are due until it comes."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._due: deque[anyio.Event] = deque()
        self._awake = False

    def wake(self, event: anyio.Event) -> None:
        """Set the event soon. Any thread."""
        self._due.append(event)
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
            self._due.popleft().set()


_wakers: WeakKeyDictionary[object, _Waker] = WeakKeyDictionary()
_adding = threading.Lock()


def _waker() -> _Waker:
    """The waker of the running event loop."""
    # anyio's token wraps asyncio's loop or trio's token; both live as long as the loop runs.
    native: Any = getattr(token := current_token(), "native_token", token)
    waker = _wakers.get(native)
    if waker is None:
        call_soon = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
        with _adding:
            waker = _wakers.setdefault(native, _Waker(call_soon))
    return waker
