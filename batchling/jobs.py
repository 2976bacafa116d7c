"""The jobs that earlier runs and other processes left or are driving: seen, collected, cancelled.

What `batchling jobs`, `show`, `watch`, `collect` and `cancel` do, as functions:

    import asyncio
    from batchling import jobs

    for job in jobs.listing():
        print(job.record.id, job.state, job.done, job.total)
    asyncio.run(jobs.collect())

The engine's own driver carries them on: what holds for a run, holds here. Credentials come from the environment (see
`accounts`); providers are those that are built in, installed, or set up by the environment. It goes to their own hosts
and, of gateways, to those of BATCHLING_GATEWAYS and of `gateways` ({"http://localhost:4000": "openai"}) alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a batch stands, as the cache folder says."""

    record: Record
    progress: Progress | None
    driven: bool
    """Whether a living process drives it."""
    stored: bool
    """Whether its results are on the disk."""

    @property
    def state(self) -> str:
        """`planned`, `running`, `ended` or `dead`; `left` for the first two when nobody drives them any more."""
        return "left" if self.is_left else self.record.phase.value

    @property
    def is_open(self) -> bool:
        """Whether its job may be under way at the provider."""
        return self.record.phase in (Phase.PLANNED, Phase.RUNNING)

    @property
    def is_left(self) -> bool:
        """Whether its job may be under way and nobody drives it."""
        return self.is_open and not self.driven

    @property
    def total(self) -> int:
        """How many requests it has."""
        return len(self.record.members)

    @property
    def done(self) -> int | None:
        """How many rows the provider has finished, as far as anybody asked; None when nobody did."""
        if self.record.phase is Phase.ENDED:
            return self.total
        return self.progress.done if self.progress is not None else None

    @property
    def unanswered(self) -> int:
        """Of an ended batch, the requests that failed or never ran."""
        return len(self.record.freed) if self.record.phase is Phase.ENDED else 0

    @property
    def expires_at(self) -> float | None:
        """When the provider gives the job up, in Unix seconds; None when it has not said."""
        return self.record.expires_at or (self.progress.expires_at if self.progress is not None else None)


def listing() -> list[Standing]:
    """Every batch of the cache folder, newest first. No network. Raises `CacheError`."""
    with _upkeep() as upkeep:
        return _standings(upkeep)


def looks() -> Iterator[list[Standing]]:
    """`listing`, again and again, for as long as it is asked; reads only what has changed. Raises `CacheError`."""
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
    """Those whose id begins with this, or whose job's id is this."""
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
    """Remove from the cache what ended or died longer ago than this many seconds, and what killed processes left; never
    what is planned, running or driven. Raises `CacheError`."""
    with _upkeep() as upkeep:
        return upkeep.prune(older_than)


async def refresh(standings: Iterable[Standing], *, gateways: Mapping[str, str] | None = None) -> list[Result]:
    """Ask the providers once how the running jobs stand; `listing` tells it then. Moves no record."""
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
    """Carry on every batch whose driver is gone until it is over, and store its results: a later run answers from them
    without a network. With `once`, nothing is waited for: what still runs is left.

    `keep_results=False` moves the records and keeps no answer on the disk, as `cache="no-results"`. `tell` hears of
    each batch as soon as it is done with.
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
    """Have these batches' jobs stopped at their providers, and wait until those say that they are over. What was
    finished is stored. A batch that a living process drives is left alone: it would ask again for what did not run."""
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
    """Listens to nothing."""


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
    """Batches nobody waits for, looked at each `poll_interval` seconds; None: once, and nothing is waited for."""
    preload.engine()
    from batchling.engine import patience
    from batchling.engine.access import Access
    from batchling.engine.options import Ports
    from batchling.engine.orphans import Orphans, no_wait

    providers = registry.providers()
    known = known_gateways(gateways, providers)

    async def access(record: Record) -> Access | str:
        """The way to its provider; or in words why there is none."""
        provider: Provider | None = providers.get(record.target.provider)
        if provider is None:
            return f"provider {record.target.provider!r:.40} is not known here: run its program again"
        if provider.renew is not None:
            cloud_tokens.load(provider.renew)
        # Not in the loop: a cloud's library may ask for a token.
        site = await asyncio.to_thread(find_site, record.target, provider, os.environ, store.seal, known)
        return advice(record.target, provider, os.environ, known) if site is None else Access(provider, site)

    waits = replace(patience.USUAL, poll=patience.USUAL.poll if poll_interval is None else poll_interval)
    wait = no_wait if poll_interval is None else asyncio.sleep
    return Orphans(store, Ports(listen, meter=Meter), waits, wait, access)
