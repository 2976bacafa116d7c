"""What becomes of the requests of a batch that never ran: they go real time, get a refusal, or go into further batches.

Returns the parts to submit; submits nothing itself. Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass

from batchling.core import events, retry
from batchling.core.isolation import Keys, Search
from batchling.core.model import Target
from batchling.engine.answers import Answers
from batchling.engine.batch import Tools
from batchling.engine.blame import NoBatches, NoRoom, NotRun, Spoiled
from batchling.engine.waiter import Stage, Waiter
from batchling.providers.base import Verdict
from batchling.system import clock

Parts = tuple[tuple[Keys, Search | None], ...]
"""The keys of each batch to submit, and the search that it is a part of."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A batch that never ran. `waiters` are the keys that still have callers, `search` is the search that it was a part
    of, and `others` are the batches of its account and model that may be under way."""

    target: Target
    batch_id: str
    waiters: Mapping[str, Waiter]
    search: Search
    others: frozenset[str]


class Recovery:
    """See the module docstring."""

    def __init__(self, tools: Tools, answers: Answers) -> None:
        self._tools = tools
        self._answers = answers
        self._patience = tools.exchange.patience

    async def parts(self, failed: Failed, setback: NotRun) -> Parts:
        """Answer what will not be submitted again, wait as long as necessary, and return what to submit."""
        match setback:
            case NoBatches():
                target = failed.target
                without = target.account_key if setback.place else target
                keys = tuple(failed.waiters)
                self._answers.send_real_time(target, keys, str(setback), None if setback.passing else without)
                return ()
            case Spoiled():
                return await self._isolate(failed, setback)
            case NoRoom():
                return await self._find_room(failed, setback)
            case _:
                raise setback

    async def _isolate(self, failed: Failed, spoiled: Spoiled) -> Parts:
        """Search for the request that may have made the batch fail: return the whole batch once more, the rows that the
        provider names apart from the others, or halves. A request that is refused on its own gets the refusal."""
        answered = [key for key in spoiled.answers if key in failed.waiters]
        for key in answered:
            if spoiled.answers[key] is None:
                self._answers.send_real_time(failed.target, [key], "a batch cannot carry this request")
            else:
                self._answers.answer_from(failed.batch_id, key, spoiled.answer(key))
        keys = tuple(key for key in spoiled.members if key in failed.waiters and key not in answered)
        repeats = min(spoiled.repeats, self._answers.resubmissions)
        if answered:
            parts = failed.search.go_on(keys)
        else:
            parts = failed.search.split(keys, spoiled.suspects, repeats, by_jobs=spoiled.by_job)
        if not parts:
            for key in keys:
                self._answers.answer_from(failed.batch_id, key, spoiled.answer(key))
            return ()
        for key in keys:
            failed.waiters[key].move(Stage.QUEUED)
        if repeats and len(parts) == 1 and not answered:
            attempt = failed.search.repeats
            pause = retry.pause(attempt, self._patience.first_pause, random.random(), None)
            self._tools.emit(events.Delayed(failed.batch_id, "submit", str(spoiled), pause, attempt))
            await asyncio.sleep(pause)
        return parts

    async def _find_room(self, failed: Failed, full: NoRoom) -> Parts:
        """Return what the provider had no room for: as it was, once another batch of the model has ended, or in halves
        if none is under way."""
        for waiter in failed.waiters.values():
            waiter.move(Stage.QUEUED)
        count = 2
        if full.verdict is not Verdict.FULL and len(failed.waiters) == 1:
            self._answers.send_real_time(failed.target, tuple(failed.waiters), f"too large for a batch ({full})")
            return ()
        if full.verdict is Verdict.FULL and failed.others:
            why = f"{full}; {len(failed.others)} of the model's batches are under way"
            self._tools.emit(events.Held(failed.target, why))
            await self._until_one_ends(failed)
            count = 1
        elif full.verdict is Verdict.FULL and len(failed.waiters) == 1:
            pause = min(retry.LONGEST, 10 * self._patience.poll) * (0.5 + random.random() / 2)
            self._tools.emit(events.Delayed(failed.batch_id, "submit", str(full), pause))
            await asyncio.sleep(pause)
        keys = tuple(sorted(failed.waiters))
        return tuple((keys[start::count], None) for start in range(count))

    async def _until_one_ends(self, failed: Failed) -> None:
        disk = self._tools.disk
        until = clock.monotonic() + self._patience.room
        while clock.monotonic() < until:
            await asyncio.sleep(min(self._patience.follow, self._patience.poll))
            if failed.others - await disk(disk.store.in_flight, failed.target, failed.batch_id):
                return
