"""One intercepted call, and one key that calls wait for: its stage, and how often it was submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from batchling.core import retry
from batchling.core.lifecycle import IllegalMove
from batchling.core.model import Headers, Item, Request, Response, Target, header
from batchling.core.way import Way
from batchling.providers.base import Provider, Route
from batchling.system.pending import Pending


class Owner(Protocol):
    """Who has taken a call in, and is informed when its caller gives up."""

    def withdraw(self, arrival: Arrival) -> None:
        """The caller has given up. Called in its thread."""


class Arrival(Pending[Response]):
    """One intercepted call: what its caller waits for, and what the loop thread needs to know."""

    __slots__ = (
        "fingerprint",
        "has_short_cache_mark",
        "limit",
        "owner",
        "provider",
        "request",
        "route",
        "target",
        "waiter",
        "way",
    )

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
        self.target: Target = target
        self.request: Request = request
        self.fingerprint: str = fingerprint
        self.way: Way | None = way
        self.waiter: Waiter | None = None
        self.limit: float | None = None
        """How long the caller waits at most, in seconds; None if no limit is visible."""
        self.has_short_cache_mark: bool = False
        """Whether part of the prompt is marked to be cached for no more than five minutes."""
        self.owner: Owner | None = None

    @property
    def is_retry(self) -> bool:
        """Whether this is a retry by an SDK made by Stainless."""
        return _retries(self.request.headers)

    def cancel(self) -> bool:
        """Called when the caller gives up; informs the owner, in the caller's thread."""
        if not super().cancel():
            return False
        if self.owner is not None:
            self.owner.withdraw(self)
        return True


@lru_cache(maxsize=256)
def _retries(headers: Headers) -> bool:
    return (header(headers, "x-stainless-retry-count") or "0") != "0"


class Stage(StrEnum):
    """How far a request has come. Texts, since each move asks for a hash, and that of a plain enum is slow."""

    NEW = "new"
    """It was not looked up in the store yet."""
    QUEUED = "queued"
    """It waits in a window, or its batch waits for a place: no job includes it."""
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
"""The moves that a request may make, as `lifecycle.MOVES` are those of its batch."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How many times a request was submitted without an answer: `counted` in batches that ended without running it,
    `blameless` in batches that were never sent, or lost. `doubts`: how many times a job that the provider does not list
    may have run it and been billed."""

    counted: int = 0
    blameless: int = 0
    doubts: int = 0

    def __bool__(self) -> bool:
        return self.counted + self.blameless > 0

    def allow(self, resubmissions: int, *, blameless: bool) -> bool:
        """Whether one more try is allowed."""
        return self.blameless < retry.BLAMELESS and (blameless or self.counted < resubmissions)

    def one_more(self, *, blameless: bool) -> Tries:
        """These tries and one more."""
        return replace(self, counted=self.counted + (not blameless), blameless=self.blameless + blameless)

    def doubtful(self) -> Tries:
        """These tries, of which the last one may have run."""
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
    """Whether the last batch that held it was submitted by an earlier run or another process. Kept when it is answered.
    """
    batch: str = ""
    """The batch that answers it, or is going to; empty until it is in one."""

    def move(self, stage: Stage) -> None:
        """Move to another stage. Raises `IllegalMove` if `STAGES` does not allow it."""
        if stage not in STAGES[self.stage]:
            raise IllegalMove(f"a request that is {self.stage.value} cannot become {stage.value}")
        if stage is not Stage.ANSWERED:
            self.followed = stage is Stage.FOLLOWED
        self.stage = stage

    @property
    def is_unsent(self) -> bool:
        """Whether no batch holds the request yet."""
        return self.stage in (Stage.NEW, Stage.QUEUED)
