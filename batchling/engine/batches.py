"""The batches that callers of one scope wait for: launched here, or followed where another run or process has them.

Every batch is one task on the engine's loop. What has its rows answers the callers; what does not puts their requests
into another batch, as often as allowed. Belongs to the engine's loop thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from batchling.cache import Store
from batchling.core import events, retry
from batchling.core.budget import Budget
from batchling.core.isolation import Search
from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Fault, Item, Response, Row, Target
from batchling.engine.access import Accesses
from batchling.engine.admission import Admission
from batchling.engine.callers import Callers, Waiter
from batchling.engine.driver import Batch, Driver, NoBatches, NoRoom, NotRun, Outcome, Spoiled
from batchling.engine.family import Family
from batchling.errors import CacheError, outline
from batchling.providers.base import Provider, Verdict, read_fault
from batchling.providers.results import Rows, sort_rows
from batchling.system import clock

_log = logging.getLogger(__name__)

T = TypeVar("T")

FOLLOW_SECONDS = 1.0
"""How often a batch that another process drives is looked at."""
PATIENCE_FOR_ROOM = 600.0
"""Seconds after which a submission is tried again although none of the batches that fill the account has ended."""
PATIENCE_WITH_DISK = 60.0
"""Seconds for which a batch that the cache holds is tried to be read."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a scope was asked for: `poll_interval` in seconds; `resubmissions` is how often a request that never ran is
    put into another batch; `in_flight` and `per_hour` as in `Admission`."""

    poll_interval: float
    resubmissions: int
    in_flight: int | None
    per_hour: int | None


class Batches:
    """See the module. `place` takes a waiter whose request has to be asked again; `answer` gives a key's callers their
    response, `let_go` has requests of a target go real time. `tidied` hears that `tidying` has come to its end."""

    def __init__(
        self,
        store: Store,
        disk: Executor,
        driver: Driver,
        callers: Callers,
        accesses: Accesses,
        terms: Terms,
        emit: Callable[[events.Event], None],
        place: Callable[[Waiter], None],
        answer: Callable[[str, Response], None],
        let_go: Callable[..., None],
        tidied: Callable[[], None],
        family: Family,
    ) -> None:
        self._store = store
        self._disk = disk
        self._driver = driver
        self._callers = callers
        self._accesses = accesses
        self._terms = terms
        self._emit = emit
        self._place = place
        self._answer = answer
        self._let_go = let_go
        self._tidied = tidied
        self._family = family
        self._admission = Admission(terms.in_flight, terms.per_hour, emit, family)
        self._followers: dict[str, set[str]] = {}
        self._searches: dict[str, Search] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tidying: set[asyncio.Task[None]] = set()
        self._driven: dict[str, Target] = {}
        self._stopped = False

    # What the scope asks.

    def launch(self, target: Target, items: Sequence[Item], search: Search | None = None) -> None:
        """Submit items as one batch, as far as nobody else has; it may be a part of a search for a bad row."""
        batch_id = f"{int(clock.time()):x}{secrets.token_hex(8)}"
        self._followers[batch_id] = set()
        if search is not None:
            self._searches[batch_id] = search
        self._start(batch_id, self._launch(batch_id, target, items))

    def follow(self, batch_id: str, names: Iterable[str]) -> None:
        """Answer these keys from a batch that was submitted before."""
        self._followers.setdefault(batch_id, set()).update(names)
        if batch_id not in self._tasks:
            self._start(batch_id, self._attend(batch_id))

    def has(self, name: str) -> bool:
        """Whether a batch is to answer this key."""
        return any(name in followers for followers in self._followers.values())

    def forget(self, name: str) -> None:
        """Nobody waits for this key any more."""
        for followers in self._followers.values():
            followers.discard(name)

    def stop(self) -> int:
        """Let go of every batch at once; jobs at the provider go on. How many are waited for."""
        self._stopped = True
        for task in (*self._tasks.values(), *self._tidying):
            task.cancel()
        return sum(1 for names in self._followers.values() if any(not self._callers.is_unsent(name) for name in names))

    async def stopped(self) -> None:
        """Wait until every task has come to its end."""
        tasks = self._tasks
        while others := [task for task in (*tasks.values(), *self._tidying) if task is not asyncio.current_task()]:
            await asyncio.gather(*others, return_exceptions=True)
            # Tasks that had ended before let nobody else run in between; what follows their end has to.
            await asyncio.sleep(0)

    @property
    def tidying(self) -> bool:
        """Whether providers are being told what nobody needs any more."""
        return bool(self._tidying)

    def waits_for(self) -> str:
        """What is still to come to an end, in words for a log."""
        return ", ".join(tuple(self._tasks)) or "nothing"

    async def cancel(self) -> None:
        """After `stop`: have the jobs stopped at the provider, and wait until it says that they are over."""
        await self.stopped()
        done = 0
        names = tuple(self._driven)
        self._emit(events.Cancelling(done, len(names)))
        for finished in asyncio.as_completed([self._cancel(batch_id) for batch_id in names]):
            done += await finished
            self._emit(events.Cancelling(done, len(names)))

    # Tasks.

    def _start(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._over(name, done))

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        self._emit(events.Settled(name))
        self._searches.pop(name, None)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # The boundary of a batch: a bug of ours or a broken cache must not leave its callers waiting.
            _log.error("batchling: batch %s failed inside batchling: %s", name, outline(fault))
            why = f"batch {name} failed inside batchling ({type(fault).__name__})"
            self._fail(tuple(self._followers.pop(name, ())), why)
        if name in self._followers and not self._stopped:
            if self._followers[name]:
                self._start(name, self._attend(name))
            else:
                del self._followers[name]

    def _tidy(self, batch: Batch) -> None:
        """Begin to tidy up after a batch, once this step is over: its callers have their answers then."""
        task = asyncio.get_running_loop().create_task(self._driver.tidy(batch))
        self._tidying.add(task)

        def over(done: asyncio.Task[None]) -> None:
            self._tidying.discard(done)
            self._tidied()

        task.add_done_callback(over)

    async def _launch(self, batch_id: str, target: Target, items: Sequence[Item]) -> None:
        """Claim the keys of a batch that leaves; drive what is ours, follow what others have."""
        followers = self._followers[batch_id]
        followers.update(item.key for item in items)
        place = await self._admission.enter(target, self._accesses[target].provider.limits)
        setback: NotRun | None = None
        try:
            if (budget := self._family.budget) is not None:
                await self._deny(budget, batch_id, target, items)
            members = tuple(item.key for item in items if item.key in followers)
            if not members:  # everybody has given up in the meantime, or is above the budget
                return
            draft = Record(batch_id, target, members, clock.time())
            claim = await self._on_disk(self._store.claim, draft)
            if budget is not None:
                self._family.give_back(budget, batch_id, tuple(claim.theirs))
            for name, holder in claim.theirs.items():
                followers.discard(name)
                if (waiter := self._callers.get(name)) is not None:
                    waiter.cached = True
                    waiter.unsent = False
                    self._emit(events.Hit(waiter.target, holder, again=True))
                    self.follow(holder, [name])
            if (record := claim.record) is not None:
                for name in record.members:
                    if (waiter := self._callers.get(name)) is not None:
                        waiter.unsent = False
                mine = frozenset(record.members)
                setback = await self._drive(record, [item for item in items if item.key in mine], place.created)
        finally:
            place.leave()
        if setback is not None:
            await self._recover(target, batch_id, setback)

    async def _deny(self, budget: Budget, batch_id: str, target: Target, items: Sequence[Item]) -> None:
        """Reserve what the items of a batch may cost; answer those that there is no room for."""
        followers = self._followers[batch_id]
        quotes = await self._on_disk(budget.quote, target, [item for item in items if item.key in followers])
        wanted = {name: quotes[name] for name in quotes if name in followers}
        refused = self._family.reserve(budget, batch_id, wanted)
        for name, why in refused.items():
            followers.discard(name)
            self._emit(events.Denied(target, why))
            provider = self._accesses[target].provider
            self._answer(name, provider.failure(402, Fault(f"batchling: not sent: {why}", "batchling_budget")))

    async def _attend(self, batch_id: str) -> None:
        """Answer those who wait for a batch that somebody submitted before: from the store, by driving it on when
        its driver is gone, or by watching the one who drives it."""
        announced = False
        trouble_since: float | None = None
        while followers := self._followers[batch_id]:
            try:
                record = await self._look(batch_id, tuple(followers))
                if record is not None and not announced:
                    announced = True
                    self._emit(events.Attached(record.target, batch_id, len(followers)))
                if record is not None and await self._on_disk(self._store.drive, batch_id):
                    await self._take_over(batch_id)
                elif record is not None:
                    await asyncio.sleep(min(FOLLOW_SECONDS, self._terms.poll_interval))
                trouble_since = None
            except CacheError as fault:
                trouble_since = trouble_since or clock.monotonic()
                if clock.monotonic() - trouble_since > PATIENCE_WITH_DISK:
                    self._fail(tuple(followers), f"{fault} The batch is kept: run again")
                    followers.clear()
                    return
                self._emit(events.Delayed(batch_id, "read the cache", fault.problem, FOLLOW_SECONDS))
                await asyncio.sleep(FOLLOW_SECONDS)

    async def _take_over(self, batch_id: str) -> None:
        """Drive a batch on whose lock has just become ours."""
        try:
            # Read again: it may have moved before the lock was ours.
            record = await self._on_disk(self._store.load, batch_id)
        except CacheError:
            self._store.release(batch_id)
            raise
        if record is None or record.phase is Phase.DEAD:
            await self._on_disk(self._store.release, batch_id)
        elif (setback := await self._drive(record, [])) is not None:
            await self._recover(record.target, batch_id, setback)

    async def _look(self, batch_id: str, names: tuple[str, ...]) -> Record | None:
        """Answer what is stored of a batch, let go of what it does not hold, and return its record if there is more to
        come from it."""
        if await self._answer_stored(batch_id, names):
            return None
        record = await self._on_disk(self._store.load, batch_id)
        held = frozenset(record.holds) if record is not None else frozenset()
        if lost := [name for name in names if name not in held]:
            self._again(batch_id, Outcome({}, innocent=True), lost)
            return None
        assert record is not None
        if record.phase is Phase.ENDED and await self._on_disk(self._store.has_rows, batch_id):
            # Its driver may have stored them since we looked.
            if await self._answer_stored(batch_id, names):
                return None
            # Rows that the record promises are not in the file: the provider has them still.
            _log.warning("batchling: batch %s: stored results are damaged and are downloaded again", batch_id)
            await self._on_disk(self._store.drop_rows, batch_id)
        return record

    async def _drive(
        self, record: Record, items: Sequence[Item], created: Callable[[], None] = lambda: None
    ) -> NotRun | None:
        """Drive a batch whose lock is ours to its end, and answer everyone who waits for it; unless none of its rows
        ran, for the reason that is returned."""

        def exists() -> None:
            created()
            if (search := self._searches.get(record.id)) is not None and not search.by_jobs:
                search.accept()

        batch = Batch(self._accesses[record.target], record, items, exists)
        followers = self._followers[record.id]
        self._driven[record.id] = record.target
        try:
            outcome = await self._driver.drive(batch, lambda: followers)
        except NotRun as setback:
            del self._driven[record.id]
            return setback
        finally:
            await self._release(record.id)
        del self._driven[record.id]
        if (search := self._searches.get(record.id)) is not None:
            search.accept()
        if not outcome.final:
            self._tidy(batch)
        self._again(record.id, outcome, tuple(followers))
        return None

    async def _recover(self, target: Target, batch_id: str, setback: NotRun) -> None:
        """Do for the requests of a batch that never ran what its provider's word asks for."""
        match setback:
            case NoBatches():
                names = tuple(self._followers[batch_id])
                self._followers[batch_id].clear()
                place = (target.base_url, target.account) if setback.place else target
                self._let_go(target, names, str(setback), None if setback.passing else place)
            case Spoiled():
                await self._isolate(target, batch_id, setback)
            case NoRoom():
                await self._find_room(target, batch_id, setback)

    async def _isolate(self, target: Target, batch_id: str, spoiled: Spoiled) -> None:
        """Submit the requests of a batch once more that came to nothing for what may be the fault of one of them: those
        that the provider names apart, or in halves. Who is refused alone gets the refusal."""
        search = self._searches.pop(batch_id, None) or Search()
        followers = self._followers[batch_id]
        answered = [name for name in spoiled.answers if name in followers]
        for name in answered:
            followers.discard(name)
            if spoiled.answers[name] is None:
                self._let_go(target, [name], "a batch cannot carry this request")
            else:
                self._answer_from(batch_id, name, spoiled.answer(name))
        waiting = (self._callers.get(name) for name in spoiled.members if name in followers)
        waiters = {waiter.item.key: waiter for waiter in waiting if waiter is not None}
        followers.clear()
        repeats = min(spoiled.repeats, self._terms.resubmissions)
        if answered:
            parts = search.go_on(tuple(waiters))
        else:
            parts = search.split(tuple(waiters), spoiled.suspects, repeats, by_jobs=spoiled.by_job)
        if not parts:
            for name in waiters:
                self._answer_from(batch_id, name, spoiled.answer(name))
            return
        for waiter in waiters.values():
            waiter.unsent = True
        if repeats and len(parts) == 1 and not answered:
            pause = retry.pause(search.repeats, min(1.0, self._terms.poll_interval), random.random(), None)
            self._emit(events.Delayed(batch_id, "submit", str(spoiled), pause, search.repeats))
            await asyncio.sleep(pause)
        for names, part in parts:
            self._launch_part(target, [waiters[name] for name in names], part)

    def _launch_part(self, target: Target, waiters: Iterable[Waiter], search: Search | None = None) -> None:
        """Launch what is left of a larger batch, if its provider takes one as small."""
        items = [waiter.item for waiter in waiters if self._callers.get(waiter.item.key) is waiter]
        least = self._accesses[target].provider.limits.least
        if items and len(items) < least:
            self._let_go(target, [item.key for item in items], f"a batch needs {least} requests")
        elif items:
            self.launch(target, items, search)

    async def _find_room(self, target: Target, batch_id: str, full: NoRoom) -> None:
        """Submit once more what the provider had no room for: when batches of its model have ended, or in halves if
        none is under way."""
        followers = self._followers[batch_id]
        for name in followers:
            if (waiter := self._callers.get(name)) is not None:
                waiter.unsent = True
        parts = 2
        if full.verdict is Verdict.FULL:
            others = await self._on_disk(self._store.in_flight, target, batch_id)
            if others:
                self._emit(events.Held(target, f"{full}; {len(others)} of the model's batches are under way"))
                for other in others - self._tasks.keys():
                    self._start(other, self._finish(other, target))
                await self._until_one_ends(target, batch_id, others)
                parts = 1
            elif len(followers) == 1:
                pause = min(retry.LONGEST, 10 * self._terms.poll_interval) * (0.5 + random.random() / 2)
                self._emit(events.Delayed(batch_id, "submit", str(full), pause))
                await asyncio.sleep(pause)
        elif len(followers) == 1:
            names = tuple(followers)
            followers.clear()
            self._let_go(target, names, f"too large for a batch ({full})")
            return
        waiters = [waiter for name in sorted(followers) if (waiter := self._callers.get(name)) is not None]
        followers.clear()
        for start in range(parts):
            self._launch_part(target, waiters[start::parts])

    async def _finish(self, batch_id: str, target: Target) -> None:
        """Bring a batch to its end that fills the account of a target, if nobody drives it: an earlier run left it."""
        if not await self._on_disk(self._store.drive, batch_id):
            return
        try:
            record = await self._on_disk(self._store.load, batch_id)
            if record is not None and record.phase in (Phase.PLANNED, Phase.RUNNING):
                batch = Batch(self._accesses.lend(record.target, target), record)
                if not (await self._driver.drive(batch, tuple)).final:
                    self._tidy(batch)
        except NotRun:
            pass  # it has ended like that
        finally:
            await self._release(batch_id)

    async def _until_one_ends(self, target: Target, but: str, others: frozenset[str]) -> None:
        until = clock.monotonic() + PATIENCE_FOR_ROOM
        while clock.monotonic() < until:
            await asyncio.sleep(min(FOLLOW_SECONDS, self._terms.poll_interval))
            if others - await self._on_disk(self._store.in_flight, target, but):
                return

    async def _cancel(self, batch_id: str) -> bool:
        """Whether the job of a batch is over, by the provider's word."""
        target = self._driven[batch_id]
        try:
            record = await self._on_disk(self._store.load, batch_id)
            if record is None or not await self._on_disk(self._store.drive, batch_id):
                return False
            batch = Batch(self._accesses[target], record)
            await self._driver.cancel(batch)
            if batch.record.phase in (Phase.ENDED, Phase.DEAD):
                return True
            _log.warning("batch %s: whether its job was cancelled could not be learned", batch_id)
        except Exception as fault:  # the boundary of a batch: the others are to be cancelled all the same
            _log.warning("batchling: batch %s: its job could not be cancelled (%s) and goes on", batch_id, fault)
        finally:
            await self._release(batch_id)
        return False

    async def _release(self, batch_id: str) -> None:
        """Let go of the lock of a batch, also while its task is cancelled."""
        try:
            await asyncio.shield(self._on_disk(self._store.release, batch_id))
        except RuntimeError:  # at interpreter exit executors take no more work
            self._store.release(batch_id)

    # Answers.

    async def _answer_stored(self, batch_id: str, names: tuple[str, ...]) -> bool:
        """Answer those of the names whose good rows are stored; whether there was any, or nobody to be answered."""
        waiter = next(filter(None, map(self._callers.get, names)), None)
        if waiter is None:
            return True
        provider = self._accesses[waiter.target].provider

        def stored() -> Rows:
            if not self._store.has_rows(batch_id):
                return {}
            lines = self._store.find_rows(batch_id, names, lambda line: _key_of(provider, line))
            found = sort_rows(provider, lines, frozenset(names), frozenset(names))
            return {name: found.rows[name] for name in found.good}

        good = await self._on_disk(stored)
        self._again(batch_id, Outcome(good), tuple(good))
        return bool(good)

    def _again(self, batch_id: str, outcome: Outcome, names: Iterable[str]) -> None:
        """Answer the waiters of a batch whose rows are final; queue the others once more, as often as allowed."""
        followers = self._followers.get(batch_id, set())
        for name in names:
            followers.discard(name)
            waiter = self._callers.get(name)
            if waiter is None:
                continue
            waiter.batch = batch_id
            row = outcome.rows.get(name)
            response = row.response if row is not None else None
            waiter.doubts += outcome.doubtful
            verdict = Verdict.NO if response is None or response.ok or outcome.final else self._judge(waiter, response)
            if response is not None and verdict is Verdict.REAL_TIME:
                self._let_go(waiter.target, [name], "model without a batch form", waiter.target)
            elif response is not None and (verdict is not Verdict.LATER or not retry.passing(response.status)):
                # "Later" with a status that says "no" is a matter of files and ids, and none of a row.
                self._answer(name, response)
            elif self._may_try_again(waiter, innocent=outcome.innocent):
                waiter.cached = False
                self._place(waiter)
            elif response is not None:
                self._answer(name, response)
            else:
                self._fail([name], _never_ran(waiter, row, batch_id))

    def _answer_from(self, batch_id: str, name: str, response: Response) -> None:
        if (waiter := self._callers.get(name)) is not None:
            waiter.batch = batch_id
            self._answer(name, response)

    def _judge(self, waiter: Waiter, response: Response) -> Verdict:
        return self._accesses[waiter.target].provider.judge(response.status, read_fault(response))

    def _may_try_again(self, waiter: Waiter, *, innocent: bool) -> bool:
        """Count one more try of a request that got no final answer; false when there were enough."""
        if waiter.spared >= retry.SPARED or (not innocent and waiter.attempts >= self._terms.resubmissions):
            return False
        waiter.spared += innocent
        waiter.attempts += not innocent
        return True

    def _fail(self, names: Iterable[str], why: str) -> None:
        for name in names:
            if (waiter := self._callers.get(name)) is not None:
                provider = self._accesses[waiter.target].provider
                self._answer(name, provider.failure(424, Fault(f"batchling: {why}", "batchling_failed")))

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)


def _key_of(provider: Provider, line: bytes) -> str:
    try:
        return provider.row(line).key
    except ValueError:
        return ""


def _never_ran(waiter: Waiter, row: Row | None, batch_id: str) -> str:
    """Why a request has no answer after so many tries, and what that may have cost."""
    why = row.reason if row is not None and row.reason else "no row in the results"
    tries = waiter.attempts + waiter.spared + 1
    if not waiter.doubts:
        return f"never ran ({why:.80}; tries: {tries}), last in batch {batch_id}"
    return (
        f"no answer (tries: {tries}, last in batch {batch_id}): {waiter.doubts} calls that create a job left and were "
        "answered with an error, or not at all, and the provider lists no such job. Each of them may have run and been "
        "billed: look at the provider's own list of batches before you run again"
    )
