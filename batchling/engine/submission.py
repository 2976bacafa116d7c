"""Creates the job of a batch, and finds the job if the reply to the create call was lost.

No create call is sent before a record in the store says so. If its reply is lost, the job is looked for, and the call
is never repeated blindly. Belongs to the engine's loop.
"""

from __future__ import annotations

from batchling.core.lifecycle import Phase
from batchling.core.model import Job, Response
from batchling.engine import blame
from batchling.engine.batch import Batch
from batchling.engine.blame import NoBatches
from batchling.engine.exchange import FlowContext, GivenUp, ReplyLost
from batchling.engine.refusals import Refusals, Spell, is_page
from batchling.engine.sender import NetworkFault
from batchling.providers.base import Refused, Unlisted, Unsettled, Verdict
from batchling.providers.reading import read_fault
from batchling.system import clock

_UNKNOWN_CALL = frozenset({404, 405, 501})
"""Statuses with which a gateway answers a call that it does not know."""


async def submit(batch: Batch) -> None:
    """Create the job of a PLANNED batch from its items; the record is RUNNING or DEAD then.

    Raises `NotRun` if the provider does not accept the batch, and `Refused` or `GivenUp` if all rows get the same
    answer.
    """
    patience = batch.tools.exchange.patience

    async def leaves() -> None:
        await batch.keep(Phase.PLANNED, left_at=clock.time())

    def judge(response: Response) -> Verdict:
        verdict = batch.provider.judge(response.status, read_fault(response))
        # A web page comes from something in between, which let nothing through.
        between = response.status >= 400 and is_page(response)
        return Verdict.LATER if verdict is Verdict.NO and between else verdict

    until = clock.time() + patience.before_job
    flow = FlowContext(batch.id, "submit", until, batch.access, submits=True, leaves=leaves, judge=judge)
    try:
        job = await batch.tools.exchange.run(flow, lambda: batch.provider.submit(batch.site, batch.items, batch.id))
    except ReplyLost:
        # The call may have taken long, and the provider may still be working on it.
        await settle(batch, lost_at=clock.time())
    except Refused as no:
        await batch.die(f"not submitted: {no}")
        response = no.response
        verdict = judge(response)
        unknown = response.status in _UNKNOWN_CALL or 300 <= response.status < 400
        if verdict is Verdict.ABSENT or (verdict is Verdict.NO and unknown and not batch.site.official):
            raise blame.absent(batch.site) from no
        blame.refused(batch, response, verdict, str(no))
        raise
    except GivenUp as end:
        await batch.die(f"not submitted: {end}")
        raise
    except NetworkFault as wall:
        # Nothing was created, and waiting will not help: let the caller's own client fail in the same way.
        await batch.die(f"not submitted: {wall}")
        raise NoBatches(str(wall), passing=True) from wall
    else:
        await batch.run_on(job)


async def settle(batch: Batch, lost_at: float = 0.0) -> None:
    """Find out whether the job of a PLANNED record exists: adopt it, or free the keys. `lost_at` is when the reply to
    its create call was lost, in Unix seconds.

    If the record does not say that a create call was sent, its job is still looked for once: the disk may have been
    full when that should have been written. Raises `Refused` and `GivenUp`.
    """
    record, exchange = batch.record, batch.tools.exchange
    since = min(record.left_at or record.created_at, clock.time())
    until = max(since, lost_at) + (exchange.patience.listing if record.left_at is not None else 0.0)
    what = "find out whether its job exists"
    attempt = 0
    refusals = Refusals(exchange.patience)
    mute = Spell(exchange.patience.results)
    while True:
        attempt += 1
        try:
            job = await _find(batch, what, since)
        except (Unsettled, Refused) as doubt:
            if isinstance(doubt, Refused) and refusals.are_enough(doubt.response):
                raise
            if isinstance(doubt, Unlisted) and mute.is_over():
                why = f"it is unknown whether its job exists and was billed ({doubt})"
                raise GivenUp(f"{why}; nothing is submitted again: run again later", None) from doubt
            if clock.time() > batch.deadline:
                await batch.die(f"could not find out whether its job exists: {doubt}")
                return
            await exchange.pause(batch.id, what, str(doubt), attempt)
            continue
        if job is not None:
            await batch.run_on(job)
            return
        if clock.time() >= until:
            await batch.die("never submitted: the provider lists no such job")
            return
        await exchange.pause(batch.id, what, "the provider does not list it (yet)", attempt)


async def _find(batch: Batch, what: str, since: float) -> Job | None:
    disk = batch.tools.disk
    taken = await disk(disk.store.jobs)

    async def look() -> Job | None:
        """Call the provider's `find`, with `since` by the provider's clock, as far as it is known."""
        ahead = batch.access.ahead
        return await batch.tools.exchange.run(
            batch.flow(what),
            lambda: batch.provider.find(batch.site, batch.id, batch.record.members, since + ahead, taken),
        )

    ahead = batch.access.ahead
    job = await look()
    if job is None and abs(batch.access.ahead - ahead) > 1.0:  # the response has just shown that our clock is wrong
        job = await look()
    return job
