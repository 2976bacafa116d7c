"""Anthropic's Message Batches: rows inline in the create call, results as one JSONL stream.

Facts: the anthropic SDK 2.12, Anthropic's batch guide, and recorded traffic of 2025 and 2026. A job carries no tag:
a lost one is found by its time, its number of rows and, once it has ended, the keys in its results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

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
from batchling.providers import pages, refusals
from batchling.providers.asking import JSON_TYPE, account_of, chosen, request, row_pieces, segment
from batchling.providers.base import Facts, Limits, Refused, Route, Unsettled, Verdict
from batchling.providers.claude import NEUTRAL, STATUS_OF_TYPE, TYPE_OF_STATUS
from batchling.providers.headers import lasting
from batchling.providers.reading import read_count, read_id, read_json, read_moment, read_object, read_text
from batchling.providers.roots import root_of
from batchling.providers.rows import answered, status_of
from batchling.providers.samples import anthropic as samples

_ENDPOINT = "/v1/messages"
_RUNNING = frozenset({"in_progress", "canceling"})
_PEEK = 262_144
"""Bytes of a result stream that are sure to contain one key."""

_IDENTITY = ("authorization", "x-api-key", "anthropic-workspace-id")
_OPTIONS = ("anthropic-version", "anthropic-beta", "anthropic-user-profile-id")
"""Headers that apply to every row of a batch, so only requests with equal ones may share it."""

_FREE = frozenset({"files", "messages", "models", "organizations", "skills"})
"""First path segments whose other POST calls generate no message (counting tokens, managing batches, uploads)."""

_NOT_IN_A_BATCH = ("speed", "store", "previous_thread_event_id", "cache_hint", "context_hint")
"""Body keys that real time accepts and that make a row of a batch fail."""


@dataclass(frozen=True)
class Anthropic:
    """The Message Batches API, at Anthropic or at a gateway that offers it."""

    name: str
    roots: tuple[str, ...]
    limits: Limits
    facts: Facts
    endpoints: tuple[str, ...] = ("/messages",)
    renew: Callable[[], Headers] | None = None

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        if method != "POST":
            return None
        head, _, query = url.partition("?")
        root = root_of(head, self.roots) if official else head.rpartition("/v1/")[0] + "/v1"
        if root is None or not head.startswith(root + "/"):
            return None
        path = head[len(root) :]
        if path == "/messages":
            return Route(root, _ENDPOINT, query, official)
        return None if path.split("/", 2)[1] in _FREE else Route(root, "", query, official)

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if not route.endpoint:
            return Bypass("endpoint without a batch form")
        query = parse_qsl(route.query, keep_blank_values=True)
        if query not in ([], [("beta", "true")]):
            return Bypass("query parameters")
        if reason := _unbatchable(body):
            return Bypass(reason)
        options = {name: header(request.headers, name) or "" for name in _OPTIONS}
        betas = [value for name, value in request.headers if name == "anthropic-beta"]
        options["anthropic-beta"] = ",".join(sorted({flag.strip() for flag in ",".join(betas).split(",")}))
        options["beta"] = "true" if query else ""
        return Target(
            self.name,
            route.base_url,
            route.endpoint,
            str(body["model"]),
            account_of(_as_keys(self._identity(route, request))),
            tuple(sorted((name, value) for name, value in options.items() if value)),
        )

    def site(self, target: Target, route: Route, request: Request) -> Site:
        return Site(target, self._identity(route, request) + chosen(request.headers, _OPTIONS), route.official)

    def _identity(self, route: Route, request: Request) -> Headers:
        if route.official:
            return chosen(request.headers, _IDENTITY)
        return tuple(pair for pair in lasting(request.headers) if pair[0] not in _OPTIONS)

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        rows = row_pieces('{"custom_id":"%s","params":', items, b"}", between=b",")
        order = request("POST", at, _path(at))
        order = Request(order.method, order.url, (*order.headers, JSON_TYPE))
        job = read_json((yield Call(order, rows.between(b'{"requests":[', b"]}"), repeatable=False)))
        return Job(read_id(job))

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        response = yield Call(request("GET", at, _path(at, job.id)))
        return _status(read_json(response), header(response.headers, "retry-after"))

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        size = f"limit={pages.page_size(jobs, 1_000)}"
        return pages.statuses(
            jobs,
            lambda place: request("GET", at, _path(at, query=size + (place and f"&after_id={place}"))),
            "data",
            lambda job, _: _status(job, None),
            pages.last_id,
        )

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        response = yield Call(request("GET", at, _path(at, job.id, "/results")), rows=True)
        if not response.ok:
            raise Refused(response)

    def row(self, line: bytes) -> Row:
        row = fields(line)
        key = read_text(value(row.get("custom_id")))
        if key is None:
            raise ValueError("a row without a key")
        raw = row.get("result", b"")
        result = fields(raw) if raw.startswith(b"{") else {}
        kind = read_text(value(result.get("type"))) or "no answer"
        if kind == "succeeded":
            return answered(key, result.get("message", b""), lambda status, text: self.failure(status, Fault(text)))
        if kind == "errored" and (body := result.get("error", b"null")) != b"null":
            return Row(key, self._errored(body))
        return Row(key, None, kind)

    def _errored(self, body: bytes) -> Response:
        """The response for an error, which is given as in real time, without its wrapping, or as text."""
        fault = value(body)
        whole = read_object(fault)
        error = read_object(whole.get("error")) or whole
        status = STATUS_OF_TYPE.get(read_text(error.get("type")) or "", 500)
        request_id = whole.get("request_id")
        headers = (JSON_TYPE, ("request-id", str(request_id))) if request_id else (JSON_TYPE,)
        if isinstance(whole.get("error"), dict):
            return Response(status, headers, body)
        text = read_text(error.get("message")) or read_text(whole.get("error")) or read_text(fault)
        if read_text(error.get("type")) is None:
            status = status_of("", text or "")
        return Response(status, headers, self.failure(status, Fault(text or "the row failed")).body)

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        return (
            yield from pages.find_untagged(
                lambda place: request("GET", at, _path(at, query=f"limit=100{place}")),
                "data",
                "after_id",
                lambda job: _status(job, None),
                lambda job_id: self._is_ours(at, job_id, keys),
                len(keys),
                since,
                taken,
            )
        )

    def _is_ours(self, at: Site, job_id: str, keys: Sequence[str]) -> Flow[bool]:
        """Whether an ended job has our keys, judged by its first row. If our job were mistaken for someone else's, we
        would pay twice, so anything but a readable row counts as unsettled."""
        response = yield Call(request("GET", at, _path(at, job_id, "/results")), peek=_PEEK)
        if response.status in (401, 403):
            raise Refused(response)
        first = response.body.split(b"\n", 1)[0] if response.ok else b""
        try:
            return self.row(first).key in frozenset(keys)
        except ValueError:
            raise Unsettled("the results of an ended job that could be ours cannot be read yet") from None

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        read_json((yield Call(request("POST", at, _path(at, job.id, "/cancel")))))

    def judge(self, status: int, fault: Fault) -> Verdict:
        return refusals.judge(status, fault)

    def weight(self, body: dict[str, JSON]) -> int:
        return 0

    def failure(self, status: int, fault: Fault) -> Response:
        kind = TYPE_OF_STATUS.get(status, "invalid_request_error" if status < 500 else "api_error")
        body = {"type": "error", "error": {"type": kind, "message": fault.message}}
        return Response(status, (JSON_TYPE,), msgspec.json.encode(body))

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        return Response(200, (JSON_TYPE,), msgspec.json.encode(samples.answer(body)))


def _as_keys(identity: Headers) -> Headers:
    """The identity with a bearer token as x-api-key: SDKs before 2.0 send the key as x-api-key, later ones as a bearer
    token, and it is the same key."""
    return tuple(
        ("x-api-key", value.removeprefix("Bearer ")) if name == "authorization" else (name, value)
        for name, value in identity
    )


def _path(at: Site, job_id: str = "", call: str = "", query: str = "") -> str:
    """The path of a batch call; a batch created in the beta namespace stays there."""
    beta = "beta=true" if ("beta", "true") in at.target.options else ""
    asked = "&".join(part for part in (beta, query) if part)
    return f"/messages/batches{'/' + segment(job_id) if job_id else ''}{call}{'?' + asked if asked else ''}"


def _unbatchable(body: dict[str, JSON]) -> str | None:
    """Why this body cannot be a row of a batch; None when it can."""
    if body.get("stream"):
        return "streaming"
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "no model"
    if body.get("max_tokens") == 0:
        return "max_tokens of 0"
    for name in _NOT_IN_A_BATCH:
        if body.get(name) is not None:
            return f"parameter {name}"
    if body.get("research_preview_2026_02") == "active" or body.get("bill_to") == "user_profile":
        return "research preview or billing parameter"
    return None


def _status(job: dict[str, JSON], retry_after: str | None) -> Status:
    word = str(job.get("processing_status") or "")
    counts = {name: read_count(count) for name, count in read_object(job.get("request_counts")).items()}
    ended = word == "ended"
    expires = read_moment(job.get("expires_at"))
    return Status(
        State.ENDED if ended else State.RUNNING,
        word,
        done=sum(counts.values()) - counts.get("processing", 0),
        total=sum(counts.values()),
        outputs=("results",) if ended else (),
        expires_at=expires or None,
        retry_after=float(read_count(retry_after)) or None,
        known=ended or word in _RUNNING,
    )


ANTHROPIC = Anthropic(
    name="anthropic",
    # The second is Claude Platform on AWS, one host per region (anthropic 2.14, lib/aws), with an API key.
    roots=("https://api.anthropic.com/v1", "https://aws-external-anthropic.*.api.aws/v1"),
    # The documented 256 MB of body.
    limits=Limits(rows=100_000, bytes=255_000_000),
    facts=Facts(
        "Anthropic",
        window="24 h",
        find="time, number of rows and, once it has ended, keys",
        retention="29 days",
        variables=("ANTHROPIC_API_KEY", "ANTHROPIC_AWS_API_KEY"),
        quirks=(
            "on AWS too, with an API key: signed calls go real time",
            "only requests with equal beta headers share a batch",
            "prompt caching applies in batches, too",
        ),
        prices="anthropic",
        neutral=NEUTRAL,
        separates=_IDENTITY + _OPTIONS,
        # A key means the same account under either header; a token has to be sent as a bearer token.
        key_headers=(("x-api-key",), ("authorization",), ("authorization", "x-api-key")),
        token_headers=(("authorization",), ("x-api-key",), ("authorization", "x-api-key")),
        more_headers=(
            ("ANTHROPIC_WORKSPACE_ID", "anthropic-workspace-id"),
            ("ANTHROPIC_AWS_WORKSPACE_ID", "anthropic-workspace-id"),
        ),
        header_options=("anthropic-",),
    ),
)
