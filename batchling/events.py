"""What happens in a scope, as typed objects: what `batchify(on_event=...)` passes to a program.

    from batchling import batchify, events

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Submitted):
            print(event.rows, "requests submitted as job", event.job)

    with batchify(on_event=listen):
        ...

The callable gets every event of its scope, in order, on one thread of its own (called "batchling-events"), never on the
caller's and never on the engine's: it may be slow, it may block, and what it raises is logged once and changes nothing.
When the scope is left, it waits at most five seconds for the events that are still to come. A forked child has its own
thread for its events. Events carry counts, names and reasons; never a prompt, an answer or a credential.
"""

from __future__ import annotations

from batchling.core.cost import Cost
from batchling.core.events import (
    Answered,
    Attached,
    Bypassed,
    Cancelling,
    Delayed,
    Denied,
    Detached,
    Died,
    Ended,
    Event,
    GaveUp,
    HeaderLeftOut,
    Held,
    Hit,
    PaidAgain,
    Polled,
    Queued,
    Rehearsed,
    Spawned,
    Submitted,
    Throttled,
    Withdrawn,
)
from batchling.core.model import Target

__all__ = [
    "Answered",
    "Attached",
    "Bypassed",
    "Cancelling",
    "Cost",
    "Delayed",
    "Denied",
    "Detached",
    "Died",
    "Ended",
    "Event",
    "GaveUp",
    "HeaderLeftOut",
    "PaidAgain",
    "Held",
    "Hit",
    "Polled",
    "Queued",
    "Rehearsed",
    "Spawned",
    "Submitted",
    "Target",
    "Throttled",
    "Withdrawn",
]
