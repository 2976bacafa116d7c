"""Things that happened: a closed union. Everything that is shown to people is computed from these events.

Events carry counts, names and reasons; never a prompt, an answer or a credential. Calls that have just had the same
fate share one event, which says how many they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchling.core.cost import Cost
from batchling.core.estimate import Size
from batchling.core.model import Target

_WORTH_SAYING = 5.0
"""Seconds: shorter delays are the normal noise of a network."""


@dataclass(frozen=True, slots=True)
class Queued:
    """So many requests were accepted and wait in a window. `again`: they were counted before, and their batch ended
    without running them.

    `limit` is how long their callers wait at most, in seconds; None if no limit is visible. `has_short_cache_mark`:
    they mark part of their prompt to be cached for no more than five minutes.
    """

    target: Target
    again: bool = False
    limit: float | None = None
    has_short_cache_mark: bool = False
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Hit:
    """So many requests were found in the cache: their batch is running or has already ended. `again`: they were counted
    before."""

    target: Target
    batch: str
    again: bool = False
    calls: int = 1


OUTSIDE = "the task or thread started outside the scope"
"""The reason for a `Bypassed` call that belongs to no scope, made while a scope was open."""


LOCAL = "a local server (if it leads to a provider, name it in gateways=)"
"""The reason for a `Bypassed` call to this machine or network, which does not necessarily cost anything."""


@dataclass(frozen=True, slots=True)
class Bypassed:
    """So many calls inside the scope went real time, at full price. `target` is set if they had been queued before."""

    host: str
    path: str
    reason: str
    target: Target | None = None
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process was started inside the scope but does not inherit it. `method` is multiprocessing's, such as
    "spawn"."""

    method: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A caller gave up before its request was submitted."""

    target: Target


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A caller gave up after its request was submitted: the answer is kept for the next run."""

    target: Target


@dataclass(frozen=True, slots=True)
class Submitted:
    """A batch of `rows` requests became a job at the provider."""

    target: Target
    batch: str
    job: str
    rows: int


@dataclass(frozen=True, slots=True)
class Held:
    """A batch has to wait before it may be submitted: why, and whether the scope's own options asked for that."""

    target: Target
    why: str
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Throttled:
    """`calls` more calls have to wait before they are queued, since `limit` calls wait for an answer already
    (`max_waiting`); `waiting` calls wait for room now. `first`: the first such event of a scope."""

    calls: int
    waiting: int
    limit: int
    first: bool = False


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Dry run: `rows` requests of these sizes would have been submitted as one batch now."""

    target: Target
    rows: int
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True)
class Attached:
    """The scope waits for a batch that an earlier run or another process submitted."""

    target: Target
    batch: str
    rows: int


@dataclass(frozen=True, slots=True)
class Polled:
    """The provider returned the status of a job. `expires_at` is in Unix seconds, None if the provider does not report
    it."""

    batch: str
    word: str
    done: int
    total: int
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A job is over and its rows were read. `cost` covers all its rows; None if another run or process has already
    counted it."""

    batch: str
    answered: int
    failed: int
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """No caller in this scope waits for a batch any more: all were answered, or wait for another batch. For the display
    only; it is not sent to listeners."""

    batch: str


@dataclass(frozen=True, slots=True)
class Answered:
    """So many callers have their answers; `ok` is false if these are error responses."""

    target: Target
    ok: bool
    cached: bool
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Denied:
    """A request was not sent because it was over budget; its caller gets a 402."""

    target: Target
    why: str


@dataclass(frozen=True, slots=True)
class Delayed:
    """Something failed and will be tried again: what, why, and in how many seconds. `attempt` counts consecutive
    failures. `unreached`: the call did not reach the provider, because of its name, port or certificate, or a proxy.
    """

    batch: str
    what: str
    why: str
    seconds: float
    attempt: int = 1
    unreached: bool = False

    @property
    def is_noise(self) -> bool:
        """Whether this is not worth reporting to people: networks have short delays all the time. If the provider
        cannot be reached at all, that is reported at once, and again when the pauses grow."""
        return self.seconds < _WORTH_SAYING and not (self.unreached and self.attempt == 1)


@dataclass(frozen=True, slots=True)
class Died:
    """A batch ended without results: why, in the provider's words or ours."""

    batch: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cancelling:
    """The jobs of a scope are being cancelled: `done` of `total` are confirmed to be over."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class HeaderLeftOut:
    """At a gateway, `header` was different in each of `calls` calls, so it no longer distinguishes accounts."""

    provider: str
    host: str
    header: str
    calls: int


@dataclass(frozen=True, slots=True)
class PaidAgain:
    """`missed` of `asked` calls of a queue are not in the cache, although this program ran before and sent the same
    requests except for `fields`, which have different values now. Emitted before they are submitted."""

    target: Target
    missed: int
    asked: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Detached:
    """The scope was left early: `jobs` keep running at the provider, `unsent` requests were never submitted."""

    jobs: int
    unsent: int


Event = (
    Queued
    | Hit
    | Bypassed
    | Spawned
    | Withdrawn
    | GaveUp
    | Submitted
    | Held
    | Throttled
    | Rehearsed
    | Attached
    | Polled
    | Ended
    | Settled
    | Answered
    | Denied
    | Delayed
    | Died
    | Cancelling
    | HeaderLeftOut
    | PaidAgain
    | Detached
)
