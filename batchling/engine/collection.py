"""Downloads, sorts and counts the results of a job that is over.

Belongs to the engine's loop; files are read and written on the disk thread.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from batchling.core import events, retry
from batchling.core.cost import Meter
from batchling.core.lifecycle import Phase
from batchling.core.model import Row, State, Status
from batchling.engine import blame
from batchling.engine.batch import Batch, Outcome, no_meter
from batchling.engine.exchange import GivenUp
from batchling.engine.refusals import Refusals, on_unknown_job
from batchling.engine.results import Sorted, sort_rows
from batchling.engine.sender import NetworkFault
from batchling.errors import CacheError
from batchling.providers.base import Refused, Unread
from batchling.system import clock


async def collect(batch: Batch, status: Status, wanted: Collection[str]) -> Outcome:
    """Store the results of a batch whose job is over, and return the rows of those members that are in `wanted` at the
    end of the download.

    Raises `NotRun`, `Refused`, `Lapsed` and `GivenUp`; the record is dead or unchanged then.
    """
    members = frozenset(batch.record.members)
    # The cost of a batch is counted once, when its record moves to ENDED.
    counts = batch.record.phase is Phase.RUNNING
    try:
        meter, found, unread = await _Download(batch, status, wanted, counts=counts).finish()
    except Refused:
        if status.state is State.FAILED and not status.done:
            await blame.job_failed(batch, status)
        raise
    if status.state is State.FAILED and not found.lines:
        await blame.job_failed(batch, status)
    cost = await batch.tools.disk(meter.cost)
    missing = members - found.seen
    if unread is not None and unread.vital and missing:
        # They are paid for, and may be readable another day: the record is left as it is.
        lost = blame.failed(batch, f"part of its results cannot be read ({unread}); the batch is kept: run again")
        return Outcome({**{key: Row(key, lost) for key in missing}, **found.rows}, final=True)
    if counts:
        freed = members - found.good
        await batch.keep(Phase.ENDED, freed=freed, expires_at=status.expires_at, cost=cost)
    batch.tools.emit(events.Ended(batch.id, len(found.good), len(members) - len(found.good), cost))
    rows = found.rows
    if reason := _why_missing(status, unread):
        rows = {key: Row(key, None, reason) for key in missing} | rows
    answers = blame.by_line(batch, status.errors) if status.state is State.FAILED else {}
    return Outcome(rows | {key: Row(key, answer) for key, answer in answers.items() if key in missing})


class _Download:
    """Downloads the results of one batch until they are complete, or have not changed for long enough."""

    def __init__(self, batch: Batch, status: Status, wanted: Collection[str], *, counts: bool) -> None:
        self._batch = batch
        self._status = status
        self._wanted = wanted
        self._metering = batch.tools.meter if counts else no_meter
        self._began = clock.monotonic()
        self._same: tuple[object, float] | None = None
        """What the last download contained, and since when downloads have contained the same."""

    async def finish(self) -> tuple[Meter, Sorted, Unread | None]:
        """Returns the meter of the answers, the rows, and why part of the results could not be read, if so. Raises
        `GivenUp` if nothing in the results is ours: the rows must not be bought again."""
        batch = self._batch
        refusals = Refusals(batch.tools.exchange.patience)
        attempt = 0
        while True:
            try:
                unread = await self._once()
                meter, found = await self._read()
                if self._is_whole(found, unread):
                    return meter, found, unread
                counted = f"{found.lines} rows arrived, but the provider counts {self._status.done}"
                why = str(unread) if unread is not None else counted
            except (NetworkFault, CacheError) as fault:
                why = str(fault)
            except Refused as refusal:
                why = str(refusal)
                if not retry.passing(refusal.response.status):
                    await on_unknown_job(batch, refusal, refusals)
            attempt += 1
            if clock.time() > batch.deadline:
                raise GivenUp(f"its results cannot be read ({why})", None)
            await batch.tools.exchange.pause(batch.id, "download", why, attempt)

    async def _once(self) -> Unread | None:
        """Download once and keep what can be read. Returns why part of the results could not be read, if so."""
        batch, disk = self._batch, self._batch.tools.disk
        job = batch.record.job
        assert job is not None
        kept = 0

        with disk.store.sink(batch.id) as sink:

            async def keep(piece: bytes) -> None:
                nonlocal kept
                kept += not piece.isspace()
                await disk(sink.write, piece)

            unread: Unread | None = None
            try:
                flow = replace(batch.flow("download"), keep=keep)
                await batch.tools.exchange.run(flow, lambda: batch.provider.fetch(batch.site, job, self._status))
            except Unread as some:
                unread = some
            except Refused as refusal:
                if not kept:
                    raise
                unread = Unread(refusal.response)
            await disk(sink.commit)
        return unread

    async def _read(self) -> tuple[Meter, Sorted]:
        batch, disk = self._batch, self._batch.tools.disk
        meter = self._metering(batch.provider, batch.record.target)
        rows = disk.store.rows(batch.id)
        members, wanted = frozenset(batch.record.members), frozenset(self._wanted)
        return meter, await disk(sort_rows, batch.provider, rows, members, wanted, meter.add)

    def _is_whole(self, found: Sorted, unread: Unread | None) -> bool:
        """Whether to take these rows as they are. Raises `GivenUp` if none of them is ours and waiting will not change
        that."""
        patience = self._batch.tools.exchange.patience
        strange = not found.lines and bool(found.others or found.unreadable)
        if (found.lines >= self._status.done and not strange and unread is None) or not self._status.outputs:
            return True
        now = clock.monotonic()
        look = (found.seen, found.others, found.unreadable)
        if self._same is None or self._same[0] != look:
            self._same = (look, now)
            settled = False
        else:
            settled = now - self._same[1] > patience.rows
        late = now - self._began > patience.results
        if strange and (late or (settled and found.others and not found.unreadable)):
            raise GivenUp(_unreadable(found), None)
        vital = unread is not None and unread.vital
        return not strange and (late or (settled and not vital))


def _why_missing(status: Status, unread: Unread | None) -> str:
    """Why rows are missing from the results; empty if that is not known."""
    if unread is not None:
        return f"its error file cannot be read ({unread})"
    if status.state is not State.FAILED:
        return ""
    return f"the job failed: {status.errors[0].code or status.errors[0].message}" if status.errors else "the job failed"


def _unreadable(found: Sorted) -> str:
    """What is wrong with results that contain none of our keys."""
    what = found.foreign or (
        "lines without any of its keys" if found.others else "no result lines (a web page, or an unknown format)"
    )
    return f"its results are {what}; the job is paid for and kept, and nothing is submitted again: see `batchling jobs`"
