"""`BatchingContext`: activates a scope, and on leaving it drains or detaches, closes and reports.

It knows hooks, engine and display, and nothing of providers.
"""

from __future__ import annotations

import atexit
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Token
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from batchling.errors import ClosedError
from batchling.hooks.gate import Gate, active, current, open_gates
from batchling.hooks.waiting import wait, wait_async

if TYPE_CHECKING:
    from batchling.batcher import Batcher
    from batchling.display.receipt import Receipt

_CLOSE_SECONDS = 10.0
"""How long leaving a scope waits for the engine to put its things away."""


class BatchingContext:
    """What `batchify()` returns: a context manager, sync and async, that yields None. Enter it once."""

    def __init__(self, batcher: Batcher, receipt: Receipt) -> None:
        self._batcher = batcher
        self._receipt = receipt
        self._entered = False
        self._token: Token[Gate | None] | None = None
        self._started = 0.0
        self._restore_signal: Callable[[], None] = lambda: None

    def __enter__(self) -> None:
        self._open()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                wait(self._batcher.drain())
        finally:
            self._deactivate()
            try:
                self._batcher.close().result(_CLOSE_SECONDS)
            finally:
                self._report()

    async def __aenter__(self) -> None:
        self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await wait_async(self._batcher.drain())
        finally:
            self._deactivate()
            try:
                # Blocks this loop for the few milliseconds that closing takes, so that a cancellation which is under
                # way cannot leave the scope half open.
                self._batcher.close().result(_CLOSE_SECONDS)
            finally:
                self._report()

    def _open(self) -> None:
        if self._entered:
            raise ClosedError("a batchify() scope can be entered once; call batchify() again for a new one")
        self._entered = True
        self._started = time.monotonic()
        self._batcher.outer = current()
        self._token = active.set(self._batcher)
        open_gates.add(self._batcher)
        _open_scopes.add(self)
        self._restore_signal = _detach_on_interrupt(self._batcher)

    def _deactivate(self) -> None:
        self._restore_signal()
        open_gates.discard(self._batcher)
        _open_scopes.discard(self)
        if self._token is not None:
            try:
                active.reset(self._token)
            except ValueError:
                # Left in another context than it was entered in (async fixtures, generators).
                active.set(self._batcher.outer)

    def _report(self) -> None:
        if text := self._receipt.text(time.monotonic() - self._started):
            print(text, file=sys.stderr, flush=True)

    def abandon(self) -> None:
        """Interpreter exit with the scope still open: its jobs go on at the provider; say so."""
        self._deactivate()
        try:
            self._batcher.close().result(_CLOSE_SECONDS)
        finally:
            self._report()


def _detach_on_interrupt(batcher: Batcher) -> Callable[[], None]:
    """Let Ctrl-C detach the scope before it does what it did; returns what undoes this.

    Without it a main thread that joins its workers would wait for their batches, up to a day.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    previous = signal.getsignal(signal.SIGINT)
    if not callable(previous):
        return lambda: None

    def detach(number: int, frame: FrameType | None) -> None:
        batcher.detach()
        previous(number, frame)

    signal.signal(signal.SIGINT, detach)

    def restore() -> None:
        if signal.getsignal(signal.SIGINT) is detach:
            signal.signal(signal.SIGINT, previous)

    return restore


_open_scopes: weakref.WeakSet[BatchingContext] = weakref.WeakSet()


def _abandon_all() -> None:
    for context in tuple(_open_scopes):
        context.abandon()


atexit.register(_abandon_all)
