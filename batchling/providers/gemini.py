"""Gemini's developer API: rows inline for small batches, as an uploaded file for others; a long-running operation.

Facts: Google's batch guide, google-genai 3.4, and recorded traffic of 2025 and 2026. States come as BATCH_STATE_* and,
in guides and SDKs, as JOB_STATE_*. Whether expired and cancelled jobs keep finished rows is UNSURE: a file that is
there is read, and what it lacks never ran.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

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
)
from batchling.providers import google
from batchling.providers.base import (
    CLOCK_SLACK,
    JSON_TYPE,
    MOST_PAGES,
    Facts,
    Garbled,
    Limits,
    Refused,
    Route,
    Verdict,
    account_of,
    as_lines,
    chosen,
    lasting,
    read_count,
    read_json,
    read_moment,
    read_object,
    read_objects,
    read_text,
    row_pieces,
    segment,
)
from batchling.providers.gemini_texts import joined, parts
from batchling.samples import gemini as samples

_CALL = re.compile(r"(?P<root>.+)/(?P<version>v1|v1beta)/models/(?P<model>[^/:]+):(?P<method>\w+)")
_BATCHED = {
    "generateContent": "batchGenerateContent",
    "embedContent": "asyncBatchEmbedContent",
    "batchEmbedContents": "asyncBatchEmbedContent",
}
_PAID = frozenset({"streamGenerateContent", "predict", "predictLongRunning"})
_IDENTITY = ("x-goog-api-key", "authorization", "x-goog-user-project")

INLINE_ROWS = 100
"""Rows above which a file is used: their answers come in one document, which memory has to hold."""
INLINE_BYTES = 10_000_000
"""Google allows 20 MB."""
INLINE_TEXTS = 1_000
"""Texts of calls that embed several: each is a row, and they are put together again where all are at hand."""

_RUNNING = frozenset({"unspecified", "pending", "running", "queued", "cancelling"})


@dataclass(frozen=True, slots=True)
class Gemini:
    """See the module. `base_url` of its targets is the host: real time and batches live below several paths of it."""

    name: str
    roots: tuple[str, ...]
    limits: Limits
    facts: Facts
    endpoints: tuple[str, ...] = tuple(f"models/*:{method}" for method in _BATCHED)
    renew: Callable[[], Headers] | None = None

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        head, _, query = url.partition("?")
        found = _CALL.fullmatch(head) if method == "POST" else None
        if found is None or "/v1beta/openai/" in head:
            return None
        if found["method"] in _BATCHED:
            return Route(found["root"], f"/models/{found['model']}:{found['method']}", query, official)
        return Route(found["root"], "", query, official) if found["method"] in _PAID else None

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if not route.endpoint:
            return Bypass("endpoint without a batch form")
        if set(parse_qs(route.query)) - {"key", "$alt", "alt"}:
            return Bypass("query parameters")
        if body.get("serviceTier") not in (None, "standard", "SERVICE_TIER_STANDARD"):
            return Bypass(f"service tier {body['serviceTier']!s:.20}")
        _, _, call = route.endpoint.rpartition("/")
        model, _, method = call.partition(":")
        return Target(self.name, route.base_url, f":{method}", model, account_of(self._identity(route, request)))

    def site(self, target: Target, route: Route, request: Request) -> Site:
        return Site(target, self._identity(route, request), route.official)

    def _identity(self, route: Route, request: Request) -> Headers:
        """The key as a header, whether it came as one or in the URL."""
        headers = chosen(request.headers, _IDENTITY) if route.official else lasting(request.headers)
        keys = parse_qs(route.query).get("key", [])
        return (*headers, *(("x-goog-api-key", key) for key in keys))

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        if at.target.endpoint == ":batchEmbedContents":
            source = [msgspec.json.encode({"requests": {"requests": parts(items)}})]
        elif len(items) <= INLINE_ROWS and "image" not in at.target.model and _size(items) < INLINE_BYTES:
            source = [b'{"requests":{"requests":[', *_inline(items), b"]}}"]
        else:
            source = [msgspec.json.encode({"fileName": (yield from self._upload(at, items, tag))})]
        opening = b'{"batch":{"displayName":"%s","inputConfig":' % tag.encode()
        method = _BATCHED[at.target.endpoint.removeprefix(":")]
        url = f"{at.target.base_url}/v1beta/models/{at.target.model}:{method}"
        call = Request("POST", url, (*at.headers, JSON_TYPE))
        job = read_json((yield Call(call, (opening, *source, b"}}"), repeatable=False)))
        return Job(_name(job))

    def _upload(self, at: Site, items: Sequence[Item], tag: str) -> Flow[str]:
        rows = tuple(row_pieces('{"key":"%s","request":', items, b"}\n"))
        return (yield from google.upload(at.target.base_url, at.headers, rows, tag))

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return _status(read_json((yield Call(_get(at, job.id)))))

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
        try:
            said = msgspec.json.decode(line, type=_Line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            raise ValueError("not a result line") from fault
        key = said.key or read_text(read_object(said.metadata).get("key"))
        if key is None:
            raise ValueError("a row without a key")
        if bytes(said.response).startswith(b"{"):
            return Row(key, Response(200, (JSON_TYPE,), bytes(said.response)))
        error = read_object(said.error)
        if not error or read_count(error.get("code")) == google.CANCELLED:
            return Row(key, None, "cancelled" if error else "no answer")
        return Row(key, google.row_error(error))

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        place = ""
        for _ in range(MOST_PAGES):
            url = f"{at.target.base_url}/v1beta/batches?pageSize=100{place}"
            page = read_json((yield Call(Request("GET", url, at.headers))))
            jobs = read_objects(page.get("operations"))
            details = [read_object(job.get("metadata")) for job in jobs]
            for job, detail in zip(jobs, details, strict=True):
                if detail.get("displayName") == tag:
                    return Job(_name(job))
            oldest = min((read_moment(detail.get("createTime")) for detail in details), default=0.0)
            token = read_text(page.get("nextPageToken"))
            if token is None or oldest < since - CLOCK_SLACK:
                return None
            if (last := f"&pageToken={segment(token)}") == place:
                break
            place = last
        raise Garbled("a list of jobs that does not come to its end")

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        call = Request("POST", f"{_get(at, job.id).url}:cancel", (*at.headers, JSON_TYPE), b"{}")
        read_json((yield Call(call)))

    def judge(self, status: int, fault: Fault) -> Verdict:
        return google.judge(status, fault)

    def weight(self, body: dict[str, JSON]) -> int:
        asked = body.get("requests")
        return len(asked) if isinstance(asked, list) else 0

    def failure(self, status: int, fault: Fault) -> Response:
        return google.failure(status, fault)

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        said = samples.answer(target.endpoint.removeprefix(":"), target.model, body)
        return Response(200, (JSON_TYPE,), msgspec.json.encode(said))


class _Line(msgspec.Struct):
    key: str | None = None
    metadata: JSON = None
    response: msgspec.Raw = msgspec.Raw()
    error: JSON = None


def _size(items: Sequence[Item]) -> int:
    return sum(len(item.request.body) + 100 for item in items)


def _inline(items: Sequence[Item]) -> list[bytes]:
    pieces = list(row_pieces('{"metadata":{"key":"%s"},"request":', items, b"},"))
    pieces[-1] = b"}"
    return pieces


def _name(job: dict[str, JSON]) -> str:
    if (name := read_text(job.get("name"))) is None:
        raise Garbled("a job without a name")
    return name


def _get(at: Site, name: str) -> Request:
    return Request("GET", f"{at.target.base_url}/v1beta/batches/{segment(name.removeprefix('batches/'))}", at.headers)


def _status(job: dict[str, JSON]) -> Status:
    detail = read_object(job.get("metadata"))
    word = str(detail.get("state") or "").lower().removeprefix("batch_state_").removeprefix("job_state_")
    ended = word in ("succeeded", "cancelled", "expired")
    state = State.ENDED if ended else State.FAILED if word == "failed" else State.RUNNING
    output = read_object(job.get("response")) or read_object(detail.get("output"))
    stats = {name: read_count(count) for name, count in read_object(detail.get("batchStats")).items()}
    file = read_text(output.get("responsesFile"))
    outputs = (file,) if file else ("",) if output.get("inlinedResponses") else ()
    return Status(
        state,
        word,
        done=stats.get("successfulRequestCount", 0) + stats.get("failedRequestCount", 0),
        total=stats.get("requestCount", 0),
        outputs=outputs,
        errors=(google.job_fault(job),) if state is State.FAILED else (),
        known=state is not State.RUNNING or word in _RUNNING,
    )


class _Inlined(msgspec.Struct):
    inlinedResponses: list[msgspec.Raw] | None = None  # noqa: N815 - Google's name


class _Output(msgspec.Struct):
    inlinedResponses: _Inlined | None = None  # noqa: N815


class _Detail(msgspec.Struct):
    output: _Output | None = None


class _Operation(msgspec.Struct):
    response: _Output | None = None
    metadata: _Detail | None = None


def _unpack(body: bytes) -> bytes:
    """The rows of an operation that holds them."""
    try:
        job = msgspec.json.decode(body, type=_Operation)
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise ValueError("not an operation with rows") from fault
    for output in (job.response, job.metadata.output if job.metadata else None):
        if output is not None and output.inlinedResponses is not None:
            rows = output.inlinedResponses.inlinedResponses or []
            return b"\n".join(joined(as_lines(rows)))
    raise ValueError("an operation without rows")


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
        quirks=("cached tokens are not cheaper in a batch", "small batches go inline, others as a file"),
        prices="google",
    ),
)
