"""The life of one batch: submit, poll until it is over, collect its rows. One straight coroutine.

Two laws hold here: only the provider's word moves a record, a network failure moves nothing; and no create call
leaves without a PLANNED record in the store. A create whose reply was lost is looked for, never repeated blindly.
Everything lives on the engine's loop; the store is called in the disk thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from batchling.cache import Sink, Store
from batchling.core import events, retry
from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Call, Fault, Flow, Item, Job, Response, Row, Site, State, Status
from batchling.providers.base import Garbled, Provider, Refused, Unsettled
from batchling.sender import NetworkFault, Sender

_log = logging.getLogger(__name__)

PATIENCE_BEFORE_JOB = 900.0
"""Seconds for which a submission is tried while the provider cannot be reached or turns it away."""
PATIENCE_FOR_ID = 60.0
"""Seconds for which a fresh file or job may be unknown, or a finished one without files (seen at OpenAI)."""
PATIENCE_FOR_LISTING = 60.0
"""Seconds after which a job that no listing shows does not exist."""
WINDOW = 86_400.0
"""Seconds that a job may take when the provider does not say when it expires."""
GRACE = 93_600.0
"""Seconds after its expiry for which a job is still asked for: OpenAI expired jobs up to 24 hours late."""

T = TypeVar("T")
Rows = dict[str, Row]
Wanted = Callable[[], Iterable[str]]


class ReplyLost(Exception):
    """A create call may have acted, and its reply is gone."""


class Lapsed(Exception):
    """The provider has forgotten a job whose time is long over; its record is dead."""


class GivenUp(Exception):
    """Patience ran out. `response` is the provider's last answer, or None when there was none."""

    def __init__(self, why: str, response: Response | None) -> None:
        super().__init__(why)
        self.response = response


@dataclass(frozen=True, slots=True)
class Batch:
    """What the driver needs to know of a batch: who serves it, as whom, and the items if they are ours."""

    provider: Provider
    site: Site
    record: Record
    items: Sequence[Item] = ()


class Driver:
    """Carries batches from PLANNED to ENDED or DEAD. The caller holds the drive lock of each."""

    def __init__(
        self,
        store: Store,
        disk: Executor,
        sender: Sender,
        emit: Callable[[events.Event], None],
        poll_interval: float,
    ) -> None:
        self._store = store
        self._disk = disk
        self._sender = sender
        self._emit = emit
        self._poll_interval = poll_interval

    async def drive(self, batch: Batch, wanted: Wanted) -> Rows:
        """Bring a batch to its end. The rows of those members that `wanted()` names then: a row without a
        response never ran; a member without a row got none."""
        record = batch.record
        try:
            if record.phase is Phase.PLANNED:
                record = await self._settle(batch) if not batch.items else await self._submit(batch)
            if record.phase is Phase.RUNNING or record.phase is Phase.ENDED:
                status = await self._watch(batch, record)
                if status.state is State.FAILED:
                    return await self._fail(batch.provider, record, status)
                return await self._collect(batch, record, status, wanted)
        except Lapsed:
            return {}
        except Refused as refusal:
            return _all(batch.record, refusal.response)
        except GivenUp as end:
            response = end.response or batch.provider.failure(424, Fault(f"batchling: {end}"))
            return _all(batch.record, response)
        return {}

    async def _submit(self, batch: Batch) -> Record:
        record = batch.record
        try:
            job = await self._run(
                record, "submit", lambda: batch.provider.submit(batch.site, batch.items, record.id), PATIENCE_BEFORE_JOB
            )
        except ReplyLost:
            return await self._settle(batch)
        except (Refused, GivenUp) as no:
            await self._die(record, f"not submitted: {no}")
            raise
        return await self._adopt(record, job)

    async def _settle(self, batch: Batch) -> Record:
        """Find out whether the job of a PLANNED record exists: adopt it, or free the keys."""
        record = batch.record
        while True:
            try:
                job = await self._run(
                    record,
                    "settle its lost submission",
                    lambda: batch.provider.find(batch.site, record.id, record.members, record.created_at),
                )
            except Unsettled as doubt:
                await self._wait(record, "settle its lost submission", str(doubt), self._poll_interval)
                continue
            if job is not None:
                return await self._adopt(record, job)
            left = record.created_at + PATIENCE_FOR_LISTING - time.time()
            if left <= 0:
                return await self._die(record, "never submitted: the provider lists no such job")
            why = "the provider does not list it (yet)"
            await self._wait(record, "settle its lost submission", why, min(left, self._poll_interval))

    async def _adopt(self, record: Record, job: Job) -> Record:
        record = record.move(Phase.RUNNING, job=job)
        await self._on_disk(self._store.save, record)
        self._emit(events.Submitted(record.target, record.id, job.id, len(record.members)))
        return record

    async def _watch(self, batch: Batch, record: Record) -> Status:
        """Poll until the job is over, its files included."""
        fresh = record is not batch.record
        unknown_since: float | None = None
        bare_since: float | None = None
        job = record.job
        assert job is not None  # RUNNING and ENDED records have one
        pause = self._poll_interval if fresh else 0.0
        while True:
            await asyncio.sleep(pause)
            pause = self._poll_interval
            try:
                status = await self._run(record, "poll", lambda: batch.provider.poll(batch.site, job))
            except Refused as refusal:
                unknown_since = unknown_since or time.monotonic()
                if refusal.response.status != 404 or time.monotonic() - unknown_since > PATIENCE_FOR_ID:
                    if refusal.response.status == 404 and time.time() > _deadline(record):
                        await self._die(record, "the provider knows the job no longer")
                        raise Lapsed from refusal
                    raise
                continue
            unknown_since = None
            self._emit(events.Polled(record.id, status.word, status.done, status.total))
            if not status.known:
                _log.warning("batch %s: unknown status %r is taken for running", record.id, status.word[:40])
            pause = max(pause, status.retry_after or 0.0)
            if status.state is State.RUNNING:
                if time.time() > _deadline(record):
                    raise GivenUp(f"job {job.id} is still {status.word} long after its expiry", None)
                continue
            if status.state is State.ENDED and status.done and not status.outputs:
                bare_since = bare_since or time.monotonic()
                if time.monotonic() - bare_since < PATIENCE_FOR_ID:
                    continue
            return status

    async def _collect(self, batch: Batch, record: Record, status: Status, wanted: Wanted) -> Rows:
        job = record.job
        assert job is not None
        attempt = 0
        while True:
            try:
                with self._store.sink(record.id) as sink:
                    await self._run(
                        record, "download", lambda: batch.provider.fetch(batch.site, job, status), sink=sink
                    )
                    await self._on_disk(sink.commit)
                break
            except NetworkFault as fault:
                attempt += 1
                await self._wait(record, "download", str(fault), self._pause(attempt))
        rows, freed = await self._on_disk(
            sort_rows, batch.provider, self._store.rows(record.id), frozenset(record.members), frozenset(wanted())
        )
        if record.phase is Phase.RUNNING:
            record = record.move(Phase.ENDED, freed=freed, expires_at=status.expires_at)
            await self._on_disk(self._store.save, record)
        self._emit(events.Ended(record.id, len(record.members) - len(freed), len(freed)))
        return rows

    async def _fail(self, provider: Provider, record: Record, status: Status) -> Rows:
        """The provider refused the job after its creation: rows it names get its fault, the others never ran;
        when it names none, the fault concerns all."""
        faults = status.errors or (Fault(f"the job ended as {status.word or 'failed'} and no row ran"),)
        await self._die(record, f"failed: {faults[0].code or status.word}")
        named = {fault.line: fault for fault in faults if fault.line and fault.line <= len(record.members)}
        if not named:
            return _all(record, provider.failure(400, faults[0]))
        rows = {key: Row(key, None, "not run") for key in record.members}
        for line, fault in named.items():
            key = record.members[line - 1]
            rows[key] = Row(key, provider.failure(400, fault))
        return rows

    async def _die(self, record: Record, reason: str) -> Record:
        record = record.move(Phase.DEAD, reason=reason)
        await self._on_disk(self._store.save, record)
        self._emit(events.Died(record.id, reason))
        return record

    async def _run(
        self,
        record: Record,
        what: str,
        flow: Callable[[], Flow[T]],
        patience: float | None = None,
        sink: Sink | None = None,
    ) -> T:
        """Run a flow to its end, each call as often as it may and must be repeated."""
        until = time.time() + patience if patience is not None else _deadline(record)
        attempt = 0
        while True:
            steps = flow()
            call: Call | None = None
            try:
                call = next(steps)
                while True:
                    call = steps.send(await self._call(record, what, call, until, sink))
            except StopIteration as end:
                value: T = end.value
                return value
            except Garbled as fault:
                if call is not None and not call.repeatable:
                    raise ReplyLost from fault
                attempt += 1
                if time.time() > until:
                    raise GivenUp(str(fault), None) from fault
                await self._wait(record, what, str(fault), self._pause(attempt))

    async def _call(self, record: Record, what: str, call: Call, until: float, sink: Sink | None) -> Response:
        attempt = 0
        while True:
            attempt += 1
            response: Response | None = None
            asked: float | None = None
            try:
                response = await self._sender.send(call, sink)
            except NetworkFault as fault:
                if fault.acted and not call.repeatable:
                    raise ReplyLost from fault
                if call.rows:
                    raise
                why = str(fault)
            else:
                if not retry.passing(response.status):
                    return response
                if not call.repeatable and not retry.refused_unseen(response.status):
                    raise ReplyLost
                why = f"HTTP {response.status}"
                asked = retry.retry_after(response, time.time())
            if time.time() > until:
                raise GivenUp(f"{what} failed ({why})", response)
            await self._wait(record, what, why, self._pause(attempt, asked))

    def _pause(self, attempt: int, asked: float | None = None) -> float:
        return retry.pause(attempt, min(1.0, self._poll_interval), random.random(), asked)

    async def _wait(self, record: Record, what: str, why: str, seconds: float) -> None:
        self._emit(events.Delayed(record.id, what, why, seconds))
        await asyncio.sleep(seconds)

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)


def sort_rows(
    provider: Provider, lines: Iterable[bytes], members: frozenset[str], wanted: frozenset[str]
) -> tuple[Rows, frozenset[str]]:
    """Read result lines: the rows of the wanted keys, and the members that got no good answer.

    Lines in any order, of strangers, twice or unreadable are passed over; a success wins over a failure.
    """
    rows: Rows = {}
    good: set[str] = set()
    for line in lines:
        try:
            row = provider.row(line)
        except ValueError:
            continue
        if row.key not in members or row.key in good:
            continue
        if row.response is not None and row.response.ok:
            good.add(row.key)
        if row.key in wanted:
            rows[row.key] = row
    return rows, members - good


def _all(record: Record, response: Response) -> Rows:
    return {key: Row(key, response) for key in record.members}


def _deadline(record: Record) -> float:
    return (record.expires_at or record.created_at + WINDOW) + GRACE
