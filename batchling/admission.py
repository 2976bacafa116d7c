"""When a batch may be submitted: so many of an account at a time, so many an hour. The others stand in line.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from batchling import clock
from batchling.core import events
from batchling.core.model import Target
from batchling.providers.base import Limits

HOUR = 3_600.0

Account = tuple[str, str, str]


@dataclass(slots=True)
class _Line:
    """One account's batches: how many are under way, how many of those have no job yet, when the last jobs were
    created, and who is next."""

    under_way: int = 0
    launching: int = 0
    created: deque[float] = field(default_factory=deque)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Place:
    """A batch's place among those of its account."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._launching = True

    def created(self) -> None:
        """Its job exists. Only this counts as a creation: a batch that others hold, or that is refused, uses up none of
        the hour's."""
        if self._launching:
            self._line.created.append(clock.monotonic())
        self._launched()

    def leave(self) -> None:
        """Give the place back: the batch is over, or was never submitted."""
        self._launched()
        self._line.under_way -= 1

    def _launched(self) -> None:
        self._line.launching -= self._launching
        self._launching = False
        self._line.moved.set()


class Admission:
    """Limits of one scope: `in_flight` batches at a time and `per_hour` creations, per account; None means what the
    provider's own limits say."""

    def __init__(self, in_flight: int | None, per_hour: int | None, emit: Callable[[events.Event], None]) -> None:
        self._in_flight = in_flight
        self._per_hour = per_hour
        self._emit = emit
        self._lines: dict[Account, _Line] = {}

    async def enter(self, target: Target, limits: Limits) -> Place:
        """Wait for a place, in order of arrival, and take it."""
        line = self._lines.setdefault((target.provider, target.base_url, target.account), _Line())
        async with line.turn:
            most = self._in_flight or limits.in_flight
            if most is not None and line.under_way >= most:
                why = f"{line.under_way} batches of the account are under way"
                self._emit(events.Held(target, why, wanted=self._in_flight is not None))
                while line.under_way >= most:
                    await _moves(line)
            await self._keep_pace(target, line, self._per_hour or limits.creates_per_hour)
            line.under_way += 1
            line.launching += 1
            return Place(line)

    async def _keep_pace(self, target: Target, line: _Line, most: int | None) -> None:
        told = False
        while most is not None and len(line.created) + line.launching >= most:
            left = line.created[0] + HOUR - clock.monotonic() if line.created else None
            if left is not None and left <= 0:
                line.created.popleft()
                continue
            if not told and len(line.created) >= most:
                told = True
                why = f"{most} batches were created within the hour"
                self._emit(events.Held(target, why, wanted=self._per_hour is not None))
            await _moves(line, left)


async def _moves(line: _Line, seconds: float | None = None) -> None:
    """Wait until a batch of the line gets its job or leaves, for so many seconds at most."""
    line.moved.clear()
    with suppress(TimeoutError):
        await asyncio.wait_for(line.moved.wait(), seconds)
