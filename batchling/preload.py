"""Imports what the engine's threads are going to need, in the threads of callers.

No thread of ours imports a module. While it does, others find half of the module in `sys.modules`, and libraries look
there: openai 3 asks `sys.modules["httpx"]` for the errors that it handles. What only some scopes need is imported by
their first call, in its caller's thread, too: prices, the live display, the library of a cloud (see `api.batchify`).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module

_ALWAYS = (
    # A pool of threads, and what an exception in one looks like in a log.
    "concurrent.futures.thread",
    "linecache",
    "tokenize",
    "traceback",
)
_FOR_CALLS = (
    "httpx",
    "httpcore",
    # How our own calls connect on asyncio, whom they trust, and how a host name is looked up.
    "anyio._backends._asyncio",
    "certifi",
    "encodings.idna",
)
"""What `sender` imports late. With httpx2 in the program it is imported on entering the scope, since openai 3 looks for
httpx in each of its calls, in whatever thread. In others not before a call: we hook httpx, and a program that does not
use it is not to find it there."""
_IF_THERE = ("socksio",)
"""What those import late, if it is installed."""


def engine() -> None:
    """Import what every scope's threads need. Any thread."""
    for name in _ALWAYS:
        import_module(name)
    if "httpx2" in sys.modules:
        calls()


def calls() -> None:
    """Import what it takes to call a provider. Any thread; the first call takes as long as the imports."""
    for name in _FOR_CALLS:
        import_module(name)
    for name in _IF_THERE:
        with suppress(ImportError):
            import_module(name)
