"""What Ctrl-C and SIGTERM do while a scope is open: leave it at once, without losing anything.

The first Ctrl-C detaches the scope and then does what it did before; without the detaching, a main thread that joins
its workers would wait for their batches, up to a day. The second asks for the jobs to be cancelled, the third for
nothing more to be waited for. SIGTERM detaches, and ends the program as an exit, so that `with` blocks are left in
order.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from batchling.loop import in_forked_children

Handler = Callable[[int, FrameType | None], Any]


class Signals:
    """The handlers of one scope; `detach` is called from within a signal. Installed and restored in the main thread;
    in any other there is nothing to install."""

    def __init__(self, detach: Callable[[], object]) -> None:
        self._detach = detach
        self._previous: dict[int, tuple[Handler, Handler]] = {}
        self.interrupts = 0
        """How often Ctrl-C has come."""
        self.leaving = False
        """Set while the scope puts its things away: signals raise nothing then, before `restore`."""
        self._missed: tuple[int, FrameType | None] | None = None

    def install(self) -> None:
        """Take the signals over, as far as somebody listens to them already."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, ours in ((signal.SIGINT, self._interrupt), (signal.SIGTERM, self._terminate)):
            before = signal.getsignal(number)
            if before is signal.SIG_DFL and number == signal.SIGTERM:
                before = _exit
            if callable(before):
                self._previous[number] = (before, ours)
                signal.signal(number, ours)

    def restore(self) -> None:
        """Give the signals back, unless somebody else has taken them in the meantime; then do what a signal asked for
        that came while the scope was being left."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, (before, ours) in self._previous.items():
            if signal.getsignal(number) == ours:
                signal.signal(number, signal.SIG_DFL if before is _exit else before)
        previous, self._previous = self._previous, {}
        if self._missed is not None:
            number, frame = self._missed
            previous[number][0](number, frame)

    def before(self, number: int) -> Handler | None:
        """What a signal did before it was taken over; None when it was not."""
        return self._previous[number][0] if number in self._previous else None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.interrupts += 1
        if not self.leaving:
            self._detach()
            self._previous[number][0](number, frame)
        elif self.interrupts == 1:
            self._missed = number, frame

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if self.leaving:
            self._missed = number, frame
        else:
            self._detach()
            self._previous[number][0](number, frame)


def _exit(number: int, frame: FrameType | None) -> None:
    """What SIGTERM does by default, but with the blocks of the program left in order."""
    raise SystemExit(128 + number)


def _let_children_end() -> None:
    """In a forked child: let SIGTERM end it, unless the program has a handler of its own.

    A child has no block to leave, and pools end their workers like this. It has to be the system that does it: when the
    signal comes just before a worker begins to wait for work, a handler in Python is not run, and its pool waits on.
    """
    handler: Any = signal.getsignal(signal.SIGTERM)
    while isinstance(scope := getattr(handler, "__self__", None), Signals):
        handler = scope.before(signal.SIGTERM)
    if handler is _exit:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


in_forked_children(_let_children_end)
