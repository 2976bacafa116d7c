"""What Ctrl-C and SIGTERM do while scopes are open: leave at once, without losing anything.

The first Ctrl-C detaches every open scope and then does what it did before; without the detaching, a main thread that
joins its workers would wait for their batches, up to a day. The second cancels the jobs, the third stops waiting for
anything. SIGTERM detaches, and ends the program with an exit, so `with` blocks are left properly.

One owner serves all scopes of the process. Its handlers are installed when a scope opens, and the previous ones are
restored when the last scope closes, in whatever order they close. A program may have saved one of our handlers as the
previous one, and may call it or reinstall it long after: with no scope open, it does what the handler before it did.
Handlers take no lock: the main thread, in which they run, may be anywhere.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from batchling.system.forks import on_fork
from batchling.system.interrupts import finished, interrupt

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """One scope's part in handling signals; `detach` is called from within a signal handler. `install` and `restore`
    may be called in any thread; handlers are set only in the main thread, since Python allows it nowhere else."""

    def __init__(self, detach: Callable[[], object]) -> None:
        self._detach = detach
        self.interrupts: int = 0
        """How many times Ctrl-C has arrived."""
        self.leaving_in: int | None = None
        """The thread in which the scope is being left; None before that."""
        self.missed: Handler | None = None
        """The handler to call once the scope has been left, for a signal that arrived in the meantime."""

    def install(self) -> None:
        """The scope is open: react to signals, unless the program ignores them."""
        _owner.open(self)

    def leave(self) -> None:
        """The scope begins to clean up: signals raise nothing in this thread until `restore`."""
        self.leaving_in = threading.get_ident()

    def restore(self) -> None:
        """The scope is closed. After the last one, restore the previous handlers, unless the program has set its own in
        the meantime; then act on a signal that arrived while the scope was being left."""
        _owner.close(self)
        if (missed := self.missed) is not None:
            self.missed = None
            missed.pass_on(sys._getframe(), in_order=True)

    def on_signal(self, number: int) -> None:
        """A signal has arrived. Called in the main thread, from within the signal handler."""
        if number == signal.SIGINT:
            self.interrupts += 1
        if self.leaving_in is None:
            # Fails when the interpreter is about to end: no thread can be started any more.
            with suppress(RuntimeError):
                self._detach()


class Handler:
    """Our handler for one signal, in place of what was there `before`."""

    def __init__(self, number: int, before: Any) -> None:
        self._number = number
        self._before = before

    @property
    def before(self) -> Any:
        """What was there before us, as of now: a handler, or `SIG_DFL`."""
        return signal.default_int_handler if finished(self._before) else self._before

    def replaces(self, current: object) -> bool:
        """Whether this is the handler to set in place of the current one."""
        return self._before is current

    def __call__(self, number: int, frame: FrameType | None) -> None:
        _owner.arrive(self, self._number, frame)

    def pass_on(self, frame: FrameType | None, *, in_order: bool) -> None:
        """Do what the signal did before us; `in_order` turns the abrupt end by SIGTERM into an exit."""
        before = self.before
        if before is signal.SIG_DFL:
            if in_order:
                raise SystemExit(128 + self._number)
            signal.signal(self._number, signal.SIG_DFL)
            signal.raise_signal(self._number)
        elif before is signal.default_int_handler and isinstance(signal.getsignal(self._number), Handler):
            interrupt(self._number, frame)
        else:
            before(self._number, frame)


class _Owner:
    """See the module docstring. All methods but `arrive` may be called in any thread."""

    def __init__(self) -> None:
        self._scopes: list[Signals] = []
        self._last: dict[int, Handler] = {}
        self._at_work: list[Handler] = []
        """Our handlers that are running: a signal may arrive while another is being handled."""
        self.after_fork()

    def after_fork(self) -> None:
        """Make a new lock. In a forked child, too, since another thread may have held the old one."""
        self._lock = threading.RLock()

    def open(self, scope: Signals) -> None:
        with self._lock:
            self._scopes.append(scope)
            self._set_handlers()

    def close(self, scope: Signals) -> None:
        with self._lock:
            if scope in self._scopes:
                self._scopes.remove(scope)
            self._set_handlers()

    def arrive(self, handler: Handler, number: int, frame: FrameType | None) -> None:
        """A signal has arrived, and this handler is called for it."""
        if any(other is not handler for other in self._at_work):
            # Called by a handler that the program set between two of ours: our other one has already handled it.
            handler.pass_on(frame, in_order=bool(self._scopes))
            return
        scopes = tuple(self._scopes)
        for scope in scopes:
            scope.on_signal(number)
        here = threading.get_ident()
        leaving = next((scope for scope in reversed(scopes) if scope.leaving_in == here), None)
        if leaving is not None:
            if number == signal.SIGTERM or leaving.interrupts == 1:
                leaving.missed = handler
            return
        self._at_work.append(handler)
        try:
            handler.pass_on(frame, in_order=bool(scopes))
        finally:
            self._at_work.pop()
            if not self._scopes:
                # The last scope was closed in another thread, or the program has reinstalled us: remove it now.
                self._give_back(number)

    def _set_handlers(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        # Not every main thread may set handlers: that of a subinterpreter may not.
        with suppress(ValueError):
            for number in _NUMBERS:
                if self._scopes:
                    self._take_over(number)
                else:
                    self._give_back(number)

    def _take_over(self, number: int) -> None:
        current: Any = signal.getsignal(number)
        if isinstance(current, Handler) or not (callable(current) or _ends_suddenly(number, current)):
            return
        last = self._last.get(number)
        if last is None or not last.replaces(current):
            last = self._last[number] = Handler(number, current)
        signal.signal(number, last)

    def _give_back(self, number: int) -> None:
        current = signal.getsignal(number)
        if isinstance(current, Handler):
            signal.signal(number, current.before)


def _ends_suddenly(number: int, handler: object) -> bool:
    """Whether the signal ends the program by default. For Ctrl-C, that is a choice of the program, and respected."""
    return number == signal.SIGTERM and handler is signal.SIG_DFL


_owner = _Owner()


def _let_children_end() -> None:
    """In a forked child: let SIGTERM end it, unless the program has its own handler.

    A child has no block to leave, and pools end their workers this way. The system itself has to do it: if the signal
    arrives just before a worker begins to wait for work, a Python handler does not run, and the pool keeps waiting.
    """
    _owner.after_fork()
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, Handler) and handler.before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


on_fork(in_child=_let_children_end)
