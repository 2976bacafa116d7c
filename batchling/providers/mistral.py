"""Mistral's batch API: rows inline for small batches, as an uploaded file for others; the model belongs to the job.

Facts: mistralai 3.7, Mistral's batch guide, and recorded traffic of August 2026. Where two pages state different
limits, the stricter ones are used. The EU and US hosts have no batch API and are never redirected. UNSURE: how to
search a list by metadata (it is read from the newest job on instead), whether inline rows are always returned without
being requested (they are requested), and whether a batch stores conversations (those to be stored go real time).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

import msgspec

from batchling.core.model import (
    JSON,
    Bypass,
    Call,
    Fault,
    Flow,
    Item,
    Job,
    Pieces,
    Request,
    Response,
    Row,
    Site,
    State,
    Status,
    Target,
)
from batchling.core.neutral import Neutral
from batchling.providers import pages
from batchling.providers.asking import JSON_TYPE, edited_rows, request, segment
from batchling.providers.base import CLOCK_SLACK, MOST_PAGES, Facts, Garbled, Limits, Route
from batchling.providers.files import TAG, FileDialect
from batchling.providers.neutral import CHAT_IDS, OPENAI_LABELS
from batchling.providers.reading import (
    read_count,
    read_id,
    read_json,
    read_moment,
    read_object,
    read_objects,
    read_text,
)
from batchling.providers.refusals import job_fault
from batchling.providers.rows import read_row, rows_within
from batchling.providers.samples import mistral as samples

INLINE_ROWS = 500
"""With more rows than this, a file is used; Mistral accepts 10,000 inline."""
INLINE_BYTES = 10_000_000

_PAGE = 100
"""How many jobs are requested on a page of a list."""

_RUNNING = frozenset({"queued", "running", "cancellation_requested"})
_ENDED = frozenset({"success", "timeout_exceeded", "cancelled"})


class Mistral(FileDialect):
    """OpenAI's rows and files, with Mistral's own jobs."""

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        head, _, query = url.partition("?")
        root, conversations, _ = head.partition("/conversations/")
        if method == "POST" and conversations:  # continues a conversation; OpenAI's dialect would treat it as free
            return Route(root, "", query, official)
        return super().route(method, url, official=official)

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if route.endpoint == "/v1/conversations" and body.get("store") is not False:
            return Bypass("stored conversation")
        return super().target(route, request, body)

    def rows(self, at: Site, items: Sequence[Item]) -> Pieces:
        # Even `stream: false` is refused in a row; the model belongs to the job.
        return edited_rows(items, lambda name: name not in ("model", "stream"))

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        rows = self.rows(at, items)
        order: dict[str, JSON] = {
            "endpoint": at.target.endpoint,
            "model": at.target.model,
            "metadata": {TAG: tag},
            "timeout_hours": 24,
        }
        if len(items) <= INLINE_ROWS and sum(map(len, rows)) <= INLINE_BYTES:
            pieces = b",".join(row.rstrip(b"\n") for row in rows)
            opening = msgspec.json.encode(order)[:-1] + b',"requests":['
            call = Request("POST", at.target.base_url + "/batch/jobs", (*at.headers, JSON_TYPE))
            return Job(read_id(read_json((yield Call(call, (opening, pieces, b"]}"), repeatable=False)))))
        order["input_files"] = [read_id(read_json((yield self.form(at, rows, tag))))]
        return Job(read_id(read_json((yield Call(request("POST", at, "/batch/jobs", order), repeatable=False)))))

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return _status(read_json((yield Call(request("GET", at, f"/batch/jobs/{segment(job.id)}")))))

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        # Only the running ones: a job that is over has its answers in it.
        running = "".join(f"&status={word.upper()}" for word in sorted(_RUNNING))
        numbers = count(1)
        return pages.statuses(
            jobs,
            lambda place: request("GET", at, f"{_listing(int(place or 0))}{running}"),
            "data",
            lambda job, _: _status(job),
            lambda _, entries: str(next(numbers)) if len(entries) == _PAGE else None,
        )

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        if status.outputs == ("",):
            path = f"/batch/jobs/{segment(job.id)}?inline=true"
            read_json((yield Call(request("GET", at, path), unpack=_unpack)))
            return
        yield from super().fetch(at, job, status)

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        seen = 0
        for number in range(MOST_PAGES):
            page = read_json((yield Call(request("GET", at, _listing(number)))))
            jobs = read_objects(page.get("data"))
            for job in jobs:
                if read_object(job.get("metadata")).get(TAG) == tag:
                    return Job(read_id(job))
            oldest = min((read_moment(job.get("created_at")) for job in jobs), default=0.0)
            seen += len(jobs)
            if not jobs or seen >= read_count(page.get("total")) or oldest < since - CLOCK_SLACK:
                return None
        raise Garbled("a list of jobs that never ends")

    def row(self, line: bytes) -> Row:
        return read_row(line, _error)

    def failure(self, status: int, fault: Fault) -> Response:
        return _error(status, fault.message)

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        return Response(200, (JSON_TYPE,), msgspec.json.encode(samples.answer(target.endpoint, body)))

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        read_json((yield Call(request("POST", at, f"/batch/jobs/{segment(job.id)}/cancel"))))


def _listing(number: int) -> str:
    """The path of a page of the list of jobs, newest first."""
    return f"/batch/jobs?page={number}&page_size={_PAGE}&order_by=-created"


def _error(status: int, message: str) -> Response:
    kind = "invalid_request_error" if status < 500 else "internal_server_error"
    body = {"object": "error", "message": message, "type": kind, "param": None, "code": None}
    return Response(status, (JSON_TYPE,), msgspec.json.encode(body))


def _status(job: dict[str, JSON]) -> Status:
    word = str(job.get("status") or "").lower()
    state = State.ENDED if word in _ENDED else State.FAILED if word == "failed" else State.RUNNING
    files = tuple(filter(None, map(read_text, (job.get("output_file"), job.get("error_file")))))
    # A job whose rows came inline contains its results, and usually has them in a file, too.
    inline = job.get("outputs") or (state is State.ENDED and not job.get("input_files"))
    outputs = files or (("",) if inline else ())
    faults = [job_fault(str(error.get("message") or "the job failed")) for error in read_objects(job.get("errors"))]
    return Status(
        state,
        word,
        done=read_count(job.get("completed_requests")),
        total=read_count(job.get("total_requests")),
        outputs=outputs,
        reasons=tuple(filter(None, (read_text(job.get("error_file")),))),
        errors=tuple(faults) if state is State.FAILED else (),
        complete=word == "success",
        known=state is not State.RUNNING or word in _RUNNING,
    )


def _unpack(body: bytes) -> bytes:
    return b"\n".join(rows_within(body, "outputs") or [])


MISTRAL = Mistral(
    name="mistral",
    roots=("https://api.mistral.ai/v1",),
    endpoints=(
        "/chat/completions",
        "/fim/completions",
        "/chat/moderations",
        "/chat/classifications",
        "/conversations",
        "/embeddings",
        "/moderations",
        "/classifications",
        "/ocr",
    ),
    limits=Limits(rows=100_000, bytes=499_000_000),
    facts=Facts(
        "Mistral",
        "24 h",
        "metadata",
        "24 h (one page) or forever (another)",
        ("MISTRAL_API_KEY",),
        quirks=("api.mistral.ai only, not its EU and US hosts", "conversations only with store: false"),
        prices="mistral",
        telemetry="mistral_ai",
        neutral=Neutral(
            OPENAI_LABELS,
            (
                *CHAT_IDS,
                "inputs[message.input|message.output|function.call|function.result].id",
                "inputs[].tool_call_id",
            ),
        ),
    ),
)
