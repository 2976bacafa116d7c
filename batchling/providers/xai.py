"""xAI's batch API: an uploaded file of OpenAI's rows, a job without a status, pages of results.

Facts: xai-sdk 1.21, xAI's batch guide, and recorded traffic of August 2026. Rows could also be added to an open job
one by one; with a file, one call creates everything. UNSURE: when the counters of a stopped job are final (assumed once
several polls return the same), how jobs are sorted in a list (it is read to the end), and which status the error of a
row stands for (its text decides). A row may stay pending indefinitely: there is no deadline to rely on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus

import msgspec

from batchling.core.lenient import fields, value
from batchling.core.model import (
    JSON,
    Bypass,
    Call,
    Fault,
    Flow,
    Item,
    Job,
    Request,
    Response,
    Row,
    Site,
    State,
    Status,
    Target,
)
from batchling.providers import pages
from batchling.providers.asking import JSON_TYPE, request, segment
from batchling.providers.base import MOST_PAGES, Facts, Garbled, Limits, Route
from batchling.providers.files import FileDialect
from batchling.providers.neutral import OPENAI_DIALECT
from batchling.providers.reading import read_count, read_id, read_json, read_object, read_objects, read_text
from batchling.providers.refusals import job_fault
from batchling.providers.rows import answered, rows_within, status_of

_NO_BATCH = ("grok-4.5", "grok-4.6", "grok-4.7", "grok-build")
"""Beginnings of the names of models that refuse batches."""

_NOT_YET = "not yet visible"
"""Part of the error that stands in place of a row which xAI's store does not show yet."""

_LOOKS = 12
"""How many times results that are not visible yet are requested."""
_ALIKE = 3
"""How many polls must find a stopped job unchanged."""
_PAUSE = 10.0


class Grok(FileDialect):
    """OpenAI's rows and files, with xAI's own jobs."""

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if str(body.get("model")).startswith(_NO_BATCH):
            return Bypass(f"model {body['model']:.40} without a batch form")
        if body.get("deferred"):
            return Bypass("deferred completion")
        if body.get("search_parameters") or any(
            tool.get("type") != "function" for tool in read_objects(body.get("tools"))
        ):
            # The row of such a call contains the whole run, and its first choice is not the answer (a capture of 2026).
            return Bypass("tools that xAI runs itself")
        return super().target(route, request, body)

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        file_id = yield from self.upload(at, items, tag)
        call = request("POST", at, "/batches", {"name": tag, "input_file_id": file_id})
        job = read_json((yield Call(call, repeatable=False)))
        return Job(read_id(job, "batch_id"), {"input_file_id": file_id})

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        look = Call(request("GET", at, f"/batches/{segment(job.id)}"))
        payload = read_json((yield look))
        status = _status(payload)
        for _ in range(_ALIKE if status.word == "stopped" else 0):
            if (again := read_json((yield replace(look, pause=_PAUSE)))) != payload:
                return _status(again)
        return replace(status, state=State.ENDED, outputs=("results",)) if status.word == "stopped" else status

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        size = f"limit={pages.page_size(jobs)}"

        def read(job: dict[str, JSON], _: Job) -> Status | None:
            return status if (status := _status(job)).word != "stopped" else None

        following = pages.by_token("pagination_token", "pagination_token")
        return pages.statuses(
            jobs, lambda place: request("GET", at, f"/batches?{size}{place}"), "batches", read, following, "batch_id"
        )

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        token = ""
        for _ in range(MOST_PAGES):
            path = f"/batches/{segment(job.id)}/results?limit=100{token}"
            page = yield from _page(at, path, expected=bool(status.done) and not token)
            if (following := read_text(page.get("pagination_token"))) is None:
                return
            if (last := f"&pagination_token={segment(following)}") == token:
                break
            token = last
        raise Garbled("results that never end")

    def row(self, line: bytes) -> Row:
        row = fields(line)
        key = read_text(value(row.get("batch_request_id")))
        if key is None:
            raise ValueError("a row without a key")
        result = _inner(row, "batch_result")
        answer = _inner(result, "response").get("chat_get_completion", b"")
        if answer.startswith(b"{"):
            return answered(key, answer, lambda status, text: self.failure(status, Fault(text)))
        places = (result.get("error"), result.get("error_message"), row.get("error_message"))
        text = next(filter(None, map(_reported, places)), None)
        if text is None:
            return Row(key, None, "no answer")
        if _NOT_YET in text:
            raise ValueError("a row that cannot be seen yet")
        if "cancel" in text.lower():
            return Row(key, None, "cancelled")
        return Row(key, self.failure(status_of("", text), Fault(text)))

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        def found(page: dict[str, JSON]) -> Job | None:
            for job in read_objects(page.get("batches")) or read_objects(page.get("data")):
                if job.get("name") == tag:
                    return Job(read_id(job, "batch_id"))
            return None

        def asked(place: str) -> Request:
            return request("GET", at, f"/batches?limit=100{place}")

        return (yield from pages.search(asked, found, "pagination_token", "pagination_token"))

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        read_json((yield Call(request("POST", at, f"/batches/{segment(job.id)}:cancel"))))

    def failure(self, status: int, fault: Fault) -> Response:
        body = {"code": fault.code or HTTPStatus(status).phrase, "error": fault.message}
        return Response(status, (JSON_TYPE,), msgspec.json.encode(body))


def _page(at: Site, path: str, *, expected: bool) -> Flow[dict[str, JSON]]:
    """A page of results. Its rows are not visible at once, so it is requested again until they are, or `_LOOKS` is used
    up."""
    for look in range(_LOOKS):
        page = read_json((yield Call(request("GET", at, path), unpack=_unpack, pause=_PAUSE if look else 0.0)))
        rows = read_objects(page.get("results"))
        if (rows or not expected) and not any(_NOT_YET in str(row) for row in rows):
            break
    return page


def _status(job: dict[str, JSON]) -> Status:
    """The status, derived from the counters, since xAI returns none. All counters are 0 before the file is read, and
    after it was refused."""
    counts = {name: read_count(count) for name, count in read_object(job.get("state")).items()}
    total = counts.get("num_requests", 0)
    refused = read_text(job.get("cancel_by_xai_message"))
    done = counts.get("num_success", 0) + counts.get("num_error", 0)
    if refused is not None and not done:
        return Status(State.FAILED, "refused", total=total, errors=(job_fault(refused),))
    over = total > 0 and counts.get("num_pending", 0) == 0
    word = "done" if over else "running" if total else "reading"
    if refused is not None or job.get("cancel_time"):
        # The counters keep changing for a while.
        settled = over and done + counts.get("num_cancelled", 0) >= total
        word = "cancelled" if settled else "cancelling" if counts.get("num_pending") else "stopped"
        over = settled
    state = State.ENDED if over else State.RUNNING
    return Status(state, word, done=done, total=total, outputs=("results",) if over else ())


def _inner(row: dict[str, bytes], name: str) -> dict[str, bytes]:
    """The object under this name; empty when there is none."""
    raw = row.get(name, b"")
    return fields(raw) if raw.startswith(b"{") else {}


def _reported(raw: bytes | None) -> str | None:
    error = value(raw)
    return read_text(error) or read_text(read_object(error).get("message"))


def _unpack(body: bytes) -> bytes:
    return b"\n".join(rows_within(body, "results") or [])


XAI = Grok(
    name="xai",
    roots=("https://api.x.ai/v1",),
    endpoints=("/chat/completions",),
    limits=Limits(
        rows=50_000, bytes=199_000_000, row=25_000_000, creates_per_hour=7_200, price=None, window=2_592_000.0
    ),
    facts=Facts(
        "xAI",
        "24 h as a target, data kept 30 days",
        "name",
        "30 days",
        ("XAI_API_KEY",),
        discount="20 % off, by model up to 50 %",
        quirks=("chat completions only", "xai-sdk speaks gRPC, which is out of reach: use the OpenAI SDK"),
        prices="x-ai",
        telemetry="x_ai",
        neutral=OPENAI_DIALECT,
    ),
)
