"""Google Vertex AI: rows as a file in Cloud Storage, a batch prediction job over it, results in a folder next to it.

Facts: Vertex's batch guides for Gemini and for Claude, the reference of v1, Cloud Storage's JSON API, and saved rows
of public samples. UNSURE: that `custom_id` is returned in Gemini's rows (the samples show it), whether Claude's rows
accept betas in their body (such calls go real time), and everything that `bigquery` assumes about the importer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar
from urllib.parse import unquote

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
from batchling.core.neutral import Neutral
from batchling.providers import pages, refusals
from batchling.providers.asking import JSON_TYPE, account_of, chosen, request, row_pieces, segment
from batchling.providers.base import Facts, Limits, Refused, Route, Verdict
from batchling.providers.claude import NEUTRAL
from batchling.providers.google import cloud_storage, shared
from batchling.providers.google.bigquery import NotTabular, shape
from batchling.providers.google.vertex_rows import read_row
from batchling.providers.headers import lasting
from batchling.providers.neutral import GEMINI_IDS
from batchling.providers.reading import read_count, read_fault, read_id, read_json, read_object, read_objects, read_text
from batchling.providers.roots import root_of
from batchling.providers.samples import anthropic as claude
from batchling.providers.samples import gemini

_CALL = re.compile(
    r"(?P<base>.+/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+))"
    r"/publishers/(?P<publisher>[^/]+)/models/(?P<model>[^/:]+):(?P<method>\w+)"
)
_TUNED = re.compile(r".+/projects/[^/]+/locations/[^/]+/(endpoints/\d+|models/[^/:]+):\w+")
_BATCHED = {("google", "generateContent"): ":generateContent", ("anthropic", "rawPredict"): ":rawPredict"}
_PUBLISHERS = {":generateContent": "google", ":rawPredict": "anthropic"}
_PAID = re.compile(
    r".+(:\w*([gG]enerateContent|[pP]redict|[eE]mbedContent|predictLongRunning)|/chat/completions|/embeddings)"
)

_STORAGE = "https://storage.googleapis.com"

_IDENTITY = ("authorization", "x-goog-user-project")
_PASSING = ("authorization", "x-goog-user-project")
"""Headers that do not identify a gateway's tenant: the token changes every hour."""

_CAPACITY = "x-vertex-ai-llm-"
"""Beginning of the headers that request a kind of capacity (provisioned, priority), which no batch offers."""

_RUNNING = frozenset({"unspecified", "queued", "pending", "running", "cancelling", "paused", "updating"})
_ENDED = frozenset({"succeeded", "cancelled", "expired", "partially_succeeded"})

_RESULTS = re.compile(r"predictions[^/]*\.jsonl")
_LABEL = "batchling"


@dataclass(frozen=True)
class Vertex:
    """Vertex AI. `gcs_prefix` is where inputs and results are kept: a `gs://bucket/folder` that the caller and Vertex's
    service agent can read and write; for Claude, it must be in the region of the jobs. `storage` is the address of
    Cloud Storage, "" for Google's own. For calls at a gateway it is required: that is where their credential is sent.

    The `base_url` of its targets ends with the location.
    """

    name: str = "vertex"
    gcs_prefix: str = ""
    storage: str = ""
    roots: tuple[str, ...] = tuple(
        f"https://{place}aiplatform.googleapis.com/{version}" for place in ("", "*-") for version in ("v1", "v1beta1")
    )
    # A file of rows may have 1 GB; a job may be queued for 72 h and run for 24 h.
    limits: Limits = field(
        default_factory=lambda: Limits(rows=200_000, bytes=999_000_000, cached="kept", window=4 * 86_400.0)
    )
    facts: Facts = field(
        default_factory=lambda: Facts(
            "Vertex AI",
            "24 h, after up to 72 h in the queue",
            "label",
            "the bucket's own",
            ("GOOGLE_APPLICATION_CREDENTIALS",),
            discount="50 % off; cached tokens have the cache's discount instead",
            quirks=(
                "needs a Cloud Storage folder: Vertex(gcs_prefix=...); at a gateway also Vertex(storage=...)",
                "only bodies of one shape (the same keys, of the same types) share a batch",
                "bodies that its importer cannot read go real time: JSON schemas with $ keys, empty objects",
                "tokens are renewed by google-auth",
            ),
            prices="google",
            separates=("x-goog-user-project",),
            telemetry="gcp.vertex_ai",
            more_headers=(("GOOGLE_CLOUD_QUOTA_PROJECT", "x-goog-user-project"),),
            quota_header="x-goog-user-project",
            cloud="google",
            # labels: "to track billing usage" (google-genai). The shape of a body is derived from the body.
            neutral=Neutral(("labels", *NEUTRAL.fields), GEMINI_IDS + NEUTRAL.ids, options=("shape",)),
        )
    )
    endpoints: tuple[str, ...] = (
        "publishers/google/models/*:generateContent",
        "publishers/anthropic/models/*:rawPredict",
    )
    renew: Callable[[], Headers] | None = None
    setting_variable: ClassVar[str] = "BATCHLING_GCS_PREFIX"

    @property
    def lacks(self) -> str:
        return (
            "" if self.gcs_prefix else f"a Cloud Storage folder, in {self.setting_variable} or Vertex(gcs_prefix=...)"
        )

    def with_setting(self, value: str) -> Vertex:
        if value and not value.startswith("gs://"):
            raise ValueError("must look like gs://bucket/folder")
        return replace(self, gcs_prefix=value)

    def example(self, target: Target) -> tuple[Vertex, str]:
        publisher = "anthropic" if target.endpoint == ":rawPredict" else "google"
        url = f"{target.base_url}/publishers/{publisher}/models/{target.model}{target.endpoint}"
        return replace(self, gcs_prefix=self.gcs_prefix or "gs://any"), url

    def __post_init__(self) -> None:
        if self.gcs_prefix and not re.match("gs://[^/]", self.gcs_prefix):
            raise ValueError("gcs_prefix must look like gs://bucket/folder")

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        head, _, query = url.partition("?")
        if method != "POST" or (official and root_of(head, self.roots) is None):
            return None
        found = _CALL.fullmatch(head)
        if found and (found["publisher"], found["method"]) in _BATCHED:
            return Route(found["base"], head[len(found["base"]) :], query, official)
        return Route(head.partition("/projects/")[0], "", query, official) if _PAID.fullmatch(head) else None

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        head = request.url.partition("?")[0]
        found = _CALL.fullmatch(head)
        if not route.endpoint or found is None:
            return Bypass("tuned model" if _TUNED.fullmatch(head) else "endpoint without a batch form")
        if not self.gcs_prefix:
            return Bypass("no gcs_prefix: batchify(providers=[Vertex(gcs_prefix='gs://...')]) or BATCHLING_GCS_PREFIX")
        if not route.official and not self.storage:
            return Bypass("a gateway's credential is not sent to Cloud Storage, unless Vertex(storage=...) names where")
        if reason := _unbatchable(route, request, found["publisher"], found["location"]) or _refuses(body):
            return Bypass(reason)
        try:
            options = (("shape", shape(body)),)
        except NotTabular as fault:
            return Bypass(str(fault))
        quota = chosen(request.headers, ("x-goog-user-project",))
        return Target(
            self.name,
            route.base_url,
            _BATCHED[found["publisher"], found["method"]],
            unquote(found["model"]),
            account_of((("project", found["project"]), *self._tenant(route, request))),
            (*options, *quota),
        )

    def _tenant(self, route: Route, request: Request) -> Headers:
        """What tells the accounts of a gateway apart, in addition to the project."""
        return () if route.official else tuple(pair for pair in lasting(request.headers) if pair[0] not in _PASSING)

    def site(self, target: Target, route: Route, request: Request) -> Site:
        headers = chosen(request.headers, _IDENTITY) if route.official else lasting(request.headers)
        return Site(target, headers, route.official)

    def submit(self, at: Site, items: Sequence[Item], tag: str) -> Flow[Job]:
        source, output = f"{self._folder()}/in/{tag}.jsonl", self._output(tag)
        # A key that looks like a number may come back as a number, so keys begin with a letter.
        rows = row_pieces('{"custom_id":"r%s","request":', items, b"}\n")
        yield from cloud_storage.upload(self.storage or _STORAGE, _stored(at), source, rows)
        order = {
            "displayName": f"{_LABEL}-{tag}",
            "model": f"publishers/{_PUBLISHERS.get(at.target.endpoint, 'google')}/models/{at.target.model}",
            "labels": {_LABEL: tag},
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [source]}},
            "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": output}},
        }
        job = read_json((yield Call(request("POST", at, "/batchPredictionJobs", order), repeatable=False)))
        return Job(read_id(job, "name"), {"output": output})

    def _folder(self) -> str:
        return self.gcs_prefix.rstrip("/")

    def _output(self, tag: str) -> str:
        return f"{self._folder()}/out/{tag}"

    def poll(self, at: Site, job: Job) -> Flow[Status]:
        payload = read_json((yield Call(request("GET", at, _path(job)))))
        return _status(payload, job.notes.get("output"))

    def poll_all(self, at: Site, jobs: Sequence[Job]) -> Flow[Mapping[str, Status]]:
        path = f"/batchPredictionJobs?filter={segment(f'labels.{_LABEL}:*')}&pageSize={pages.page_size(jobs)}"
        return pages.named_statuses(
            jobs,
            lambda place: request("GET", at, path + place),
            "batchPredictionJobs",
            lambda listed, job: _status(listed, job.notes.get("output")),
        )

    def fetch(self, at: Site, job: Job, status: Status) -> Flow[None]:
        for folder in status.outputs:
            yield from cloud_storage.download(self.storage or _STORAGE, _stored(at), folder, _RESULTS)

    def row(self, line: bytes) -> Row:
        return read_row(line)

    def find(self, at: Site, tag: str, keys: Sequence[str], since: float, taken: frozenset[str]) -> Flow[Job | None]:
        def found(page: dict[str, JSON]) -> Job | None:
            for job in read_objects(page.get("batchPredictionJobs")):
                if read_object(job.get("labels")).get(_LABEL) == tag:
                    return Job(read_id(job, "name"), {"output": _destination(job) or self._output(tag)})
            return None

        path = f"/batchPredictionJobs?filter={segment(f'labels.{_LABEL}={tag}')}&pageSize=100"
        return (yield from pages.search(lambda place: request("GET", at, path + place), found))

    def cancel(self, at: Site, job: Job) -> Flow[None]:
        response = yield Call(request("POST", at, f"{_path(job)}:cancel", {}))
        if not response.ok and read_fault(response).code != "FAILED_PRECONDITION":  # that means it is over
            raise Refused(response)

    def judge(self, status: int, fault: Fault) -> Verdict:
        return refusals.judge(status, fault)

    def weight(self, body: dict[str, JSON]) -> int:
        return 0

    def failure(self, status: int, fault: Fault) -> Response:
        return shared.failure(status, fault)

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        if target.endpoint == ":rawPredict":
            answer = claude.answer({**body, "model": target.model})
        else:
            answer = gemini.answer("generateContent", target.model, body)
        return Response(200, (JSON_TYPE,), msgspec.json.encode(answer))


def _stored(at: Site) -> Headers:
    """The headers for Cloud Storage, which gets none of the other headers meant for a gateway."""
    return chosen(at.headers, _IDENTITY)


def _unbatchable(route: Route, request: Request, publisher: str, location: str) -> str | None:
    """Why a call with this URL and these headers cannot be a row of a batch; None when it can."""
    if route.query not in ("", "alt=json"):
        return "query parameters"
    if route.official and not header(request.headers, "authorization"):
        return "no OAuth token: batches with an API key are not documented"
    if any(name.startswith(_CAPACITY) for name, _ in request.headers):
        return "a kind of capacity is requested"
    if publisher == "anthropic" and location == "global":
        return "Claude has no batches at the global location"
    if publisher == "anthropic" and header(request.headers, "anthropic-beta"):
        return "anthropic-beta header"
    return None


def _refuses(body: dict[str, JSON]) -> str | None:
    """Why this body cannot be a row of a batch; None when it can. REST accepts both spellings of a key."""
    if body.get("stream"):
        return "streaming"
    if body.get("anthropic_beta"):
        return "parameter anthropic_beta"
    if body.get("cachedContent") or body.get("cached_content"):
        return "explicit context cache"
    for tool in read_objects(body.get("tools")):
        retrieval = read_object(tool.get("retrieval"))
        if retrieval.get("vertexRagStore") or retrieval.get("vertex_rag_store"):
            return "RAG grounding"
    config = read_object(body.get("generationConfig") or body.get("generation_config"))
    image = read_object(config.get("imageConfig") or config.get("image_config"))
    if (image.get("imageSize") or image.get("image_size") or "1K") != "1K":
        return "images larger than 1K"
    return None


def _status(job: dict[str, JSON], output: str | None) -> Status:
    word = str(job.get("state") or "").lower().removeprefix("job_state_")
    counts = read_object(job.get("completionStats"))
    good, bad, left = (
        max(0, read_count(counts.get(name))) for name in ("successfulCount", "failedCount", "incompleteCount")
    )
    failed = word == "failed" and not good  # the rows that ran have been paid for
    ended = word in _ENDED or (word == "failed" and not failed)
    folder = read_text(read_object(job.get("outputInfo")).get("gcsOutputDirectory")) or output or _destination(job)
    return Status(
        State.FAILED if failed else State.ENDED if ended else State.RUNNING,
        word,
        done=good + bad,
        total=good + bad + left,
        outputs=(folder,) if ended and folder else (),
        errors=(shared.job_fault(job),) if failed else (),
        known=failed or ended or word in _RUNNING,
    )


def _destination(job: dict[str, JSON]) -> str | None:
    """The folder that a job writes to."""
    config = read_object(job.get("outputConfig"))
    return read_text(read_object(config.get("gcsDestination")).get("outputUriPrefix"))


def _path(job: Job) -> str:
    """A job's path below its location. The job's name contains the project's number, the caller's URL the project's
    id."""
    return f"/batchPredictionJobs/{segment(job.id.rpartition('/')[2])}"


VERTEX = Vertex()
