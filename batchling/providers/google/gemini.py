"""Gemini's developer API: rows inline for small batches, as an uploaded file for others; a long-running operation.

Facts: Google's batch guide, google-genai 3.4, and recorded traffic of 2025 and 2026. States come as BATCH_STATE_* and,
in guides and SDKs, as JOB_STATE_*. It is UNSURE whether expired and cancelled jobs keep finished rows: if there is a
file, it is read, and rows missing from it never ran. Also UNSURE: whether lists are sorted (they are read to the end),
whether tuned models have batches (they go real time), and whether rows of a file may have camelCase keys everywhere
(keys are passed through unchanged).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, parse_qsl

import msgspec

from batchling.core.lenient import fields, value
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
from batchling.core.neutral import Neutral
from batchling.providers import pages, refusals
from batchling.providers.asking import JSON_TYPE, account_of, chosen, row_pieces, segment
from batchling.providers.base import Facts, Limits, Refused, Route, Verdict
from batchling.providers.google import shared
from batchling.providers.google.gemini_texts import joined, parts
from batchling.providers.headers import lasting
from batchling.providers.neutral import GEMINI_IDS
from batchling.providers.reading import read_count, read_id, read_json, read_object, read_objects, read_text
from batchling.providers.rows import answered, rows_within
from batchling.providers.samples import gemini as samples

_CALL = re.compile(r"(?P<root>.+)/(?P<version>v1|v1beta)/models/(?P<model>[^/:]+):(?P<method>\w+)")
_PAID = re.compile(
    r"(?P<root>.+)/v1\w*/(interactions|[^/]+/[^/:]+:"
    r"(generateContent|streamGenerateContent|embedContent|batchEmbedContents|predict|predictLongRunning))"
)
"""Calls that cost money and have no batch form: other methods and API versions, tuned models, interactions."""
_BATCHED = {
    "generateContent": "batchGenerateContent",
    "embedContent": "asyncBatchEmbedContent",
    "batchEmbedContents": "asyncBatchEmbedContent",
}
_IDENTITY = ("x-goog-api-key", "authorization", "x-goog-user-project")

INLINE_ROWS = 100
"""With more rows than this, a file is used: inline answers come in one document, which has to fit into memory."""
INLINE_BYTES = 10_000_000
"""Google allows 20 MB."""
INLINE_TEXTS = 1_000
"""The same for the texts of calls that embed several: each text is a row, and a call's rows are joined again, for which
all must be in memory."""

_RUNNING = frozenset({"unspecified", "pending", "running", "queued", "cancelling"})


@dataclass(frozen=True)
class Gemini:
    """See the module. The `base_url` of its targets is the host: real time and batches have several paths below it."""

    name: str
    roots: tuple[str, ...]
    limits: Limits
    facts: Facts
    endpoints: tuple[str, ...] = tuple(f"models/*:{method}" for method in _BATCHED)
    renew: Callable[[], Headers] | None = None

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        head, _, query = url.partition("?")
        if method != "POST" or "/v1beta/openai/" in head:
            return None
        if (found := _CALL.fullmatch(head)) and found["method"] in _BATCHED:
            return Route(found["root"], f"/models/{found['model']}:{found['method']}", query, official)
        paid = _PAID.fullmatch(head)
        return Route(paid["root"], "", query, official) if paid else None

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if not route.endpoint:
            return Bypass("endpoint without a batch form")
        if not _asks_for_json(route.query):
            return Bypass("query parameters")
        if reason := _unbatchable(body):
            return Bypass(reason)
        _, _, call = route.endpoint.rpartition("/")
        model, _, method = call.partition(":")
        return Target(self.name, route.base_url, f":{method}", model, self._account(route, request))

    def site(self, target: Target, route: Route, request: Request) -> Site:
        return Site(target, self._identity(route, request), route.official)

    def _identity(self, route: Route, request: Request) -> Headers:
        """The key as a header, whether it came as a header or in the URL."""
        headers = chosen(request.headers, _IDENTITY) if route.official else lasting(request.headers)
        if header(headers, "x-goog-api-key") is not None:
            return headers
        keys = parse_qs(route.query).get("key", [])
        return (*headers, *(("x-goog-api-key", key) for key in keys[:1]))

    def _account(self, route: Route, request: Request) -> str:
        """The account. An OAuth token changes every hour, so the caller is identified by the paying project, if one is
        named."""
        identity = self._identity(route, request)
        if route.official and header(identity, "x-goog-user-project") and not header(identity, "x-goog-api-key"):
            identity = tuple(pair for pair in identity if pair[0] != "authorization")
        return account_of(identity)

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        if at.target.endpoint == ":batchEmbedContents":
            source = [msgspec.json.encode({"requests": {"requests": parts(items)}})]
        elif len(items) <= INLINE_ROWS and "image" not in at.target.model and _size(items) < INLINE_BYTES:
            rows = row_pieces('{"metadata":{"key":"%s"},"request":', items, b"}", between=b",")
            source = [b'{"requests":{"requests":[', *rows, b"]}}"]
        else:
            source = [msgspec.json.encode({"fileName": (yield from self._upload(at, items, tag))})]
        opening = b'{"batch":{"displayName":"%s","inputConfig":' % tag.encode()
        method = _BATCHED[at.target.endpoint.removeprefix(":")]
        url = f"{at.target.base_url}/v1beta/models/{at.target.model}:{method}"
        call = Request("POST", url, (*at.headers, JSON_TYPE))
        job = read_json((yield Call(call, (opening, *source, b"}}"), repeatable=False)))
        return Job(read_id(job, "name"), _notes(at, len(items)))

    def _upload(self, at: Site, items: Sequence[Item], tag: str) -> Flow[str]:
        rows = row_pieces('{"key":"%s","request":', items, b"}\n")
        return (yield from shared.upload(at.target.base_url, at.headers, rows, tag))

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return _status(read_json((yield Call(_get(at, job.id)))), job)

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        url = f"{at.target.base_url}/v1beta/batches?pageSize={pages.page_size(jobs)}"
        return pages.named_statuses(jobs, lambda place: Request("GET", url + place, at.headers), "operations", _status)

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        for name in status.outputs:
            if not name:
                read_json((yield Call(_get(at, job.id), unpack=_unpack)))
                continue
            file = segment(name.removeprefix("files/"))
            url = f"{at.target.base_url}/download/v1beta/files/{file}:download?alt=media"
            response = yield Call(Request("GET", url, at.headers), rows=True)
            if not response.ok:
                raise Refused(response)

    def row(self, line: bytes) -> Row:
        row = fields(line)
        key = read_text(value(row.get("key"))) or read_text(read_object(value(row.get("metadata"))).get("key"))
        if key is None:
            raise ValueError("a row without a key")
        if (answer := row.get("response", b"")).startswith(b"{"):
            return answered(key, answer, lambda status, text: self.failure(status, Fault(text)))
        fault = value(row.get("error"))
        error: dict[str, JSON] = {"message": fault} if isinstance(fault, str) and fault else read_object(fault)
        if not error or error.get("code") in (shared.CANCELLED, str(shared.CANCELLED), "CANCELLED"):
            return Row(key, None, "cancelled" if error else "no answer")
        return Row(key, shared.row_error(error))

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        def found(page: dict[str, JSON]) -> Job | None:
            for job in read_objects(page.get("operations")):
                if read_object(job.get("metadata")).get("displayName") == tag:
                    return Job(read_id(job, "name"), _notes(at, len(keys)))
            return None

        url = f"{at.target.base_url}/v1beta/batches?pageSize=100"
        return (yield from pages.search(lambda place: Request("GET", url + place, at.headers), found))

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        call = Request("POST", f"{_get(at, job.id).url}:cancel", (*at.headers, JSON_TYPE), b"{}")
        read_json((yield Call(call)))

    def judge(self, status: int, fault: Fault) -> Verdict:
        return refusals.judge(status, fault)

    def weight(self, body: dict[str, JSON]) -> int:
        asked = body.get("requests")
        return len(asked) if isinstance(asked, list) else 0

    def failure(self, status: int, fault: Fault) -> Response:
        return shared.failure(status, fault)

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        answer = samples.answer(target.endpoint.removeprefix(":"), target.model, body)
        return Response(200, (JSON_TYPE,), msgspec.json.encode(answer))


def _size(items: Sequence[Item]) -> int:
    return sum(len(item.request.body) + 100 for item in items)


def _asks_for_json(query: str) -> bool:
    """Whether a query contains nothing but the key and a request for JSON."""
    return all(
        name == "key" or (name in ("alt", "$alt") and value.startswith("json"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )


def _unbatchable(body: dict[str, JSON]) -> str | None:
    """Why this body cannot be a row of a batch; None when it can. REST accepts both spellings of a key."""
    tier = body.get("serviceTier") or body.get("service_tier")
    if tier not in (None, "standard", "SERVICE_TIER_STANDARD"):
        return f"service tier {tier!s:.20}"
    config = read_object(body.get("generationConfig") or body.get("generation_config"))
    if config.get("responseJsonSchema") or config.get("response_json_schema"):
        # Rows get JSON of another shape, without an error; `responseSchema` is respected.
        return "parameter responseJsonSchema"
    return None


def _notes(at: Site, calls: int) -> dict[str, str]:
    """How many calls the rows of a job belong to, where the two numbers differ."""
    return {"calls": str(calls)} if at.target.endpoint == ":batchEmbedContents" else {}


def _get(at: Site, name: str) -> Request:
    return Request("GET", f"{at.target.base_url}/v1beta/batches/{segment(name.removeprefix('batches/'))}", at.headers)


def _status(listed: dict[str, JSON], job: Job) -> Status:
    """The status of a job, in calls: their rows may be more."""
    status = _status_of_rows(listed)
    calls = read_count(job.notes.get("calls"))
    if not calls or not status.total:
        return status
    return replace(status, done=status.done * calls // status.total, total=calls)


def _status_of_rows(job: dict[str, JSON]) -> Status:
    detail = read_object(job.get("metadata"))
    word = str(detail.get("state") or "").lower().removeprefix("batch_state_").removeprefix("job_state_")
    over = job.get("done") is True and word not in ("cancelled", "expired", "failed")  # even if the state is unknown
    failed = word == "failed" or (over and word != "succeeded" and "error" in job)
    ended = word in ("succeeded", "partially_succeeded", "cancelled", "expired") or over
    state = State.FAILED if failed else State.ENDED if ended else State.RUNNING
    output = read_object(job.get("response")) or read_object(detail.get("output"))
    stats = {name: read_count(count) for name, count in read_object(detail.get("batchStats")).items()}
    file = read_text(output.get("responsesFile"))
    outputs = (file,) if file else ("",) if output.get("inlinedResponses") else ()
    done = stats.get("successfulRequestCount", 0) + stats.get("failedRequestCount", 0)
    if word == "succeeded" or over:
        done = max(done, stats.get("requestCount", 0))  # the counters and the output may lag behind the state
    return Status(
        state,
        word,
        done=done,
        total=stats.get("requestCount", 0),
        outputs=outputs,
        errors=(shared.job_fault(job),) if state is State.FAILED else (),
        complete=word == "succeeded",
        known=state is not State.RUNNING or word in _RUNNING,
    )


def _unpack(body: bytes) -> bytes:
    """The rows of an operation that contains them, in one of two places or in both."""
    inlined = "inlinedResponses.inlinedResponses"
    rows = rows_within(body, f"response.{inlined}", f"metadata.output.{inlined}")
    if rows is None:
        raise ValueError("an operation without rows")
    return b"\n".join(joined(rows))


GEMINI = Gemini(
    name="gemini",
    roots=("https://generativelanguage.googleapis.com",),
    limits=Limits(
        rows=200_000, bytes=1_999_000_000, inputs=INLINE_TEXTS, in_flight=100, cached="kept", window=172_800.0
    ),
    facts=Facts(
        "Gemini",
        "24 h, at most 48 h",
        "display name",
        "48 h for inputs, unknown for results",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        quirks=(
            "cached tokens are not cheaper in a batch",
            "small batches go inline, others as a file",
            "responseJsonSchema goes real time, since batches return another shape for it; responseSchema does not",
        ),
        prices="google",
        telemetry="gcp.gemini",
        key_headers=(("x-goog-api-key",), ("authorization",)),
        more_headers=(("GOOGLE_CLOUD_QUOTA_PROJECT", "x-goog-user-project"),),
        quota_header="x-goog-user-project",
        cloud="google",
        separates=_IDENTITY,
        neutral=Neutral(ids=GEMINI_IDS),  # only Vertex has `labels`: "not supported in Gemini API" (google-genai)
    ),
)
