"""OpenAI's Batch API: a JSONL file, a job over it, an output and an error file.

Facts: OpenAI's OpenAPI document 2.3.0, the openai SDK 3.54, and recorded traffic of 2025 and 2026. Providers that
speak this dialect are values of `FileDialect`, not subclasses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from batchling.core.model import (
    JSON,
    Bypass,
    Call,
    Fault,
    Flow,
    Headers,
    Item,
    Job,
    Request,
    Response,
    Row,
    Site,
    State,
    Status,
    Target,
    header,
)
from batchling.core.retry import passing
from batchling.providers.base import (
    CLOCK_SLACK,
    JSON_TYPE,
    MOST_PAGES,
    Garbled,
    Limits,
    Refused,
    Route,
    Verdict,
    account_of,
    chosen,
    lasting,
    read_count,
    read_id,
    read_json,
    read_object,
    read_objects,
    read_text,
    request,
    row_pieces,
    segment,
)
from batchling.samples import openai as samples

_RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_ENDED = frozenset({"completed", "expired", "cancelled"})

_FREE = frozenset(
    {
        "assistants",
        "batches",
        "chatkit",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "models",
        "organization",
        "skills",
        "uploads",
        "vector_stores",
        "webhook_endpoints",
    }
)
"""First path segments whose POST calls generate nothing, so that their passing through is no loss."""

_STATUS_OF_CODE = {"model_not_found": 404, "token_limit_exceeded": 429}
"""What the real-time API answers for a fault that a batch reports as its own failure; 400 for all others."""

_NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Codes of a 429 that no waiting mends."""

_TAG = "batchling"
"""The metadata key that carries our batch id."""


@dataclass(frozen=True, slots=True)
class FileDialect:
    """One provider that speaks OpenAI's file dialect. `endpoints` are paths below `/v1`, longest first."""

    name: str
    roots: tuple[str, ...]
    endpoints: tuple[str, ...]
    limits: Limits
    identity: tuple[str, ...]
    """Lower-case names of the headers that say who asks."""

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        if method != "POST":
            return None
        head, _, query = url.partition("?")
        if official:
            root = next((root for root in self.roots if head.startswith(root + "/")), None)
            if root is None:
                return None
            path = head[len(root) :]
        else:
            path = next((path for path in self.endpoints if head.endswith(path)), "")
            root = head[: -len(path)] if path else head.rpartition("/v1/")[0] + "/v1"
            path = path or head[len(root) :]
        if path in self.endpoints:
            return Route(root, "/v1" + path, query, official)
        if not path.startswith("/") or _generates_nothing(path):
            return None
        return Route(root, "", query, official)

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if not route.endpoint:
            return Bypass("endpoint without a batch form")
        if route.query:
            return Bypass("query parameters")
        if header(request.headers, "openai-beta"):
            return Bypass("OpenAI-Beta header")
        if reason := _unbatchable(body):
            return Bypass(reason)
        return Target(
            self.name,
            route.base_url,
            route.endpoint,
            body["model"],
            account_of(self._identity(route, request)),
        )

    def site(self, target: Target, route: Route, request: Request) -> Site:
        return Site(target, self._identity(route, request))

    def _identity(self, route: Route, request: Request) -> Headers:
        return chosen(request.headers, self.identity) if route.official else lasting(request.headers)

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        file = read_json((yield self._upload(at, items, tag)))
        file_id = read_id(file)
        order = {
            "input_file_id": file_id,
            "endpoint": at.target.endpoint,
            "completion_window": "24h",
            "metadata": {_TAG: tag},
        }
        job = read_json((yield Call(request("POST", at, "/batches", order), repeatable=False)))
        return Job(read_id(job), {"input_file_id": file_id})

    def _upload(self, at: Site, items: Sequence[Item], tag: str) -> Call:
        boundary = f"batchling-{tag}"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_TAG}-{tag}.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        prefix = '{"custom_id":"%s","method":"POST","url":"' + at.target.endpoint + '","body":'
        chunks = (head.encode(), *row_pieces(prefix, items, b"}\n"), f"\r\n--{boundary}--\r\n".encode())
        form = ("content-type", f"multipart/form-data; boundary={boundary}")
        return Call(Request("POST", at.target.base_url + "/files", (*at.headers, form)), chunks)

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return _status(read_json((yield Call(request("GET", at, f"/batches/{segment(job.id)}")))))

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        for file_id in status.outputs:
            response = yield Call(request("GET", at, f"/files/{segment(file_id)}/content"), rows=True)
            if not response.ok:
                raise Refused(response)

    def row(self, line: bytes) -> Row:
        try:
            said = msgspec.json.decode(line, type=_Line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            raise ValueError("not a result line") from fault
        answer = said.response
        if answer is None or not 200 <= answer.status_code <= 599:
            error = said.error or {}
            return Row(said.custom_id, None, str(error.get("code") or error.get("message") or "no answer"))
        headers: Headers = (JSON_TYPE,)
        if answer.request_id:
            headers = (JSON_TYPE, ("x-request-id", answer.request_id))
        return Row(said.custom_id, Response(answer.status_code, headers, bytes(answer.body)))

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        after = ""
        for _ in range(MOST_PAGES):
            page = read_json((yield Call(request("GET", at, f"/batches?limit=100{after}"))))
            jobs = read_objects(page.get("data"))
            for job in jobs:
                if read_object(job.get("metadata")).get(_TAG) == tag:
                    return Job(read_id(job), {"input_file_id": read_text(job.get("input_file_id")) or ""})
            oldest = min((read_count(job.get("created_at")) for job in jobs), default=0)
            if not jobs or not page.get("has_more") or oldest < since - CLOCK_SLACK:
                return None
            if (last := f"&after={segment(read_id(jobs[-1]))}") == after:
                break
            after = last
        raise Garbled("a list of jobs that does not come to its end")

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        read_json((yield Call(request("POST", at, f"/batches/{segment(job.id)}/cancel"))))

    def judge(self, status: int, fault: Fault) -> Verdict:
        if fault.code == "token_limit_exceeded":
            return Verdict.FULL
        if fault.param == "file_id" and status in (400, 404):
            return Verdict.LATER  # "Cannot find file", right after its upload
        if status == 413 or fault.code == "too_many_tasks":
            return Verdict.LARGE
        return Verdict.LATER if passing(status) and fault.code not in _NO_MONEY else Verdict.NO

    def weight(self, body: dict[str, JSON]) -> int:
        asked = body.get("input")
        # A list of numbers is one text in tokens.
        return len(asked) if isinstance(asked, list) and asked and isinstance(asked[0], str | list) else 1

    def failure(self, status: int, fault: Fault) -> Response:
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": fault.message, "type": kind, "param": fault.param, "code": fault.code}
        if fault.code in _STATUS_OF_CODE and status == 400:
            status = _STATUS_OF_CODE[fault.code]
        return Response(status, (JSON_TYPE,), msgspec.json.encode({"error": error}))

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        return Response(200, (JSON_TYPE,), msgspec.json.encode(samples.answer(target.endpoint, body)))


class _Answer(msgspec.Struct):
    status_code: int = 0
    request_id: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"{}")


class _Line(msgspec.Struct):
    custom_id: str
    response: _Answer | None = None
    error: dict[str, JSON] | None = None


def _generates_nothing(path: str) -> bool:
    first = path.split("/", 2)[1]
    if first == "threads":
        return not path.endswith("/runs")
    return first in _FREE or path.startswith("/chat/completions/") or path.endswith(("/input_tokens", "/cancel"))


def _unbatchable(body: dict[str, JSON]) -> str | None:
    """Why this body cannot be a row of a batch; None when it can."""
    if body.get("stream"):
        return "streaming"
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "no model"
    if body.get("background") or body.get("background_options"):
        return "background response"
    if body.get("service_tier") not in (None, "auto", "default"):
        return f"service tier {body['service_tier']}"
    if body.get("previous_response_id") or body.get("conversation"):
        return "continues a stored conversation"
    return None


def _status(job: dict[str, JSON]) -> Status:
    word = str(job.get("status") or "").lower()
    state = State.ENDED if word in _ENDED else State.FAILED if word == "failed" else State.RUNNING
    counts = read_object(job.get("request_counts"))
    faults = read_objects(read_object(job.get("errors")).get("data"))
    expires = job.get("expires_at")
    return Status(
        state,
        word,
        done=read_count(counts.get("completed")) + read_count(counts.get("failed")),
        total=read_count(counts.get("total")),
        outputs=tuple(filter(None, map(read_text, (job.get("output_file_id"), job.get("error_file_id"))))),
        errors=tuple(map(_fault, faults)),
        expires_at=float(expires) if isinstance(expires, int | float) and expires > 0 else None,
        known=state is not State.RUNNING or word in _RUNNING,
    )


def _fault(said: dict[str, JSON]) -> Fault:
    line = said.get("line")
    return Fault(
        str(said.get("message") or "the job failed"),
        read_text(said.get("code")),
        read_text(said.get("param")),
        line if isinstance(line, int) and line > 0 else None,
    )


OPENAI = FileDialect(
    name="openai",
    roots=tuple(f"https://{region}api.openai.com/v1" for region in ("", "us.", "eu.", "ae.", "au.", "in.", "jp.")),
    endpoints=(
        "/chat/completions",
        "/images/generations",
        "/images/edits",
        "/completions",
        "/moderations",
        "/embeddings",
        "/responses",
        "/videos",
    ),
    # The documented 200 MB; a little is kept back for the form around the file.
    limits=Limits(rows=50_000, bytes=199_000_000, inputs=50_000, creates_per_hour=2_000),
    identity=("authorization", "openai-organization", "openai-project"),
)
