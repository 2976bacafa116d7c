"""The options of a scope, and the functions that its engine calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchling.cache.footprints import Footprints
from batchling.core import events
from batchling.engine.batch import Metering, no_meter
from batchling.engine.patience import Patience
from batchling.engine.waiter import Arrival
from batchling.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a scope. A `batch_size` of None means the provider's maximum; `resubmissions` is how many times a
    request that never ran is submitted again; `in_flight` and `per_hour` are as in `Admission`; at most
    `max_waiting` calls wait for an answer at a time."""

    batch_size: int | None
    window_seconds: float
    dry_run: bool
    join_duplicates: bool
    resubmissions: int
    in_flight: int | None
    per_hour: int | None
    patience: Patience
    max_waiting: int | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """What a scope's engine calls. `listen` is called with every event, on the loop thread; `footprints` remembers
    requests for the program's next run; None remembers nothing."""

    listen: Callable[[events.Event], None]
    observe: Callable[[Arrival], None] | None = None
    """Called with each call, in its caller's thread, before it waits."""
    prepare: Callable[[Provider], None] | None = None
    """Prepares what the first call to a provider needs, in its caller's thread, before it waits. May be called by
    several threads at once."""
    meter: Metering = no_meter
    footprints: Footprints | None = None
