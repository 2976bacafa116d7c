"""A batch in hand: who serves it, its record as it stands, and what became of it.

Belongs to the engine's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchling.core import events
from batchling.core.cost import Meter, NoMeter
from batchling.core.lifecycle import Phase, Record
from batchling.core.model import Fault, Item, Job, Response, Site, Target
from batchling.core.text import MOST_SHOWN, printable
from batchling.engine.access import Access
from batchling.engine.disk import Disk
from batchling.engine.exchange import Exchange, FlowContext
from batchling.engine.results import Rows
from batchling.providers.base import Provider

Metering = Callable[[Provider, Target], Meter]
"""A meter for the answers of one batch."""


def no_meter(provider: Provider, target: Target) -> Meter:
    """For those who do not ask what it costs."""
    return NoMeter()


@dataclass(frozen=True, slots=True)
class Tools:
    """What work on batches is done with: the store, the network, and who hears of it."""

    disk: Disk
    exchange: Exchange
    emit: Callable[[events.Event], None]
    meter: Metering = no_meter


@dataclass(eq=False, slots=True)
class Batch:
    """One batch, as its driver has it in hand. `items` are there if they are ours to submit."""

    tools: Tools
    access: Access
    record: Record
    items: Sequence[Item] = ()
    cancelled: bool = False
    """Whether the provider has agreed to stop its job."""
    expires_at: float = 0.0
    """When the provider gives the job up, in Unix seconds, as far as it has reported that."""

    @property
    def id(self) -> str:
        """Its id, here and (as a tag) at the provider."""
        return self.record.id

    @property
    def provider(self) -> Provider:
        """Who serves it."""
        return self.access.provider

    @property
    def site(self) -> Site:
        """As whom its next call is made."""
        return self.access.site

    @property
    def deadline(self) -> float:
        """When patience with its job ends, in Unix seconds: by the job's own expiry, which may be later than its
        provider promises."""
        patience = self.tools.exchange.patience
        left_at = self.record.left_at or self.record.created_at
        promised = self.record.expires_at or left_at + self.provider.limits.window
        return max(promised, min(self.expires_at, left_at + patience.longest_job)) + patience.grace

    def flow(self, what: str) -> FlowContext:
        """What a flow about its job is run for."""
        return FlowContext(self.id, what, self.deadline, self.access)

    async def keep(self, phase: Phase, **changes: Any) -> None:
        """Move its record, on the disk first. Raises `CacheError` and `IllegalMove`; it stands where it stood then."""
        record = self.record.move(phase, **changes)
        await self.tools.disk(self.tools.disk.store.save, record)
        self.record = record

    async def run_on(self, job: Job) -> None:
        """Its job exists."""
        await self.keep(Phase.RUNNING, job=job)
        shown = printable(job.id, MOST_SHOWN)
        self.tools.emit(events.Submitted(self.record.target, self.id, shown, len(self.record.members)))

    async def die(self, reason: str) -> None:
        """It came to nothing: its keys are free again."""
        reason = printable(reason, MOST_SHOWN)
        await self.keep(Phase.DEAD, reason=reason)
        self.tools.emit(events.Died(self.id, reason))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the members of a batch. A row without a response never ran; a member without a row got none.

    `blameless` says that nothing was ever sent, so no row is at fault; `final` that no row is worth another try,
    whatever its status; `doubtful` that a job which nobody can find may have run them, and been billed.
    """

    rows: Rows = field(default_factory=dict)
    blameless: bool = False
    final: bool = False
    doubtful: bool = False


FAILED = "batchling_failed"
"""The code of answers that are ours, and no provider's."""


def gave_up(provider: Provider, why: str) -> Response:
    """The answer to a request that ends without one of its own, in its provider's form."""
    return provider.failure(424, Fault(f"batchling: {why}", FAILED))
