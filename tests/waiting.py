"""Waiting for what other threads and processes do: with an end, and in words that say what did not happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the programs of tests wait too, and have no server of their own
    from batchling.testing import ProviderServer

SECONDS = 30.0
INTERVAL = 0.01


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = SECONDS, interval: float = INTERVAL
) -> None:
    """Return when the condition holds; `what` says it in words, for who reads that it never did."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, _never(what, seconds)
        time.sleep(interval)


async def wait_until_async(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """As `wait_until`, while the event loop goes on."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, _never(what, seconds)
        await asyncio.sleep(INTERVAL)


def wait_for_poll(server: ProviderServer, seconds: float = SECONDS) -> None:
    """Return when a program has asked how its job stands."""
    wait_until(lambda: server.calls("GET", "/batches/"), "a job is polled", seconds)


def _never(what: str, seconds: float) -> str:
    return f"did not happen within {seconds:g} s: {what}"
