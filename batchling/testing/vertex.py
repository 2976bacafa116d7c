"""Vertex AI's generateContent, rawPredict and batch prediction jobs at the embedded server, with Cloud Storage below
`/storage`, as strict as the originals.

Shapes: Vertex's reference of v1, its batch guides, and saved rows of public samples. Rows that a job cannot import make
it fail after its creation, as does a missing input.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aiohttp import web

from batchling.core.fingerprint import digest
from batchling.providers.samples import anthropic as claude
from batchling.providers.samples import gemini
from batchling.testing.cloud_storage import CloudStorage, page_start
from batchling.testing.faults import Body, grpc_code
from batchling.testing.google_wordings import google_page, vertex_failure, vertex_refused
from batchling.testing.replies import Refusal, encode, jsonl, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import Line, Served, ServerState
from batchling.testing.streams import claude_stream, gemini_stream
from batchling.testing.vertex_rows import load_rows

_ORDER = frozenset({"displayName", "model", "labels", "inputConfig", "outputConfig"})
_LABEL = re.compile(r"[a-z0-9_-]{1,64}")
_BODY = frozenset(
    {"contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig", "labels", "seed"}
)


class VertexApi(ServedApi):
    """The handlers below `/vertex`. An account is a project."""

    name = "vertex"
    creating: tuple[str, ...] = ("/batchPredictionJobs",)
    no_key: tuple[int, str] = (401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")

    def __init__(self, shared: ServerState) -> None:
        super().__init__(shared)
        self._storage = CloudStorage(shared, self.account)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        root = prefix + "/{version:v1|v1beta1}/projects/{project}/locations/{location}"
        jobs = root + "/batchPredictionJobs"
        models = root + "/publishers/{publisher:google|anthropic}/models"
        return [
            web.post(
                models + "/{model}:{method:generateContent|streamGenerateContent|rawPredict|streamRawPredict}",
                self.real_time,
            ),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(jobs + "/{id}", self._get),
            web.post(jobs + "/{id}:cancel", self._cancel),
            *self._storage.routes(prefix + "/storage"),
        ]

    def account(self, request: web.Request) -> str:
        """A digest of the account. Raises a 401 for a missing or refused token."""
        super().account(request)
        found = re.search("/projects/([^/]+)/", request.path)
        return digest("project", found[1] if found else "")

    def refusal(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
        return vertex_refused(status, message)

    def _not_json(self) -> Refusal:
        return vertex_refused(400, "Invalid JSON payload received.")

    async def real_time(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        place = request.match_info
        google, streams = place["publisher"] == "google", place["method"].startswith("stream")
        if google != place["method"].endswith("enerateContent"):
            raise vertex_refused(404, f"{place['method']} is not found")
        body = await self.body_of(request)
        asked = {name: value for name, value in body.items() if name != "stream"} if streams else body
        status, answer = self._answer(f"{place['publisher']}/{place['model']}", asked)
        if status == 200:
            self._shared.bill("vertex", f":{place['method']}", account, {**body, "model": place["model"]}, answer, None)
        if status == 200 and streams:
            return await (gemini_stream if google else claude_stream)(request, answer)
        return reply(answer, status)

    def _sample(self, endpoint: str, body: Body) -> tuple[int, Body]:
        """The answer of a model; `endpoint` is its publisher and its name."""
        publisher, _, model = endpoint.partition("/")
        if publisher == "anthropic":
            return _claude(model, body)
        body = gemini.lower_camel(body)
        if unknown := set(body) - _BODY:
            return 400, vertex_failure(400, f'Invalid JSON payload received. Unknown name "{min(unknown)}"')
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            return 400, vertex_failure(400, "at least one contents field is required")
        if any(not isinstance(each, dict) or each.get("role") not in ("user", "model") for each in contents):
            return 400, vertex_failure(400, "Please use a valid role: user, model.")
        return 200, gemini.answer("generateContent", model, body)

    async def _create(self, request: web.Request) -> web.Response:
        account = self.account(request)
        order = await self.body_of(request)
        if unknown := set(order) - _ORDER:
            raise vertex_refused(400, f'Invalid JSON payload received. Unknown name "{min(unknown)}"')
        publisher, _, model = str(order.get("model")).removeprefix("publishers/").partition("/models/")
        location = request.match_info["location"]
        if not order.get("displayName") or publisher not in ("google", "anthropic") or not model:
            raise vertex_refused(400, "display_name and the model's resource name are required")
        if publisher == "anthropic" and location == "global":
            raise vertex_refused(400, f"Model {model} does not support batch prediction in global.")
        if model == "no-such-model":
            raise vertex_refused(404, f"Publisher Model `publishers/{publisher}/models/{model}` was not found.")
        labels = order.get("labels") or {}
        if not all(_LABEL.fullmatch(part) for pair in labels.items() for part in pair):
            raise vertex_refused(400, "labels must be of lower case letters, digits, _ and -")
        source, output = _uris(order)
        content = self._storage.get(source)
        self.check(content or b"", "create")
        words = {"location": location, "order": order, "output": output}
        job = self.new_job(str(self._shared.number()), account, f"{publisher}/{model}", [], **words)
        job.fault = load_rows(job, content) or self._shared.job_fault_for(content or b"", "upload", "job")
        return reply(self._shown(job))

    def find_job(self, request: web.Request) -> Served:
        job = self.jobs.get(request.match_info["id"])
        account = self.account(request)
        if job is None or (job.account, job.words["location"]) != (account, request.match_info["location"]):
            raise vertex_refused(404, "The BatchPredictionJob does not exist.")
        return job

    async def _list(self, request: web.Request) -> web.Response:
        account = self.account(request)
        asked = re.fullmatch(r"labels\.([a-z0-9_-]+)(?:=([a-z0-9_-]+)|:\*)", request.query.get("filter", ""))
        if asked is None and request.query.get("filter"):
            raise vertex_refused(400, "Invalid filter")
        found = self.jobs_of(account, location=request.match_info["location"])
        if asked is not None:
            found = [job for job in found if _is_labelled(job, asked[1], asked[2])]
        size = self._shared.page_size(request.query.get("pageSize", ""))
        page, token = self.page(found, page_start(request), size)
        return reply(google_page("batchPredictionJobs", page, token))

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.find_job(request)
        if job.over:
            error = vertex_failure(400, f"The job is in state {job.over} already")
            error["error"]["status"] = "FAILED_PRECONDITION"
            return reply(error, 400)
        job.cancelled = True
        return reply({})

    def _varied(self, job: Served, key: str, body: Body) -> Body:
        return {**body, "labels": {"row": key}} if _is_google(job) else {**body, "user": key}

    def _charged(self, job: Served, key: str, body: Body) -> tuple[str, Body]:
        method = ":generateContent" if _is_google(job) else ":rawPredict"
        return method, {**body, "model": job.endpoint.partition("/")[2]}

    def _finish(self, job: Served, ending: str, done: int) -> None:
        job.over = f"JOB_STATE_{ending.upper() or 'SUCCEEDED'}"
        job.counts = {"successfulCount": 0, "failedCount": 0, "incompleteCount": len(job.rows) - done}
        lines: list[Line] = []
        for (_, body), (key, status, answer) in zip(job.rows[:done], self._run(job, done), strict=True):
            job.counts["successfulCount" if status == 200 else "failedCount"] += 1
            reported: Body = {"status": "", "response": answer}
            if status != 200 and _is_google(job):
                reported = {"status": f"Bad Request: {encode(answer).decode()}", "response": {}}
            line = {"custom_id": key, **reported, "processed_time": _time(self._shared.now()), "request": body}
            lines.append((key, encode(line)))
        job.lines = self._shared.written(job, lines)
        half = (len(job.lines) + 1) // 2
        for shard, part in enumerate((job.lines[:half], job.lines[half:])):
            if part:
                self._storage.put(f"{self._directory(job)}/predictions_{shard:05}.jsonl", jsonl(part))

    def _directory(self, job: Served) -> str:
        return f"{job.words['output'].rstrip('/')}/prediction-model-{_time(job.created_at)}"

    def _shown(self, job: Served) -> Body:
        word = self._shared.ended("SUCCEEDED", "SUCCEEDED").upper()
        state = job.over.replace("SUCCEEDED", word) or (
            "JOB_STATE_CANCELLING" if job.cancelled else "JOB_STATE_PENDING"
        )
        shown: Body = {
            "name": f"projects/123456789012/locations/{job.words['location']}/batchPredictionJobs/{job.id}",
            **job.words["order"],
            "state": "JOB_STATE_RUNNING" if state == "JOB_STATE_PENDING" and job.polls else state,
            "createTime": _time(job.created_at),
            "updateTime": _time(self._shared.now()),
        }
        if job.reason is not None:
            shown["error"] = {"code": grpc_code(job.reason.code), "message": job.reason.message}
        if job.over and (job.lines or job.over != "JOB_STATE_FAILED"):
            shown["completionStats"] = {name: str(count) for name, count in job.counts.items() if count}
            if job.lines:
                shown["outputInfo"] = {"gcsOutputDirectory": self._directory(job)}
        return shown


def _is_google(job: Served) -> bool:
    """Whether the model of a job is one of Google's own."""
    return job.endpoint.startswith("google/")


def _claude(model: str, body: Body) -> tuple[int, Body]:
    for name in ("messages", "max_tokens", "anthropic_version"):
        if not body.get(name):
            return 400, _claude_error(f"{name}: Field required")
    for name in ("model", "custom_id"):
        if name in body:
            return 400, _claude_error(f"{name}: Extra inputs are not permitted")
    if body.get("stream"):
        return 400, _claude_error("stream: use streamRawPredict")
    return 200, claude.answer({**body, "model": model})


def _claude_error(message: str) -> Body:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def _uris(order: Body) -> tuple[str, str]:
    """Where a job's rows come from and where its results go. Raises a 400 for anything but JSONL in Cloud Storage."""
    try:
        (source,) = order["inputConfig"]["gcsSource"]["uris"]
        output = order["outputConfig"]["gcsDestination"]["outputUriPrefix"]
        formats = {order["inputConfig"]["instancesFormat"], order["outputConfig"]["predictionsFormat"]}
    except (KeyError, TypeError, ValueError):
        raise vertex_refused(400, "inputConfig and outputConfig are required") from None
    if formats != {"jsonl"} or not all(str(uri).startswith("gs://") for uri in (source, output)):
        raise vertex_refused(400, "only JSONL in Cloud Storage is served here")
    return source, output


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_labelled(job: Served, name: str, value: str | None) -> bool:
    """Whether a job has a label with this value; None for any."""
    labels = job.words["order"].get("labels") or {}
    return name in labels and value in (None, labels[name])
