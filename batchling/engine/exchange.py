"""Runs a provider's flow on the network, and retries its calls with growing pauses where that is allowed and useful.

A call that creates something is not repeated when its reply is lost: `ReplyLost` is raised.
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
from batchling.engine.patience import Patience
from batchling.engine.sender import Keep, NetworkFault, Sender
from batchling.providers.base import BrokenOff, Garbled, Refused, Verdict
from batchling.system import clock

T = TypeVar("T")

Wait = Callable[[float], Awaitable[None]]
"""Waits this many seconds."""


class ReplyLost(Exception):
    """A create call may have created something, but its reply was lost."""


class GivenUp(Exception):
    """We have retried for long enough. `response` is the provider's last answer, or None if there was none."""

    def __init__(self, why: str, response: Response | None) -> None:
        super().__init__(why)
        self.response = response


def _passing(response: Response) -> Verdict:
    return Verdict.LATER if retry.passing(response.status) else Verdict.NO


def _reads_results(call: Call) -> bool:
    return call.rows or call.unpack is not None


async def _nothing() -> None:
    """Do nothing: the default of `FlowContext.leaves`, for flows that create nothing."""


@dataclass(frozen=True, slots=True)
class FlowContext:
    """What a flow is run for: `batch` and `what` name it to people; it is given up at `until` (Unix seconds).

    `submits`: a fault that waiting will not fix ends the flow at once, as long as nothing was created. `leaves` is
    called each time before a create call is sent, `keep` takes the pieces of result files, and `judge` returns whether
    an error response is worth another attempt.
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
    """See the module docstring. Belongs to the engine's loop. `wait` waits for the pauses between attempts."""

    def __init__(
        self,
        sender: Sender,
        emit: Callable[[events.Event], None],
        patience: Patience,
        wait: Wait = asyncio.sleep,
    ) -> None:
        self._sender = sender
        self._emit = emit
        self.patience = patience
        self.wait = wait

    async def run(self, context: FlowContext, flow: Callable[[], Flow[T]]) -> T:
        """Run a flow and return its result. Raises what the flow raises, `GivenUp`, `ReplyLost`, and `NetworkFault` for
        a download that broke off, which has to be started again, and for a submission that cannot reach the provider.
        """
        attempt = renewals = 0
        created = False
        while True:
            steps = flow()
            used = context.access.site.headers
            call: Call | None = None
            broken: NetworkFault | None = None
            try:
                call = next(steps)
                while True:
                    try:
                        response = await self._send(context, call, ends=context.submits and not created)
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
                # A call answered 401 or 403 had no effect, so the flow can restart with the renewed credential.
                renewals += 1
                denied = refusal.response.status in (401, 403)
                if not denied or renewals > 2 or not await context.access.renew(used, self.patience.credential):
                    raise
            except Garbled as fault:
                if call is not None and not call.repeatable:
                    raise ReplyLost from fault
                attempt += 1
                if clock.time() > context.until:
                    raise GivenUp(f"cannot {context.what} ({fault})", None) from fault
                await self.pause(context.batch, context.what, str(fault), attempt)

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
        """Wait before attempt number `attempt + 1`, and emit an event with the reason."""
        seconds = retry.pause(attempt, self.patience.first_pause, random.random(), asked)
        self._emit(events.Delayed(batch, what, why, seconds, attempt, unreached))
        await self.wait(seconds)

    async def _send(self, context: FlowContext, call: Call, *, ends: bool) -> Response:
        """Make a call, in as many attempts as it takes, and return the response. With `ends`, a fault that waiting will
        not fix is raised."""
        until = context.until
        began = clock.time()
        attempt = 0
        while True:
            attempt += 1
            response: Response | None = None
            asked: float | None = None
            unreached = False
            way = context.access.way
            if call.pause:
                await asyncio.sleep(call.pause * self.patience.first_pause)
            if not call.repeatable:
                await context.leaves()
            try:
                target = context.access.site.target
                response = await self._sender.send(call, context.keep, way, target.base_url, target.account)
            except NetworkFault as fault:
                unreached = not fault.acted
                detour = unreached and context.access.turn_back(way)
                if fault.acted and not call.repeatable:
                    raise ReplyLost from fault
                if _reads_results(call) or (ends and fault.final and unreached and not detour):
                    raise
                why = str(fault)
            else:
                context.access.prove(way)
                context.access.note_clock(response, clock.time())
                if response.ok or context.judge(response) is not Verdict.LATER:
                    return response
                passing = retry.passing(response.status)
                if not call.repeatable and passing and not retry.refused_unseen(response.status):
                    raise ReplyLost
                why = f"HTTP {response.status}"
                asked = retry.retry_after(response, clock.time())
                reads = _reads_results(call)
                if response.status == 429:
                    until = max(until, context.until + self.patience.limits)
                elif (reads or not passing) and clock.time() > began + (
                    self.patience.result_file if reads else self.patience.ids
                ):
                    return response
            if clock.time() > until:
                raise GivenUp(f"cannot {context.what} ({why})", response)
            await self.pause(context.batch, context.what, why, attempt, asked, unreached=unreached)
