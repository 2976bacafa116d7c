"""What is counted for each queue of a scope, in its report as on the screen: one fold of events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from batchling.core import events
from batchling.core.cost import Cost
from batchling.core.model import Target

Queue = tuple[str, str, str]
"""(provider, endpoint, model)"""


@dataclass(slots=True)
class Tally:
    """The answers of one queue: all of them, those from the cache, the errors; and what its batches cost."""

    answered: int = 0
    cached: int = 0
    failed: int = 0
    cost: Cost = field(default_factory=Cost)


T = TypeVar("T", bound=Tally)


class Tallies(Generic[T]):
    """A tally for each queue, in the order of their first requests. Filled on the engine's loop thread; other threads
    read plain numbers, at most one event behind."""

    __slots__ = ("_homes", "_new", "queues")

    def __init__(self, new: type[T]) -> None:
        self._new = new
        self.queues: dict[Queue, T] = {}
        self._homes: dict[str, T] = {}

    def of(self, target: Target) -> T:
        """The tally of a target's queue."""
        tally = self.queues.get(target.queue)
        if tally is None:
            tally = self.queues[target.queue] = self._new()
        return tally

    def answer(self, event: events.Answered) -> None:
        """Count answers."""
        tally = self.of(event.target)
        tally.answered += event.calls
        if event.cached:
            tally.cached += event.calls
        if not event.ok:
            tally.failed += event.calls

    def begin(self, event: events.Submitted | events.Attached) -> T:
        """Remember the queue of a batch."""
        tally = self._homes[event.batch] = self.of(event.target)
        return tally

    def end(self, event: events.Ended) -> None:
        """Count what a batch cost, once. An event without a cost is from a process that did not count it; another
        process may still report it."""
        if event.cost is not None and (tally := self._homes.pop(event.batch, None)) is not None:
            tally.cost += event.cost
