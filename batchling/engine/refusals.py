"""When refusals of calls about one job are meant: a single one may be momentary."""

from __future__ import annotations

from batchling.core.model import Response
from batchling.engine.batch import Batch
from batchling.engine.patience import REFUSALS, Patience
from batchling.providers.base import Refused
from batchling.system import clock


class Lapsed(Exception):
    """The provider has forgotten a job whose time is long over; its record is dead."""


class Spell:
    """A time that begins with the first question whether it is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def is_over(self) -> bool:
        """Whether so many seconds have passed since this was asked first."""
        now = clock.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since > self._seconds


class Refusals:
    """The refusals in a row of calls about one job."""

    def __init__(self, patience: Patience) -> None:
        self.count: int = 0
        self._patience = patience
        self._since = 0.0

    def are_enough(self, response: Response) -> bool:
        """Count one more: whether the provider means it."""
        now = clock.monotonic()
        self._since = self._since if self.count else now
        self.count += 1
        seconds = self._patience.pages if is_page(response) else self._patience.refusals
        return self.count >= REFUSALS and now - self._since > seconds


async def on_unknown_job(batch: Batch, refusal: Refused, refusals: Refusals, *, stopped: bool = False) -> None:
    """A call about a job is refused, which may be momentary. When the provider goes on to say that it does not know a
    job whose time is over, or that was `stopped`, it has forgotten it: raises `Lapsed`; the refusal for everything else
    that stays."""
    unknown = refusal.response.status in (404, 410)
    enough = refusals.are_enough(refusal.response) or (stopped and refusals.count >= REFUSALS)
    if not enough and not (unknown and stopped):
        return
    if unknown and (stopped or clock.time() > batch.deadline):
        await batch.die("the provider knows it no longer")
        raise Lapsed from refusal
    raise refusal


def is_page(response: Response) -> bool:
    """Whether a refusal is a web page, or leads to one (a proxy, a login, a guard against robots), and no API's
    answer."""
    return 300 <= response.status < 400 or response.body.lstrip()[:1] == b"<"
