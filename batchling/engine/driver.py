"""The life of one batch: submit, poll until it is over, collect its rows. One straight coroutine.

Two laws hold here: only the provider's word moves a record, a network failure moves nothing; and no create call
leaves without a record in the store that says so. A create whose reply was lost is looked for, never repeated blindly.
Everything lives on the engine's loop; the store is called in the disk thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from batchling.cache import Store
from batchling.core import events, retry
from batchling.core.cost import Meter, NoMeter
from batchling.core.isolation import named, suspects, unnamed
from batchling.core.lifecycle import Phase, Progress, Record
from batchling.core.model import Fault, Item, Job, Response, Row, Site, State, Status, Target
from batchling.core.text import MOST_SHOWN, printable
from batchling.engine.access import Access
from batchling.engine.exchange import Errand, Exchange, GivenUp, ReplyLost, Wait
from batchling.engine.sender import NetworkFault, Sender
from batchling.errors import CacheError
from batchling.providers.base import Provider, Refused, Tidies, Unlisted, Unread, Unsettled, Verdict, read_fault
from batchling.providers.results import Rows, Sorted, sort_rows
from batchling.system import clock

_log = logging.getLogger(__name__)

PATIENCE_BEFORE_JOB = 900.0
"""Seconds for which a submission is tried while the provider cannot be reached or has trouble of its own."""
PATIENCE_FOR_FILES = 60.0
"""Seconds for which a finished job may be without files (seen at OpenAI)."""
PATIENCE_WITH_REFUSALS = 300.0
PATIENCE_WITH_PAGES = 1_800.0
REFUSALS = 3
"""A job that exists is worth several tries: for so many seconds, and so often at least, a refusal of one of our calls
is taken for a moment's, since gateways, key checks and stores refuse single calls (freellmapi#1298); a page of somebody
in between, which is no JSON, for longer."""
PATIENCE_FOR_LISTING = 120.0
"""Seconds for which a job may be missing from the provider's list and exist all the same: after its create call left,
or, where its reply was waited for in vain, after that."""
_UNKNOWN_CALL = frozenset({404, 405, 501})
"""What a gateway answers to a call that it does not have."""
GRACE = 93_600.0
"""Seconds after its expiry for which a job is still asked for: OpenAI expired jobs up to 24 hours late."""
LONGEST_JOB = 2_592_000.0
"""Seconds after which a job is given up whatever expiry it states: thirty days are the longest that is known."""
PATIENCE_FOR_ROWS = 15.0
"""Seconds for which result files with fewer rows than the provider counted have to stay the same, download after
download: a connection may have ended early, or a store not show all rows yet."""
PATIENCE_WITH_RESULTS = 600.0
"""Seconds after which results are taken as they are although they change all the time, one of several files with
answers cannot be read, or nothing in them can; and after which a list that tells nothing is given up."""
PATIENCE_WITH_TIDYING = 3.0
"""Seconds that a scope may stay open for what nobody waits for."""
AGAIN_AFTER_TROUBLE = 2
AGAIN_UNNAMED = 1
"""How often the same batch is submitted again after its job failed as a whole: by the provider's own trouble, or
without naming a row. Nothing ran, and a failed job bills nothing (docs of OpenAI, Google and Mistral)."""
_BOUND_TO_US = frozenset({405, 406, 410, 411, 413, 414, 415, 416, 421})
"""What a status says of the address or the form of one of our own calls, and not of the caller's request."""
_OF_A_ROW = frozenset({400, 413, 422})
"""With what a provider refuses a whole batch for one of its rows; 401, 402, 403 and 429 concern the account."""
_FAILED = "batchling_failed"
_MOST_TEXT = 20_000
"""Characters of a refusal that are looked at for the row that is to blame."""

T = TypeVar("T")
Wanted = Callable[[], Iterable[str]]
Metering = Callable[[Provider, Target], Meter]
"""A meter for the answers of one batch."""


def no_meter(provider: Provider, target: Target) -> Meter:
    """For whoever does not care what it costs."""
    return NoMeter()


class Lapsed(Exception):
    """The provider has forgotten a job whose time is long over; its record is dead."""


class NotRun(Exception):
    """No row of a batch ran and none was billed; its record is dead. What is to be done is up to who launched it."""


class NoBatches(NotRun):
    """No batch can carry these requests: the model has no batch form; or, where `place` is true, the account has none
    of a batch API's calls here; or, where `passing` is true, these requests are too few, or we do not reach the
    provider, which says nothing about others."""

    def __init__(self, why: str, *, place: bool = False, passing: bool = False) -> None:
        super().__init__(why)
        self.place = place
        self.passing = passing


class NoRoom(NotRun):
    """The provider takes nothing of this size now. `verdict` is FULL or LARGE."""

    def __init__(self, verdict: Verdict, why: str) -> None:
        super().__init__(why)
        self.verdict = verdict


@dataclass(eq=False)
class Spoiled(NotRun):
    """The provider refused the batch, or failed its job, for what may be the fault of one row, or its own.

    `members` are its keys in the order of their rows; `response` is the answer of a row that suffers it alone, and
    `answers` has those of rows that the provider has named, None for one that is to go real time; `suspects` as in
    `isolation`. `repeats` says how often the same batch is worth another try, `by_job` whether its job was there.
    """

    why: str
    provider: Provider
    members: tuple[str, ...]
    response: Response
    answers: Mapping[str, Response | None]
    suspects: Sequence[frozenset[str]]
    repeats: int
    by_job: bool

    def __str__(self) -> str:
        return self.why

    def answer(self, key: str) -> Response:
        """The answer of a row, without the keys of others."""
        response = self.answers.get(key) or self.response
        text, others = response.body.decode(errors="replace"), frozenset(self.members) - {key}
        if unnamed(text, others) == text:
            return response
        fault = read_fault(response)
        return self.provider.failure(response.status, replace(fault, message=unnamed(fault.message, others)))


@dataclass(slots=True)
class Batch:
    """What the driver needs to know of a batch: who serves it, as whom, its record as it stands, and the items if
    they are ours to submit."""

    access: Access
    record: Record
    items: Sequence[Item] = ()
    created: Callable[[], None] = lambda: None
    """Told once its job exists."""
    cancelled: bool = False
    """Whether the provider has agreed to stop its job."""
    expires_at: float = 0.0
    """When the provider gives the job up, in Unix seconds, as far as it has said so."""

    @property
    def provider(self) -> Provider:
        """Who serves it."""
        return self.access.provider

    @property
    def site(self) -> Site:
        """As whom its next call is made."""
        return self.access.site


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the members of a batch. A row without a response never ran; a member without a row got none.

    `innocent` says that nothing was ever sent, so that no row is to blame; `final` that no row is worth another try,
    whatever its status; `doubtful` that a job which nobody can find may have run them, and been billed.
    """

    rows: Rows = field(default_factory=dict)
    innocent: bool = False
    final: bool = False
    doubtful: bool = False


class Driver:
    """Carries batches from PLANNED to ENDED or DEAD. The caller holds the drive lock of each. `wait` is how it waits;
    what that raises leaves the batch where it stands."""

    def __init__(
        self,
        store: Store,
        disk: Executor,
        sender: Sender,
        emit: Callable[[events.Event], None],
        poll_interval: float,
        wait: Wait = asyncio.sleep,
        meter: Metering = no_meter,
    ) -> None:
        self._store = store
        self._disk = disk
        self._exchange = Exchange(sender, emit, min(1.0, poll_interval), wait)
        self._emit = emit
        self._poll_interval = poll_interval
        self._strange: set[str] = set()
        self._wait = wait
        self._meter = meter

    async def drive(self, batch: Batch, wanted: Wanted) -> Outcome:
        """Bring a batch to its end: the rows of those members that `wanted()` names then.

        Raises `NotRun` when the provider takes no such batch, or has failed its job; its record is dead then.
        """
        try:
            if batch.record.phase is Phase.PLANNED:
                await (self._submit(batch) if batch.items else self._settle(batch))
            if batch.record.phase is Phase.DEAD:
                # A create call that left may have acted, whatever the list says: it uses up a try.
                left = batch.record.left_at is not None
                return Outcome(innocent=not left, doubtful=left)
            status = await self._watch(batch)
            if status.state is State.FAILED and not status.outputs:
                await self._fail(batch, status)
            return await self._collect(batch, status, wanted)
        except Lapsed:
            return Outcome()
        except Refused as refusal:
            return self._all(batch, refusal.response)
        except GivenUp as end:
            return self._all(batch, end.response or batch.provider.failure(424, Fault(f"batchling: {end}", _FAILED)))

    async def cancel(self, batch: Batch) -> None:
        """Have the job of a batch stopped, and wait until the provider says that it is over. What it has finished is
        stored. Raises `Refused` when the provider does not let us."""
        if batch.record.phase is Phase.PLANNED:
            await self._settle(batch)
        if (job := batch.record.job) is None or batch.record.phase is not Phase.RUNNING:
            return
        try:
            await self._exchange.run(self._errand(batch, "cancel"), lambda: batch.provider.cancel(batch.site, job))
        except Refused as refusal:
            if refusal.response.status in (401, 403, 405):
                raise
            # Too late, most likely: the job will say.
        else:
            batch.cancelled = True
        with suppress(NotRun):  # it is over, too
            await self.drive(batch, tuple)

    async def tidy(self, batch: Batch) -> None:
        """Have the provider delete what the job of an ended batch read, if its results are kept where all look for them
        who may ask. One try, of seconds, that harms nothing when it fails."""
        provider, job = batch.provider, batch.record.job
        if batch.record.phase is not Phase.ENDED or job is None or not isinstance(provider, Tidies):
            return

        def judge(response: Response) -> Verdict:
            _log.debug("batch %s: its input stays at the provider (HTTP %s)", batch.record.id, response.status)
            return Verdict.NO

        errand = Errand(batch.record.id, "delete its input", 0.0, batch.access, judge=judge)
        try:
            async with asyncio.timeout(PATIENCE_WITH_TIDYING):
                if await self._on_disk(self._store.keeps, batch.record.id):
                    await self._exchange.run(errand, lambda: provider.tidy(batch.site, job))
        except Exception as fault:  # a network's, a disk's, or that of a provider of somebody else's
            _log.debug("batch %s: its input stays at the provider (%s)", batch.record.id, type(fault).__name__)

    async def _submit(self, batch: Batch) -> None:
        async def leaves() -> None:
            await self._keep(batch, Phase.PLANNED, left_at=clock.time())

        def judge(response: Response) -> Verdict:
            verdict = batch.provider.judge(response.status, read_fault(response))
            # The page of somebody in between, who let nothing through.
            between = response.status >= 400 and _is_page(response)
            return Verdict.LATER if verdict is Verdict.NO and between else verdict

        until = clock.time() + PATIENCE_BEFORE_JOB
        errand = Errand(batch.record.id, "submit", until, batch.access, submits=True, leaves=leaves, judge=judge)
        try:
            job = await self._exchange.run(
                errand, lambda: batch.provider.submit(batch.site, batch.items, batch.record.id)
            )
        except ReplyLost:
            # The call may have taken long, and the provider be at it still.
            await self._settle(batch, lost_at=clock.time())
        except Refused as no:
            response = no.response
            await self._die(batch, f"not submitted: {no}")
            verdict = judge(response)
            unknown = response.status in _UNKNOWN_CALL or 300 <= response.status < 400
            if verdict is Verdict.ABSENT or (verdict is Verdict.NO and unknown and not batch.site.official):
                raise _absent(batch.site) from no
            fault = read_fault(response)
            why = f"refused with HTTP {response.status}"
            text = response.body.decode(errors="replace")
            self._blame(batch, why, verdict, text, response, AGAIN_UNNAMED if verdict is Verdict.LATER else 0)
            _turn_away(batch.site, verdict, fault.code or str(no))
            raise
        except GivenUp as end:
            await self._die(batch, f"not submitted: {end}")
            raise
        except NetworkFault as wall:
            # Nothing was created, and waiting changes nothing: the caller's own client is to meet the same.
            await self._die(batch, f"not submitted: {wall}")
            raise NoBatches(str(wall), passing=True) from wall
        else:
            await self._run_on(batch, job)

    async def _settle(self, batch: Batch, lost_at: float = 0.0) -> None:
        """Find out whether the job of a PLANNED record exists: adopt it, or free the keys.

        A record that does not say that its create call left is looked for all the same, once: the disk may have been
        full when that should have been written.
        """
        record = batch.record
        since = min(record.left_at or record.created_at, clock.time())
        until = max(since, lost_at) + (PATIENCE_FOR_LISTING if record.left_at is not None else 0.0)
        what = "settle its lost submission"
        attempt = 0
        refusals = _Refusals()
        mute = _Patience(PATIENCE_WITH_RESULTS)
        while True:
            attempt += 1
            try:
                job = await self._find(batch, what, since)
            except (Unsettled, Refused) as doubt:
                if isinstance(doubt, Refused) and refusals.are_enough(doubt.response):
                    raise
                if isinstance(doubt, Unlisted) and mute.over():
                    why = f"whether its job exists, and is paid for, cannot be told ({doubt})"
                    raise GivenUp(f"{why}; nothing is bought again: run again later", None) from doubt
                if clock.time() > _deadline(batch):
                    await self._die(batch, f"never settled: {doubt}")
                    return
                await self._exchange.pause(record.id, what, str(doubt), attempt)
                continue
            if job is not None:
                await self._run_on(batch, job)
                return
            if clock.time() >= until:
                await self._die(batch, "never submitted: the provider lists no such job")
                return
            await self._exchange.pause(record.id, what, "the provider does not list it (yet)", attempt)

    async def _find(self, batch: Batch, what: str, since: float) -> Job | None:
        record = batch.record
        taken = await self._on_disk(self._store.jobs)

        async def look() -> Job | None:
            """By the provider's clock, as far as it has shown it."""
            ahead = batch.access.ahead
            return await self._exchange.run(
                self._errand(batch, what),
                lambda: batch.provider.find(batch.site, record.id, record.members, since + ahead, taken),
            )

        ahead = batch.access.ahead
        job = await look()
        if job is None and abs(batch.access.ahead - ahead) > 1.0:  # the list itself has shown that our clock is wrong
            job = await look()
        return job

    async def _watch(self, batch: Batch) -> Status:
        """Poll until the job is over, its files included."""
        record = batch.record
        job = record.job
        assert job is not None  # RUNNING and ENDED records have one
        refusals = _Refusals()
        bare = _Patience(PATIENCE_FOR_FILES)
        interval = retry.poll_interval(self._poll_interval, batch.provider.limits.poll)
        pause = interval if batch.items else 0.0
        while True:
            await self._wait(pause)
            pause = interval
            try:
                status = await self._exchange.run(
                    self._errand(batch, "poll"), lambda: batch.provider.poll(batch.site, job)
                )
            except Refused as refusal:
                await self._suffer(batch, refusal, refusals, stopped=batch.cancelled)
                await self._exchange.pause(record.id, "poll", str(refusal), refusals.count)
                continue
            refusals = _Refusals()
            rows = len(record.members)
            status = replace(status, done=min(status.done, rows), total=min(status.total, rows))
            batch.expires_at = status.expires_at or batch.expires_at
            word = printable(status.word, MOST_SHOWN)
            told = Progress(word, status.done, status.total, clock.time(), batch.expires_at or None)
            self._emit(events.Polled(record.id, told.word, told.done, told.total, told.expires_at))
            await self._on_disk(self._store.note, record.id, told)
            if not status.known:
                over = 0 < status.total <= status.done and bool(status.outputs)
                if status.word not in self._strange:
                    self._strange.add(status.word)
                    taken = "the end, since all its rows are counted" if over else "running"
                    _log.warning("batchling: batch %s: unknown status %r is taken for %s", record.id, word[:40], taken)
                if over:
                    return replace(status, state=State.ENDED)
            pause = max(pause, min(status.retry_after or 0.0, retry.LONGEST_ASKED))
            if status.state is State.RUNNING:
                if clock.time() > _deadline(batch):
                    raise GivenUp(f"job {job.id[:80]} is still {status.word[:40]} long after its expiry", None)
                continue
            ran = status.done > 0 or status.complete
            if status.state is State.ENDED and ran and not status.outputs and not bare.over():
                continue
            return status

    async def _suffer(self, batch: Batch, refusal: Refused, refusals: _Refusals, *, stopped: bool = False) -> None:
        """A call about a job is refused, which may be a moment's. When the provider goes on to say that it does not
        know a job whose time is over, or that was `stopped`, it has forgotten it: raises `Lapsed`; the refusal for
        everything else that stays."""
        unknown = refusal.response.status in (404, 410)
        enough = refusals.are_enough(refusal.response) or (stopped and refusals.count >= REFUSALS)
        if not enough and not (unknown and stopped):
            return
        if unknown and (stopped or clock.time() > _deadline(batch)):
            await self._die(batch, "the provider knows it no longer")
            raise Lapsed from refusal
        raise refusal

    async def _collect(self, batch: Batch, status: Status, wanted: Wanted) -> Outcome:
        members = frozenset(batch.record.members)
        # Whoever moves the record to its end has counted it; what comes later is not counted again.
        counts = batch.record.phase is Phase.RUNNING
        try:
            meter, found, unread = await self._read_results(batch, status, wanted, counts=counts)
        except Refused:
            if status.state is State.FAILED and not status.done:
                await self._fail(batch, status)
            raise
        if status.state is State.FAILED and not found.lines:
            await self._fail(batch, status)
        cost = await self._on_disk(meter.cost)
        missing = members - found.seen
        if unread is not None and unread.vital and missing:
            # They are paid for, and may be readable another day: the record stands as it is.
            why = f"a part of its results cannot be read ({unread}); the batch is kept: run again"
            lost = batch.provider.failure(424, Fault(f"batchling: {why}", _FAILED))
            return Outcome({**{key: Row(key, lost) for key in missing}, **found.rows}, final=True)
        if counts:
            freed = members - found.good
            await self._keep(batch, Phase.ENDED, freed=freed, expires_at=status.expires_at, cost=cost)
        self._emit(events.Ended(batch.record.id, len(found.good), len(members) - len(found.good), cost))
        rows = found.rows
        if reason := _why_missing(status, unread):
            rows = {key: Row(key, None, reason) for key in missing} | rows
        answers = _answers(batch, status.errors) if status.state is State.FAILED else {}
        return Outcome(rows | {key: Row(key, answer) for key, answer in answers.items() if key in missing})

    async def _read_results(
        self, batch: Batch, status: Status, wanted: Wanted, *, counts: bool
    ) -> tuple[Meter, Sorted, Unread | None]:
        """Download the results until they are whole, or have been the same for long enough. Raises `GivenUp` when
        nothing in them is ours, so that nothing is bought again."""
        members = frozenset(batch.record.members)
        refusals = _Refusals()
        began = clock.monotonic()
        same: tuple[object, float] | None = None
        attempt = 0
        while True:
            try:
                unread = await self._download(batch, status)
                meter = (self._meter if counts else no_meter)(batch.provider, batch.record.target)
                rows = self._store.rows(batch.record.id)
                found = await self._on_disk(sort_rows, batch.provider, rows, members, frozenset(wanted()), meter.add)
                strange = not found.lines and bool(found.others or found.unreadable)
                if (found.lines >= status.done and not strange and unread is None) or not status.outputs:
                    return meter, found, unread
                now = clock.monotonic()
                look = (found.seen, found.others, found.unreadable)
                if same is None or same[0] != look:
                    same = (look, now)
                    settled = False
                else:
                    settled = now - same[1] > PATIENCE_FOR_ROWS
                late = now - began > PATIENCE_WITH_RESULTS
                vital = unread is not None and unread.vital
                if strange and (late or (settled and found.others and not found.unreadable)):
                    raise GivenUp(_unreadable(found), None)
                if not strange and (late or (settled and not vital)):
                    return meter, found, unread
                why = (
                    str(unread)
                    if unread is not None
                    else f"{found.lines} rows came where the provider counts {status.done}"
                )
            except (NetworkFault, CacheError) as fault:
                why = str(fault)
            except Refused as refusal:
                why = str(refusal)
                if not retry.passing(refusal.response.status):
                    await self._suffer(batch, refusal, refusals)
            attempt += 1
            if clock.time() > _deadline(batch):
                raise GivenUp(f"its results cannot be read ({why})", None)
            await self._exchange.pause(batch.record.id, "download", why, attempt)

    async def _download(self, batch: Batch, status: Status) -> Unread | None:
        """Keep what can be read of the results; what could not, if it was a part of them only."""
        job = batch.record.job
        assert job is not None
        kept = 0

        with self._store.sink(batch.record.id) as sink:

            async def keep(piece: bytes) -> None:
                nonlocal kept
                kept += not piece.isspace()
                await self._on_disk(sink.write, piece)

            unread: Unread | None = None
            try:
                errand = replace(self._errand(batch, "download"), keep=keep)
                await self._exchange.run(errand, lambda: batch.provider.fetch(batch.site, job, status))
            except Unread as some:
                unread = some
            except Refused as refusal:
                if not kept:
                    raise
                unread = Unread(refusal.response)
            await self._on_disk(sink.commit)
        return unread

    async def _fail(self, batch: Batch, status: Status) -> NoReturn:
        """The provider refused the job after its creation, and no row ran."""
        nothing = Fault(f"the job ended as {status.word[:40] or 'failed'}, and no row ran", status=500)
        faults = status.errors or (nothing,)
        first = faults[0]
        what = first.code or status.word[:40]
        await self._die(batch, f"failed: {what}")
        code = first.status or 400
        verdict = batch.provider.judge(code, first)
        response = batch.provider.failure(code, first)
        repeats = AGAIN_AFTER_TROUBLE if verdict is Verdict.LATER else AGAIN_UNNAMED
        text = "\n".join(fault.message for fault in faults)
        answers = _answers(batch, faults) if verdict is Verdict.NO else {}
        self._blame(batch, f"failed ({what})", verdict, text, response, repeats, answers)
        _turn_away(batch.site, verdict, first.code or "")
        raise Refused(response)

    def _blame(
        self,
        batch: Batch,
        why: str,
        verdict: Verdict,
        text: str,
        response: Response,
        repeats: int,
        answers: Mapping[str, Response | None] = MappingProxyType({}),
    ) -> None:
        """Raise `Spoiled` where a batch that came to nothing may have done so for some of its rows, or may not do so
        again: `answers` are those of rows that the provider has named in a field of its own."""
        members = batch.record.members
        keys = named(text, members) if verdict in (Verdict.NO, Verdict.REAL_TIME) else frozenset()
        if 0 < len(keys) < len(members):
            alone = None if verdict is Verdict.REAL_TIME else response
            answers = {**dict.fromkeys(keys, alone), **answers}
        elif (
            not answers
            and verdict is not Verdict.LATER
            and (verdict is not Verdict.NO or response.status not in _OF_A_ROW)
        ):
            return
        doubted = suspects(text[:_MOST_TEXT], members)
        repeats = 0 if any(doubted) else repeats
        by_job = batch.record.job is not None
        raise Spoiled(why, batch.provider, members, response, answers, doubted, repeats, by_job)

    def _all(self, batch: Batch, response: Response) -> Outcome:
        """One answer for all, that names none of them; what says something of our own call only is nobody's answer."""
        status, keys = response.status, batch.record.members
        if batch.record.job is not None and status not in (401, 402, 403, 424, 429) and status < 500:
            what = f"answers HTTP {status} to a call about the job; the batch is kept: run again"
        elif status < 400 or status in _BOUND_TO_US:
            what = f"answers HTTP {status} to a call of its batch API; nothing was sent"
        else:
            return Outcome({key: Row(key, response) for key in keys}, final=True)
        told = batch.provider.failure(424, Fault(f"batchling: the provider {what}", _FAILED))
        return Outcome({key: Row(key, told) for key in keys}, final=True)

    async def _run_on(self, batch: Batch, job: Job) -> None:
        await self._keep(batch, Phase.RUNNING, job=job)
        record = batch.record
        self._emit(events.Submitted(record.target, record.id, printable(job.id, MOST_SHOWN), len(record.members)))
        batch.created()

    async def _die(self, batch: Batch, reason: str) -> None:
        reason = printable(reason, MOST_SHOWN)
        await self._keep(batch, Phase.DEAD, reason=reason)
        self._emit(events.Died(batch.record.id, reason))

    async def _keep(self, batch: Batch, phase: Phase, **changes: Any) -> None:
        record = batch.record.move(phase, **changes)
        await self._on_disk(self._store.save, record)
        batch.record = record

    def _errand(self, batch: Batch, what: str) -> Errand:
        return Errand(batch.record.id, what, _deadline(batch), batch.access)

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)


class _Patience:
    """A time that begins with the first question whether it is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def over(self) -> bool:
        now = clock.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since > self._seconds


class _Refusals:
    """The refusals in a row of calls about one job."""

    def __init__(self) -> None:
        self.count = 0
        self._since = 0.0

    def are_enough(self, response: Response) -> bool:
        """Count one more: whether the provider means it."""
        now = clock.monotonic()
        self._since = self._since if self.count else now
        self.count += 1
        patience = PATIENCE_WITH_PAGES if _is_page(response) else PATIENCE_WITH_REFUSALS
        return self.count >= REFUSALS and now - self._since > patience


def _is_page(response: Response) -> bool:
    """Whether a refusal is a web page, or leads to one (a proxy, a login, a guard against robots); no API's answer."""
    return 300 <= response.status < 400 or response.body.lstrip()[:1] == b"<"


def _absent(site: Site) -> NoBatches:
    return NoBatches(f"the {'account' if site.official else 'gateway'} has no batch API", place=True)


def _turn_away(site: Site, verdict: Verdict, why: str) -> None:
    """Raise what a verdict means for a whole batch, unless it is up to its rows."""
    match verdict:
        case Verdict.ABSENT:
            raise _absent(site)
        case Verdict.REAL_TIME:
            raise NoBatches("model without a batch form")
        case Verdict.SMALL:
            raise NoBatches("too few requests for a batch", passing=True)
        case Verdict.FULL | Verdict.LARGE:
            raise NoRoom(verdict, why)


def _answers(batch: Batch, faults: Iterable[Fault]) -> dict[str, Response | None]:
    """The answers of the rows that faults name by their line."""
    members = batch.record.members
    lines = {fault.line: fault for fault in faults if fault.line and fault.line <= len(members)}
    return {members[line - 1]: batch.provider.failure(400, fault) for line, fault in lines.items()}


def _why_missing(status: Status, unread: Unread | None) -> str:
    """Why rows are in no file, where that is known."""
    if unread is not None:
        return f"its error file cannot be read ({unread})"
    if status.state is not State.FAILED:
        return ""
    return f"the job failed: {status.errors[0].code or status.errors[0].message}" if status.errors else "the job failed"


def _unreadable(found: Sorted) -> str:
    """What is wrong with results of which no line is ours."""
    what = found.foreign or (
        "lines without any of its keys" if found.others else "no result lines (a web page, or a format of its own)"
    )
    return f"its results are {what}; the job is paid for and kept, and nothing is bought again: see `batchling jobs`"


def _deadline(batch: Batch) -> float:
    """When patience with a job ends: by its own expiry, which may be later than its provider promises."""
    record = batch.record
    left_at = record.left_at or record.created_at
    promised = record.expires_at or left_at + batch.provider.limits.window
    return max(promised, min(batch.expires_at, left_at + LONGEST_JOB)) + GRACE
