"""When to believe a provider that refuses calls about a job: a single refusal may be momentary."""

from __future__ import annotations

from batchling.core.model import Response
from batchling.engine.batch import Batch
from batchling.engine.patience import REFUSALS, Patience
from batchling.providers.base import Refused
from batchling.system import clock


class Lapsed(Exception):
    """The provider no longer knows a job that expired long ago or was cancelled; its record is dead."""


class Spell:
    """A period of time that starts when `is_over` is first called."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def is_over(self) -> bool:
        """Whether the period is over."""
        now = clock.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since > self._seconds


class Refusals:
    """Counts consecutive refusals of calls about one job."""

    def __init__(self, patience: Patience) -> None:
        self.count: int = 0
        self._patience = patience
        self._since = 0.0

    def are_enough(self, response: Response) -> bool:
        """Count one more refusal. Returns whether to believe it: there were enough, for long enough."""
        now = clock.monotonic()
        self._since = self._since if self.count else now
        self.count += 1
        seconds = self._patience.pages if is_page(response) else self._patience.refusals
        return self.count >= REFUSALS and now - self._since > seconds


async def on_unknown_job(batch: Batch, refusal: Refused, refusals: Refusals, *, stopped: bool = False) -> None:
    """Handle a refused call about a job. Returns if the refusal may be momentary. Raises `Lapsed` if the provider does
    not know a job that was `stopped`, or keeps answering so for a job past its deadline; the record is dead then.
    Raises the refusal otherwise."""
    unknown = refusal.response.status in (404, 410)
    enough = refusals.are_enough(refusal.response) or (stopped and refusals.count >= REFUSALS)
    if not enough and not (unknown and stopped):
        return
    if unknown and (stopped or clock.time() > batch.deadline):
        await batch.die("the provider no longer knows its job")
        raise Lapsed from refusal
    raise refusal


def is_page(response: Response) -> bool:
    """Whether a refusal is a web page or a redirect (from a proxy, a login, a bot check), not an API's answer."""
    return 300 <= response.status < 400 or response.body.lstrip()[:1] == b"<"
