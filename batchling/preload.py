"""Imports what the engine's threads are going to need, in the thread that enters a scope.

No thread of ours imports a module. While it does, others find half of the module in `sys.modules`, and libraries look
there: openai 3 asks `sys.modules["httpx"]` for the errors that it handles. What only some scopes need is imported by
their first call, in its caller's thread: prices, the live display, the library of a cloud (see `batcher.submit`).
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

_NEEDED = (
    # Our own calls: the library, how it connects on asyncio, whom it trusts.
    "httpcore",
    "anyio._backends._asyncio",
    "certifi",
    # Looking up a host name.
    "encodings.idna",
    # A pool of threads, and what an exception in one looks like in a log.
    "concurrent.futures.thread",
    "linecache",
    "tokenize",
    "traceback",
)
_IF_THERE = ("socksio",)
"""What the libraries above import late, if it is installed."""


def engine() -> None:
    """Import what every scope's threads need. The first call takes as long as the imports; any thread."""
    for name in _NEEDED:
        import_module(name)
    for name in _IF_THERE:
        with suppress(ImportError):
            import_module(name)
