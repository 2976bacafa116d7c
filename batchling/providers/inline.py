"""Providers that accept OpenAI's rows inside the create call and store no tag: OpenRouter and Sference.

Facts: their documentation and SDKs, autumn 2026. A lost job is found by its time, its number of rows and, once it has
ended, the keys in its results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

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
from batchling.providers import pages, refusals
from batchling.providers.asking import JSON_TYPE, account_of, chosen, edited_rows, request, row_pieces, segment
from batchling.providers.base import Facts, Limits, Refused, Route, Unsettled, Verdict
from batchling.providers.dialect import read_status, unbatchable
from batchling.providers.headers import lasting
from batchling.providers.neutral import OPENAI_DIALECT, OPENAI_LABELS
from batchling.providers.reading import read_count, read_id, read_json, read_object, read_objects, read_text
from batchling.providers.roots import root_of
from batchling.providers.rows import answered, error_answer, read_row, rows_within, status_of
from batchling.providers.samples import anthropic as claude
from batchling.providers.samples import openai as samples

_canonical = msgspec.json.Encoder(order="sorted")


_UNSAID = "="
"""Prefix of the name of an option that all rows of a batch must share, and that only the rows state."""


@dataclass(frozen=True)
class InlineDialect:
    """One such provider.

    `head` is the part of the create call before its rows, with `{endpoint}` and `{model}` to be filled in; `shared` the
    body keys that belong to the job; `listed` the key under which a list has its jobs; `results` the path below a job
    that returns its rows, empty where the job itself contains them; `media` whether rows may contain media as data:
    URLs; `uniform` the beginnings of the names of models whose rows must all have the same `response_format`.
    """

    name: str
    roots: tuple[str, ...]
    endpoints: tuple[str, ...]
    limits: Limits
    facts: Facts
    head: Mapping[str, str]
    shared: tuple[str, ...] = ()
    listed: str = "data"
    results: str = ""
    media: bool = True
    uniform: tuple[str, ...] = ()
    renew: Callable[[], Headers] | None = None

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        head, _, query = url.partition("?")
        if method != "POST":
            return None
        if official:
            root = root_of(head, self.roots)
        else:
            ending = next((path for path in self.endpoints if head.endswith(path)), None)
            root = head.removesuffix(ending) if ending else None
        if root is None or (path := head[len(root) :]).startswith(("/batches", "/keys", "/credits")):
            return None
        return Route(root, "/v1" + path if path in self.endpoints else "", query, official)

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if not route.endpoint:
            return Bypass("endpoint without a batch form")
        if reason := unbatchable(body):
            return Bypass(reason)
        if not self.media and b'"data:' in request.body:
            return Bypass("media as a data: URL")
        if self.name == "openrouter" and (reason := _kept_from_openrouter(body)):
            return Bypass(reason)
        if route.endpoint == "/v1/embeddings" and (body.get("provider") or body.get("input_type")):
            return Bypass("embeddings with provider preferences")
        given = {name: body[name] for name in self.shared if name in body}
        model = str(body["model"])
        if model.startswith(self.uniform):
            given |= {_UNSAID + "response_format": body.get("response_format")}
        options = tuple((name, _canonical.encode(value).decode()) for name, value in sorted(given.items()))
        account = account_of(self._identity(route, request))
        return Target(self.name, route.base_url, route.endpoint, model, account, options)

    def site(self, target: Target, route: Route, request: Request) -> Site:
        return Site(target, self._identity(route, request), route.official)

    def _identity(self, route: Route, request: Request) -> Headers:
        return chosen(request.headers, ("authorization",)) if route.official else lasting(request.headers)

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        target = at.target
        names = {"endpoint": target.endpoint, "model": target.model}
        head = {name: value.format(**names) for name, value in self.head.items()}
        given = {name: msgspec.json.decode(value) for name, value in target.options if not name.startswith(_UNSAID)}
        opening = msgspec.json.encode({**head, **given})[:-1] + b',"requests":['
        rows = self._rows(items).between(opening, b"]}")
        call = Request("POST", target.base_url + "/batches", (*at.headers, JSON_TYPE))
        return Job(read_id(read_json((yield Call(call, rows, repeatable=False)))))

    def _rows(self, items: Sequence[Item]) -> Pieces:
        """The rows, without the body keys that are stated once for the whole job."""
        if not self.shared:
            return row_pieces('{"custom_id":"%s","body":', items, b"}", between=b",")
        return edited_rows(items, lambda name: name not in self.shared, between=b",")

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        return _status(read_json((yield Call(request("GET", at, f"/batches/{segment(job.id)}")))))

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        size = f"limit={pages.page_size(jobs)}"
        return pages.statuses(
            jobs,
            lambda place: request("GET", at, f"/batches?{size}{place and f'&after={place}'}"),
            self.listed,
            lambda job, _: _status(job),
            pages.last_id,
        )

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        read_json((yield self._results(at, job.id)))

    def _results(self, at: Site, job_id: str) -> Call:
        call = request("GET", at, f"/batches/{segment(job_id)}{self.results}")
        return Call(call, unpack=_unpack)

    def row(self, line: bytes) -> Row:
        row = fields(line)
        key = read_text(value(row.get("custom_id")))
        if key is None:
            raise ValueError("a row without a key")
        if (answer := row.get("result_json", b"")).startswith(b"{"):
            return answered(key, answer)
        if (fault := value(row.get("error_json"))) is not None:
            error = read_object(fault)
            status = read_count(error.get("status_code"))
            text = read_text(fault) or str(error.get("message") or "the row failed")
            word = read_text(error.get("code")) or read_text(error.get("type")) or ""
            return Row(key, error_answer(status if 400 <= status <= 599 else status_of(word, text), text))
        return read_row(line)

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        model = at.target.model
        return (
            yield from pages.find_untagged(
                lambda place: request("GET", at, f"/batches?limit=100{place}"),
                self.listed,
                "after",
                lambda job: read_status(_sference(job)) if job.get("model", model) == model else None,
                lambda job_id: self._is_ours(at, job_id, keys),
                len(keys),
                since,
                taken,
            )
        )

    def _is_ours(self, at: Site, job_id: str, keys: Sequence[str]) -> Flow[bool]:
        response = yield Call(request("GET", at, f"/batches/{segment(job_id)}{self.results}"))
        rows = read_objects(read_json(response).get("results"))
        if not rows:
            raise Unsettled("the results of an ended job that could be ours cannot be read yet")
        return any(row.get("custom_id") in keys for row in rows)

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        if self.facts.cancel == "no":
            raise Refused(error_answer(405, f"{self.facts.title} has no call that stops a job"))
        read_json((yield Call(request("POST", at, f"/batches/{segment(job.id)}/cancel"))))

    def judge(self, status: int, fault: Fault) -> Verdict:
        return refusals.judge(status, fault)

    def weight(self, body: dict[str, JSON]) -> int:
        return 0

    def failure(self, status: int, fault: Fault) -> Response:
        return error_answer(status, fault.message, fault.code)

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        answer = claude.answer(body) if target.endpoint == "/v1/messages" else samples.answer(target.endpoint, body)
        return Response(200, (JSON_TYPE,), msgspec.json.encode(answer))


_REAL_TIME_ONLY = ("plugins", "modalities", "models", "route", "web_search_options")
_VARIANTS = (":online", ":free", ":nitro", ":floor")
_DEARER = ("openai/gpt-oss-20b", "deepseek/deepseek-v4.1-flash")
"""Models whose batch price was 1.3 and 4.5 times the real-time one in OpenRouter's catalogue of 2026-09-28."""


def _kept_from_openrouter(body: dict[str, JSON]) -> str | None:
    """Why OpenRouter would refuse this body in a batch, or treat it differently from real time (its SDK 1.3.84: "Only
    `provider.only` and `provider.allow_fallbacks` are supported"; captured refusals of 2026)."""
    model = str(body.get("model"))
    if any(body.get(name) for name in _REAL_TIME_ONLY):
        return "plugins, modalities, fallback models or web search"
    if read_object(body.get("provider")).get("zdr"):
        return "zero data retention"
    if any(value is not None for name, value in read_object(body.get("provider")).items() if name not in _PREFERENCES):
        return "provider preferences that a batch ignores"
    if model.endswith(_VARIANTS) or model == "openrouter/auto":
        return "variant of a model without a batch form"
    if model in _DEARER:
        return "model that costs more in a batch"
    if any(str(tool.get("type")).startswith(("web_search", "openrouter:")) for tool in read_objects(body.get("tools"))):
        return "web search"
    media = frozenset(_media(body.get("messages")) if "messages" in body else _media(body.get("input")))
    if media & {"base64", "input_audio", "file", "input_file"}:
        return "media within the request"
    return "image URL for a Google model" if "url" in media and model.startswith("google/") else None


_PREFERENCES = ("only", "allow_fallbacks", "zdr")


def _media(value: JSON) -> Iterable[str]:
    """The kinds of media in the content of messages, at any depth: `base64`, `url`, `input_audio`, `file`."""
    if isinstance(value, list):
        for each in value:
            yield from _media(each)
    elif isinstance(value, dict):
        kind = value.get("type")
        if kind in ("base64", "url", "input_audio", "file", "input_file"):
            yield str(kind)
        if kind in ("image_url", "input_image"):
            yield "url"
        for name in ("content", "source"):
            yield from _media(value.get(name))


def _unpack(body: bytes) -> bytes:
    return b"\n".join(rows_within(body, "results") or [])


def _status(job: dict[str, JSON]) -> Status:
    status = read_status(_sference(job))
    return Status(
        status.state,
        status.word,
        status.done,
        status.total,
        outputs=("results",) if status.state is State.ENDED or job.get("results") else (),
        errors=status.errors,
        expires_at=status.expires_at,
        known=status.known,
    )


def _sference(job: dict[str, JSON]) -> dict[str, JSON]:
    """A job with its number of rows where OpenAI has it, and with OpenAI's names of statuses."""
    words = {"pending": "queued", "running": "in_progress"}
    status = job.get("status")
    counts = {"total": job.get("request_count"), **read_object(job.get("request_counts"))}
    return {**job, "request_counts": counts, "status": words.get(status, status) if isinstance(status, str) else status}


OPENROUTER = InlineDialect(
    name="openrouter",
    roots=tuple(f"https://{region}openrouter.ai/api/v1" for region in ("", "www.", "eu.", "us.")),
    endpoints=("/chat/completions", "/embeddings", "/responses", "/messages"),
    # 5,000 rows are allowed, but their answers come in one document, which is held in memory.
    limits=Limits(rows=2_000, bytes=60_000_000, price=None, window=345_600.0),
    facts=Facts(
        "OpenRouter",
        "24 h, some models 96 h",
        "time, number of rows and, once it has ended, keys",
        "30 days",
        ("OPENROUTER_API_KEY",),
        cancel="no",
        discount="about 50 % off the tokens' price, where the underlying provider gives a discount",
        quirks=("needs a batch variant of the model", "no media as data: URLs, no plugins, no zero data retention"),
        prices="openrouter",
        # session_id and trace group requests for its dashboards (request schema of its reference).
        neutral=Neutral((*OPENAI_LABELS, "session_id", "trace"), OPENAI_DIALECT.ids),
    ),
    head={"endpoint": "{endpoint}", "model": "{model}", "completion_window": "24h"},
    shared=("provider",),
    media=False,
    uniform=("google/",),
)
SFERENCE = InlineDialect(
    name="sference",
    roots=("https://api.sference.com/v1",),
    endpoints=("/chat/completions",),
    limits=Limits(rows=10_000, bytes=60_000_000, price=None),
    facts=Facts(
        "Sference",
        "24 h",
        "time, number of rows and, once it has ended, keys",
        "unknown",
        ("SFERENCE_API_KEY",),
        discount="unknown",
        quirks=("limits are not documented: ours are a guess",),
        neutral=OPENAI_DIALECT,
    ),
    head={"window": "24h"},
    listed="items",
    results="/results",
)
