"""Imports what the engine's threads are going to need, in the threads of callers.

No thread of ours imports a module. While it does, others find half of the module in `sys.modules`, and libraries look
there: openai 3 asks `sys.modules["httpx"]` for the errors that it handles. What our own calls need is imported with
`batchling.engine.sender`. What only some scopes need, and no other library looks for, is imported by their first call,
in its caller's thread, too: the live display, the library of a cloud (see `api.batchify`).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module

from batchling.money import prices

_ALWAYS = (
    "batchling.engine.sender",
    "certifi",
    # A pool of threads, and what an exception in one looks like in a log.
    "concurrent.futures.thread",
    "linecache",
    "tokenize",
    "traceback",
)
_IF_THERE = ("socksio",)
"""What those import late, if it is installed."""


brought: set[str] = set()
"""Libraries that are hooked and that the program had not imported when we did."""


def engine() -> None:
    """Import what every scope's threads need. Any thread; the first call takes some tenths of a second."""
    if "genai_prices" not in sys.modules and "httpx2" not in sys.modules:
        brought.add("httpx2")
    for name in _ALWAYS:
        import_module(name)
    for name in _IF_THERE:
        with suppress(ImportError):
            import_module(name)
    # It brings httpx2 along, for which openai 2 and 3 look in each of their calls, in whatever thread.
    prices.load()
