"""Passes the active scope on to worker threads: a context variable alone does not reach them (Python 3.11 to 3.13).

Only our own variables are passed on. While a pool's worker runs a task, it has the scope of the code that submitted the
task, not of the code that happened to start the worker. A standalone thread remembers the scope in which it was
started; the function that it runs is not wrapped.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from batchling.errors import Detached
from batchling.hooks.interception import Mark, marked
from batchling.hooks.patching import Patch
from batchling.system.gate import Gate, activate_in, active, current


def patches() -> list[Patch]:
    """What to patch in the standard library. `ThreadPoolExecutor.map` and `loop.run_in_executor` use `submit` too."""
    # gevent replaces Thread by a subclass that has no `start` of its own.
    thread = next(kind for kind in threading.Thread.__mro__ if "start" in kind.__dict__)
    return [Patch(ThreadPoolExecutor, "submit", _submit), Patch(thread, "start", _start)]


def run_with(gate: Gate | None, mark: Mark | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function in the scope of the code that submitted it."""
    token, tracing = active.set(gate), marked.set(mark)
    try:
        return function(*args, **kwargs)
    finally:
        marked.reset(tracing)
        active.reset(token)
        del args, kwargs


def _submit(wrapped: Any, executor: Any, args: Any, kwargs: Any) -> Any:
    # Without arguments, it raises the library's own TypeError. What goes to another interpreter (Python 3.14) must not
    # be changed.
    if not args or type(executor).__name__ == "InterpreterPoolExecutor":
        return wrapped(*args, **kwargs)
    return wrapped(run_with, current(), marked.get(), *args, **kwargs)


def _start(wrapped: Any, thread: Any, args: Any, kwargs: Any) -> Any:
    gate = current()
    if gate is not None:
        activate_in(gate, thread)
        _end_in_silence(thread)
    return wrapped(*args, **kwargs)


def _end_in_silence(thread: Any) -> None:
    """Let a thread whose call was detached end without a traceback. The scope has already reported what keeps running,
    and a thousand tracebacks would bury that (and can abort CPython if daemon threads print while it shuts down)."""
    hook = thread.__dict__.get("_invoke_excepthook")
    if hook is not None:

        def tell(failed: Any) -> None:
            if not isinstance(sys.exc_info()[1], Detached):
                hook(failed)

        thread.__dict__["_invoke_excepthook"] = tell
