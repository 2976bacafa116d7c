"""Batches that no caller waits for: earlier runs left them behind, or other processes drive them.

The engine's own driver continues them, so what is true of a run is true here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Self

from batchling.cache import Store
from batchling.core import events
from batchling.core.ending import Ending, Result
from batchling.core.lifecycle import Phase, Record
from batchling.engine.access import Access
from batchling.engine.batch import Batch, Outcome, Tools
from batchling.engine.blame import NotRun
from batchling.engine.disk import Disk
from batchling.engine.driver import Driver, progress_of
from batchling.engine.exchange import Exchange, FlowContext, GivenUp, Wait
from batchling.engine.options import Ports
from batchling.engine.patience import Patience
from batchling.engine.sender import Sender
from batchling.errors import CacheError
from batchling.providers.base import Refused
from batchling.providers.reading import read_fault
from batchling.system import clock

_TRIES = 3
_BETWEEN = 0.05
"""How many times, and how many seconds apart, a lock is tried: checking whether a batch is driven holds the lock for a
moment."""
_ASK_SECONDS = 60.0


class NotYet(Exception):
    """Nothing can be done now except wait."""


async def no_wait(seconds: float) -> None:
    """Raise `NotYet` instead of waiting."""
    if seconds > 0:
        raise NotYet


class Orphans:
    """Drives batches that have no callers, one or several at a time.

    `access` returns the access to the provider of a record, or an explanation of why there is none. Belongs to the
    event loop that it is used in.
    """

    def __init__(
        self,
        store: Store,
        ports: Ports,
        patience: Patience,
        wait: Wait,
        access: Callable[[Record], Awaitable[Access | str]],
    ) -> None:
        self._sender = Sender()
        self._disk = Disk(store)
        self._listen = ports.listen
        self._access = access
        self._delays: dict[str, events.Delayed] = {}
        self._exchange = Exchange(self._sender, self._emit, patience, wait)
        self._driver = Driver(Tools(self._disk, self._exchange, self._emit, ports.meter))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._disk.store.stop_waiting()
        await self._sender.close()
        self._disk.close(wait=True)

    def _emit(self, event: events.Event) -> None:
        if isinstance(event, events.Delayed):
            self._delays[event.batch] = event
        elif isinstance(event, events.Polled | events.Submitted):
            self._delays.pop(event.batch, None)
        self._listen(event)

    async def each(
        self,
        records: Iterable[Record],
        work: Callable[[Record], Awaitable[Result]],
        tell: Callable[[Result], None] | None = None,
    ) -> list[Result]:
        """Do this with all records concurrently; a `CacheError` of one does not stop the others. `tell` is called with
        each result as soon as there is one."""

        async def guarded(record: Record) -> Result:
            try:
                result = await work(record)
            except CacheError as fault:
                result = Result(record, Ending.FAILED, str(fault))
            if tell is not None:
                tell(result)
            return result

        return list(await asyncio.gather(*map(guarded, records)))

    async def ask(self, record: Record) -> Result:
        """Poll a record's job once, and store the status where every process can read it."""
        access = await self._access(record)
        if isinstance(access, str) or record.job is None:
            return Result(record, Ending.FAILED, str(access))
        job = record.job
        flow = FlowContext(record.id, "poll", clock.time() + _ASK_SECONDS, access)
        try:
            status = await self._exchange.run(flow, lambda: access.provider.poll(access.site, job))
        except Refused as refusal:
            return Result(record, Ending.FAILED, _refused(refusal))
        except (GivenUp, NotYet):
            return self._waits(record)
        await self._disk(self._disk.store.note, record.id, progress_of(status, status.expires_at))
        return Result(record, Ending.RUNNING)

    async def collect(self, record: Record) -> Result:
        """Drive a batch to its end, unless another process drives it."""
        return await self._drive(record, Ending.COLLECTED, lambda batch: self._driver.drive(batch, ()))

    async def cancel(self, record: Record) -> Result:
        """Cancel a batch's job and wait until it is over, unless another process drives the batch."""

        async def work(batch: Batch) -> None:
            await self._driver.cancel(batch)

        return await self._drive(record, Ending.CANCELLED, work)

    async def _drive(self, record: Record, what: Ending, work: Callable[[Batch], Awaitable[Outcome | None]]) -> Result:
        access = await self._access(record)
        if isinstance(access, str):
            return Result(record, Ending.FAILED, access)
        if not await self._take(record.id):
            return Result(record, Ending.DRIVEN)
        batch = self._driver.take(access, record)
        try:
            # Read again: the record may have moved before we had the lock.
            if (fresh := await self._disk(self._disk.store.load, record.id)) is None:
                return Result(record, Ending.DEAD, "its record is gone")
            batch.record = fresh
            outcome = await work(batch)
        except NotYet:
            return self._waits(batch.record)
        except NotRun as no:
            return Result(batch.record, Ending.DEAD, str(no))
        except Refused as refusal:
            return Result(batch.record, Ending.FAILED, _refused(refusal))
        except GivenUp as end:
            return Result(batch.record, Ending.FAILED, str(end))
        finally:
            await self._disk.release(record.id)
        if outcome is None or not outcome.final:
            await self._driver.tidy(batch)
        return _result(batch, what, outcome)

    def _waits(self, record: Record) -> Result:
        """The result if nothing can be done now: the job is running, or something is in the way."""
        delay = self._delays.get(record.id)
        if delay is None:
            return Result(record, Ending.RUNNING)
        return Result(record, Ending.FAILED, f"cannot {delay.what} ({delay.why})")

    async def _take(self, batch_id: str) -> bool:
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_BETWEEN)
            if await self._disk(self._disk.store.drive, batch_id):
                return True
        return False


def _result(batch: Batch, what: Ending, outcome: Outcome | None) -> Result:
    record = batch.record
    if record.phase is Phase.DEAD:
        return Result(record, Ending.DEAD if what is Ending.COLLECTED else what, record.reason)
    if record.phase is Phase.ENDED and (outcome is None or not outcome.final):
        return Result(record, what)
    last = next(iter(outcome.rows.values())).response if outcome is not None and outcome.rows else None
    why = f"HTTP {last.status}" if last is not None else "the provider did not confirm that the job is over"
    return Result(record, Ending.FAILED, f"{why}; its record is unchanged")


def _refused(refusal: Refused) -> str:
    """A refusal in our own words: the provider's text may contain part of the key."""
    code = read_fault(refusal.response).code
    return f"the provider answered HTTP {refusal.response.status}{f' ({code:.40})' if code else ''}"
