"""One intercepted call, and one key that calls wait for: where its request is, and how often it was tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import Enum

from batchling.core import retry
from batchling.core.lifecycle import IllegalMove
from batchling.core.model import Item, Request, Response, Target, header
from batchling.core.way import Way
from batchling.providers.base import Provider, Route


class Arrival(Future[Response]):
    """One intercepted call: what its caller waits for, and what the loop thread needs to know of it."""

    def __init__(
        self,
        matched: tuple[Provider, Route],
        target: Target,
        request: Request,
        fingerprint: str,
        way: Way | None = None,
    ) -> None:
        super().__init__()
        self.provider: Provider = matched[0]
        self.route: Route = matched[1]
        self.target = target
        self.request = request
        self.fingerprint = fingerprint
        self.way = way
        self.waiter: Waiter | None = None
        self.limit: float | None = None
        """The seconds for which the caller waits at most, where that can be seen."""
        self.has_short_cache_mark = False
        """Whether a part of the prompt is to be cached for no more than five minutes."""
        self.on_cancel: Callable[[Arrival], None] = lambda _: None

    @property
    def is_retry(self) -> bool:
        """Whether an SDK made by Stainless sends its call once more."""
        return (header(self.request.headers, "x-stainless-retry-count") or "0") != "0"

    def cancel(self) -> bool:
        """The caller gives up; `on_cancel` hears of it, in the caller's thread."""
        if not super().cancel():
            return False
        self.on_cancel(self)
        return True


class Stage(Enum):
    """Where a request is."""

    NEW = "new"
    """The store has not been asked about it."""
    QUEUED = "queued"
    """It waits for its window, or its batch for a place; no job has it."""
    CLAIMED = "claimed"
    """A batch of this scope holds it."""
    FOLLOWED = "followed"
    """A batch of an earlier run, or of another process, holds it."""
    ANSWERED = "answered"


STAGES: Mapping[Stage, frozenset[Stage]] = {
    Stage.NEW: frozenset({Stage.QUEUED, Stage.FOLLOWED, Stage.ANSWERED}),
    Stage.QUEUED: frozenset({Stage.QUEUED, Stage.CLAIMED, Stage.FOLLOWED, Stage.ANSWERED}),
    Stage.CLAIMED: frozenset({Stage.QUEUED, Stage.FOLLOWED, Stage.ANSWERED}),
    Stage.FOLLOWED: frozenset({Stage.QUEUED, Stage.FOLLOWED, Stage.ANSWERED}),
    Stage.ANSWERED: frozenset(),
}
"""The table of moves of a request, as `lifecycle.MOVES` is that of its batch."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a request was asked without an answer: `counted` when a batch ended without it having run, `blameless`
    when its batch was never sent, or lost; `doubts` are those of which a job may have run and been billed that the
    provider does not list."""

    counted: int = 0
    blameless: int = 0
    doubts: int = 0

    def __bool__(self) -> bool:
        return self.counted + self.blameless > 0

    def allow(self, resubmissions: int, *, blameless: bool) -> bool:
        """Whether there may be one more."""
        return self.blameless < retry.BLAMELESS and (blameless or self.counted < resubmissions)

    def one_more(self, *, blameless: bool) -> Tries:
        """These and one more."""
        return replace(self, counted=self.counted + (not blameless), blameless=self.blameless + blameless)

    def doubtful(self) -> Tries:
        """These, of which the last one may have run."""
        return replace(self, doubts=self.doubts + 1)


@dataclass(slots=True, eq=False)
class Waiter:
    """A key, its item, and the calls that wait for its answer."""

    target: Target
    item: Item
    fingerprint: str
    ordinal: int
    calls: list[Arrival] = field(default_factory=list)
    tries: Tries = Tries()
    stage: Stage = Stage.NEW
    followed: bool = False
    """Whether the last batch that held it was submitted by an earlier run or another process."""
    batch: str = ""
    """The batch that has answered it; empty before that."""

    def move(self, stage: Stage) -> None:
        """Enter the next stage. Raises `IllegalMove` where `STAGES` has no way."""
        if stage not in STAGES[self.stage]:
            raise IllegalMove(f"a request that is {self.stage.value} cannot become {stage.value}")
        if stage is not Stage.ANSWERED:
            self.followed = stage is Stage.FOLLOWED
        self.stage = stage

    @property
    def is_unsent(self) -> bool:
        """Whether no batch with the request is under way."""
        return self.stage in (Stage.NEW, Stage.QUEUED)
