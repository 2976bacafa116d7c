"""Imports what the engine's threads will need, in the threads of callers.

Our own threads never import a module. During an import, other threads find a partial module in `sys.modules`, and
libraries look there: openai 3 looks in `sys.modules["httpx"]` for the errors that it handles. What our own calls need
is imported with `batchling.engine.sender`. What only some scopes need, and no other library looks for, is imported by
their first call, also in its caller's thread: the live display, the library of a cloud (see `api.batchify`).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module

from batchling.money import prices

_ALWAYS = (
    "batchling.engine.sender",
    "certifi",
    # For a pool of threads, and for logging an exception in one.
    "concurrent.futures.thread",
    "linecache",
    "tokenize",
    "traceback",
)
_IF_THERE = ("socksio",)
"""Modules that the ones above import late, if they are installed."""


brought: set[str] = set()
"""Hooked libraries that the program had not imported when we imported them."""


def engine() -> None:
    """Import what every scope's threads need. Any thread; the first call takes some tenths of a second."""
    if "genai_prices" not in sys.modules and "httpx2" not in sys.modules:
        brought.add("httpx2")
    for name in _ALWAYS:
        import_module(name)
    for name in _IF_THERE:
        with suppress(ImportError):
            import_module(name)
    # This imports httpx2, which openai 2 and 3 look for in each of their calls, in any thread.
    prices.load()
