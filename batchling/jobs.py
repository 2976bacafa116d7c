"""See, collect and cancel jobs that earlier runs left behind or that other processes are driving.

What `batchling jobs`, `show`, `watch`, `collect` and `cancel` do, as functions:

    import asyncio
    from batchling import jobs

    for job in jobs.listing():
        print(job.record.id, job.state, job.done, job.total)
    asyncio.run(jobs.collect())

The engine's own driver continues them, so what is true of a run is true here. Credentials come from the environment
(see `accounts`); providers are those that are built in, installed, or set up by the environment. Calls go only to the
providers' own hosts, and to the gateways in BATCHLING_GATEWAYS and in `gateways` ({"http://localhost:4000": "openai"}).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from batchling import clock, credentials, preload, registry
from batchling.access import Access
from batchling.accounts import advice, find_site
from batchling.cache import cache_folder
from batchling.cache.files import FileStore
from batchling.cache.upkeep import Contents, Removed, Upkeep
from batchling.core import events
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.core.retry import POLL_SECONDS
from batchling.core.text import MOST_SHOWN, printable
from batchling.errors import CacheError
from batchling.gateways import known_gateways
from batchling.money.meter import Meter
from batchling.providers.base import Provider, Refused, read_fault

if TYPE_CHECKING:  # reading the cache needs no network
    from batchling.driver import Batch, Outcome

T = TypeVar("T")
Listener = Callable[[events.Event], None]

_TRIES = 3
_BETWEEN = 0.05
"""How many times a lock is tried, and the seconds between: a check whether a batch is driven holds it for a moment."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The status of a batch, according to the cache folder."""

    record: Record
    progress: Progress | None
    driven: bool
    """Whether a live process drives it."""
    stored: bool
    """Whether its results are on the disk."""

    @property
    def state(self) -> str:
        """`planned`, `running`, `ended` or `dead`; `left` for the first two when no process drives it any more."""
        return "left" if self.is_left else self.record.phase.value

    @property
    def is_open(self) -> bool:
        """Whether its job may be under way at the provider."""
        return self.record.phase in (Phase.PLANNED, Phase.RUNNING)

    @property
    def is_left(self) -> bool:
        """Whether its job may be under way and no process drives it."""
        return self.is_open and not self.driven

    @property
    def total(self) -> int:
        """The number of its requests."""
        return len(self.record.members)

    @property
    def done(self) -> int | None:
        """How many rows the provider has finished, as of the last poll; None when there was no poll."""
        if self.record.phase is Phase.ENDED:
            return self.total
        return self.progress.done if self.progress is not None else None

    @property
    def unanswered(self) -> int:
        """The number of requests of an ended batch that failed or never ran."""
        return len(self.record.freed) if self.record.phase is Phase.ENDED else 0

    @property
    def expires_at(self) -> float | None:
        """When the provider will expire the job, in Unix seconds; None when it has not said."""
        return self.record.expires_at or (self.progress.expires_at if self.progress is not None else None)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an operation on one batch: `what` is `collected`, `dead`, `cancelled`, `running`, `driven` (by a
    live process) or `failed`; `why` explains it to people."""

    record: Record
    what: str
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing needs attention."""
        return self.what != "failed"


def listing() -> list[Standing]:
    """Every batch of the cache folder, newest first. No network. Raises `CacheError`."""
    with _upkeep() as upkeep:
        return _standings(upkeep)


def looks() -> Iterator[list[Standing]]:
    """Yield `listing` again for each iteration; reads only what has changed. Raises `CacheError`."""
    with _upkeep() as upkeep:
        while True:
            yield _standings(upkeep)


def _standings(upkeep: Upkeep) -> list[Standing]:
    records = sorted(upkeep.records(), key=lambda record: (record.created_at, record.id), reverse=True)
    return [
        Standing(
            record,
            upkeep.progress(record.id),
            record.phase in (Phase.PLANNED, Phase.RUNNING) and upkeep.is_driven(record.id),
            upkeep.has_rows(record.id),
        )
        for record in records
    ]


def matching(prefix: str, standings: Iterable[Standing]) -> list[Standing]:
    """The batches whose id begins with this, or whose job's id is this."""
    return [
        standing
        for standing in standings
        if standing.record.id.startswith(prefix)
        or (standing.record.job is not None and standing.record.job.id == prefix)
    ]


def contents() -> Contents:
    """What the cache folder holds. Raises `CacheError`."""
    with _upkeep() as upkeep:
        return upkeep.contents()


def prune(older_than: float) -> Removed:
    """Remove from the cache what ended or died more than this many seconds ago, and what killed processes left behind;
    never what is planned, running or driven. Raises `CacheError`."""
    with _upkeep() as upkeep:
        return upkeep.prune(older_than)


async def refresh(standings: Iterable[Standing], *, gateways: Mapping[str, str] | None = None) -> list[Result]:
    """Poll the running jobs once; `listing` then includes what was reported. Moves no record."""
    async with _Desk(FileStore(cache_folder()), _nobody, 10.0, _no_wait, gateways) as desk:
        return await desk.each([each.record for each in standings if each.record.phase is Phase.RUNNING], desk.ask)


async def collect(
    *,
    once: bool = False,
    keep_results: bool = True,
    poll_interval: float = POLL_SECONDS,
    listen: Listener | None = None,
    tell: Callable[[Result], None] | None = None,
    gateways: Mapping[str, str] | None = None,
) -> list[Result]:
    """Drive every batch whose driver is gone until it is over, and store its results: a later run answers from them
    without a network. With `once`, wait for nothing: what is still running is left as it is.

    `keep_results=False` moves the records but keeps no answer on disk, like `cache="no-results"`. `tell` is called with
    each batch's result as soon as there is one.
    """
    store = FileStore(cache_folder(), keep_rows=keep_results)
    records = [
        record
        for record in store.records()
        if record.phase in (Phase.PLANNED, Phase.RUNNING)
        or (record.phase is Phase.ENDED and keep_results and record.holds and not store.has_rows(record.id))
    ]
    async with _Desk(store, listen or _nobody, poll_interval, _no_wait if once else asyncio.sleep, gateways) as desk:
        return await desk.each(records, desk.collect, tell)


async def cancel(
    batch_ids: Sequence[str],
    *,
    poll_interval: float = POLL_SECONDS,
    listen: Listener | None = None,
    tell: Callable[[Result], None] | None = None,
    gateways: Mapping[str, str] | None = None,
) -> list[Result]:
    """Cancel these batches' jobs at their providers, and wait until the providers report that they are over. Finished
    results are stored. A batch that a live process drives is left alone: that process would resubmit what did not run.
    """
    store = FileStore(cache_folder())
    records = [record for each in batch_ids if (record := store.load(each)) is not None]
    heard = listen or _nobody
    async with _Desk(store, heard, poll_interval, asyncio.sleep, gateways) as desk:
        over = 0

        async def counted(record: Record) -> Result:
            nonlocal over
            result = await desk.cancel(record)
            over += result.what in ("cancelled", "dead")
            heard(events.Cancelling(over, len(records)))
            return result

        heard(events.Cancelling(over, len(records)))
        return await desk.each(records, counted, tell)


class _NotYet(Exception):
    """There is nothing to do now but wait."""


async def _no_wait(seconds: float) -> None:
    if seconds > 0:
        raise _NotYet


def _nobody(event: events.Event) -> None:
    """Ignore the event."""


@contextmanager
def _upkeep() -> Iterator[Upkeep]:
    upkeep = Upkeep(cache_folder(), clock.time)
    try:
        yield upkeep
    finally:
        upkeep.close()


class _Desk:
    """The engine's driver without callers: a store, a network, and batches handled one by one or all at once."""

    def __init__(
        self,
        store: FileStore,
        listen: Listener,
        poll_interval: float,
        wait: Callable[[float], Awaitable[None]],
        gateways: Mapping[str, str] | None,
    ) -> None:
        from batchling.driver import Driver
        from batchling.exchange import Exchange
        from batchling.sender import Sender

        preload.engine()
        self._store = store
        self._disk = ThreadPoolExecutor(1, "batchling-disk")
        self._sender = Sender()
        self._providers = registry.providers()
        self._gateways = known_gateways(gateways, self._providers)
        self._delays: dict[str, events.Delayed] = {}
        self._listen = listen
        self._driver = Driver(store, self._disk, self._sender, self._emit, poll_interval, wait, Meter)
        self._exchange = Exchange(self._sender, self._emit, min(1.0, poll_interval), wait)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._store.stop_waiting()
        await self._sender.close()
        self._disk.shutdown()
        self._store.close()

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
        """Do this with all records at the same time; a failure of one does not stop the others."""

        async def guarded(record: Record) -> Result:
            try:
                result = await work(record)
            except CacheError as fault:
                result = Result(record, "failed", str(fault))
            if tell is not None:
                tell(result)
            return result

        return list(await asyncio.gather(*map(guarded, records)))

    async def ask(self, record: Record) -> Result:
        """Poll its job, and note the status where every process can read it."""
        from batchling.exchange import Errand, GivenUp

        access = await self._access(record)
        if isinstance(access, str) or record.job is None:
            return Result(record, "failed", str(access))
        job = record.job
        errand = Errand(record.id, "poll", clock.time() + 60.0, access)
        try:
            status = await self._exchange.run(errand, lambda: access.provider.poll(access.site, job))
        except Refused as refusal:
            return Result(record, "failed", _refused(refusal))
        except (GivenUp, _NotYet):
            return self._waits(record)
        told = Progress(printable(status.word, MOST_SHOWN), status.done, status.total, clock.time(), status.expires_at)
        await self._on_disk(lambda: self._store.note(record.id, told))
        return Result(record, "running")

    async def collect(self, record: Record) -> Result:
        """Drive the batch to its end, unless another process does."""
        return await self._drive(record, "collected", lambda batch: self._driver.drive(batch, tuple))

    async def cancel(self, record: Record) -> Result:
        """Cancel its job, and wait until it is over."""

        async def work(batch: Batch) -> None:
            await self._driver.cancel(batch)

        return await self._drive(record, "cancelled", work)

    async def _drive(self, record: Record, what: str, work: Callable[[Batch], Awaitable[Outcome | None]]) -> Result:
        from batchling.driver import Batch, NotRun
        from batchling.exchange import GivenUp

        access = await self._access(record)
        if isinstance(access, str):
            return Result(record, "failed", access)
        if not await self._take(record.id):
            return Result(record, "driven")
        batch = Batch(access, record)
        try:
            # Read again: it may have moved before we got the lock.
            if (fresh := await self._on_disk(lambda: self._store.load(record.id))) is None:
                return Result(record, "dead", "its record is gone")
            batch.record = fresh
            outcome = await work(batch)
        except _NotYet:
            return self._waits(batch.record)
        except NotRun as no:
            return Result(batch.record, "dead", str(no))
        except Refused as refusal:
            return Result(batch.record, "failed", _refused(refusal))
        except GivenUp as end:
            return Result(batch.record, "failed", str(end))
        finally:
            await asyncio.shield(self._on_disk(lambda: self._store.release(record.id)))
        if outcome is None or not outcome.final:
            await self._driver.tidy(batch)
        return _result(batch, what, outcome)

    def _waits(self, record: Record) -> Result:
        """The result when nothing can be done now: the job is running, or something stands in the way."""
        delay = self._delays.get(record.id)
        if delay is None:
            return Result(record, "running")
        return Result(record, "failed", f"cannot {delay.what} ({delay.why})")

    async def _take(self, batch_id: str) -> bool:
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_BETWEEN)
            if await self._on_disk(lambda: self._store.drive(batch_id)):
                return True
        return False

    async def _access(self, record: Record) -> Access | str:
        """The access to its provider, or an explanation why there is none."""
        provider: Provider | None = self._providers.get(record.target.provider)
        if provider is None:
            return f"provider {record.target.provider!r:.40} is not known here: run the batch's own program again"
        if provider.renew is not None:
            credentials.load(provider.renew)
        # Not on the event loop: a cloud's library may request a token.
        site = await asyncio.to_thread(find_site, record.target, provider, os.environ, self._store.seal, self._gateways)
        if site is None:
            return advice(record.target, provider, os.environ, self._gateways)
        return Access(provider, site)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


def _result(batch: Batch, what: str, outcome: Outcome | None) -> Result:
    record = batch.record
    if record.phase is Phase.DEAD:
        return Result(record, "dead" if what == "collected" else what, record.reason)
    if record.phase is Phase.ENDED and (outcome is None or not outcome.final):
        return Result(record, what)
    last = next(iter(outcome.rows.values())).response if outcome is not None and outcome.rows else None
    why = f"HTTP {last.status}" if last is not None else "the provider did not confirm that the job is over"
    return Result(record, "failed", f"{why}; its record is unchanged")


def _refused(refusal: Refused) -> str:
    """A refusal in our own words: the provider's text may contain part of the key."""
    code = read_fault(refusal.response).code
    return f"the provider answered HTTP {refusal.response.status}{f' ({code:.40})' if code else ''}"
