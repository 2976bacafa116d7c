"""The state that the embedded server's APIs share: jobs, controls, faults, and how a row is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import msgspec

from batchling.providers.samples.text import seed_of
from batchling.system import clock
from batchling.testing.faults import Body, Fault, JobFault, ListFault, Objection, Row, RowFault, RowLoss, Stage
from batchling.testing.ledger import Bill, Ledger

Line = tuple[str, bytes]
"""A row's key, and its line in a result file."""


@dataclass(slots=True)
class Served:
    """A job at the embedded server. `rows` are (key, body); `words` are the other values that the API returns."""

    id: str
    account: str
    endpoint: str
    rows: list[tuple[str, dict[str, Any]]]
    created_at: float
    words: dict[str, Any] = field(default_factory=dict)
    fault: JobFault | None = None
    polls: int = 0
    over: str = ""
    """The word with which the job ended; empty while it runs."""
    cancelled: bool = False
    lines: list[bytes] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def reason(self) -> JobFault | None:
        """Why the job has failed; None while it runs, and for a job that gives no reason."""
        fault = self.fault if self.over else None
        return fault if fault is not None and (fault.code or fault.message) else None


@dataclass(slots=True)
class ServerState:
    """Owned by the server's loop thread; tests set the controls from any thread."""

    ledger: Ledger = field(default_factory=Ledger)
    delay: float = 0.0
    polls_to_finish: int = 1
    held: bool = False
    varied: bool = False
    latency: float = 0.0
    retry_after: str | None = None
    faults: list[Fault] = field(default_factory=list)
    row_faults: list[RowFault] = field(default_factory=list)
    job_faults: list[JobFault] = field(default_factory=list)
    objections: list[Objection] = field(default_factory=list)
    losses: list[RowLoss] = field(default_factory=list)
    list_faults: list[ListFault] = field(default_factory=list)
    end_word: str = ""
    """The status that successful jobs report, instead of the provider's own word."""
    clock_error: float = 0.0
    slashes: bool = False
    """Whether a path may have a slash at its end."""
    endings: list[tuple[str, float]] = field(default_factory=list)
    """How the next jobs end instead of succeeding: "expired" or "cancelled", and after which share of their rows."""
    most_rows_enqueued: float = float("inf")
    most_per_page: int = 1_000_000
    revoked: set[str] = field(default_factory=set)
    counter: int = 0

    def number(self) -> int:
        """A number that has not been returned before, for ids."""
        self.counter += 1
        return self.counter

    def now(self) -> float:
        """The current time of the server's clock."""
        return clock.time() + self.clock_error

    def fault_for(self, method: str, path: str, *, creates: bool = False, moved: bool = False) -> Fault | None:
        """The fault that applies to this call, of which one use is thereby spent. A call that was `moved` here by a
        redirect is not redirected again."""
        for fault in self.faults:
            if (fault.creates and not creates) or (fault.moved and moved):
                continue
            if fault.times > 0 and fault.method in (method, "*") and fault.part in path:
                fault.times -= 1
                return fault
        return None

    def row_fault_for(self, body: dict[str, Any]) -> RowFault | None:
        """The fault that applies to a request with this body."""
        for fault in self.row_faults:
            if fault.times > 0 and fault.predicate(body):
                fault.times -= 1
                return fault
        return None

    def objection(self, rows: bytes | Sequence[Row], *stages: Stage) -> Objection | None:
        """The provider's objection to a batch of these rows at one of these stages, with its message filled in.
        `rows` may be an input file."""
        for objection in [each for each in self.objections if each.at in stages]:
            rows = rows_of(rows) if isinstance(rows, bytes) else rows
            if (words := objection.blames(rows)) is not None:
                return replace(objection, message=objection.message.format(**words))
        return None

    def job_fault_for(self, rows: bytes | Sequence[Row], *stages: Stage) -> JobFault | None:
        """The fault with which a job that is created now will fail as a whole."""
        if self.job_faults:
            return self.job_faults.pop(0)
        objection = self.objection(rows, *stages)
        return JobFault(objection.code or "invalid_request", objection.message, objection.param) if objection else None

    def written(self, job: Served, lines: list[Line]) -> list[bytes]:
        """The lines of a result file, shuffled, without those that should be lost."""
        if self.losses:
            bodies = dict(job.rows)
            lines = [line for line in lines if not self._loses(bodies[line[0]])]
        return shuffled(lines)

    def _loses(self, body: Body) -> bool:
        loss = next((loss for loss in self.losses if loss.times > 0 and loss.predicate(body)), None)
        if loss is not None:
            loss.times -= 1
        return loss is not None

    def listed(self, jobs: list[Served], start: int, size: int) -> tuple[list[Served], bool]:
        """A page of a list of jobs, and whether it says that more follow."""
        fault = next((fault for fault in self.list_faults if fault.times > 0), None)
        if fault is None:
            return jobs[start : start + size], len(jobs) > start + size
        fault.times -= 1
        return (jobs[:size], True) if fault.shows == "repeating" else ([], fault.shows == "unreadable")

    def page_size(self, asked: str) -> int:
        """The number of items on a page, of which a call requests this many; 20 if that is no usable number."""
        return min(int(asked) if asked.isdecimal() and int(asked) > 0 else 20, self.most_per_page)

    def ended(self, word: str, success: str) -> str:
        """The status that a job reports which ended with this word; `success` is the provider's own for successes."""
        return self.end_word or word if word == success else word

    def ready(self, job: Served) -> bool:
        """Whether a running job has run long enough, by polls and by time, and is not held. A job that failed as a
        whole or was cancelled has nothing to run."""
        if job.cancelled or job.fault is not None:
            return True
        return not self.held and job.polls >= self.polls_to_finish and self.now() >= job.created_at + self.delay

    def ending(self, job: Served) -> tuple[str, int]:
        """How a job that is ready ends, "" for success, and how many of its rows have run by then."""
        if job.fault is not None:
            return "failed", round(len(job.rows) * job.fault.done)
        word, share = ("cancelled", 0.0) if job.cancelled else self.endings.pop(0) if self.endings else ("", 1.0)
        return word, round(len(job.rows) * share)

    def bill(
        self,
        provider: str,
        endpoint: str,
        account: str,
        body: dict[str, Any],
        answer: dict[str, Any],
        row: tuple[str, str] | None,
    ) -> None:
        """Record one charged request; `row` is its (key, job), None when it was sent in real time."""
        usage = answer.get("usage") or answer.get("usageMetadata") or {}
        self.ledger.bills.append(
            Bill(
                provider,
                endpoint,
                str(body.get("model")),
                account,
                seed_of(body),
                row[0] if row else None,
                row[1] if row else None,
                usage.get("input_tokens") or usage.get("prompt_tokens") or usage.get("promptTokenCount") or 0,
                usage.get("output_tokens") or usage.get("completion_tokens") or usage.get("candidatesTokenCount") or 0,
            )
        )


def rows_of(content: bytes) -> list[Row]:
    """The rows of an input file of any provider, as far as they can be read."""
    rows: list[Row] = []
    for line in filter(None, content.split(b"\n")):
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            continue
        key, body = row.get("custom_id") or row.get("key"), row.get("body") or row.get("request")
        rows.append((str(key), body if isinstance(body, dict) else {}))
    return rows


def shuffled(rows: list[Line]) -> list[bytes]:
    """Result lines in an order that is unrelated to the input's, but the same each time."""
    return [line for _, line in sorted(rows, key=lambda row: sha256(row[0].encode()).digest())]


def place_after(jobs: Sequence[Served], job_id: str | None) -> int:
    """The position in a list after the job with this id: 0 without an id, the end if the id is unknown."""
    return next((place for place, job in enumerate(jobs, 1) if job.id == job_id), len(jobs) if job_id else 0)
