"""What it means for the rows of a batch when its provider refuses it as a whole, or fails its job.

Decides; never sends.
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
"""How often the same batch is submitted again after its job failed as a whole: because of the provider's own trouble,
or without naming a row. Nothing ran, and a failed job bills nothing (docs of OpenAI, Google and Mistral)."""

_BOUND_TO_US = frozenset({405, 406, 410, 411, 413, 414, 415, 416, 421})
"""Statuses that are about the address or the form of one of our own calls, and not about the caller's request."""
_OF_A_ROW = frozenset({400, 413, 422})
"""With these a provider refuses a whole batch for one of its rows; 401, 402, 403 and 429 concern the account."""
_MOST_TEXT = 20_000
"""Characters of a refusal that are looked at for the row that is to blame."""


class NotRun(Exception):
    """No row of a batch ran and none was billed; its record is dead. What to do next is decided by what launched it."""


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

    `record` is that of the batch; `response` is the answer of a row that is refused alone, and `answers` has those of
    rows that the provider has named, None for one that is to go real time; `suspects` as in `isolation`. `repeats` says
    how often the same batch is worth another try.
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
        """Its keys in the order of their rows."""
        return self.record.members

    @property
    def by_job(self) -> bool:
        """Whether its job existed."""
        return self.record.job is not None

    def answer(self, key: str) -> Response:
        """The answer of a row, without the keys of others."""
        response = self.answers.get(key) or self.response
        text, others = response.body.decode(errors="replace"), frozenset(self.members) - {key}
        if unnamed(text, others) == text:
            return response
        fault = read_fault(response)
        return self.provider.failure(response.status, replace(fault, message=unnamed(fault.message, others)))


def refused(batch: Batch, response: Response, verdict: Verdict, shown: str) -> None:
    """The provider refused to create the job. Raises what that means; returns where it means the same for all rows."""
    fault = read_fault(response)
    text = response.body.decode(errors="replace")
    repeats = AGAIN_UNNAMED if verdict is Verdict.LATER else 0
    _blame(batch, f"refused with HTTP {response.status}", verdict, text, response, repeats)
    _turn_away(batch.site, verdict, fault.code or shown)


async def job_failed(batch: Batch, status: Status) -> NoReturn:
    """The provider refused the job after its creation, and no row ran: its record dies. Raises what that means: a
    `NotRun`, or `Refused` where it means the same for all rows."""
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
    """One answer for all, that names none of them; what concerns only our own call is not passed on to any caller."""
    status, keys = response.status, batch.record.members
    if batch.record.job is not None and status not in (401, 402, 403, 424, 429) and status < 500:
        what = f"answers HTTP {status} to a call about the job; the batch is kept: run again"
    elif status < 400 or status in _BOUND_TO_US:
        what = f"answers HTTP {status} to a call of its batch API; nothing was sent"
    else:
        return Outcome({key: Row(key, response) for key in keys}, final=True)
    return Outcome({key: Row(key, failed(batch, f"the provider {what}")) for key in keys}, final=True)


def failed(batch: Batch, why: str) -> Response:
    """The answer of ours to a request of a batch, in its provider's form."""
    return gave_up(batch.provider, why)


def absent(site: Site) -> NoBatches:
    """There is no batch API here."""
    return NoBatches(f"the {'account' if site.official else 'gateway'} has no batch API", place=True)


def by_line(batch: Batch, faults: Iterable[Fault]) -> dict[str, Response | None]:
    """The answers of the rows that faults name by their line."""
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
    """Raise `Spoiled` where a batch that came to nothing may have done so for some of its rows, or may not do so
    again: `answers` are those of rows that the provider has named in a field of its own."""
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
    """Raise what a verdict means for a whole batch, unless it depends on its rows."""
    match verdict:
        case Verdict.ABSENT:
            raise absent(site)
        case Verdict.REAL_TIME:
            raise NoBatches("model without a batch form")
        case Verdict.SMALL:
            raise NoBatches("too few requests for a batch", passing=True)
        case Verdict.FULL | Verdict.LARGE:
            raise NoRoom(verdict, why)
