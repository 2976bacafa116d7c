"""The life of one batch, as one coroutine: submit it, poll until its job is over, collect its rows.

Two rules hold here: only an answer of the provider moves a record, never a network failure; and no create call is sent
before a record in the store says so. Everything belongs to the engine's loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from batchling.core import events, retry
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.core.model import Item, Response, State, Status
from batchling.core.text import MOST_SHOWN, printable
from batchling.engine import blame, collection, submission
from batchling.engine.access import Access
from batchling.engine.background import Background
from batchling.engine.batch import Batch, Outcome, Tools
from batchling.engine.blame import NotRun
from batchling.engine.exchange import FlowContext, GivenUp
from batchling.engine.polling import Polling, Watch
from batchling.engine.refusals import Lapsed, Refusals, Spell, on_unknown_job
from batchling.providers.base import Refused, Tidies, Verdict
from batchling.system import clock

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Driver:
    """Takes batches from PLANNED to ENDED or DEAD. The caller holds the drive lock of each. If the exchange's `wait`
    raises, the batch is left as it is."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.tidying: Background = Background()
        """The running tasks of `tidy_soon`."""
        self._polling = Polling(tools.exchange)
        self._strange: set[str] = set()

    def take(self, access: Access, record: Record, items: Sequence[Item] = ()) -> Batch:
        """The batch of a record, to be driven with this access."""
        return Batch(self.tools, access, record, items)

    @asynccontextmanager
    async def locked(self, batch_id: str) -> AsyncIterator[Record | None]:
        """Hold the drive lock of a batch. Yields its current record; None if another process holds the lock, or there
        is no record."""
        disk = self.tools.disk
        if not await disk(disk.store.drive, batch_id):
            yield None
            return
        try:
            # Read only now: the record may have moved before we had the lock.
            yield await disk(disk.store.load, batch_id)
        finally:
            await disk.release(batch_id)

    async def submit(self, batch: Batch) -> Outcome | None:
        """Create the job of a batch, or find it. Returns None if the job exists; otherwise what became of the members.

        Raises `NotRun` if the provider does not accept the batch; its record is dead then.
        """
        return await self._or_same_for_all(batch, self._submit(batch))

    async def finish(self, batch: Batch, wanted: Collection[str]) -> Outcome:
        """After `submit` has returned None: poll until the job is over, and collect the rows of those members that are
        in `wanted` by then. Raises `NotRun` if the whole job failed; its record is dead then."""
        return await self._or_same_for_all(batch, self._finish(batch, wanted))

    async def drive(self, batch: Batch, wanted: Collection[str]) -> Outcome:
        """`submit`, then `finish`."""
        outcome = await self.submit(batch)
        return outcome if outcome is not None else await self.finish(batch, wanted)

    async def cancel(self, batch: Batch) -> None:
        """Cancel the job of a batch, and wait until the provider reports that it is over. Finished results are stored.
        Raises `Refused` if the provider does not allow it."""
        if batch.record.phase is Phase.PLANNED:
            await submission.settle(batch)
        if (job := batch.record.job) is None or batch.record.phase is not Phase.RUNNING:
            return
        try:
            await self.tools.exchange.run(batch.flow("cancel"), lambda: batch.provider.cancel(batch.site, job))
        except Refused as refusal:
            if refusal.response.status in (401, 403, 405):
                raise
            # Most likely too late to cancel: polling the job will show.
        else:
            batch.cancelled = True
        with suppress(NotRun):  # the job is over then, too
            await self.drive(batch, ())

    def tidy_soon(self, batch: Batch) -> None:
        """Tidy up after a batch in a task, which starts when its callers have their answers."""
        self.tidying.start(self.tidy(batch))

    async def tidy(self, batch: Batch) -> None:
        """Delete the input of an ended batch's job at the provider, if the store keeps the results for every process
        that may ask for them. Tried once, for a few seconds; a failure does no harm."""
        provider, job = batch.provider, batch.record.job
        if batch.record.phase is not Phase.ENDED or job is None or not isinstance(provider, Tidies):
            return

        def judge(response: Response) -> Verdict:
            _log.debug("batch %s: its input stays at the provider (HTTP %s)", batch.id, response.status)
            return Verdict.NO

        flow = FlowContext(batch.id, "delete its input", 0.0, batch.access, judge=judge)
        disk = self.tools.disk
        try:
            async with asyncio.timeout(self.tools.exchange.patience.tidying):
                if await disk(disk.store.keeps, batch.id):
                    await self.tools.exchange.run(flow, lambda: provider.tidy(batch.site, job))
        except Exception as fault:  # from the network, the disk or a third party's provider
            _log.debug("batch %s: its input stays at the provider (%s)", batch.id, type(fault).__name__)

    async def _or_same_for_all(self, batch: Batch, work: Awaitable[T | Outcome]) -> T | Outcome:
        """What the work returns, or an outcome that is the same for all members."""
        try:
            return await work
        except Lapsed:
            return Outcome()
        except Refused as refusal:
            return blame.alike(batch, refusal.response)
        except GivenUp as end:
            return blame.alike(batch, end.response or blame.failed(batch, str(end)))

    async def _submit(self, batch: Batch) -> Outcome | None:
        if batch.record.phase is Phase.PLANNED:
            await (submission.submit(batch) if batch.items else submission.settle(batch))
        if batch.record.phase is not Phase.DEAD:
            return None
        # A create call that was sent may have created a job, even if none is listed: that counts as a try.
        left = batch.record.left_at is not None
        return Outcome(blameless=not left, doubtful=left)

    async def _finish(self, batch: Batch, wanted: Collection[str]) -> Outcome:
        job = batch.record.job
        assert job is not None  # RUNNING and ENDED records have one
        with self._polling.watch(batch, job) as watch:
            status = await self._follow(batch, watch)
        if status.state is State.FAILED and not status.outputs:
            await blame.job_failed(batch, status)
        return await collection.collect(batch, status, wanted)

    async def _follow(self, batch: Batch, watch: Watch) -> Status:
        """Poll until the job is over and has its result files. Returns its last status."""
        exchange = self.tools.exchange
        refusals = Refusals(exchange.patience)
        bare = Spell(exchange.patience.files)
        interval = retry.poll_interval(exchange.patience.poll, batch.provider.limits.poll)
        pause = interval if batch.items else 0.0
        while True:
            try:
                status = await watch.poll(pause)
            except Refused as refusal:
                pause = interval
                await on_unknown_job(batch, refusal, refusals, stopped=batch.cancelled)
                await exchange.pause(batch.id, "poll", str(refusal), refusals.count)
                continue
            refusals = Refusals(exchange.patience)
            status = await self._note(batch, status)
            pause = max(interval, min(status.retry_after or 0.0, retry.LONGEST_ASKED))
            if status.state is State.RUNNING:
                if clock.time() > batch.deadline:
                    raise GivenUp(f"job {watch.job.id[:80]} is still {status.word[:40]} long after its expiry", None)
                continue
            ran = status.done > 0 or status.complete
            if status.state is State.ENDED and ran and not status.outputs and not bare.is_over():
                continue
            return status

    async def _note(self, batch: Batch, status: Status) -> Status:
        """Emit and store the status of a job, for people to see. Returns what it means, even if its word is unknown."""
        rows = len(batch.record.members)
        status = replace(status, done=min(status.done, rows), total=min(status.total, rows))
        batch.expires_at = status.expires_at or batch.expires_at
        progress = progress_of(status, batch.expires_at or None)
        self.tools.emit(events.Polled(batch.id, progress.word, progress.done, progress.total, progress.expires_at))
        if progress.outdates(batch.noted):
            batch.noted = progress
            await self.tools.disk(self.tools.disk.store.note, batch.id, progress)
        if status.known:
            return status
        over = 0 < status.total <= status.done and bool(status.outputs)
        if status.word not in self._strange:
            self._strange.add(status.word)
            taken = "ended, since all its rows are done" if over else "running"
            _log.warning("batchling: batch %s: unknown status %r is treated as %s", batch.id, status.word[:40], taken)
        return replace(status, state=State.ENDED) if over else status


def progress_of(status: Status, expires_at: float | None) -> Progress:
    """The part of a status that is shown to people."""
    return Progress(printable(status.word, MOST_SHOWN), status.done, status.total, clock.time(), expires_at)
