"""The life of one batch: submit, poll until it is over, collect its rows. One straight coroutine.

Two laws hold here: only the provider's word moves a record, a network failure moves nothing; and no create call
leaves without a record in the store that says so. A create whose reply was lost is looked for, never repeated blindly.
Everything lives on the engine's loop; the store is called in the disk thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from batchling import clock
from batchling.access import Access
from batchling.cache import Store
from batchling.core import events, retry
from batchling.core.cost import Meter, NoMeter
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.core.model import Fault, Item, Job, Response, Row, Site, State, Status, Target
from batchling.errors import CacheError
from batchling.exchange import Errand, Exchange, GivenUp, ReplyLost, Wait
from batchling.providers.base import Provider, Refused, Unsettled, Verdict, read_fault
from batchling.providers.results import Rows, sort_rows
from batchling.sender import NetworkFault, Sender

_log = logging.getLogger(__name__)

PATIENCE_BEFORE_JOB = 900.0
"""Seconds for which a submission is tried while the provider cannot be reached or has trouble of its own."""
PATIENCE_FOR_ID = 60.0
"""Seconds for which a fresh file or job may be unknown, or a finished one without files (seen at OpenAI)."""
PATIENCE_FOR_LISTING = 120.0
"""Seconds for which a job may be missing from the provider's list and exist all the same: after its create call left,
or, where its reply was waited for in vain, after that."""
_UNKNOWN_CALL = frozenset({404, 405, 501})
"""What a gateway answers to a call that it does not have."""
GRACE = 93_600.0
"""Seconds after its expiry for which a job is still asked for: OpenAI expired jobs up to 24 hours late."""
LONGEST_JOB = 2_592_000.0
"""Seconds after which a job is given up whatever expiry it states: thirty days are the longest that is known."""
PATIENCE_FOR_ROWS = 60.0
SHORT_FILES = 2
"""A result file with fewer rows than the provider counted is downloaded again, for so many seconds and so often at
least: a connection may have ended early, or a store not show all rows yet."""

T = TypeVar("T")
Wanted = Callable[[], Iterable[str]]
Metering = Callable[[Provider, Target], Meter]
"""A meter for the answers of one batch."""


def no_meter(provider: Provider, target: Target) -> Meter:
    """For whoever does not care what it costs."""
    return NoMeter()


class Lapsed(Exception):
    """The provider has forgotten a job whose time is long over; its record is dead."""


class NoBatches(Exception):
    """No batch can carry these requests, and none was billed: the model has no batch form; or, where `place` is true,
    the gateway knows none of a batch API's calls; or, where `passing` is true, we do not reach the provider, which says
    nothing about other requests."""

    def __init__(self, why: str, *, place: bool = False, passing: bool = False) -> None:
        super().__init__(why)
        self.place = place
        self.passing = passing


class NoRoom(Exception):
    """The provider takes nothing of this size now, and no row ran. `verdict` is FULL or LARGE."""

    def __init__(self, verdict: Verdict, why: str) -> None:
        super().__init__(why)
        self.verdict = verdict


@dataclass(slots=True)
class Batch:
    """What the driver needs to know of a batch: who serves it, as whom, its record as it stands, and the items if
    they are ours to submit."""

    access: Access
    record: Record
    items: Sequence[Item] = ()
    cancelled: bool = False
    """Whether the provider has agreed to stop its job."""
    expires_at: float = 0.0
    """When the provider gives the job up, in Unix seconds, as far as it has said so."""

    @property
    def provider(self) -> Provider:
        """Who serves it."""
        return self.access.provider

    @property
    def site(self) -> Site:
        """As whom its next call is made."""
        return self.access.site


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the members of a batch. A row without a response never ran; a member without a row got none.

    `innocent` says that rows which never ran are not to blame for it: another row was, or nothing was ever sent;
    `final` that no row is worth another try, whatever its status.
    """

    rows: Rows = field(default_factory=dict)
    innocent: bool = False
    final: bool = False


class Driver:
    """Carries batches from PLANNED to ENDED or DEAD. The caller holds the drive lock of each. `wait` is how it waits;
    what that raises leaves the batch where it stands."""

    def __init__(
        self,
        store: Store,
        disk: Executor,
        sender: Sender,
        emit: Callable[[events.Event], None],
        poll_interval: float,
        wait: Wait = asyncio.sleep,
        meter: Metering = no_meter,
    ) -> None:
        self._store = store
        self._disk = disk
        self._exchange = Exchange(sender, emit, min(1.0, poll_interval), wait)
        self._emit = emit
        self._poll_interval = poll_interval
        self._strange: set[str] = set()
        self._walls: set[str] = set()
        self._wait = wait
        self._meter = meter

    async def drive(self, batch: Batch, wanted: Wanted) -> Outcome:
        """Bring a batch to its end: the rows of those members that `wanted()` names then.

        Raises `NoRoom` when the provider takes no batch of this size now, and `NoBatches` when it takes none at all;
        its record is dead then.
        """
        try:
            if batch.record.phase is Phase.PLANNED:
                await (self._submit(batch) if batch.items else self._settle(batch))
            if batch.record.phase is Phase.DEAD:
                return Outcome(innocent=True)
            status = await self._watch(batch)
            if status.state is State.FAILED:
                return await self._fail(batch, status)
            return await self._collect(batch, status, wanted)
        except Lapsed:
            return Outcome()
        except Refused as refusal:
            return _all(batch.record, refusal.response)
        except GivenUp as end:
            return _all(batch.record, end.response or batch.provider.failure(424, Fault(f"batchling: {end}")))

    async def cancel(self, batch: Batch) -> None:
        """Have the job of a batch stopped, and wait until the provider says that it is over. What it has finished is
        stored. Raises `Refused` when the provider does not let us."""
        if batch.record.phase is Phase.PLANNED:
            await self._settle(batch)
        if (job := batch.record.job) is None or batch.record.phase is not Phase.RUNNING:
            return
        try:
            await self._exchange.run(self._errand(batch, "cancel"), lambda: batch.provider.cancel(batch.site, job))
        except Refused as refusal:
            if refusal.response.status in (401, 403, 405):
                raise
            # Too late, most likely: the job will say.
        else:
            batch.cancelled = True
        await self.drive(batch, tuple)

    async def _submit(self, batch: Batch) -> None:
        async def leaves() -> None:
            await self._keep(batch, Phase.PLANNED, left_at=clock.time())

        def judge(response: Response) -> Verdict:
            return batch.provider.judge(response.status, read_fault(response))

        until = clock.time() + PATIENCE_BEFORE_JOB
        errand = Errand(batch.record.id, "submit", until, batch.access, submits=True, leaves=leaves, judge=judge)
        try:
            job = await self._exchange.run(
                errand, lambda: batch.provider.submit(batch.site, batch.items, batch.record.id)
            )
        except ReplyLost:
            # The call may have taken long, and the provider be at it still.
            await self._settle(batch, lost_at=clock.time())
        except Refused as no:
            fault = read_fault(no.response)
            await self._die(batch, f"not submitted: {no}")
            verdict = judge(no.response)
            if verdict is Verdict.ABSENT or (not batch.site.official and no.response.status in _UNKNOWN_CALL):
                raise NoBatches("the gateway has no batch API", place=True) from no
            if verdict is Verdict.REAL_TIME:
                raise NoBatches("model without a batch form") from no
            if verdict in (Verdict.FULL, Verdict.LARGE):
                raise NoRoom(verdict, fault.code or str(no)) from no
            raise
        except GivenUp as end:
            await self._die(batch, f"not submitted: {end}")
            raise
        except NetworkFault as wall:
            # Nothing was created, and waiting changes nothing: the caller's own client is to meet the same.
            await self._die(batch, f"not submitted: {wall}")
            if (why := str(wall)) not in self._walls:
                self._walls.add(why)
                _log.warning("batchling: cannot submit: %s. These requests go real time, at full price", why)
            raise NoBatches(why, passing=True) from wall
        else:
            await self._run_on(batch, job)

    async def _settle(self, batch: Batch, lost_at: float = 0.0) -> None:
        """Find out whether the job of a PLANNED record exists: adopt it, or free the keys.

        A record that does not say that its create call left is looked for all the same, once: the disk may have been
        full when that should have been written.
        """
        record = batch.record
        since = min(record.left_at or record.created_at, clock.time())
        until = max(since, lost_at) + (PATIENCE_FOR_LISTING if record.left_at is not None else 0.0)
        what = "settle its lost submission"
        attempt = 0
        while True:
            attempt += 1
            try:
                job = await self._find(batch, what, since)
            except Unsettled as doubt:
                if clock.time() > _deadline(batch):
                    await self._die(batch, f"never settled: {doubt}")
                    return
                await self._exchange.pause(record.id, what, str(doubt), attempt)
                continue
            if job is not None:
                await self._run_on(batch, job)
                return
            if clock.time() >= until:
                await self._die(batch, "never submitted: the provider lists no such job")
                return
            await self._exchange.pause(record.id, what, "the provider does not list it (yet)", attempt)

    async def _find(self, batch: Batch, what: str, since: float) -> Job | None:
        record = batch.record
        taken = await self._on_disk(self._store.jobs)
        return await self._exchange.run(
            self._errand(batch, what),
            lambda: batch.provider.find(batch.site, record.id, record.members, since, taken),
        )

    async def _watch(self, batch: Batch) -> Status:
        """Poll until the job is over, its files included."""
        record = batch.record
        job = record.job
        assert job is not None  # RUNNING and ENDED records have one
        unknown = _Patience(PATIENCE_FOR_ID)
        bare = _Patience(PATIENCE_FOR_ID)
        pause = self._poll_interval if batch.items else 0.0
        while True:
            await self._wait(pause)
            pause = self._poll_interval
            try:
                status = await self._exchange.run(
                    self._errand(batch, "poll"), lambda: batch.provider.poll(batch.site, job)
                )
            except Refused as refusal:
                await self._suffer(batch, refusal, unknown, stopped=batch.cancelled)
                continue
            unknown = _Patience(PATIENCE_FOR_ID)
            batch.expires_at = status.expires_at or batch.expires_at
            told = Progress(_shown(status.word), status.done, status.total, clock.time(), batch.expires_at or None)
            self._emit(events.Polled(record.id, told.word, told.done, told.total, told.expires_at))
            await self._on_disk(self._store.note, record.id, told)
            if not status.known and status.word not in self._strange:
                self._strange.add(status.word)
                _log.warning("batchling: batch %s: unknown status %r is taken for running", record.id, status.word[:40])
            pause = max(pause, min(status.retry_after or 0.0, retry.LONGEST_ASKED))
            if status.state is State.RUNNING:
                if clock.time() > _deadline(batch):
                    raise GivenUp(f"job {job.id[:80]} is still {status.word[:40]} long after its expiry", None)
                continue
            ran = status.done > 0 or status.complete
            if status.state is State.ENDED and ran and not status.outputs and not bare.over():
                continue
            return status

    async def _suffer(self, batch: Batch, refusal: Refused, unknown: _Patience, *, stopped: bool = False) -> None:
        """A job or a file is refused. An unknown one may be too fresh; when it stays so long after its time, or was
        `stopped`, the provider has forgotten it. Raises `Lapsed` then, and the refusal for everything else."""
        if refusal.response.status not in (404, 410):
            raise refusal
        if not stopped and not unknown.over():
            return
        if stopped or clock.time() > _deadline(batch):
            await self._die(batch, "the provider knows it no longer")
            raise Lapsed from refusal
        raise refusal

    async def _collect(self, batch: Batch, status: Status, wanted: Wanted) -> Outcome:
        members = frozenset(batch.record.members)
        unknown = _Patience(PATIENCE_FOR_ID)
        short = _Patience(PATIENCE_FOR_ROWS)
        # Whoever moves the record to its end has counted it; what comes later is not counted again.
        counts = batch.record.phase is Phase.RUNNING
        attempt = shorts = 0
        while True:
            meter = (self._meter if counts else no_meter)(batch.provider, batch.record.target)
            try:
                await self._download(batch, status)
                rows = self._store.rows(batch.record.id)
                found = await self._on_disk(sort_rows, batch.provider, rows, members, frozenset(wanted()), meter.add)
                # A file without a single row of ours is not the provider's word: somebody in between has answered.
                theirs = found.lines > 0 or not status.outputs
                if found.lines >= status.done or (short.over() and shorts >= SHORT_FILES and theirs):
                    break
                shorts += 1
                why = f"{found.lines} rows came where the provider counts {status.done}"
            except (NetworkFault, CacheError) as fault:
                why = str(fault)
            except Refused as refusal:
                await self._suffer(batch, refusal, unknown)
                why = str(refusal)
            attempt += 1
            if clock.time() > _deadline(batch):
                raise GivenUp(f"its results cannot be read ({why})", None)
            await self._exchange.pause(batch.record.id, "download", why, attempt)
        cost = await self._on_disk(meter.cost)
        if counts:
            freed = members - found.good
            await self._keep(batch, Phase.ENDED, freed=freed, expires_at=status.expires_at, cost=cost)
        self._emit(events.Ended(batch.record.id, len(found.good), len(members) - len(found.good), cost))
        return Outcome(found.rows)

    async def _download(self, batch: Batch, status: Status) -> None:
        job = batch.record.job
        assert job is not None
        with self._store.sink(batch.record.id) as sink:
            errand = replace(self._errand(batch, "download"), keep=lambda piece: self._on_disk(sink.write, piece))
            await self._exchange.run(errand, lambda: batch.provider.fetch(batch.site, job, status))
            await self._on_disk(sink.commit)

    async def _fail(self, batch: Batch, status: Status) -> Outcome:
        """The provider refused the job after its creation: rows it names get its fault, the others never ran;
        when it names none, the fault concerns all."""
        faults = status.errors or (Fault(f"the job ended as {status.word[:40] or 'failed'} and no row ran"),)
        await self._die(batch, f"failed: {faults[0].code or status.word[:40]}")
        verdict = batch.provider.judge(400, faults[0])
        if verdict in (Verdict.FULL, Verdict.LARGE):
            raise NoRoom(verdict, faults[0].code or "")
        if verdict is Verdict.REAL_TIME:
            raise NoBatches("model without a batch form")
        members = batch.record.members
        named = {fault.line: fault for fault in faults if fault.line and fault.line <= len(members)}
        if not named:
            return _all(batch.record, batch.provider.failure(400, faults[0]))
        rows = {key: Row(key, None, "another row failed the whole job") for key in members}
        for line, fault in named.items():
            key = members[line - 1]
            rows[key] = Row(key, batch.provider.failure(400, fault))
        return Outcome(rows, innocent=True)

    async def _run_on(self, batch: Batch, job: Job) -> None:
        await self._keep(batch, Phase.RUNNING, job=job)
        record = batch.record
        self._emit(events.Submitted(record.target, record.id, _shown(job.id), len(record.members)))

    async def _die(self, batch: Batch, reason: str) -> None:
        reason = _shown(reason)
        await self._keep(batch, Phase.DEAD, reason=reason)
        self._emit(events.Died(batch.record.id, reason))

    async def _keep(self, batch: Batch, phase: Phase, **changes: Any) -> None:
        record = batch.record.move(phase, **changes)
        await self._on_disk(self._store.save, record)
        batch.record = record

    def _errand(self, batch: Batch, what: str) -> Errand:
        return Errand(batch.record.id, what, _deadline(batch), batch.access)

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)


class _Patience:
    """A time that begins with the first question whether it is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def over(self) -> bool:
        now = clock.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since > self._seconds


def _shown(text: str) -> str:
    """What may be the provider's, fit to be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def _all(record: Record, response: Response) -> Outcome:
    return Outcome({key: Row(key, response) for key in record.members}, final=True)


def _deadline(batch: Batch) -> float:
    """When patience with a job ends: by its own expiry, which may be later than its provider promises."""
    record = batch.record
    left_at = record.left_at or record.created_at
    promised = record.expires_at or left_at + batch.provider.limits.window
    return max(promised, min(batch.expires_at, left_at + LONGEST_JOB)) + GRACE
