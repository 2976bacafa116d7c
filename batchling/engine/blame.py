"""What it means for the rows of a batch if its provider refuses the whole batch, or fails its job.

Only decides; sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NoReturn

from batchling.core.isolation import named, suspects, unnamed
from batchling.core.lifecycle import Record
from batchling.core.model import Fault, Response, Row, Site, Status
from batchling.engine.batch import Batch, Outcome, gave_up
from batchling.providers.base import Provider, Refused, Verdict
from batchling.providers.reading import read_fault

AGAIN_AFTER_TROUBLE = 2
AGAIN_UNNAMED = 1
"""How many times the same batch is submitted again after its whole job failed: because of a problem of the provider's,
or without naming a row. Nothing ran, and a failed job is not billed (docs of OpenAI, Google and Mistral)."""

_BOUND_TO_US = frozenset({405, 406, 410, 411, 413, 414, 415, 416, 421})
"""Statuses that concern the address or the form of one of our own calls, not the caller's request."""
_OF_A_ROW = frozenset({400, 413, 422})
"""Statuses with which a provider refuses a whole batch because of one row; 401, 402, 403 and 429 concern the account.
"""
_MOST_TEXT = 20_000
"""How many characters of a refusal are searched for the row that caused it."""


class NotRun(Exception):
    """No row of a batch ran, and none was billed; its record is dead. The caller decides what to do next."""


class NoBatches(NotRun):
    """No batch can carry these requests, because their model has no batch form. If `place` is true: because there is no
    batch API for the account at this base URL. If `passing` is true: because they are too few, or we cannot reach the
    provider, neither of which concerns later requests."""

    def __init__(self, why: str, *, place: bool = False, passing: bool = False) -> None:
        super().__init__(why)
        self.place = place
        self.passing = passing


class NoRoom(NotRun):
    """The provider does not accept a batch of this size now. `verdict` is FULL or LARGE."""

    def __init__(self, verdict: Verdict, why: str) -> None:
        super().__init__(why)
        self.verdict = verdict


@dataclass(eq=False)
class Spoiled(NotRun):
    """The provider refused the batch, or failed its job, possibly because of one row, or of a problem of its own.

    `response` answers a row that is refused on its own; `answers` has the responses to rows that the provider named,
    None for one that has to go real time. `suspects` is as in `isolation`. `repeats` is how many times it is worth
    submitting the same batch again.
    """

    why: str
    provider: Provider
    record: Record
    response: Response
    answers: Mapping[str, Response | None]
    suspects: Sequence[frozenset[str]]
    repeats: int

    def __str__(self) -> str:
        return self.why

    @property
    def members(self) -> tuple[str, ...]:
        """The batch's keys, in the order of their rows."""
        return self.record.members

    @property
    def by_job(self) -> bool:
        """Whether the batch had a job."""
        return self.record.job is not None

    def answer(self, key: str) -> Response:
        """The response to a row, without the keys of other rows."""
        response = self.answers.get(key) or self.response
        text, others = response.body.decode(errors="replace"), frozenset(self.members) - {key}
        if unnamed(text, others) == text:
            return response
        fault = read_fault(response)
        return self.provider.failure(response.status, replace(fault, message=unnamed(fault.message, others)))


def refused(batch: Batch, response: Response, verdict: Verdict, shown: str) -> None:
    """The provider refused to create the job. Raises the `NotRun` that follows; returns if all rows get the same
    answer."""
    fault = read_fault(response)
    text = response.body.decode(errors="replace")
    repeats = AGAIN_UNNAMED if verdict is Verdict.LATER else 0
    _blame(batch, f"refused with HTTP {response.status}", verdict, text, response, repeats)
    _turn_away(batch.site, verdict, fault.code or shown)


async def job_failed(batch: Batch, status: Status) -> NoReturn:
    """The provider failed the job after its creation, and no row ran: mark the record as dead. Raises a `NotRun`, or
    `Refused` if all rows get the same answer."""
    nothing = Fault(f"the job ended as {status.word[:40] or 'failed'}, and no row ran", status=500)
    faults = status.errors or (nothing,)
    first = faults[0]
    what = first.code or status.word[:40]
    await batch.die(f"failed: {what}")
    code = first.status or 400
    verdict = batch.provider.judge(code, first)
    response = batch.provider.failure(code, first)
    repeats = AGAIN_AFTER_TROUBLE if verdict is Verdict.LATER else AGAIN_UNNAMED
    text = "\n".join(fault.message for fault in faults)
    answers = by_line(batch, faults) if verdict is Verdict.NO else {}
    _blame(batch, f"failed ({what})", verdict, text, response, repeats, answers)
    _turn_away(batch.site, verdict, first.code or "")
    raise Refused(response)


def alike(batch: Batch, response: Response) -> Outcome:
    """The same answer for all members. A response that concerns only our own call is not passed on to any caller."""
    status, keys = response.status, batch.record.members
    if batch.record.job is not None and status not in (401, 402, 403, 424, 429) and status < 500:
        what = f"answered HTTP {status} to a call about the job; the batch is kept: run again"
    elif status < 400 or status in _BOUND_TO_US:
        what = f"answered HTTP {status} to a call to its batch API; nothing was sent"
    else:
        return Outcome({key: Row(key, response) for key in keys}, final=True)
    return Outcome({key: Row(key, failed(batch, f"the provider {what}")) for key in keys}, final=True)


def failed(batch: Batch, why: str) -> Response:
    """Our own error response to a request of a batch, in its provider's form."""
    return gave_up(batch.provider, why)


def absent(site: Site) -> NoBatches:
    """The exception for a site that has no batch API."""
    return NoBatches(f"the {'account' if site.official else 'gateway'} has no batch API", place=True)


def by_line(batch: Batch, faults: Iterable[Fault]) -> dict[str, Response | None]:
    """The responses to rows whose line is named by a fault, by key."""
    members = batch.record.members
    lines = {fault.line: fault for fault in faults if fault.line and fault.line <= len(members)}
    return {members[line - 1]: batch.provider.failure(400, fault) for line, fault in lines.items()}


def _blame(
    batch: Batch,
    why: str,
    verdict: Verdict,
    text: str,
    response: Response,
    repeats: int,
    answers: Mapping[str, Response | None] = MappingProxyType({}),
) -> None:
    """Raise `Spoiled` if the batch may have failed because of some of its rows, or may succeed if it is submitted
    again. `answers` are the responses to rows that the provider named in a field made for that."""
    members = batch.record.members
    keys = named(text, members) if verdict in (Verdict.NO, Verdict.REAL_TIME) else frozenset()
    if 0 < len(keys) < len(members):
        alone = None if verdict is Verdict.REAL_TIME else response
        answers = {**dict.fromkeys(keys, alone), **answers}
    elif (
        not answers and verdict is not Verdict.LATER and (verdict is not Verdict.NO or response.status not in _OF_A_ROW)
    ):
        return
    doubted = suspects(text[:_MOST_TEXT], members)
    repeats = 0 if any(doubted) else repeats
    raise Spoiled(why, batch.provider, batch.record, response, answers, doubted, repeats)


def _turn_away(site: Site, verdict: Verdict, why: str) -> None:
    """Raise the `NotRun` that a verdict means for the whole batch; return if it means none."""
    match verdict:
        case Verdict.ABSENT:
            raise absent(site)
        case Verdict.REAL_TIME:
            raise NoBatches("model without a batch form")
        case Verdict.SMALL:
            raise NoBatches("too few requests for a batch", passing=True)
        case Verdict.FULL | Verdict.LARGE:
            raise NoRoom(verdict, why)
