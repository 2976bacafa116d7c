"""Claims the keys of a batch before it is submitted: reserves its possible cost, and finds out which keys other batches
hold already.

Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from batchling.cache import Claim
from batchling.core import events
from batchling.core.lifecycle import Record
from batchling.core.model import Fault, Item, Target
from batchling.engine.answers import Answers
from batchling.engine.disk import Disk
from batchling.engine.family import Family
from batchling.engine.waiter import Stage
from batchling.system import clock

_PORTION = 5_000
"""Requests that are moved before the loop gets its turn for other things."""


class Claims:
    """See the module docstring. `family` shares the budget."""

    def __init__(self, disk: Disk, answers: Answers, family: Family) -> None:
        self._disk = disk
        self._answers = answers
        self._family = family

    async def claim(self, batch_id: str, target: Target, items: Sequence[Item], followers: set[str]) -> Claim:
        """Claim the keys of these items that are still in `followers`, and remove from `followers` those that are over
        budget or held by other batches. Raises `CacheError`."""
        if (budget := self._family.budget) is not None:
            asked = [item for item in items if item.key in followers]
            quotes = await self._disk(budget.quote, target, asked)
            refused = self._family.reserve(budget, batch_id, {key: quotes[key] for key in quotes if key in followers})
            followers.difference_update(refused)
            self._deny(target, refused)
        members = tuple(item.key for item in items if item.key in followers)
        if not members:  # all callers have given up in the meantime, or are over budget
            return Claim(None, {})
        claim = await self._disk(self._disk.store.claim, Record(batch_id, target, members, clock.time()))
        if budget is not None:
            self._family.give_back(budget, batch_id, tuple(claim.theirs))
        followers.difference_update(claim.theirs)
        for place, key in enumerate(claim.record.members if claim.record is not None else (), 1):
            waiter = self._answers.callers.get(key)
            # A new waiter with the same key looks it up in the store itself.
            if waiter is not None and waiter.stage is Stage.QUEUED:
                waiter.move(Stage.CLAIMED)
            if place % _PORTION == 0:
                await asyncio.sleep(0)
        return claim

    def _deny(self, target: Target, refused: Mapping[str, str]) -> None:
        """Answer requests that are over budget with a 402 and the reason."""
        provider = self._answers.accesses[target].provider
        for key, why in refused.items():
            self._answers.emit(events.Denied(target, why))
            self._answers.answer(key, provider.failure(402, Fault(f"batchling: not sent: {why}", "batchling_budget")))
