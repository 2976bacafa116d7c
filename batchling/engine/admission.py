"""When a batch may be submitted: an account has a limited number under way at a time, and a limited number of creations
per hour. Further batches wait in line.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from batchling.core import events
from batchling.core.model import AccountKey, Target
from batchling.engine.family import Family
from batchling.engine.options import Options
from batchling.providers.base import Limits


@dataclass(slots=True)
class _Line:
    """One account's batches: how many are under way, and which is next."""

    under_way: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Place:
    """A batch's place among those of its account."""

    def __init__(self, line: _Line, launched: Callable[[bool], None]) -> None:
        self._line = line
        self._launched = launched
        self._launching = True

    def created(self) -> None:
        """Its job exists. Only this counts towards the limit per hour; a batch that is refused, or whose keys are all
        held by other batches, does not."""
        self._over(created=True)

    def leave(self) -> None:
        """Give the place back: the batch is over, or was never submitted."""
        self._line.under_way -= 1
        self._over(created=False)

    def _over(self, *, created: bool) -> None:
        if self._launching:
            self._launching = False
            self._launched(created)
        self._line.moved.set()


class Admission:
    """The limits of one scope, per account: `in_flight` batches at a time and, for all processes of the family
    together, `per_hour` creations. None means the provider's own limits."""

    def __init__(self, options: Options, emit: Callable[[events.Event], None], family: Family) -> None:
        self._in_flight = options.in_flight
        self._per_hour = options.per_hour
        self._look = options.patience.line
        self._emit = emit
        self.family = family
        self._lines: dict[AccountKey, _Line] = {}

    async def enter(self, target: Target, limits: Limits) -> Place:
        """Wait for a place, in order of arrival, and take it."""
        account = target.account_key
        line = self._lines.setdefault(account, _Line())
        async with line.turn:
            most = self._in_flight or limits.in_flight
            if most is not None and line.under_way >= most:
                why = f"{line.under_way} batches of the account are under way"
                self._emit(events.Held(target, why, wanted=self._in_flight is not None))
                while line.under_way >= most:
                    await _moves(line)
            launched = await self._keep_pace(account, target, line, self._per_hour or limits.creates_per_hour)
            line.under_way += 1
            return Place(line, launched)

    async def _keep_pace(
        self, account: AccountKey, target: Target, line: _Line, most: int | None
    ) -> Callable[[bool], None]:
        """Wait until one more creation is allowed within the hour. Returns a function to call with whether the job was
        created."""
        if most is None:
            return _uncounted
        logged = False
        while isinstance(found := self.family.launch(account, most), tuple):
            made, left = found
            if not logged and made >= most:
                logged = True
                why = f"{most} batches were created within the last hour"
                self._emit(events.Held(target, why, wanted=self._per_hour is not None))
            if self.family.waits_for_others:
                left = self._look if left is None else min(left, self._look)
            await _moves(line, left)
        name = found
        return lambda created: self.family.launched(account, name, created=created)


def _uncounted(created: bool) -> None:
    """Count nothing: creations are not limited."""


async def _moves(line: _Line, seconds: float | None = None) -> None:
    """Wait until a batch of the line gets its job or leaves, for at most this many seconds."""
    line.moved.clear()
    with suppress(TimeoutError):
        await asyncio.wait_for(line.moved.wait(), seconds)
