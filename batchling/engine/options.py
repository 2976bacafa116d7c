"""What a scope was asked for, and what its engine calls outside of itself."""

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
    """`batch_size` None means the provider's maximum; `window_seconds` in seconds; `resubmissions` is how often a
    request that never ran is put into another batch; `in_flight` and `per_hour` as in `Admission`."""

    batch_size: int | None
    window_seconds: float
    dry_run: bool
    join_duplicates: bool
    resubmissions: int
    in_flight: int | None
    per_hour: int | None
    patience: Patience


@dataclass(frozen=True, slots=True)
class Ports:
    """What a scope's engine calls: `listen` hears of everything, on the loop thread; `footprints` is where requests are
    remembered for the program's next run, None when nowhere."""

    listen: Callable[[events.Event], None]
    observe: Callable[[Arrival], None] | None = None
    """Looks at each call in its caller's thread, before it waits."""
    prepare: Callable[[Provider], None] | None = None
    """Gets ready what the first call to a provider needs, in its caller's thread, before it waits. May be called by
    several threads at once."""
    meter: Metering = no_meter
    footprints: Footprints | None = None
