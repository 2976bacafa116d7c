"""`BatchingContext`: activates a scope; on leaving it, drains or detaches it, closes it and prints the report.

It knows hooks, the engine and the display, but nothing about providers.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import math
import sys
import weakref
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio

from batchling.display import standing
from batchling.display.hints import nothing
from batchling.errors import ClosedError
from batchling.hooks import hooked
from batchling.hooks.waiting import wait, wait_async
from batchling.scope import preload
from batchling.scope.signals import Signals
from batchling.system import clock
from batchling.system.forks import on_fork
from batchling.system.gate import active, current, open_gates
from batchling.system.pending import Pending

if TYPE_CHECKING:
    from batchling.core.receipt import Receipt
    from batchling.display.hints import Hints
    from batchling.display.live import Display
    from batchling.display.receipt import Report
    from batchling.engine.batcher import Batcher
    from batchling.scope.listening import Listeners

_log = logging.getLogger(__name__)

_CLOSE_SECONDS = 10.0
"""How many seconds leaving a scope waits for the engine to close."""
_GATHER_SECONDS = 1.0
"""How many seconds to wait for reports of forked children."""
_LISTEN_SECONDS = 5.0
"""How many seconds leaving a scope waits for the program's own listeners."""
_OFFER_SECONDS = 2.0
"""How many seconds to wait for a second Ctrl-C on a terminal."""
_STEP = 0.1
_JUST = 1.0
"""For this many seconds, a report counts as just printed."""


class BatchingContext:
    """What `batchify()` returns: a context manager, sync and async, that yields None. Enter it once."""

    def __init__(self, batcher: Batcher, report: Report, display: Display, listeners: Listeners, hints: Hints) -> None:
        self._batcher = batcher
        self._report = report
        self._display = display
        self._listeners = listeners
        self._hints = hints
        self._number = 0
        self._entered = False
        self._token: Token[Any] | None = None
        self._started: float | None = None
        self._ended: float | None = None
        self._signals = Signals(batcher.detach)

    @property
    def receipt(self) -> Receipt:
        """What was answered so far and what it cost, forked children included. Works during the scope and after it."""
        self._gather()
        return self._report.receipt(self._seconds())

    def _seconds(self) -> float:
        if self._started is None:
            return 0.0
        return (clock.monotonic() if self._ended is None else self._ended) - self._started

    def __enter__(self) -> None:
        self._open()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                wait(self._batcher.drain())
                self._look_back()
        finally:
            self._leave()

    async def __aenter__(self) -> None:
        self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await wait_async(self._batcher.drain())
                self._look_back()
                # Here and not in `_leave`: a listener may need this loop to run.
                with anyio.move_on_after(_LISTEN_SECONDS):
                    await wait_async(self._listeners.flush())
        finally:
            # Blocks this loop for the few milliseconds that closing takes, so a cancellation cannot leave the scope
            # half open.
            self._leave()

    def _open(self) -> None:
        if self._entered:
            raise ClosedError("a batchify() scope can be entered once; call batchify() again for a new one")
        preload.engine()
        self._entered = True
        self._number = next(_numbers)
        self._started = clock.monotonic()
        self._batcher.outer = current()
        self._token = active.set(self._batcher)
        open_gates.add(self._batcher)
        self._batcher.family.open()
        _open_scopes.add(self)
        try:
            self._signals.install()
            self._display.open()
        except BaseException:
            # Ctrl-C, most likely: `__exit__` is not called if entering fails.
            self._deactivate()
            self._display.close()
            self._signals.restore()
            raise

    def _leave(self) -> None:
        """Close everything and print the report. No wait in here is endless, and signals only shorten it."""
        self._signals.leave()
        self._deactivate()
        # Whatever is printed from here on stays on the screen.
        self._display.close()
        try:
            if self._signals.interrupts:
                self._offer_to_cancel()
            self._close()
        finally:
            self._ended = clock.monotonic()
            self._wait(self._listeners.close(), _LISTEN_SECONDS, until=3)
            if self._batcher.family.reports and (text := self._report.text(self._seconds())):
                print(text, file=sys.stderr, flush=True)
                if self._report.jobs_left:
                    _printed_at.append(clock.monotonic())
            self._signals.restore()

    def _deactivate(self) -> None:
        open_gates.discard(self._batcher)
        _open_scopes.discard(self)
        if self._token is not None:
            try:
                active.reset(self._token)
            except ValueError:
                # Left in another context than it was entered in (async fixtures, generators).
                active.set(self._batcher.outer)

    def _offer_to_cancel(self) -> None:
        """After Ctrl-C: detach, and cancel the jobs if Ctrl-C comes again. On a terminal, wait a moment for that."""
        self._wait(self._batcher.detach(), _CLOSE_SECONDS, until=3)
        if not self._report.jobs_left:
            return
        if self._signals.interrupts < 2 and sys.stderr.isatty():
            print(self._report.offer(_OFFER_SECONDS), file=sys.stderr, flush=True)
            self._wait(Pending(), _OFFER_SECONDS, until=2)
        if self._signals.interrupts >= 2:
            self._wait(self._batcher.cancel(), math.inf, until=max(3, self._signals.interrupts + 1))

    def _wait(self, future: Pending[None], seconds: float, until: int) -> None:
        """Wait for a future, but no longer than this many seconds, and not beyond Ctrl-C number `until`."""
        end = clock.monotonic() + seconds
        while not future.done() and self._signals.interrupts < until and clock.monotonic() < end:
            # Signals are handled between two of these waits.
            future.wait(_STEP)

    def _close(self) -> None:
        self._gather()
        self._batcher.family.close()
        closed = self._batcher.close()
        closed.wait(_CLOSE_SECONDS)
        if not closed.done():
            _log.warning(
                "batchling: the scope was not closed after %.0f s, and was left without waiting for %s. Its jobs "
                "keep running at the provider: the same program collects the answers (not with cache=False)",
                _CLOSE_SECONDS,
                self._batcher.waits_for(),
            )

    def _gather(self) -> None:
        """Add what forked children did to the report."""
        if self._batcher.family.has_children and not self._batcher.closed:
            self._batcher.gather().wait(_GATHER_SECONDS)

    def _look_back(self) -> None:
        """Warn if no call was intercepted, unless a scope opened in the meantime may have intercepted them."""
        self._gather()
        if self._hints.nothing_happened and next(_numbers) == self._number + 1:
            _log.warning(nothing(sys.modules.keys() - preload.brought, hooked=hooked()))

    def abandon(self) -> None:
        """Leave a scope that is still open when the interpreter exits, and report that its jobs keep running."""
        self._leave()


_open_scopes: weakref.WeakSet[BatchingContext] = weakref.WeakSet()


_printed_at: list[float] = []
"""When reports of jobs that keep running were printed."""
_numbers = itertools.count()
"""Numbers the scopes, and the checks in `_look_back`."""


def _abandon_all() -> None:
    # Scopes that are still open print what they leave behind themselves. So did a scope that was just left, unless a
    # traceback was printed after its report.
    just_printed = bool(_printed_at) and clock.monotonic() - _printed_at[-1] < _JUST and not hasattr(sys, "last_value")
    text = "" if just_printed else standing.text()
    for context in tuple(_open_scopes):
        context.abandon()
    if text:
        print(text, file=sys.stderr, flush=True)


atexit.register(_abandon_all)
on_fork(in_child=standing.forget)
