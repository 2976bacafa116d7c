"""Runs a provider's flow against the network: each call as often as it may and must be repeated, with growing pauses.

A call that creates something is sent once. When its reply is lost nobody repeats it here: `ReplyLost` says so.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from batchling.core import events, retry
from batchling.core.model import Call, Flow, Response
from batchling.engine.access import Access
from batchling.engine.sender import Keep, NetworkFault, Sender
from batchling.providers.base import BrokenOff, Garbled, Refused, Verdict
from batchling.system import clock

PATIENCE_WITH_LIMITS = 86_400.0
"""Seconds for which "too many requests" is waited out: it is a matter of time, and says nothing about a job."""

PATIENCE_FOR_IDS = 60.0
"""Seconds for which a provider may not know yet what it has just been given, and say so with a 4xx."""

PATIENCE_WITH_FILES = 15.0
"""Seconds for which a provider may have trouble with one file of results; whoever reads the results tries on."""

T = TypeVar("T")

Wait = Callable[[float], Awaitable[None]]
"""Waits so many seconds."""


class ReplyLost(Exception):
    """A create call may have acted, and its reply is gone."""


class GivenUp(Exception):
    """Patience ran out. `response` is the provider's last answer, or None when there was none."""

    def __init__(self, why: str, response: Response | None) -> None:
        super().__init__(why)
        self.response = response


def _passing(response: Response) -> Verdict:
    return Verdict.LATER if retry.passing(response.status) else Verdict.NO


def _reads_results(call: Call) -> bool:
    return call.rows or call.unpack is not None


async def _nothing() -> None:
    """What most flows do before they create something: nothing, since they create nothing."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What a flow is run for: `batch` and `what` name it to people; at `until` (Unix seconds) patience ends.

    `submits` says that a fault which waiting does not mend ends it at once, as long as nothing was created. `leaves` is
    called each time before a create call leaves, `keep` takes the pieces of result files, and `judge` says of an error
    answer whether another attempt may mend it.
    """

    batch: str
    what: str
    until: float
    access: Access
    submits: bool = False
    leaves: Callable[[], Awaitable[None]] = _nothing
    keep: Keep | None = None
    judge: Callable[[Response], Verdict] = _passing


class Exchange:
    """See the module. Belongs to the engine's loop. `first_pause` is the pause after a first failure, in seconds,
    and `wait` how it is waited."""

    def __init__(
        self,
        sender: Sender,
        emit: Callable[[events.Event], None],
        first_pause: float,
        wait: Wait = asyncio.sleep,
    ) -> None:
        self._sender = sender
        self._emit = emit
        self._first_pause = first_pause
        self._wait = wait

    async def run(self, errand: Errand, flow: Callable[[], Flow[T]]) -> T:
        """What the flow returns. Raises what it raises, `GivenUp`, `ReplyLost`, and `NetworkFault` for a download that
        broke off, which has to begin anew, and for a submission that cannot arrive."""
        attempt = renewals = 0
        created = False
        while True:
            steps = flow()
            used = errand.access.site.headers
            call: Call | None = None
            broken: NetworkFault | None = None
            try:
                call = next(steps)
                while True:
                    try:
                        response = await self._send(errand, call, ends=errand.submits and not created)
                    except NetworkFault as fault:
                        if not _reads_results(call):
                            raise
                        broken = fault
                        call = steps.throw(BrokenOff(str(fault)))
                        continue
                    created = created or (response.ok and not call.repeatable)
                    call = steps.send(response)
            except StopIteration as end:
                value: T = end.value
                return value
            except BrokenOff:
                assert broken is not None
                raise broken from None
            except Refused as refusal:
                # Whoever is turned away did nothing, so that the flow may begin anew, as whoever we are by then.
                renewals += 1
                denied = refusal.response.status in (401, 403)
                if not denied or renewals > 2 or not await errand.access.renew(used):
                    raise
            except Garbled as fault:
                if call is not None and not call.repeatable:
                    raise ReplyLost from fault
                attempt += 1
                if clock.time() > errand.until:
                    raise GivenUp(f"cannot {errand.what} ({fault})", None) from fault
                await self.pause(errand.batch, errand.what, str(fault), attempt)

    async def pause(
        self,
        batch: str,
        what: str,
        why: str,
        attempt: int,
        asked: float | None = None,
        *,
        unreached: bool = False,
    ) -> None:
        """Wait before attempt number `attempt + 1`, and say why."""
        seconds = retry.pause(attempt, self._first_pause, random.random(), asked)
        self._emit(events.Delayed(batch, what, why, seconds, attempt, unreached))
        await self._wait(seconds)

    async def _send(self, errand: Errand, call: Call, *, ends: bool) -> Response:
        """The answer to a call, after as many attempts as it takes. With `ends`, a fault which waiting does not mend is
        raised."""
        until = errand.until
        began = clock.time()
        attempt = 0
        while True:
            attempt += 1
            response: Response | None = None
            asked: float | None = None
            unreached = False
            way = errand.access.way
            if call.pause:
                await asyncio.sleep(call.pause * self._first_pause)
            if not call.repeatable:
                await errand.leaves()
            try:
                target = errand.access.site.target
                response = await self._sender.send(call, errand.keep, way, target.base_url, target.account)
            except NetworkFault as fault:
                unreached = not fault.acted
                detour = unreached and errand.access.turn_back(way)
                if fault.acted and not call.repeatable:
                    raise ReplyLost from fault
                if _reads_results(call) or (ends and fault.final and unreached and not detour):
                    raise
                why = str(fault)
            else:
                errand.access.prove(way)
                errand.access.hear_clock(response, clock.time())
                if response.ok or errand.judge(response) is not Verdict.LATER:
                    return response
                passing = retry.passing(response.status)
                if not call.repeatable and passing and not retry.refused_unseen(response.status):
                    raise ReplyLost
                why = f"HTTP {response.status}"
                asked = retry.retry_after(response, clock.time())
                reads = _reads_results(call)
                if response.status == 429:
                    until = max(until, errand.until + PATIENCE_WITH_LIMITS)
                elif (reads or not passing) and clock.time() > began + (
                    PATIENCE_WITH_FILES if reads else PATIENCE_FOR_IDS
                ):
                    return response
            if clock.time() > until:
                raise GivenUp(f"cannot {errand.what} ({why})", response)
            await self.pause(errand.batch, errand.what, why, attempt, asked, unreached=unreached)
