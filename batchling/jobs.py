"""See, collect and cancel the jobs of batches that earlier runs left behind or that other processes are driving.

What `batchling jobs`, `show`, `watch`, `collect` and `cancel` do, as functions:

    import asyncio
    from batchling import jobs

    for batch in jobs.listing():
        print(batch.record.id, batch.state, batch.done, batch.total)
    asyncio.run(jobs.collect())

The engine's own driver continues them, so what is true of a run is true here. Credentials come from the environment
(see `accounts`); providers are those that are built in, installed, or set up by the environment. Calls go only to the
providers' own hosts, and to the gateways in BATCHLING_GATEWAYS and in `gateways` ({"http://localhost:4000": "openai"}).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from batchling.cache import cache_folder
from batchling.cache.files import FileStore
from batchling.cache.upkeep import Contents, Removed, Upkeep
from batchling.core import events
from batchling.core.ending import Ending, Result
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.core.retry import POLL_SECONDS
from batchling.engine.access import Access
from batchling.environment import cloud_tokens, registry
from batchling.environment.accounts import advice, find_site
from batchling.environment.gateways import known_gateways
from batchling.money.meter import Meter
from batchling.providers.base import Provider
from batchling.scope import preload
from batchling.system import clock

if TYPE_CHECKING:  # looking at the cache needs no network
    from batchling.engine.orphans import Orphans

__all__ = [
    "Contents",
    "Ending",
    "Removed",
    "Result",
    "Standing",
    "State",
    "cancel",
    "collect",
    "contents",
    "listing",
    "looks",
    "matching",
    "prune",
    "refresh",
]

Listener = Callable[[events.Event], None]


class State(StrEnum):
    """`LEFT` stands for `PLANNED` and `RUNNING` when no process drives the batch any more."""

    PLANNED = Phase.PLANNED.value
    RUNNING = Phase.RUNNING.value
    LEFT = "left"
    ENDED = Phase.ENDED.value
    DEAD = Phase.DEAD.value


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
    def state(self) -> State:
        """See `State`."""
        return State.LEFT if self.is_left else State(self.record.phase.value)

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
        """When the provider will expire the job, in Unix seconds; None when it has not reported that."""
        return self.record.expires_at or (self.progress.expires_at if self.progress is not None else None)


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
    """The batches whose id begins with `prefix`, or whose job has this id."""
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
    """Remove batches from the cache that ended or died more than this many seconds ago, and what killed processes left
    behind; never a batch that is planned, running or driven. Raises `CacheError`."""
    with _upkeep() as upkeep:
        return upkeep.prune(older_than)


async def refresh(standings: Iterable[Standing], *, gateways: Mapping[str, str] | None = None) -> list[Result]:
    """Poll the running jobs once; `listing` then includes the reported status. Changes no record."""
    running = [each.record for each in standings if each.record.phase is Phase.RUNNING]
    async with _orphans(FileStore(cache_folder()), _nobody, None, gateways) as orphans:
        return await orphans.each(running, orphans.ask)


async def collect(
    *,
    once: bool = False,
    keep_results: bool = True,
    poll_interval: float = POLL_SECONDS,
    listen: Listener | None = None,
    tell: Callable[[Result], None] | None = None,
    gateways: Mapping[str, str] | None = None,
) -> list[Result]:
    """Drive every batch that no process drives any more until it is over, and store its results, from which a later run
    is answered without a network. With `once`, wait for nothing: jobs that are still running are left as they are.

    `keep_results=False` updates the records but keeps no answer on disk, like `cache="no-results"`. `tell` is called
    with each batch's result as soon as there is one.
    """
    store = FileStore(cache_folder(), keep_rows=keep_results)
    records = [
        record
        for record in store.records()
        if record.phase in (Phase.PLANNED, Phase.RUNNING)
        or (record.phase is Phase.ENDED and keep_results and record.holds and not store.has_rows(record.id))
    ]
    async with _orphans(store, listen or _nobody, None if once else poll_interval, gateways) as orphans:
        return await orphans.each(records, orphans.collect, tell)


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
    async with _orphans(store, heard, poll_interval, gateways) as orphans:
        over = 0

        async def counted(record: Record) -> Result:
            nonlocal over
            result = await orphans.cancel(record)
            over += result.what in (Ending.CANCELLED, Ending.DEAD)
            heard(events.Cancelling(over, len(records)))
            return result

        heard(events.Cancelling(over, len(records)))
        return await orphans.each(records, counted, tell)


def _nobody(event: events.Event) -> None:
    """Ignore the event."""


@contextmanager
def _upkeep() -> Iterator[Upkeep]:
    upkeep = Upkeep(cache_folder(), clock.time)
    try:
        yield upkeep
    finally:
        upkeep.close()


def _orphans(
    store: FileStore, listen: Listener, poll_interval: float | None, gateways: Mapping[str, str] | None
) -> Orphans:
    """The driver of batches without callers. Polls every `poll_interval` seconds; None: once, without any waiting."""
    preload.engine()
    from batchling.engine import patience
    from batchling.engine.options import Ports
    from batchling.engine.orphans import Orphans, no_wait

    providers = registry.providers()
    known = known_gateways(gateways, providers)

    async def access(record: Record) -> Access | str:
        """The access to a record's provider, or an explanation of why there is none."""
        provider: Provider | None = providers.get(record.target.provider)
        if provider is None:
            return f"provider {record.target.provider!r:.40} is not known here: run the batch's own program again"
        if provider.renew is not None:
            cloud_tokens.load(provider.renew)
        # Not in the loop: a cloud's library may ask for a token.
        site = await asyncio.to_thread(find_site, record.target, provider, os.environ, store.seal, known)
        return advice(record.target, provider, os.environ, known) if site is None else Access(provider, site)

    waits = replace(patience.USUAL, poll=patience.USUAL.poll if poll_interval is None else poll_interval)
    wait = no_wait if poll_interval is None else asyncio.sleep
    return Orphans(store, Ports(listen, meter=Meter), waits, wait, access)
