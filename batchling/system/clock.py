"""The clock that the engine uses: the machine's, whatever clock the program itself sees.

Tests freeze a program's time (freezegun): they put their own functions into the module `time` and into every loaded
module that uses its functions. An engine that used those would wait forever. These functions come from a copy of the
module that nobody else can see.
"""

from __future__ import annotations

import asyncio
import sys
import time as _shared
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from types import ModuleType


def _copied() -> ModuleType:
    spec = BuiltinImporter.find_spec("time")
    if spec is None or spec.loader is None:  # an interpreter that does not have it built in
        return _shared
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_clock = _copied()

time: Callable[[], float] = _clock.time
"""Seconds of the Unix clock."""
monotonic: Callable[[], float] = _clock.monotonic
"""Seconds of a clock that never goes back; only useful for differences."""
sleep: Callable[[float], None] = _clock.sleep
"""Blocks this thread for a number of seconds."""


if sys.platform == "win32":

    class Loop(asyncio.ProactorEventLoop):
        """An event loop whose timers use this clock."""

        def time(self) -> float:
            """Seconds of the monotonic clock."""
            return monotonic()

else:

    class Loop(asyncio.SelectorEventLoop):
        """An event loop whose timers use this clock."""

        def time(self) -> float:
            """Seconds of the monotonic clock."""
            return monotonic()
