"""Things that happened: the closed union that everything a person sees is folded from.

Events carry counts, names and reasons; never a prompt, an answer or a credential.
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
    """A request was accepted and waits for its window; `again` when it was counted before, and its batch ended without
    it.

    `limit` are the seconds for which its caller waits at most, and None where no limit can be seen.
    `has_short_cache_mark` says that it marks a part of its prompt to be cached for no more than five minutes.
    """

    target: Target
    again: bool = False
    limit: float | None = None
    has_short_cache_mark: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """A request was found in the cache: its batch runs or has ended already. `again` when it was counted before."""

    target: Target
    batch: str
    again: bool = False


OUTSIDE = "the task or thread started outside the scope"
"""The reason of a `Bypassed` call that belongs to no scope, while one was open."""


LOCAL = "a local server (if it leads to a provider, name it in gateways=)"
"""The reason of a `Bypassed` call to this machine or network, which need not cost anything."""


@dataclass(frozen=True, slots=True)
class Bypassed:
    """A call inside the scope went real time, at full price. `target` is that of one which had been queued before."""

    host: str
    path: str
    reason: str
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process was started inside the scope that has none of it. `method` is multiprocessing's, "spawn" for one."""

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
    """A batch has to wait before it may be submitted: why, and whether the scope's own options wanted that."""

    target: Target
    why: str
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Dry run: `rows` requests would have left as one batch now, of these sizes."""

    target: Target
    rows: int
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True)
class Attached:
    """A batch that an earlier run or another process submitted is waited for."""

    target: Target
    batch: str
    rows: int


@dataclass(frozen=True, slots=True)
class Polled:
    """The provider was asked how a job stands. `expires_at` is Unix seconds, None when it does not say."""

    batch: str
    word: str
    done: int
    total: int
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A job is over and its rows were read. `cost` is that of all its rows, and None where another run or process
    has counted it before."""

    batch: str
    answered: int
    failed: int
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """Nobody in this scope waits for a batch any more: all were answered, or wait for another. The display needs it;
    listeners are not told."""

    batch: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One caller has its answer; `ok` is false when it is an error response."""

    target: Target
    ok: bool
    cached: bool


@dataclass(frozen=True, slots=True)
class Denied:
    """A request was not sent because it was over budget, and its caller gets 402."""

    target: Target
    why: str


@dataclass(frozen=True, slots=True)
class Delayed:
    """Something did not work and is tried again: what, why, and in how many seconds. `attempt` counts the failures in a
    row; `unreached` says that the call did not get to the provider: its name, port or certificate is wrong, or a proxy.
    """

    batch: str
    what: str
    why: str
    seconds: float
    attempt: int = 1
    unreached: bool = False

    @property
    def is_noise(self) -> bool:
        """Whether it is nothing to tell people: networks have short delays all the time. A provider that is not reached
        at all is told at once, and then when the pauses grow."""
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
    """At a gateway, `header` was different in each of `calls` calls, so it does not tell accounts apart any more."""

    provider: str
    host: str
    header: str
    calls: int


@dataclass(frozen=True, slots=True)
class PaidAgain:
    """`missed` of `asked` calls of a queue are not in the cache, although this program ran before and asked the same
    but for `fields`, which have other values now. Told before they are submitted."""

    target: Target
    missed: int
    asked: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Detached:
    """The scope was left early: `jobs` go on at the provider, `unsent` requests were never submitted."""

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
