"""Does what Ctrl-C would do without us, in a program that has no handler of its own.

During a run, asyncio and trio install handlers that end the run cleanly, but only if they find Python's own handler in
place. In a scope, they find ours. So at the moment of the Ctrl-C, we have them do what their handlers would have done.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from functools import partial
from types import FrameType
from typing import Any

_RUN = asyncio.Runner.run.__code__


def interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Python's own handler, or that of the asyncio or trio run in this thread, would do. Raises
    `KeyboardInterrupt` unless a run handles it."""
    handle = _of_asyncio(frame) or _of_trio() or signal.default_int_handler
    handle(number, frame)


def finished(handler: object) -> bool:
    """Whether this is the handler of an asyncio run that is over. asyncio would have restored Python's own handler if
    it had not found ours at the end of the run."""
    if not isinstance(handler, partial) or getattr(handler.func, "__func__", None) is not _on_sigint:
        return False
    task = handler.keywords.get("main_task")
    return isinstance(task, asyncio.Future) and task.done()


_on_sigint: Any = getattr(asyncio.Runner, "_on_sigint", None)


def _of_asyncio(frame: FrameType | None) -> Any:
    """The handler that the innermost `asyncio.Runner` on this stack would have; None without one."""
    while frame is not None:
        if frame.f_code is _RUN:
            names = frame.f_locals
            runner: Any = names.get("self")
            task = names.get("task")
            if task is None or names.get("sigint_handler") is not None or not hasattr(runner, "_on_sigint"):
                return None
            return partial(runner._on_sigint, main_task=task)
        frame = frame.f_back
    return None


def _of_trio() -> Any:
    """The handler that the trio run in this thread would have; None without one."""
    run = sys.modules.get("trio._core._run")
    runner = getattr(getattr(run, "GLOBAL_RUN_CONTEXT", None), "runner", None)
    if runner is None or threading.current_thread() is not threading.main_thread():
        return None
    try:
        protected, deliver = sys.modules["trio._core._ki"].ki_protection_enabled, runner.deliver_ki
        if runner.ki_manager.handler is not None:  # it has its own: the scope was opened within the run
            return None
    except (AttributeError, KeyError):  # these are internals of another library
        return None

    def handle(number: int, frame: FrameType | None) -> None:
        if not protected(frame):
            raise KeyboardInterrupt
        deliver()

    return handle
