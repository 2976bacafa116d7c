"""When a batch may be submitted: so many of an account at a time, so many an hour. The others stand in line.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from batchling import clock
from batchling.core import events
from batchling.core.model import Target
from batchling.providers.base import Limits

HOUR = 3_600.0

Account = tuple[str, str, str]


@dataclass(slots=True)
class _Line:
    """One account's batches: those under way, when the last ones were created, and who is next."""

    under_way: int = 0
    created: deque[float] = field(default_factory=deque)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    freed: asyncio.Event = field(default_factory=asyncio.Event)


class Admission:
    """Limits of one scope: `in_flight` batches at a time and `per_hour` creations, per account; None means what the
    provider's own limits say."""

    def __init__(self, in_flight: int | None, per_hour: int | None, emit: Callable[[events.Event], None]) -> None:
        self._in_flight = in_flight
        self._per_hour = per_hour
        self._emit = emit
        self._lines: dict[Account, _Line] = {}

    async def enter(self, target: Target, limits: Limits) -> None:
        """Wait for a place, in order of arrival, and take it."""
        line = self._line(target)
        async with line.turn:
            most = self._in_flight or limits.in_flight
            if most is not None and line.under_way >= most:
                why = f"{line.under_way} batches of the account are under way"
                self._emit(events.Held(target, why, wanted=self._in_flight is not None))
                while line.under_way >= most:
                    line.freed.clear()
                    await line.freed.wait()
            await self._keep_pace(target, line, self._per_hour or limits.creates_per_hour)
            line.under_way += 1

    def leave(self, target: Target) -> None:
        """Give a place back: the batch is over, or was never submitted."""
        line = self._line(target)
        line.under_way -= 1
        line.freed.set()

    async def _keep_pace(self, target: Target, line: _Line, most: int | None) -> None:
        if most is None:
            return
        while len(line.created) >= most:
            left = line.created[0] + HOUR - clock.monotonic()
            if left <= 0:
                line.created.popleft()
                continue
            why = f"{most} batches were created within the hour"
            self._emit(events.Held(target, why, wanted=self._per_hour is not None))
            await asyncio.sleep(left)
        line.created.append(clock.monotonic())

    def _line(self, target: Target) -> _Line:
        return self._lines.setdefault((target.provider, target.base_url, target.account), _Line())
