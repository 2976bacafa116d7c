"""What answers a scope got and what they cost, for programs. The report on stderr is made from the same data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from batchling.core.cost import Cost
from batchling.core.estimate import METHOD


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a dry run would have submitted: `requests` in `batches`, `input` tokens estimated by `method`, and at most
    `output` tokens, which is None if any of the requests (`unbounded` of them) sets no maximum. `media` requests
    contain images, audio or files, which are not counted. `full` and `paid` are maximum US dollars, in real time and in
    a batch; None means not known.
    """

    requests: int
    batches: int
    cached: int
    input: int
    output: int | None
    unbounded: int
    media: int
    full: float | None
    paid: float | None
    method: str = METHOD


@dataclass(frozen=True, slots=True)
class Line:
    """One queue. Calls were `answered` by a batch of this scope, or `from_cache` by one that existed before; `failed`
    of both got an error. `cost` covers all rows of the batches that this scope counted, even rows that no caller waits
    for any more: each batch is counted once, by the run that read its results first.
    """

    provider: str
    endpoint: str
    model: str
    batches: int
    answered: int
    from_cache: int
    failed: int
    cost: Cost
    estimate: Estimate | None = None
    """Only in a dry run."""

    @property
    def priced(self) -> bool:
        """Whether the cost of its answers is known."""
        return self.cost.full is not None and self.cost.paid is not None


@dataclass(frozen=True, slots=True)
class RealTime:
    """Calls that went real time: where, why and how many. They cost the full price, which is not counted here."""

    host: str
    path: str
    reason: str
    calls: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of a scope, so far or at its end. `seconds` is wall time since it was entered."""

    lines: tuple[Line, ...] = ()
    real_time: tuple[RealTime, ...] = ()
    withdrawn: int = 0
    denied: int = 0
    """Requests that were not sent because they were over budget; they count among the failed ones."""
    seconds: float = 0.0
    dry_run: bool = False
    cost: Cost = field(default_factory=Cost)
    """The cost of all lines. Dollars are None as soon as one price is not known: never a sum with gaps."""
    throttled: int = 0
    """Calls that had to wait before they were queued, for the sake of `max_waiting`."""

    @property
    def batches(self) -> int:
        """Batches that this scope submitted."""
        return sum(line.batches for line in self.lines)

    @property
    def answered(self) -> int:
        """Calls answered by batches of this scope, errors included."""
        return sum(line.answered for line in self.lines)

    @property
    def from_cache(self) -> int:
        """Calls answered by batches that existed before."""
        return sum(line.from_cache for line in self.lines)

    @property
    def failed(self) -> int:
        """Calls answered with an error."""
        return sum(line.failed for line in self.lines)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Models whose price is not known, or whose answers do not report their tokens."""
        return tuple(sorted({line.model for line in self.lines if not line.priced}))

    def to_json(self) -> bytes:
        """One JSON object, indented. Amounts are in US dollars; null means not known."""
        document: dict[str, Any] = {
            "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3),
            "batches": self.batches,
            "answered": self.answered,
            "from_cache": self.from_cache,
            "failed": self.failed,
            "withdrawn": self.withdrawn,
            "denied": self.denied,
            "throttled": self.throttled,
            "cost": _cost(self.cost),
            "unpriced": self.unpriced,
            "lines": [{**asdict(line), "cost": _cost(line.cost)} for line in self.lines],
            "real_time": [asdict(call) for call in self.real_time],
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _cost(cost: Cost) -> dict[str, Any]:
    return {**asdict(cost), "saved": cost.saved}
