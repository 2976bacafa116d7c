"""The batches that callers of one scope wait for, each in a task of its own.

They are submitted here, or followed if another run or process submitted them. Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress

from batchling.core import events
from batchling.core.isolation import Search
from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Item, Target
from batchling.engine import following
from batchling.engine.admission import Admission, Place
from batchling.engine.answers import Answers
from batchling.engine.background import portions
from batchling.engine.batch import Outcome
from batchling.engine.blame import NoRoom, NotRun
from batchling.engine.bulk import Bulk
from batchling.engine.claims import Claims
from batchling.engine.disk import Disk
from batchling.engine.driver import Driver
from batchling.engine.recovery import Failed, Recovery
from batchling.engine.waiter import Stage, Waiter
from batchling.errors import CacheError, outline
from batchling.providers.base import Verdict
from batchling.system import clock

_log = logging.getLogger(__name__)


class Tasks:
    """See the module docstring."""

    def __init__(self, driver: Driver, answers: Answers, admission: Admission) -> None:
        self.disk: Disk = driver.tools.disk
        self._driver = driver
        self._answers = answers
        self._callers = answers.callers
        self._admission = admission
        self._claims = Claims(self.disk, answers, admission.family)
        self._patience = driver.tools.exchange.patience
        self._recovery = Recovery(driver.tools, answers)
        self._followers: dict[str, set[str]] = {}
        self._searches: dict[str, Search] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._driven: dict[str, Target] = {}
        self._stopped = False

    def launch(self, target: Target, items: Sequence[Item], search: Search | None = None) -> None:
        """Submit items as one batch, except those that another batch holds; as a part of a `search` for a bad row."""
        batch_id = f"{int(clock.time()):x}{secrets.token_hex(8)}"
        self._followers[batch_id] = {item.key for item in items}
        for waiter in self._callers.waiters(self._followers[batch_id]):
            waiter.batch = batch_id
        if search is not None:
            self._searches[batch_id] = search
        self._start(batch_id, self._launch(batch_id, target, items))

    def follow(self, batch_id: str, waiter: Waiter) -> None:
        """Answer a request from a batch that was submitted before."""
        self._followers.setdefault(batch_id, set()).add(waiter.item.key)
        waiter.batch = batch_id
        if batch_id not in self._tasks:
            self._start(batch_id, self._attend(batch_id))

    def has(self, waiter: Waiter) -> bool:
        """Whether a batch is going to answer this request."""
        return waiter.item.key in self._followers.get(waiter.batch, ())

    def forget(self, waiter: Waiter) -> None:
        """No call waits for this request any more."""
        if (followers := self._followers.get(waiter.batch)) is not None:
            followers.discard(waiter.item.key)

    def stop(self) -> int:
        """Stop working on all batches; their jobs keep running at the provider. Returns how many batches have callers
        that wait for a request which was sent."""
        self._stopped = True
        for task in (*self._tasks.values(), *self._driver.tidying):
            task.cancel()
        return sum(1 for keys in self._followers.values() if any(not self._callers.is_unsent(key) for key in keys))

    async def stopped(self) -> None:
        """Wait until every task has ended."""
        ours = asyncio.current_task()
        while others := [task for task in (*self._tasks.values(), *self._driver.tidying) if task is not ours]:
            await asyncio.gather(*others, return_exceptions=True)
            # Gathering tasks that have already ended does not yield to the loop, and their callbacks have to run.
            await asyncio.sleep(0)

    def waits_for(self) -> str:
        """The batches whose tasks have not ended yet, for a log message."""
        return ", ".join(tuple(self._tasks)) or "nothing"

    async def cancel(self) -> None:
        """After `stop`: cancel the jobs. Wait until each is confirmed to be over, or could not be cancelled."""
        await self.stopped()
        done = 0
        batch_ids = tuple(self._driven)
        self._answers.emit(events.Cancelling(done, len(batch_ids)))
        for finished in asyncio.as_completed([self._cancel(batch_id) for batch_id in batch_ids]):
            done += await finished
            self._answers.emit(events.Cancelling(done, len(batch_ids)))

    def _start(self, batch_id: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[batch_id] = task
        task.add_done_callback(lambda done: self._over(batch_id, done))

    def _over(self, batch_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[batch_id]
        self._answers.emit(events.Settled(batch_id))
        self._searches.pop(batch_id, None)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # Whatever a batch raises: a bug or a broken cache must not leave its callers waiting.
            _log.error("batchling: batch %s failed inside batchling: %s", batch_id, outline(fault))
            why = f"batch {batch_id} failed inside batchling ({type(fault).__name__})"
            self._answers.fail(tuple(self._followers.pop(batch_id, ())), why)
        if batch_id in self._followers and not self._stopped:
            if self._followers[batch_id]:
                self._start(batch_id, self._attend(batch_id))
            else:
                del self._followers[batch_id]

    async def _launch(self, batch_id: str, target: Target, items: Sequence[Item]) -> None:
        """Claim the keys of a batch. Submit and drive those that are ours, follow the batches that hold the others."""
        place = await self._admission.enter(target, self._answers.accesses[target].provider.limits)
        setback: NotRun | None = None
        try:
            claim = await self._claims.claim(batch_id, target, items, self._followers[batch_id])
            self._follow_instead(claim.theirs)
            if (record := claim.record) is not None:
                mine = frozenset(record.members)
                setback = await self._drive(record, [item for item in items if item.key in mine], place)
        finally:
            place.leave()
        if setback is not None:
            await self._recover(target, batch_id, setback)

    def _follow_instead(self, holders: Mapping[str, str]) -> None:
        """Answer keys from the batches that hold them, instead of submitting them."""
        bulk = Bulk(self._answers.emit)
        for waiter in self._callers.waiters(holders):
            if waiter.stage is not Stage.NEW:
                waiter.move(Stage.FOLLOWED)
                bulk.add(events.Hit, waiter.target, holders[waiter.item.key], True)
                self.follow(holders[waiter.item.key], waiter)
        bulk.tell()

    async def _attend(self, batch_id: str) -> None:
        """Answer the keys that follow a batch submitted earlier: from the store, by driving the batch if its driver is
        gone, or by waiting for the process that drives it."""
        announced = False
        trouble_since: float | None = None
        while followers := self._followers[batch_id]:
            try:
                record = await self._look(batch_id, tuple(followers))
                if record is not None and not announced:
                    announced = True
                    self._answers.emit(events.Attached(record.target, batch_id, len(followers)))
                if record is not None and await self.disk(self.disk.store.drive, batch_id):
                    await self._take_over(batch_id)
                elif record is not None:
                    await asyncio.sleep(min(self._patience.follow, self._patience.poll))
                trouble_since = None
            except CacheError as fault:
                trouble_since = trouble_since or clock.monotonic()
                if clock.monotonic() - trouble_since > self._patience.disk:
                    self._answers.fail(tuple(followers), f"{fault} The batch is kept: run again")
                    followers.clear()
                    return
                pause = self._patience.follow
                self._answers.emit(events.Delayed(batch_id, "read the cache", fault.problem, pause))
                await asyncio.sleep(pause)

    async def _look(self, batch_id: str, keys: tuple[str, ...]) -> Record | None:
        """Answer what is stored of a batch, and resubmit what it lacks. Returns its record if results are to come."""
        if (waiter := next(self._callers.waiters(keys), None)) is None:
            return None
        provider = self._answers.accesses[waiter.target].provider
        found = await following.look(self.disk, provider, batch_id, keys)
        if found.outcome is not None:
            await self._deliver(batch_id, found.outcome, found.keys)
        return found.record

    async def _take_over(self, batch_id: str) -> None:
        """Continue to drive a batch whose lock we have just taken."""
        try:
            # Read again: the record may have moved before we had the lock.
            record = await self.disk(self.disk.store.load, batch_id)
        except CacheError:
            self.disk.store.release(batch_id)
            raise
        if record is None or record.phase is Phase.DEAD:
            await self.disk(self.disk.store.release, batch_id)
        elif (setback := await self._drive(record, [])) is not None:
            await self._recover(record.target, batch_id, setback)

    async def _drive(self, record: Record, items: Sequence[Item], place: Place | None = None) -> NotRun | None:
        """Drive a batch whose lock we hold to its end, and answer its followers. If none of its rows ran, answer none,
        and return the reason."""
        batch = self._driver.take(self._answers.accesses[record.target], record, items)
        followers = self._followers[record.id]
        self._driven[record.id] = record.target
        try:
            outcome = await self._driver.submit(batch)
            if outcome is None:
                if place is not None:
                    place.created()
                if (search := self._searches.get(record.id)) is not None and not search.by_jobs:
                    search.accept()
                outcome = await self._driver.finish(batch, followers)
        except NotRun as setback:
            del self._driven[record.id]
            return setback
        finally:
            await self.disk.release(record.id)
        del self._driven[record.id]
        if (search := self._searches.get(record.id)) is not None:
            search.accept()
        if not outcome.final:
            self._driver.tidy_soon(batch)
        await self._deliver(record.id, outcome, tuple(followers))
        return None

    async def _deliver(self, batch_id: str, outcome: Outcome, keys: Sequence[str]) -> None:
        """Answer these followers of a batch. If that raises, `_over` answers those that are left."""
        async for some in portions(keys):
            self._answers.deliver(batch_id, some, outcome)
            self._followers[batch_id].difference_update(some)

    async def _cancel(self, batch_id: str) -> bool:
        """Cancel the job of a batch. Returns whether the provider has confirmed that it is over."""
        access = self._answers.accesses[self._driven[batch_id]]
        try:
            async with self._driver.locked(batch_id) as record:
                if record is None:
                    return False
                batch = self._driver.take(access, record)
                await self._driver.cancel(batch)
            if batch.record.phase in (Phase.ENDED, Phase.DEAD):
                return True
            _log.warning("batchling: batch %s: could not find out whether its job was cancelled", batch_id)
        except Exception as fault:  # whatever a batch raises: the other jobs must still be cancelled
            _log.warning("batchling: batch %s: its job could not be cancelled (%s) and keeps running", batch_id, fault)
        return False

    async def _recover(self, target: Target, batch_id: str, setback: NotRun) -> None:
        """Submit the requests of a batch that never ran again, in the parts that its setback calls for."""
        full = isinstance(setback, NoRoom) and setback.verdict is Verdict.FULL
        others = await self._finish_others(target, batch_id) if full else frozenset()
        keys, search = tuple(self._followers[batch_id]), self._searches.pop(batch_id, None) or Search()
        waiters = {waiter.item.key: waiter for waiter in self._callers.waiters(keys)}
        parts = await self._recovery.parts(Failed(target, batch_id, waiters, search, others), setback)
        # Followers that came in the meantime are handled by `_over`, when this task has ended.
        self._followers[batch_id].difference_update(keys)
        least = self._answers.accesses[target].provider.limits.least
        for some, part in parts:
            items = [waiters[key].item for key in some if self._callers.get(key) is waiters[key]]
            if items and len(items) < least:
                left = [item.key for item in items]
                self._answers.send_real_time(target, left, f"a batch needs {least} requests")
            elif items:
                self.launch(target, items, part)

    async def _finish_others(self, target: Target, batch_id: str) -> frozenset[str]:
        """Drive the other batches that fill the account of a target to their end, in tasks. Returns their ids."""
        others = await self.disk(self.disk.store.in_flight, target, batch_id)
        for other in others - self._tasks.keys():
            self._start(other, self._finish(other, target))
        return others

    async def _finish(self, batch_id: str, target: Target) -> None:
        """Drive a batch that an earlier run left behind to its end, unless another process drives it."""
        async with self._driver.locked(batch_id) as record:
            if record is not None and record.phase in (Phase.PLANNED, Phase.RUNNING):
                batch = self._driver.take(self._answers.accesses.access_for(record.target, target), record)
                with suppress(NotRun):  # the batch has ended then, too
                    if not (await self._driver.drive(batch, ())).final:
                        self._driver.tidy_soon(batch)
