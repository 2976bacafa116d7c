"""Polls the jobs of a scope: all of an account with one list call, where the provider lists them, and otherwise one by
one, at times spread over the interval.

A list only ever shows that jobs are still running. A job that is over, or that it does not show, is polled on its own.
Belongs to the engine's loop.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from batchling.core import retry
from batchling.core.model import AccountKey, Job, Response, State, Status
from batchling.engine.batch import Batch
from batchling.engine.exchange import Exchange, FlowContext
from batchling.providers.base import Lists, Verdict
from batchling.system import clock

_log = logging.getLogger(__name__)

FEW = 2
"""So many jobs of an account are polled one by one: a list call would not be cheaper."""


class Polling:
    """See the module docstring."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._accounts: dict[AccountKey, _Account] = {}

    @contextmanager
    def watch(self, batch: Batch, job: Job) -> Iterator[Watch]:
        """Poll this job of a batch until the block ends."""
        key = batch.record.target.account_key
        if (account := self._accounts.get(key)) is None:
            account = self._accounts[key] = _Account(self._exchange, lists=isinstance(batch.provider, Lists))
        watch = Watch(account, batch, job)
        account.watches[watch] = None
        try:
            yield watch
        finally:
            del account.watches[watch]


class Watch:
    """One job that is being polled."""

    def __init__(self, account: _Account, batch: Batch, job: Job) -> None:
        self.batch = batch
        self.job = job
        self.due: float = 0.0
        """When to poll it, on the monotonic clock."""
        self.pause: float = 0.0
        """How many seconds after its last poll that is."""
        self.unlisted_until: float = 0.0
        """Until when it is not looked for in a list, since it was not in one."""
        self.shown: asyncio.Future[Status | None] | None = None
        """While it waits to be polled: what a list shows of it, or None if it has to be polled now."""
        self._account = account

    @property
    def waits(self) -> bool:
        """Whether it waits to be polled, and no list has shown it yet."""
        return self.shown is not None and not self.shown.done()

    def show(self, status: Status) -> None:
        """End its waiting with what a list shows of it. If that may not be all, it is polled now."""
        if self.shown is not None and not self.shown.done():
            self.shown.set_result(status if status.state is State.RUNNING and status.known else None)

    async def poll(self, pause: float) -> Status:
        """The job's status after this many seconds, or earlier if a list call for other jobs shows it. Raises what
        `Exchange.run` does."""
        if (status := await self._account.wait(self, pause)) is not None:
            return status
        batch = self.batch
        return await batch.tools.exchange.run(batch.flow("poll"), lambda: batch.provider.poll(batch.site, self.job))


class _Account:
    """The jobs of one account that are being polled."""

    def __init__(self, exchange: Exchange, *, lists: bool) -> None:
        self.watches: dict[Watch, None] = {}
        self._exchange = exchange
        self._unlisted_until = 0.0 if lists else float("inf")
        self._taken: list[float] = []
        """When those that wait are due, sorted."""
        self._listing: asyncio.Future[None] | None = None
        """The list call that is under way."""

    async def wait(self, watch: Watch, pause: float) -> Status | None:
        """Wait until a job is shown in a list, and return its status; None if it has to be polled."""
        watch.shown = asyncio.get_running_loop().create_future()
        watch.pause, watch.due = pause, self._due(watch, pause)
        insort(self._taken, taken := watch.due)
        try:
            while not watch.shown.done():
                if (left := watch.due - clock.monotonic()) > 0:
                    await self._pause(left, watch.shown)
                elif self._listing is not None:
                    await asyncio.wait((self._listing,))
                elif self._lists(watch):
                    await self._list(watch)
                else:
                    return None
            return watch.shown.result()
        finally:
            watch.shown = None
            del self._taken[bisect_left(self._taken, taken)]

    async def _pause(self, seconds: float, shown: asyncio.Future[Status | None]) -> None:
        """Wait for so long, or until the job is shown."""
        pause = asyncio.ensure_future(self._exchange.wait(seconds))
        try:
            await asyncio.wait((pause, shown), return_when=asyncio.FIRST_COMPLETED)
            if pause.done():
                pause.result()
        finally:
            pause.cancel()

    def _due(self, watch: Watch, pause: float) -> float:
        """When a job is due that has to be polled after this many seconds."""
        due = clock.monotonic() + pause
        if self._lists(watch) or len(self.watches) <= FEW or not watch.due:
            return due
        # Half of what is there for each, so that there is always room.
        return retry.spread(due, self._taken, pause / len(self.watches) / 2)

    def _lists(self, watch: Watch) -> bool:
        """Whether a job is looked for in a list."""
        return len(self.watches) > FEW and max(self._unlisted_until, watch.unlisted_until) <= clock.monotonic()

    async def _list(self, caller: Watch) -> None:
        """Make a list call for all jobs that wait to be polled, on behalf of the one that is due."""
        waiting = [watch for watch in self.watches if watch.waits and self._lists(watch)]
        self._listing = asyncio.get_running_loop().create_future()
        try:
            found = await self._ask(caller.batch, [watch.job for watch in waiting])
        except Exception as fault:  # from the network, or a third party's provider
            _log.debug("%s: jobs are polled one by one (%s)", caller.batch.provider.name, type(fault).__name__)
            self._scatter(waiting)
        else:
            self._show(waiting, found)
        finally:
            self._listing.set_result(None)
            self._listing = None

    async def _ask(self, batch: Batch, jobs: Sequence[Job]) -> Mapping[str, Status]:
        """What the list shows of these jobs, in the name of one batch. Faults that pass are waited for as long as one
        interval lasts."""
        until = clock.time() + self._exchange.patience.poll
        provider, access = batch.provider, batch.access
        assert isinstance(provider, Lists)

        def judge(response: Response) -> Verdict:
            return Verdict.LATER if retry.passing(response.status) and clock.time() < until else Verdict.NO

        flow = FlowContext(batch.id, "poll", until, access, judge=judge)
        return await self._exchange.run(flow, lambda: provider.poll_all(access.site, jobs))

    def _show(self, waiting: Sequence[Watch], found: Mapping[str, Status]) -> None:
        """Give those that wait what a list shows of them."""
        now = clock.monotonic()
        for watch in waiting:
            status = found.get(watch.job.id)
            if status is None:
                watch.unlisted_until = now + self._exchange.patience.listing
            else:
                watch.show(status)

    def _scatter(self, waiting: Sequence[Watch]) -> None:
        """Poll these one by one from now on, those that are due evenly spread over the interval."""
        now = clock.monotonic()
        self._unlisted_until = now + self._exchange.patience.unlisted
        due = [watch for watch in waiting if watch.due <= now]
        for place, watch in enumerate(due):
            watch.due = now + watch.pause * place / len(due)
