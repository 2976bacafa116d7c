"""What became of a batch that was looked after although nobody waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from batchling.core.lifecycle import Record


class Ending(StrEnum):
    """How looking after a batch ended."""

    COLLECTED = "collected"
    DEAD = "dead"
    CANCELLED = "cancelled"
    RUNNING = "running"
    DRIVEN = "driven"
    """A living process drives it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a batch that was looked after: `what` in one word (a string, too), `why` in words for people."""

    record: Record
    what: Ending
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing needs anybody's attention."""
        return self.what is not Ending.FAILED
