"""The state that the embedded server's APIs share: jobs, controls, faults, and how a row is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
from aiohttp import web

from batchling import clock
from batchling.core.model import JSON
from batchling.samples.text import seed_of
from batchling.testing.ledger import Bill, Ledger

Predicate = Callable[[dict[str, JSON]], bool]


class Refusal(Exception):
    """A handler refuses the call with this response."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(slots=True)
class Fault:
    """Something to go wrong with the next `times` calls whose method matches and whose path holds `part`."""

    method: str
    part: str
    times: int
    status: int = 0
    """0: the connection is closed without an answer."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    acts: bool = False
    """Whether the server does its work before things go wrong."""
    stalls: bool = False
    """Whether the connection stays open and silent."""
    cuts: bool = False
    """Whether the connection ends after half of the body."""
    creates: bool = False
    """Whether it waits for a call that creates a job."""
    change: Callable[[bytes], bytes] | None = None
    """What is made of the body of the true answer, which is otherwise whole."""


@dataclass(slots=True)
class RowFault:
    """Rows whose body the predicate picks fail with this status and error, at most `times` times."""

    predicate: Predicate
    status: int
    error: JSON
    times: float


@dataclass(slots=True)
class Served:
    """A job at the embedded server. `rows` are (key, body); `words` what the API says besides."""

    id: str
    account: str
    endpoint: str
    rows: list[tuple[str, dict[str, JSON]]]
    created_at: float
    words: dict[str, JSON] = field(default_factory=dict)
    polls: int = 0
    over: str = ""
    """The word with which the job ended; empty while it runs."""
    cancelled: bool = False
    lines: list[bytes] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """Owned by the server's loop thread; the controls are set by tests from any thread."""

    ledger: Ledger = field(default_factory=Ledger)
    delay: float = 0.0
    polls_to_finish: int = 1
    held: bool = False
    varied: bool = False
    latency: float = 0.0
    retry_after: str | None = None
    faults: list[Fault] = field(default_factory=list)
    row_faults: list[RowFault] = field(default_factory=list)
    job_faults: list[dict[str, JSON]] = field(default_factory=list)
    endings: list[tuple[str, float]] = field(default_factory=list)
    """How the next jobs end instead of well: "expired" or "cancelled", after which share of their rows."""
    most_rows_enqueued: float = float("inf")
    most_per_page: int = 1_000_000
    revoked: set[str] = field(default_factory=set)
    counter: int = 0

    def number(self) -> int:
        """A number never given before, for ids."""
        self.counter += 1
        return self.counter

    def fault_for(self, method: str, path: str, *, creates: bool = False) -> Fault | None:
        """The fault that this call is to suffer, which is thereby used up once."""
        for fault in self.faults:
            if fault.creates and not creates:
                continue
            if fault.times > 0 and fault.method in (method, "*") and fault.part in path:
                fault.times -= 1
                return fault
        return None

    def row_fault_for(self, body: dict[str, JSON]) -> RowFault | None:
        """The fault that a request with this body is to suffer."""
        for fault in self.row_faults:
            if fault.times > 0 and fault.predicate(body):
                fault.times -= 1
                return fault
        return None

    def ready(self, job: Served) -> bool:
        """Whether a running job has run long enough, by polls and by time, and is not held. One that failed its
        validation or was cancelled has nothing to run."""
        if job.cancelled or job.words.get("errors"):
            return True
        return not self.held and job.polls >= self.polls_to_finish and clock.time() >= job.created_at + self.delay

    def ending(self, job: Served) -> tuple[str, int]:
        """How a job that is ready ends, "" for well, and how many of its rows have run by then."""
        word, share = ("cancelled", 0.0) if job.cancelled else self.endings.pop(0) if self.endings else ("", 1.0)
        return word, round(len(job.rows) * share)

    def bill(
        self,
        provider: str,
        endpoint: str,
        account: str,
        body: dict[str, JSON],
        answer: dict[str, JSON],
        row: tuple[str, str] | None,
    ) -> None:
        """Note one charged request; `row` is its (key, job), None when it was asked in real time."""
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


def shuffled(rows: list[tuple[str, bytes]]) -> list[bytes]:
    """Result lines in an order that has nothing to do with the input's, the same each time."""
    return [line for _, line in sorted(rows, key=lambda row: sha256(row[0].encode()).digest())]


def encode(value: JSON) -> bytes:
    """JSON in its shortest form."""
    return msgspec.json.encode(value)


def page_size(request: web.Request, name: str = "limit") -> int:
    """How many items a list call asked for, under this name; 20 when it said nothing that makes sense."""
    asked = request.query.get(name, "")
    return min(int(asked) if asked.isdecimal() and int(asked) > 0 else 20, request.app[WORLD].most_per_page)


WORLD = web.AppKey("world", World)
"""Where the server's application keeps its world."""
