"""A batch that is being worked on: its provider, its current record, and its outcome.

Belongs to the engine's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchling.core import events
from batchling.core.cost import Meter, NoMeter
from batchling.core.lifecycle import Phase, Progress, Record
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
    """For batches whose cost is not counted."""
    return NoMeter()


@dataclass(frozen=True, slots=True)
class Tools:
    """What working on batches needs: the store, the network, and where events and costs go."""

    disk: Disk
    exchange: Exchange
    emit: Callable[[events.Event], None]
    meter: Metering = no_meter


@dataclass(eq=False, slots=True)
class Batch:
    """One batch in the hands of its driver. `items` are its requests if we are to submit them; otherwise empty."""

    tools: Tools
    access: Access
    record: Record
    items: Sequence[Item] = ()
    cancelled: bool = False
    """Whether the provider has agreed to stop its job."""
    expires_at: float = 0.0
    """When the provider will expire the job, in Unix seconds; 0 until it reports that."""
    noted: Progress | None = None
    """The status of the job that was last stored."""

    @property
    def id(self) -> str:
        """Its id, here and (as a tag) at the provider."""
        return self.record.id

    @property
    def provider(self) -> Provider:
        """The provider that serves it."""
        return self.access.provider

    @property
    def site(self) -> Site:
        """The target and headers of its next call."""
        return self.access.site

    @property
    def deadline(self) -> float:
        """When we give up on its job, in Unix seconds: after the job's own expiry, which may be later than the
        provider's usual one."""
        patience = self.tools.exchange.patience
        left_at = self.record.left_at or self.record.created_at
        promised = self.record.expires_at or left_at + self.provider.limits.window
        return max(promised, min(self.expires_at, left_at + patience.longest_job)) + patience.grace

    def flow(self, what: str) -> FlowContext:
        """The context of a flow about its job."""
        return FlowContext(self.id, what, self.deadline, self.access)

    async def keep(self, phase: Phase, **changes: Any) -> None:
        """Move its record, on the disk first. Raises `CacheError` and `IllegalMove`, and leaves it unchanged then."""
        record = self.record.move(phase, **changes)
        await self.tools.disk(self.tools.disk.store.save, record)
        self.record = record

    async def run_on(self, job: Job) -> None:
        """Record that its job exists."""
        await self.keep(Phase.RUNNING, job=job)
        shown = printable(job.id, MOST_SHOWN)
        self.tools.emit(events.Submitted(self.record.target, self.id, shown, len(self.record.members)))

    async def die(self, reason: str) -> None:
        """Record that it ended without results, and why: its keys are free again."""
        reason = printable(reason, MOST_SHOWN)
        await self.keep(Phase.DEAD, reason=reason)
        self.tools.emit(events.Died(self.id, reason))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the members of a batch. A row without a response never ran; a member without a row was not in the
    results.

    `blameless`: nothing was ever sent, so no row is at fault. `final`: no row is worth another try, whatever its
    status. `doubtful`: a job that cannot be found may have run the rows, and been billed.
    """

    rows: Rows = field(default_factory=dict)
    blameless: bool = False
    final: bool = False
    doubtful: bool = False


FAILED = "batchling_failed"
"""The error code of our own error responses, as opposed to a provider's."""


def gave_up(provider: Provider, why: str) -> Response:
    """The error response to a request that got no answer of its own, in its provider's form."""
    return provider.failure(424, Fault(f"batchling: {why}", FAILED))
