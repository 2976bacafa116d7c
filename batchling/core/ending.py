"""What became of a batch that was handled although no caller waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from batchling.core.lifecycle import Record


class Ending(StrEnum):
    """How the handling of such a batch ended."""

    COLLECTED = "collected"
    DEAD = "dead"
    CANCELLED = "cancelled"
    RUNNING = "running"
    DRIVEN = "driven"
    """A live process drives it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of such a batch: `what` in one word (also a string), `why` in words for people."""

    record: Record
    what: Ending
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing here needs attention."""
        return self.what is not Ending.FAILED
